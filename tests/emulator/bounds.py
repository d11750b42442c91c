"""Sizes, releases, regions and tags that EMR refuses or fails on. Texts of messages are guesses, but where a source is named.

MG is https://docs.aws.amazon.com/emr/latest/ManagementGuide/, API https://docs.aws.amazon.com/emr/latest/APIReference/.
"""

import json

from .errors import EmrError

# MG emr-auto-termination-policy.html and emr-managed-scaling.html: these regions have both from 5.30.0 and 6.1.0 on,
EARLY = set("""us-east-1 us-east-2 us-west-2 us-west-1 af-south-1 ap-east-1 ap-south-1 ap-south-2 ap-northeast-2 ap-northeast-3
ap-southeast-1 ap-southeast-2 ap-southeast-3 ap-northeast-1 ca-central-1 sa-east-1 eu-central-1 eu-central-2 eu-west-1 eu-west-2
eu-south-1 eu-west-3 eu-north-1 il-central-1 me-central-1 cn-north-1 cn-northwest-1 us-gov-east-1 us-gov-west-1""".split())
# and these from 6.14.0 on. Others have neither.
LATE = set("ap-east-2 ap-southeast-4 ap-southeast-5 ap-southeast-6 ap-southeast-7 ca-west-1 eu-south-2 mx-central-1".split())
# The first text and code are recorded in terraform-provider-aws, internal/service/emr/cluster.go.
NO_IDLE = "Auto-termination is not available for this account when using this release of EMR."
# Characters of tags beside letters, digits and spaces. MG emr-plan-tags-restrictions.html
SIGNS = set("_.:/=+-@")


def version(label):
    return tuple(map(int, label.removeprefix("emr-").split(".")))


def scales_and_idles(label, region):
    """Whether the release has auto-termination and managed scaling there."""
    at = version(label)
    return region in EARLY and ((5, 30) <= at < (6,) or at >= (6, 1)) or region in LATE and at >= (6, 14)


def refuse(spec, region):
    """What of a RunJobFlow is refused at once."""
    label, instances = spec["ReleaseLabel"], spec["Instances"]
    # MG emr-custom-ami-root-volume-size.html: "You can adjust this up to 100 GiB." That less than the default is refused is a guess.
    least = 15 if version(label) >= (6, 10) else 10
    if not least <= spec.get("EbsRootVolumeSize", least) <= 100:
        raise EmrError(f"The EBS root volume size must be between {least} and 100 GiB.")
    for group in [*instances.get("InstanceGroups", []), *(k for f in instances.get("InstanceFleets", []) for k in f.get("InstanceTypeConfigs", []))]:
        refuse_volumes(group)
    for fleet in instances.get("InstanceFleets", []):
        # MG emr-instance-fleet.html
        strategy = any("AllocationStrategy" in s for s in fleet.get("LaunchSpecifications", {}).values())
        if len(fleet.get("InstanceTypeConfigs", [])) > (most := 30 if strategy else 5):
            raise EmrError(f"The number of instance types in an instance fleet must be at most {most}.")
    for name in ("AdditionalMasterSecurityGroups", "AdditionalSlaveSecurityGroups"):
        # MG emr-additional-sec-groups.html
        if len(instances.get(name, [])) > 15:
            raise EmrError("The number of additional security groups must be at most 15.")
    refuse_scaling(spec.get("ManagedScalingPolicy"), label, region)
    if spec.get("AutoTerminationPolicy") and not scales_and_idles(label, region):
        raise EmrError(NO_IDLE)
    refuse_tags(spec.get("Tags", []))


def refuse_volumes(group):
    """API API_VolumeSpecification.html: 1 to 1024 GiB, and 10 at least on types that are EBS-optimized, as all of today are.
    MG emr-plan-storage.html: 25 volumes an instance."""
    devices = group.get("EbsConfiguration", {}).get("EbsBlockDeviceConfigs", [])
    for device in devices:
        if not 10 <= (size := device["VolumeSpecification"]["SizeInGB"]) <= 1024:
            raise EmrError(f"The EBS volume size {size} must be between 10 and 1024 GiB.")
    if sum(device.get("VolumesPerInstance", 1) for device in devices) > 25:
        raise EmrError("The number of EBS volumes per instance must be at most 25.")


def refuse_scaling(policy, label, region):
    if policy is None:
        return
    if not scales_and_idles(label, region):
        raise EmrError("Managed scaling is not available for this account when using this release of EMR.")
    # Guess: API API_ComputeLimits.html names the limits and no bounds.
    limits = policy["ComputeLimits"]
    low, high = limits["MinimumCapacityUnits"], limits["MaximumCapacityUnits"]
    if not 1 <= low <= high:
        raise EmrError(f"MinimumCapacityUnits {low} must be from 1 to MaximumCapacityUnits {high}.")
    for name in ("MaximumOnDemandCapacityUnits", "MaximumCoreCapacityUnits"):
        if limits.get(name, 0) > high:
            raise EmrError(f"{name} must not be greater than MaximumCapacityUnits.")


def refuse_tags(tags, there=()):
    """MG emr-plan-tags-restrictions.html, and by it
    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Tags.html#tag-restrictions for the numbers."""
    for tag in tags:
        key, value = tag.get("Key") or "", tag.get("Value", "")
        if not 1 <= len(key) <= 128 or len(value) > 256:
            raise EmrError(f"The tag '{key}' exceeds the maximum length: 128 for keys, 256 for values.")
        for text in (key, value):
            if text.lower().startswith("aws:"):
                raise EmrError("Tags that begin with aws: are reserved for system use.")
            if any(not c.isalnum() and not c.isspace() and c not in SIGNS for c in text):
                raise EmrError(f"The tag '{key}' contains invalid characters.")
    if len({tag["Key"] for tag in tags} | set(there)) > 50:
        raise EmrError("The maximum number of tags for a resource is 50.")


def refuse_reading_idle(cluster):
    """Code and text of both: terraform-provider-aws, internal/service/emr/cluster.go."""
    if cluster.region not in EARLY | LATE:
        raise EmrError("Could not find operation GetAutoTerminationPolicy", "UnknownOperationException")
    if not scales_and_idles(cluster.spec["ReleaseLabel"], cluster.region):
        raise EmrError(NO_IDLE)


def fails_to_start(cluster):
    """(code, message) of what EMR tries and fails at, or None.

    MG emr-create-security-configuration.html: IMDSv2 "in Amazon EMR 5.23.1, 5.27.1, 5.32 or later, and 6.2 or later"; in earlier
    releases "turning off IMDSv1 causes cluster startup failure". How that is told is a guess.
    """
    at, found = version(cluster.spec["ReleaseLabel"]), cluster.emr.security_configurations.get((cluster.region, cluster.spec.get("SecurityConfiguration")))
    settings = json.loads(found["SecurityConfiguration"]).get("InstanceMetadataServiceConfiguration", {}) if found else {}
    has = (5, 23, 1) <= at < (5, 24) or (5, 27, 1) <= at < (5, 28) or (5, 32) <= at < (6,) or at >= (6, 2)
    if settings.get("MinimumInstanceMetadataServiceVersion") == 2 and not has:
        return "INTERNAL_ERROR", "Failed to start the job flow due to an internal error"
    return None


def sees_isbusy(label):
    """MG emr-auto-termination-policy.html names 6.4.0. Guess: 5.34.0 too, whose idleness is found out as 6.4.0's is."""
    return version(label) >= (6, 4) or (5, 34) <= version(label) < (6,)
