"""What releases, regions, sizes and organisations do not allow: the emulator refuses it by AWS's pages, and fruitctl before it
has made anything."""

import json
import tomllib

import pytest
from botocore.exceptions import ClientError
from conftest import ROOT, soon
from emulator import Emulator, bounds, node
from stack import Project, settle
from test_emulator import job_flow, step, wait
from test_emulator import aws as emr_aws  # noqa: F401


@pytest.fixture(scope="module")
def aws():
    with Emulator(nodes=False, start=0.05, bootstrap=0.01, terminate=0.02, propagation=0) as aws:
        yield aws
        settle(aws)


@pytest.mark.parametrize("region, partition", [("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov"), ("us-iso-east-1", "aws-iso")])
def test_other_partitions_are_refused(aws, tmp_path, region, partition):
    project = Project(aws, tmp_path, "abroad", region)
    before = len(aws.calls)
    for command in (["up"], ["plan"], ["status"], ["down"], ["policy", "--account", "123456789012"], ["run", "-i", "s3://b/in"]):
        message = project.run(*command, code=2).stderr
        assert f"region {region} (from fruitctl.toml or --region) is in the partition {partition}, where fruitctl was never tried" in message
        assert "choose a region of the partition aws: af-south-1, " in message
    assert partition in project.run("doctor", code=2).stdout
    assert len(aws.calls) == before


def test_the_page_says_what_the_table_says():
    """docs/reference/emr.md has the date, each page, each release and each size of src/facts.toml."""
    facts, page = tomllib.loads((ROOT / "src" / "facts.toml").read_text()), (ROOT / "docs" / "reference" / "emr.md").read_text()
    wanted = [facts["as_of"]]
    for entry in [*facts["features"].values(), *facts["bounds"].values()]:
        wanted += [entry["source"], *(r["from"] for r in entry.get("releases", [])), *filter(None, [entry.get("later", {}).get("from")])]
        wanted += [str(entry[name]) for name in ("least", "most", "key", "value") if name in entry]
    for name in facts["features"]["auto_termination"]["later"]["regions"]:
        # "ap-southeast-4 to ap-southeast-7"
        wanted += [] if name in ("ap-southeast-5", "ap-southeast-6") else [name]
    assert not [text for text in wanted if text not in page]
    # All but one of the partition's regions are in one of the lists, and the emulator's, which are its own, agree.
    for feature in (facts["features"]["auto_termination"], facts["features"]["managed_scaling"]):
        assert set(facts["regions"]["known"]) - {*feature["regions"], *feature["later"]["regions"]} == {"me-south-1"}
        assert bounds.LATE == set(feature["later"]["regions"]) and set(feature["regions"]) <= bounds.EARLY


LACKING = {
    "no-imds": ("release = \"emr-6.1.0\"\n", "eu-west-3", "cannot require IMDSv2"),
    "no-busy": ("release = \"emr-6.3.0\"\n", "eu-west-3", "would end the cluster after 30 minutes of a step"),
    "no-idle": ("", "me-south-1", "EMR has not an end to idle clusters in me-south-1"),
    "no-scaling": ("idle_minutes = 0\n[cluster.managed_scaling]\nmin = 1\nmax = 3\n", "me-south-1", "EMR has not managed scaling in me-south-1"),
    "young": ("release = \"emr-6.13.0\"\n", "eu-south-2", "emr-6.14.0 and later in eu-south-2"),
    "root": ("root_gb = 101\n", "eu-west-3", "101 GiB: it is from 10 to 100"),
    "scaling": ("[cluster.managed_scaling]\nmin = 3\nmax = 1\n", "eu-west-3", "managed scaling is from 1 node or more"),
    "tag": ("[aws.tags]\n\"aws:team\" = \"fruit\"\n", "eu-west-3", "not yours to give"),
}


@pytest.mark.parametrize("what", LACKING)
def test_what_emr_lacks_is_said_before_anything_is_made(aws, tmp_path, what):
    more, region, words = LACKING[what]
    project = Project(aws, tmp_path, what, region, more)
    for command in (["plan"], ["up"], ["run", "-i", "s3://b/in"]):
        assert words in project.run(*command, code=2).stderr
    assert project.exists() == {}


def test_a_region_without_auto_termination_can_be_used(aws, tmp_path):
    """What cannot be asked there is said, and changes nothing."""
    project = Project(aws, tmp_path, "gulf", "me-south-1", "idle_minutes = 0\n")
    project.run("up", "--wait")
    plan = json.loads(project.run("plan", "--json", "--detailed-exitcode").stdout)
    assert any("idle timeout cannot be read" in note and "UnknownOperationException" in note for note in plan["notes"]), plan["notes"]
    project.run("down", "--purge-bucket")
    assert project.exists() == {}


# An organisation's policy: nothing is made without this tag.
MADE = ["s3:CreateBucket", "iam:CreateRole", "iam:CreateInstanceProfile", "ec2:CreateSecurityGroup", "ec2:ImportKeyPair", "elasticmapreduce:RunJobFlow"]


