"""What EMR finds out about roles, types and zones after it took a cluster on: RunJobFlow is answered, and the cluster ends.

All of these end it with VALIDATION_ERROR, but for capacity. Each text names where it was reported.
"""

import itertools
import json
import time

from moto.core import DEFAULT_ACCOUNT_ID as ACCOUNT
from moto.ec2 import ec2_backends
from moto.ec2.models.instance_types import InstanceTypeBackend, InstanceTypeOfferingBackend
from moto.iam import iam_backends

from . import access

VALIDATION = "VALIDATION_ERROR"
GUIDE = "https://docs.aws.amazon.com/emr/latest/ManagementGuide"


def refused(cluster):
    """(reason code, message, details) by which EMR ends a cluster that it cannot launch, or None."""
    for rule in (linked_roles, new_roles, image, groups, zone):
        if problem := rule(cluster):
            return problem
    return None


def linked_roles(cluster):
    """EMR makes its own service-linked role with the caller's rights; Spot's is made with those of the service role.

    Source: https://docs.aws.amazon.com/emr/latest/ManagementGuide/using-service-linked-roles.html, emr-iam-roles.html
    """
    if not linked_role("elasticmapreduce.amazonaws.com", cluster.caller):
        # Source: https://github.com/awslabs/aws-emr-launch/issues/21
        return VALIDATION, ("Service-linked role 'AWSServiceRoleForEMRCleanup' for EMR is required. "
                            "Please create this role directly or add permission to create it in your IAM entity."), []
    if uses_spot(cluster) and not linked_role("spot.amazonaws.com", documents(cluster.spec["ServiceRole"])):
        # EC2's words: https://github.com/determined-ai/determined/issues/1830. Guess: EMR hands them on as the reason.
        return VALIDATION, ("AuthFailure.ServiceLinkedRoleCreationNotPermitted: The provided credentials do not have "
                            "permission to create the service-linked role for EC2 Spot Instances."), []
    return None


def linked_role(service, policies):
    """Whether the role is there, or can be made by these policies (None: all is allowed); then it is made."""
    iam, name = iam_backends[ACCOUNT]["aws"], access.LINKED_ROLES[service]
    if any(role.name == name for role in iam.roles.values()):
        return True
    arn = f"arn:aws:iam::{ACCOUNT}:role/aws-service-role/{service}/{name}"
    if policies is not None and not access.permitted(policies, "iam:CreateServiceLinkedRole", arn, {"iam:AWSServiceName": service}):
        return False
    iam.create_role(name, json.dumps({"Version": "2012-10-17", "Statement": []}), f"/aws-service-role/{service}/", None, "", [], 3600,
                    linked_service=service)
    return True


def documents(role):
    found = next((r for r in iam_backends[ACCOUNT]["aws"].roles.values() if r.name == role.rpartition("/")[2]), None)
    return [json.loads(text) for text in found.policies.values()] if found else []


def uses_spot(cluster):
    instances = cluster.spec["Instances"]
    return (any(group.get("Market") == "SPOT" for group in instances.get("InstanceGroups", []))
            or any(fleet.get("TargetSpotCapacity") for fleet in instances.get("InstanceFleets", [])))


def new_roles(cluster):
    """Roles and profiles of a moment ago are not known everywhere: this is how it is mostly told.

    Sources: https://github.com/aws/aws-cdk/issues/27736 (the service role); cloud-custodian's recording
    test_emr_terminate (the profile); for the third, users' reports of EMR's message in eu-west-3 and elsewhere.
    """
    spec, iam = cluster.spec, iam_backends[ACCOUNT]["aws"]
    role = next(r for r in iam.roles.values() if r.name == spec["ServiceRole"].rpartition("/")[2])
    profile = iam.get_instance_profile(spec["JobFlowRole"])
    known = cluster.created - cluster.emr.pace["propagation"]
    if max(role.create_date.timestamp(), profile.create_date.timestamp()) <= known:
        return None
    message = (
        f"EMR service role {role.arn} is invalid",
        f"Failed to provision ec2 instances because 'The requested instance profile {profile.name} is invalid'",
        f"Service role {role.arn} has insufficient EC2 permissions. EC2 Message: You are not authorized to perform: ec2:CreateSecurityGroup",
    )[next(TURN) % 3]
    return VALIDATION, message, []


TURN = itertools.count()


def image(cluster):
    """"They must exist in the same AWS Region", and match the architecture of the instances: GUIDE/emr-custom-ami.html.

    How it is told is a guess.
    """
    ami = cluster.spec.get("CustomAmiId")
    if ami is None:
        return None
    found = ec2_backends[ACCOUNT][cluster.region].amis.get(ami)
    if found is None:
        return VALIDATION, f"The image id '[{ami}]' does not exist", []
    wrong = [kind for group in cluster.workforce for kind in kinds_of(group) if architecture(kind) != found.architecture]
    if wrong:
        return VALIDATION, f"The architecture '{architecture(wrong[0])}' of {wrong[0]} does not match the architecture '{found.architecture}' of {ami}", []
    return None


def groups(cluster):
    """Five security groups a network interface, EMR's own among them, unless the quota was raised.

    Source: https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html. How it is told is a guess.
    """
    instances = cluster.spec["Instances"]
    for name in ("AdditionalMasterSecurityGroups", "AdditionalSlaveSecurityGroups"):
        if (count := len(instances.get(name, [])) + 1) > 5:
            return VALIDATION, f"SecurityGroupsPerInterfaceLimitExceeded: {count} security groups", []
    return None


def architecture(kind):
    return InstanceTypeBackend().describe_instance_types([kind])[0].get("ProcessorInfo")["SupportedArchitectures"][0]


def zone(cluster):
    """Chooses the subnet, and with it the zone, of the cluster; or there is none.

    EMR takes of a fleet's subnets the one that fits best. Guess: by zones that offer all types, then those with room.
    """
    ec2, emr = ec2_backends[ACCOUNT][cluster.region], cluster.emr
    subnets = [s for zones in ec2.subnets.values() for s in zones.values() if s.id in cluster.subnets()]
    if not subnets:
        return None
    places = [(s, [kinds_of(group) & offered(s.availability_zone, ec2) for group in cluster.workforce]) for s in subnets]
    whole = [(s, kinds) for s, kinds in places if all(kinds)]
    if not whole:
        missing = sorted(set().union(*(kinds_of(g) for g in cluster.workforce)) - offered(subnets[0].availability_zone, ec2))
        return VALIDATION, "The requested instance type InstanceType is not supported in the requested Availability Zone.", [
            # Source: GUIDE/VALIDATION_ERROR_INSTANCE_TYPE_NOT_SUPPORTED.html; several types in one value: guess.
            {"ErrorCode": "VALIDATION_ERROR_INSTANCE_TYPE_NOT_SUPPORTED",
             "ErrorMessage": f"The instance type {', '.join(missing)} is not supported",
             "ErrorData": [{"instance-types": ",".join(missing)}, {"availability-zones": subnets[0].availability_zone}]}]
    for subnet, kinds in whole:
        if all(any((subnet.availability_zone, kind) not in emr.exhausted for kind in group) for group in kinds):
            cluster.subnet, cluster.zone = subnet.id, subnet.availability_zone
            return None
    subnet, kinds = whole[0]
    cluster.subnet, cluster.zone = subnet.id, subnet.availability_zone
    kind = next(k for group in kinds for k in sorted(group) if (subnet.availability_zone, k) in emr.exhausted)
    # Source: GUIDE/emr-EC2_INSUFFICIENT_CAPACITY-error.html and INTERNAL_ERROR_EC2_INSUFFICIENT_CAPACITY_AZ.html
    return "INTERNAL_ERROR", f"EC2 is out of capacity for {kind}", [
        {"ErrorCode": "INTERNAL_ERROR_EC2_INSUFFICIENT_CAPACITY_AZ", "ErrorMessage": f"EC2 is out of capacity for {kind}",
         "ErrorData": [{"instance-type": kind}, {"availability-zone": subnet.availability_zone}]}]


def kinds_of(group):
    spec = group.spec
    return {c["InstanceType"] for c in spec["InstanceTypeConfigs"]} if group.fleet else {spec["InstanceType"]}


def offered(zone, ec2):
    rows = ec2.describe_instance_type_offerings(location_type="availability-zone", filters={"location": [zone]})
    return {row["InstanceType"] for row in rows}


# (zone, instance type) that are not offered, whatever moto's table says, which was recorded from AWS.
NOT_OFFERED = set()
RECORDED = InstanceTypeOfferingBackend.describe_instance_type_offerings


def offerings(self, *args, **kwargs):
    return [row for row in RECORDED(self, *args, **kwargs) if (row["Location"], row["InstanceType"]) not in NOT_OFFERED]


InstanceTypeOfferingBackend.describe_instance_type_offerings = offerings