def tag_policy(*actions):
    # A VPC has no tags when a group is made in it, so the rule is for what is made.
    names = ["arn:aws:ec2:*:*:security-group/*", "arn:aws:ec2:*:*:key-pair/*", "arn:aws:s3:::*", "arn:aws:iam::*:*"]
    resources = ["*"] if actions == ("elasticmapreduce:RunJobFlow",) else names
    return {"Version": "2012-10-17", "Statement": [
        {"Effect": "Deny", "Action": list(actions), "Resource": resources, "Condition": {"Null": {"aws:RequestTag/cost-centre": "true"}}}]}


def test_an_organisation_asks_for_a_tag(aws, tmp_path):
    policies = [tag_policy(*MADE[:-1]), tag_policy(MADE[-1])]
    project = Project(aws, tmp_path, "taxed")
    try:
        # Each of them alone is told with its remedy, however its service puts it.
        for action in MADE:
            aws.organization[:] = [tag_policy(action)]
            refused = project.run("up", code=4).stderr
            assert f"your organisation denies {action}," in refused and "[aws.tags]" in refused, refused
            assert "with an explicit deny in a service control policy" in refused
            aws.organization.clear()
            project.run("down", "--purge-bucket")
        aws.organization[:] = policies
        project.configure("[aws.tags]\n\"cost-centre\" = \"fruit 7\"\n")
        project.run("up", "--wait")
        found = project.check_complete()
        # Another value is no drift.
        project.configure("[aws.tags]\n\"cost-centre\" = \"fruit 8\"\nteam = \"orchard\"\n")
        assert "nothing to do" in project.run("up").stdout
        assert project.check_complete() == found
        tags = [aws.client("s3").get_bucket_tagging(Bucket=found["bucket"][0])["TagSet"]]
        tags += [aws.client("iam").list_role_tags(RoleName=name)["Tags"] for name in found["role"]]
        tags += [aws.client("iam").get_instance_profile(InstanceProfileName=found["profile"][0])["InstanceProfile"]["Tags"]]
        tags += [g["Tags"] for g in aws.client("ec2").describe_security_groups(GroupNames=found["group"])["SecurityGroups"]]
        tags += [k["Tags"] for k in aws.client("ec2").describe_key_pairs(KeyNames=found["key pair"])["KeyPairs"]]
        tags += [aws.client("emr").describe_cluster(ClusterId=found["cluster"][0])["Cluster"]["Tags"]]
        assert len(tags) == 8 and all({"Key": "cost-centre", "Value": "fruit 7"} in each for each in tags), tags
    finally:
        aws.organization.clear()
        project.run("down", "--purge-bucket")


def test_the_operators_policy_does_for_tags(aws, tmp_path):
    """fruitctl's own policy asks for fruitctl's tag, and lets others be."""
    project = Project(aws, tmp_path, "ops", more="[aws.tags]\n\"cost-centre\" = \"fruit\"\n")
    project.bound()
    project.env |= aws.user("ops", project.run("policy").stdout)
    project.env.pop("AWS_REGION", None)
    project.run("up", "--wait")
    project.check_complete()
    project.run("down", "--purge-bucket")
    assert project.exists() == {}


def group(**more):
    return {"InstanceGroups": [{"InstanceRole": "MASTER", "InstanceType": "m5.xlarge", "InstanceCount": 1} | more]}


def volumes(size, count=1):
    return group(EbsConfiguration={"EbsBlockDeviceConfigs": [{"VolumeSpecification": {"VolumeType": "gp3", "SizeInGB": size}, "VolumesPerInstance": count}]})


def fleet(count, **more):
    spot = {"TimeoutDurationMinutes": 10, "TimeoutAction": "SWITCH_TO_ON_DEMAND"} | more
    kinds = [{"InstanceType": f"m5.{n + 2}xlarge"} for n in range(count)]
    return {"InstanceGroups": [], "InstanceFleets": [{"InstanceFleetType": "MASTER", "TargetSpotCapacity": 1, "InstanceTypeConfigs": kinds,
                                                      "LaunchSpecifications": {"SpotSpecification": spot}}]}


def scaling(low, high, **more):
    return {"ManagedScalingPolicy": {"ComputeLimits": {"UnitType": "Instances", "MinimumCapacityUnits": low, "MaximumCapacityUnits": high} | more}}


IDLE = {"AutoTerminationPolicy": {"IdleTimeout": 60}}


def test_the_emulator_has_emrs_bounds(emr_aws):  # noqa: F811
    emr = emr_aws.client("emr")
    for change, words in (
        ({"EbsRootVolumeSize": 14}, "between 15 and 100"),
        ({"EbsRootVolumeSize": 101}, "between 15 and 100"),
        ({"EbsRootVolumeSize": 9, "ReleaseLabel": "emr-6.4.0"}, "between 10 and 100"),
        ({"instances": volumes(9)}, "size 9 must"),
        ({"instances": volumes(1025)}, "size 1025 must"),
        ({"instances": volumes(32, 26)}, "at most 25"),
        ({"instances": fleet(6)}, "at most 5"),
        ({"instances": fleet(31, AllocationStrategy="lowest-price")}, "at most 30"),
        (scaling(0, 3), "MinimumCapacityUnits 0"),
        (scaling(3, 2), "MinimumCapacityUnits 3"),
        (scaling(1, 2, MaximumCoreCapacityUnits=3), "MaximumCoreCapacityUnits"),
        ({"Tags": [{"Key": "aws:x", "Value": "y"}]}, "reserved"),
        ({"Tags": [{"Key": "x", "Value": "aws:y"}]}, "reserved"),
        ({"Tags": [{"Key": "", "Value": "y"}]}, "length"),
        ({"Tags": [{"Key": "k" * 129, "Value": "y"}]}, "length"),
        ({"Tags": [{"Key": "k", "Value": "v" * 257}]}, "length"),
        ({"Tags": [{"Key": "a;b", "Value": "y"}]}, "invalid characters"),
        ({"Tags": [{"Key": f"k{n}", "Value": ""} for n in range(51)]}, "is 50"),
    ):
        with pytest.raises(ClientError, match=words):
            emr.run_job_flow(**job_flow(**change))
    cluster = emr.run_job_flow(**job_flow(EbsRootVolumeSize=15, instances=volumes(1024), Tags=[{"Key": "cost centre", "Value": "ü 1/2"}], **scaling(2, 2)))["JobFlowId"]
    with pytest.raises(ClientError, match="is 50"):
        emr.add_tags(ResourceId=cluster, Tags=[{"Key": f"k{n}", "Value": ""} for n in range(50)])
    with pytest.raises(ClientError, match="MinimumCapacityUnits 5"):
        emr.put_managed_scaling_policy(ClusterId=cluster, **scaling(5, 4))
    emr.terminate_job_flows(JobFlowIds=[cluster])
    wait(emr_aws, cluster, "TERMINATED")
    with pytest.raises(ClientError, match="may not be modified"):
        emr.add_tags(ResourceId=cluster, Tags=[{"Key": "k", "Value": ""}])


@pytest.mark.parametrize("region, label, has", [
    ("eu-west-3", "emr-6.1.0", True), ("eu-west-3", "emr-5.36.2", True), ("eu-west-3", "emr-6.0.1", False), ("eu-west-3", "emr-5.29.0", False),
    ("eu-south-2", "emr-6.13.0", False), ("eu-south-2", "emr-7.13.0", True), ("me-south-1", "emr-7.13.0", False)])
def test_the_emulator_knows_where_clusters_idle(region, label, has):
    assert bounds.scales_and_idles(label, region) == has


def test_what_fails_to_start_fails_later(emr_aws):  # noqa: F811
    """The request is taken, and the cluster ends."""
    emr = emr_aws.client("emr")
    emr.create_security_configuration(Name="v2", SecurityConfiguration=json.dumps(
        {"InstanceMetadataServiceConfiguration": {"MinimumInstanceMetadataServiceVersion": 2, "HttpPutResponseHopLimit": 1}}))
    clusters = {label: emr.run_job_flow(**job_flow(ReleaseLabel=label, SecurityConfiguration="v2"))["JobFlowId"]
                for label in ("emr-6.1.0", "emr-5.31.0", "emr-6.3.0", "emr-5.36.2")}
    for label in ("emr-6.1.0", "emr-5.31.0"):
        assert wait(emr_aws, clusters[label], "TERMINATED_WITH_ERRORS")["Status"]["StateChangeReason"]["Code"] == "INTERNAL_ERROR"
    for label in ("emr-6.3.0", "emr-5.36.2"):
        wait(emr_aws, clusters[label], "WAITING")
    # A region without the call does not know it.
    emr_aws.emr.clusters[clusters["emr-6.3.0"]].region = "me-south-1"
    with pytest.raises(ClientError, match="Could not find operation GetAutoTerminationPolicy") as refused:
        emr_aws.client("emr", "me-south-1").get_auto_termination_policy(ClusterId=clusters["emr-6.3.0"])
    assert refused.value.response["Error"]["Code"] == "UnknownOperationException"
    emr_aws.emr.stop()


@pytest.mark.skipif(node.available() is not None, reason=f"clusters have no nodes here: {node.available()}")
def test_isbusy_is_nothing_to_an_old_release(emr_aws):  # noqa: F811
    emr = emr_aws.client("emr")
    work = step("bash", "-c", "for i in $(seq 15); do touch /emr/metricscollector/isbusy; sleep 0.1; done")
    old, new = (emr.run_job_flow(**job_flow(ReleaseLabel=label, **IDLE, Steps=[work]))["JobFlowId"] for label in ("emr-6.3.0", "emr-6.4.0"))
    wait(emr_aws, old, "TERMINATED")
    assert emr.list_steps(ClusterId=old)["Steps"][0]["Status"]["State"] == "INTERRUPTED"
    soon(lambda: emr.list_steps(ClusterId=new)["Steps"][0]["Status"]["State"] == "COMPLETED")
