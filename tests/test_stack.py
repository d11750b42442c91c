"""Infrastructure as code against an emulated AWS: plan, up, status, down and their siblings, on good days."""

import json
import os
import re
import stat
import time

import pytest
from conftest import fruitctl
from emulator import Emulator, Fault, node
from stack import Project


@pytest.fixture(scope="module")
def aws():
    with Emulator(nodes=False, start=0.05, bootstrap=0.01, terminate=0.05, resize=0.05, propagation=0.05) as aws:
        yield aws


@pytest.fixture(autouse=True)
def no_refusals(aws):
    """Whatever a test does, real AWS would have taken every request."""
    yield
    aws.faults.clear()
    assert not aws.refused, aws.refused
    aws.emr.stop()


def plan(project, *args, **kwargs):
    return json.loads(project.run("plan", "--json", *args, **kwargs).stdout)


def actions(plan):
    return [(c["resource"], c["action"]) for c in plan["changes"] if c["action"] != "keep"]


@pytest.mark.parametrize("region", ["eu-west-3", "us-east-1"])
def test_the_whole_circle(aws, tmp_path, region):
    project = Project(aws, tmp_path, f"circle-{region[:2]}", region)
    project.run("init", "--target", "emr", "--project", project.name, "--region", region, "--force")
    assert len(actions(plan(project, "--detailed-exitcode", code=3))) == 9
    assert project.exists() == {}

    up = project.run("up", "--wait").stdout
    assert "9 to create" in up and "is ready" in up and "an hour" in up
    found = project.check_complete()

    again = project.run("up").stdout
    assert "nothing to do" in again
    assert json.loads(project.run("up", "--json").stdout)["cluster"] == found["cluster"][0]
    assert plan(project, "--detailed-exitcode")["cost"]["total"] > 0.3
    assert project.check_complete() == found

    status = json.loads(project.run("status", "--json").stdout)
    (cluster,) = status["clusters"]
    assert cluster["state"] == "WAITING" and cluster["id"] == found["cluster"][0] and cluster["release"] == "emr-7.13.0"
    assert len(cluster["instances"]) == 2 and cluster["dollars_so_far"] > 0 and cluster["dollars_per_hour"] > 0.3
    assert cluster["deadline"] > "2026"
    assert f"cluster {cluster['id']} waiting" in project.run("status").stdout

    dry = project.run("down", "--dry-run").stdout
    assert dry.count("would delete") == 9
    assert project.check_complete() == found
    assert "nothing of project" in project.run("down", "--purge-bucket").stdout
    assert project.exists() == {}
    assert "nothing is there" in project.run("down").stdout
    assert json.loads(project.run("down", "--json").stdout)["clusters"] == []
    assert "no cluster" in project.run("status").stdout


def test_one_changed_count_is_one_update(aws, tmp_path):
    task = "[cluster.task]\ntypes = [\"m6g.xlarge\"]\ncount = {}\n"
    project = Project(aws, tmp_path, "counts", more=task.format(2))
    project.run("up", "--wait")
    project.configure(task.format(4))
    changed = plan(project)
    assert actions(changed) == [("cluster", "update")]
    assert changed["changes"][-1]["reasons"] == ["task nodes 2 -> 4"]
    project.run("up")
    (cluster,) = project.exists()["cluster"]
    groups = {g.role: g.requested for g in aws.emr.clusters[cluster].workforce}
    assert groups == {"MASTER": 1, "CORE": 1, "TASK": 4}
    assert actions(plan(project)) == []
    # None at all, and again some.
    project.configure("")
    project.run("up")
    assert actions(plan(project)) == []
    project.configure(task.format(1) + "\n[cluster.managed_scaling]\nmin = 1\nmax = 5\n")
    assert plan(project)["changes"][-1]["reasons"] == ["managed scaling none -> 1-5"]
    project.run("down", "--purge-bucket")


def test_what_can_change_in_place_does(aws, tmp_path):
    project = Project(aws, tmp_path, "inplace")
    project.run("up", "--wait")
    before = project.exists()["cluster"]
    project.configure("idle_minutes = 45\ntermination_protection = true\n[cluster.managed_scaling]\nmin = 1\nmax = 5\n[network]\nssh_cidr = \"203.0.113.7\"\n[bucket]\nlogs_days = 10\n")
    changes = {c["resource"]: c["reasons"] for c in plan(project)["changes"] if c["action"] == "update"}
    assert changes == {
        "bucket": ["set rules that expire logs, tmp, old versions and unfinished uploads"],
        "primary-group": ["close SSH from 127.0.0.1/32", "open SSH from 203.0.113.7/32"],
        "cluster": ["end when idle after 30 min -> after 45 min", "managed scaling none -> 1-5", "termination protection on"],
    }
    project.run("up")
    assert actions(plan(project)) == []
    assert project.exists()["cluster"] == before
    # Protection is ours to lift.
    project.run("down", "--purge-bucket")
    assert project.exists() == {}


def test_what_cannot_change_makes_a_new_cluster(aws, tmp_path):
    project = Project(aws, tmp_path, "replace")
    project.run("up", "--wait")
    before = project.exists()["cluster"]
    project.configure("release = \"emr-7.9.0\"\n[cluster.core]\nspot = true\n[cluster.configurations.spark-defaults]\n\"spark.a\" = \"1\"\n")
    changed = plan(project)
    assert actions(changed) == [("cluster", "replace")]
    assert changed["changes"][-1]["reasons"] == ["release emr-7.13.0 -> emr-7.9.0", "instances by groups -> fleets", "configuration spark-defaults", "core nodes on demand -> Spot"]
    project.run("up", "--wait")
    after = project.check_complete()["cluster"]
    assert after != before
    # A Spot instance costs what it costs now; EMR's fee stays.
    cost = plan(project)["cost"]
    assert cost["ec2"] == pytest.approx(0.18 + 0.07) and cost["emr"] == pytest.approx(2 * 0.0385)
    fleets = [f.spec for f in aws.emr.clusters[after[0]].workforce]
    assert [f["InstanceFleetType"] for f in fleets] == ["MASTER", "CORE"]
    assert fleets[1]["LaunchSpecifications"]["SpotSpecification"]["TimeoutAction"] == "SWITCH_TO_ON_DEMAND"
    assert actions(plan(project)) == []
    # A cluster at work is not replaced under its step.
    aws.emr.clusters[after[0]].state = "RUNNING"
    aws.emr.clusters[after[0]].steps.append(type("Busy", (), {
        "state": "RUNNING", "thread": None, "kill": lambda *_: None,
        "describe": lambda _: {"Id": "s-BUSY", "Name": "busy", "Status": {"State": "RUNNING"}}})())
    project.configure("release = \"emr-7.5.0\"\n[cluster.core]\nspot = true\n")
    assert "it is running a step" in project.run("up", code=5).stderr
    project.run("down", "--purge-bucket")


def test_the_cluster_is_as_safe_as_can_be(aws, tmp_path):
    """What the documentation promises, as AWS sees it."""
    project = Project(aws, tmp_path, "safe")
    project.run("up", "--wait")
    found = project.check_complete()
    bucket, s3 = found["bucket"][0], aws.client("s3")
    assert set(s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"].values()) == {True}
    assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
    rule = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"][0]
    assert rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
    assert "aws:SecureTransport" in s3.get_bucket_policy(Bucket=bucket)["Policy"]
    assert s3.get_bucket_ownership_controls(Bucket=bucket)["OwnershipControls"]["Rules"][0]["ObjectOwnership"] == "BucketOwnerEnforced"
    rules = {r["ID"]: r for r in s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]}
    assert rules["fruitctl-logs"]["Expiration"]["Days"] == 90 and rules["fruitctl-all"]["AbortIncompleteMultipartUpload"]
    assert {t["Key"]: t["Value"] for t in s3.get_bucket_tagging(Bucket=bucket)["TagSet"]} == {"fruitctl:project": "safe", "fruitctl:made": "bucket"}

    groups = aws.client("ec2").describe_security_groups(Filters=[{"Name": "tag:fruitctl:project", "Values": ["safe"]}])["SecurityGroups"]
    open_to = {(g["GroupName"], r["CidrIp"], p.get("FromPort")) for g in groups for p in g["IpPermissions"] for r in p["IpRanges"]}
    assert open_to == {("fruitctl-safe-primary", "127.0.0.1/32", 22)}

    spec = aws.emr.clusters[found["cluster"][0]].spec
    tags = {t["Key"]: t["Value"] for t in spec["Tags"]}
    assert tags["fruitctl:project"] == "safe" and tags["fruitctl:deadline"] and tags["fruitctl:owner"]
    assert spec["AutoTerminationPolicy"] == {"IdleTimeout": 1800}
    configuration = aws.client("emr").describe_security_configuration(Name=spec["SecurityConfiguration"])["SecurityConfiguration"]
    assert json.loads(configuration)["InstanceMetadataServiceConfiguration"]["MinimumInstanceMetadataServiceVersion"] == 2

    iam = aws.client("iam")
    for role in found["role"]:
        assert iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"] == []
    (key,) = (tmp_path / "data" / "fruitctl" / "keys").iterdir()
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    project.run("down", "--purge-bucket")


def test_drift_is_mended(aws, tmp_path):
    """Somebody changed things by hand."""
    project = Project(aws, tmp_path, "drift")
    project.run("up", "--wait")
    found = project.check_complete()
    bucket, s3, iam, ec2 = found["bucket"][0], aws.client("s3"), aws.client("iam"), aws.client("ec2")
    s3.delete_public_access_block(Bucket=bucket)
    s3.delete_bucket_policy(Bucket=bucket)
    node_role = next(r for r in found["role"] if r.endswith("-node"))
    iam.put_role_policy(RoleName=node_role, PolicyName="more", PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}))
    primary = ec2.describe_security_groups(Filters=[{"Name": "group-name", "Values": ["fruitctl-drift-primary"]}])["SecurityGroups"][0]["GroupId"]
    for port in (22, 8088):
        ec2.authorize_security_group_ingress(GroupId=primary, IpPermissions=[{"IpProtocol": "tcp", "FromPort": port, "ToPort": port, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}])
    changes = {c["resource"]: c["reasons"] for c in plan(project)["changes"] if c["action"] != "keep"}
    assert changes == {
        "bucket": ["block public access", "refuse requests without TLS"],
        "node-role": ["delete policy 'more'"],
        "primary-group": ["close SSH from 0.0.0.0/0", "close ports 8088-8088 from 0.0.0.0/0"],
    }
    project.run("up")
    assert actions(plan(project)) == []
    project.run("down", "--purge-bucket")


def test_the_bucket_stays_while_there_are_data_in_it(aws, tmp_path):
    project = Project(aws, tmp_path, "data")
    project.run("up")
    (bucket,) = project.exists()["bucket"]
    aws.client("s3").put_object(Bucket=bucket, Key="output/results/part-00000.parquet", Body=b"vectors")
    kept = project.run("down").stdout
    assert f"but for bucket {bucket}: it has 1 object in it; --purge-bucket deletes it" in kept
    assert project.exists() == {"bucket": [bucket]}
    project.run("up")
    project.check_complete()
    # Deleted by mistake is not gone yet.
    aws.client("s3").delete_object(Bucket=bucket, Key="output/results/part-00000.parquet")
    assert "it has 0 objects and 1 old version in it" in project.run("down").stdout
    assert project.exists() == {"bucket": [bucket]}
    project.run("down", "--purge-bucket")
    assert project.exists() == {}


def test_what_is_not_ours_is_not_touched(aws, tmp_path):
    """Things that have our names and not our tag, and things of a project whose name begins like ours."""
    s3, iam, ec2, emr = (aws.client(service) for service in ("s3", "iam", "ec2", "emr"))
    other = Project(aws, tmp_path, "plant-2")
    other.run("up")
    theirs = other.check_complete()
    vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    trust = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}]})
    plants = {
        "bucket": lambda: s3.create_bucket(Bucket="fruitctl-plant-123456789012-eu-west-3", CreateBucketConfiguration={"LocationConstraint": "eu-west-3"}),
        "role": lambda: iam.create_role(RoleName="fruitctl-plant-eu-west-3-node", AssumeRolePolicyDocument=trust),
        "profile": lambda: iam.create_instance_profile(InstanceProfileName="fruitctl-plant-eu-west-3-node"),
        "group": lambda: ec2.create_security_group(GroupName="fruitctl-plant-primary", Description="theirs", VpcId=vpc),
        "cluster": lambda: emr.run_job_flow(
            Name="fruitctl-plant-0badcafe", ReleaseLabel="emr-7.13.0", ServiceRole=next(r for r in theirs["role"] if r.endswith("service")),
            JobFlowRole=theirs["profile"][0], Tags=[{"Key": "fruitctl:project", "Value": "another"}, {"Key": "fruitctl:deadline", "Value": "2020-01-01T00:00:00Z"}],
            Instances={"KeepJobFlowAliveWhenNoSteps": True, "InstanceGroups": [{"InstanceRole": "MASTER", "InstanceType": "m5.xlarge", "InstanceCount": 1}]}),
    }
    project = Project(aws, tmp_path, "plant")
    for kind in ("bucket", "role", "profile", "group"):
        plants[kind]()
        message = project.run("up", code=5).stderr
        assert "is not ours: it has no tag fruitctl:project; it was not touched" in message, message
        project.run("down", "--purge-bucket")
        if kind == "bucket":
            s3.put_object(Bucket="fruitctl-plant-123456789012-eu-west-3", Key="theirs", Body=b"")
            project.run("down", "--purge-bucket")
            assert s3.list_objects_v2(Bucket="fruitctl-plant-123456789012-eu-west-3")["KeyCount"] == 1
            s3.delete_object(Bucket="fruitctl-plant-123456789012-eu-west-3", Key="theirs")
            s3.delete_bucket(Bucket="fruitctl-plant-123456789012-eu-west-3")
        elif kind == "role":
            iam.get_role(RoleName="fruitctl-plant-eu-west-3-node")
            iam.delete_role(RoleName="fruitctl-plant-eu-west-3-node")
        elif kind == "profile":
            iam.get_instance_profile(InstanceProfileName="fruitctl-plant-eu-west-3-node")
            iam.delete_instance_profile(InstanceProfileName="fruitctl-plant-eu-west-3-node")
        else:
            (group,) = ec2.describe_security_groups(Filters=[{"Name": "group-name", "Values": ["fruitctl-plant-primary"]}])["SecurityGroups"]
            ec2.delete_security_group(GroupId=group["GroupId"])
    planted = plants["cluster"]()["JobFlowId"]
    project.run("up")
    project.run("down", "--purge-bucket")
    assert emr.describe_cluster(ClusterId=planted)["Cluster"]["Status"]["State"] in ("STARTING", "BOOTSTRAPPING", "WAITING")
    assert other.exists() == theirs
    assert project.exists() == {}
    emr.terminate_job_flows(JobFlowIds=[planted])
    other.run("down", "--purge-bucket")


def test_sweep_ends_what_is_past_its_deadline(aws, tmp_path):
    late, early = Project(aws, tmp_path, "late"), Project(aws, tmp_path, "early")
    for project in (late, early):
        project.run("up", "--wait")
    (late_id,), (early_id,) = late.exists()["cluster"], early.exists()["cluster"]
    aws.emr.clusters[late_id].tags["fruitctl:deadline"] = "2020-01-01T00:00:00Z"
    assert "it has passed" in late.run("status").stdout
    # Any project's, from anywhere.
    assert f"would terminate {late_id} of project late" in early.run("sweep", "--dry-run").stdout
    assert late.exists()["cluster"] == [late_id]
    assert f"terminated {late_id} of project late" in early.run("sweep").stdout
    deadline = time.time() + 10
    while "cluster" in late.exists() and time.time() < deadline:
        time.sleep(0.05)
    assert "cluster" not in late.exists() and early.exists()["cluster"] == [early_id]
    assert "no cluster in eu-west-3 is past its deadline" in early.run("sweep").stdout
    for project in (late, early):
        project.run("down", "--purge-bucket")


def test_no_region_is_assumed(aws, tmp_path):
    project = Project(aws, tmp_path, "nowhere")
    (project.folder / "fruitctl.toml").write_text('project = "nowhere"\n')
    for command in ("plan", "up", "status", "down", "sweep", "policy"):
        before = len(aws.calls)
        message = project.run(command, code=2).stderr
        assert "no region" in message and "set region under [aws]" in message and "AWS_REGION" in message, message
        assert len(aws.calls) == before
    assert "no region" in project.run("doctor", code=2).stdout
    # Each place where it may be said.
    project.env["AWS_REGION"] = "eu-west-1"
    assert json.loads(project.run("plan", "--json").stdout)["region"] == "eu-west-1"
    assert json.loads(project.run("plan", "--json", "--region", "eu-central-1").stdout)["region"] == "eu-central-1"
    del project.env["AWS_REGION"]
    (tmp_path / "aws").write_text("[default]\nregion = eu-north-1\n")
    project.env["AWS_CONFIG_FILE"] = str(tmp_path / "aws")
    planned = project.run("plan").stdout
    assert "eu-north-1 (from the AWS profile)" in planned
    # A guard for data that may not leave.
    (project.folder / "fruitctl.toml").write_text('project = "nowhere"\n[aws]\nallowed_regions = ["eu-*"]\n')
    assert "us-east-1 (from fruitctl.toml or --region) is not among the allowed_regions" in project.run("up", "--region", "us-east-1", code=2).stderr


def test_names_that_others_have_are_told_apart(aws, tmp_path):
    """Another account's bucket, one of ours elsewhere, one of ours without the tag."""
    from emulator import quirks

    project = Project(aws, tmp_path, "taken", more="[bucket]\nname = \"everybodys-fruit\"\n")
    quirks.FOREIGN.add("everybodys-fruit")
    message = project.run("up", code=4).stderr
    assert "bucket everybodys-fruit is another account's" in message and "fruitctl-taken-123456789012-eu-west-3" in message
    quirks.FOREIGN.clear()
    aws.client("s3", "us-east-1").create_bucket(Bucket="everybodys-fruit")
    message = project.run("up", code=5).stderr
    assert "bucket everybodys-fruit is in us-east-1, and the configured region is eu-west-3" in message
    aws.client("s3", "us-east-1").delete_bucket(Bucket="everybodys-fruit")


MISTAKES = {
    "release": ("release = \"emr-9.9.9\"\n", "The supplied release label is invalid", "aws emr list-release-labels"),
    "type": ("[cluster.core]\ntypes = [\"z9.huge\"]\n", "eu-west-3a has no z9.huge", "other types under [cluster]"),
    "subnet": ("[network]\nsubnets = [\"subnet-0123456789abcdef0\"]\n", "no such subnet in eu-west-3", "subnets under [network]"),
    "roles": ("[roles]\nservice = \"Nobody\"\n", "there is no role Nobody", "leave [roles] out"),
    "script": ("[[cluster.bootstrap]]\nscript = \"none.sh\"\n", "cannot read the bootstrap action", "paths are relative"),
    "key": ("[key]\nprivate_key = \"/nowhere/id\"\n", "cannot use /nowhere/id.pub as an SSH public key: not found", "ssh-keygen"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_told_with_their_cure(aws, tmp_path, mistake):
    more, what, remedy = MISTAKES[mistake]
    project = Project(aws, tmp_path, f"no-{mistake}", more=more)
    done = project.run("up", code=5 if mistake == "release" else 2)
    assert what in done.stderr and remedy in done.stderr, done.stderr
    doctor = project.run("doctor", code=2).stdout
    assert re.search(r"^no ", doctor, re.M) and "remedy:" in doctor
    project.run("down", "--purge-bucket")
    assert project.exists() == {}


def test_doctor_lists_all_at_once(aws, tmp_path):
    project = Project(aws, tmp_path, "ill", more="release = \"emr-9.9.9\"\n[network]\nsubnets = [\"subnet-0123456789abcdef0\"]\n[roles]\nnode = \"Nobody\"\n")
    project.env["FRUITCTL_CHECKIP_URL"] = "http://127.0.0.1:9/"
    findings = {f["check"]: f for f in json.loads(project.run("doctor", "--json", code=2).stdout)}
    assert {check for check, f in findings.items() if f["verdict"] == "bad"} == {"release", "subnets", "node role", "SSH"}
    assert all(f["remedy"] for f in findings.values() if f["verdict"] == "bad")
    well = Project(aws, tmp_path, "well")
    assert "no  " not in well.run("doctor").stdout
    # No cluster of ours needs it.
    emr, on = aws.client("emr"), aws.client("emr").get_block_public_access_configuration()["BlockPublicAccessConfiguration"]
    emr.put_block_public_access_configuration(BlockPublicAccessConfiguration={"BlockPublicSecurityGroupRules": False})
    try:
        assert "block public access    off in eu-west-3" in well.run("doctor").stdout
    finally:
        emr.put_block_public_access_configuration(BlockPublicAccessConfiguration=on)


def test_credentials(aws, tmp_path):
    project = Project(aws, tmp_path, "nobody")
    del project.env["AWS_ACCESS_KEY_ID"], project.env["AWS_SECRET_ACCESS_KEY"]
    message = project.run("up", code=4).stderr
    assert "there are no AWS credentials" in message and "AWS_PROFILE" in message, message


def test_no_secret_is_printed(aws, tmp_path):
    project = Project(aws, tmp_path, "hush")
    project.env |= {"AWS_SECRET_ACCESS_KEY": "s3cr3t-s3cr3t", "AWS_SESSION_TOKEN": "t0k3n-t0k3n"}
    aws.faults.append(Fault("iam:CreateRole", "deny"))
    for command in (["up"], ["status"], ["doctor"], ["down", "--purge-bucket"]):
        done = project.run(*command, code=4 if command == ["up"] else 0)
        assert "s3cr3t" not in done.stdout + done.stderr and "t0k3n" not in done.stdout + done.stderr
    key = next((tmp_path / "data" / "fruitctl" / "keys").iterdir()).read_text().splitlines()[1]
    assert key not in done.stdout + done.stderr


@pytest.mark.skipif(node.available() is not None, reason=f"clusters have no nodes here: {node.available()}")
def test_a_failed_bootstrap_action_is_explained(tmp_path_factory, tmp_path):
    """The message names the node, the action and the last lines of its stderr; the script really ran on a node."""
    with Emulator(start=0.1, bootstrap=0.05, terminate=0.1) as aws:
        project = Project(aws, tmp_path, "boot", more="[[cluster.bootstrap]]\nscript = \"good.sh\"\n[[cluster.bootstrap]]\nscript = \"bad.sh\"\nargs = [\"--with\", \"care\"]\n")
        (project.folder / "good.sh").write_text("#!/bin/bash\ntest \"$(whoami)\" = hadoop\n")
        (project.folder / "bad.sh").write_text("#!/bin/bash\nfor i in $(seq 40); do echo \"line $i\" >&2; done\necho \"no such package: $*\" >&2\nexit 3\n")
        message = project.run("up", "--wait", code=6).stderr
        assert re.search(r"bootstrap action 3 'bad.sh' failed on node i-[0-9a-f]+; the end of its stderr:", message), message
        assert "    line 40\n    no such package: --with care\n" in message and "line 20" not in message
        assert "left behind: no cluster" in message and "next: fix the script" in message
        status = project.run("status").stdout
        assert "the last cluster failed" in status and "no such package" in status
        # Fixed, it comes up; with its own log beside the other's.
        (project.folder / "bad.sh").write_text("#!/bin/bash\nexit 0\n")
        project.run("up", "--wait")
        project.check_complete()
        kept = project.run("down").stdout
        assert "--purge-bucket" in kept
        project.run("down", "--purge-bucket")
        assert project.exists() == {}
        assert not aws.refused, aws.refused


def test_policy_without_credentials(tmp_path):
    (tmp_path / "fruitctl.toml").write_text('project = "fruits"\n[aws]\nregion = "eu-west-3"\n')
    env = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
    policy = json.loads(fruitctl("policy", "--account", "123456789012", cwd=tmp_path, env=env).stdout)
    text = json.dumps(policy)
    assert "fruitctl-fruits-123456789012-eu-west-3" in text and "{{" not in text
    for statement in policy["Statement"]:
        wide = statement["Resource"] == "*"
        assert not wide or "Condition" in statement, statement
        assert "*" not in statement["Action"] and not any(a.endswith(":*") for a in statement["Action"])


def test_events_are_shown_on_request(aws, tmp_path):
    """Silent by default; with -v what is tried again and taken, with -vv each call. Never a secret."""
    project = Project(aws, tmp_path, "events")
    secret = "wJalrXUtnFEMI-a-secret-that-is-printed-nowhere"
    project.env["AWS_SECRET_ACCESS_KEY"] = secret
    listing = "elasticmapreduce:ListClusters"

    def status(*flags, **environment):
        aws.faults[:] = [Fault(listing, "throttle", times=2, key=project.key)]
        stderr = fruitctl("status", *flags, cwd=project.folder, env=project.env | environment).stderr
        assert secret not in stderr and "AWS4-HMAC" not in stderr and "Authorization" not in stderr
        return stderr

    assert status() == ""
    once = status("-v")
    assert once.count(f'tried again action="{listing}"') == 2 and 'code="ThrottlingException" status=400' in once, once
    assert "call action" not in once and "\x1b" not in once
    assert "call action=\"s3:" in status("-vv") and "call action" in status(FRUITCTL_LOG="debug")
    lines = status(FRUITCTL_LOG="fruitctl::aws=info").splitlines()
    assert len(lines) == 2 and all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ +INFO ", line) for line in lines), lines
    refused = fruitctl("status", cwd=project.folder, env=project.env | {"FRUITCTL_LOG": "hyper=trace"}, code=2).stderr
    assert "may hold secrets" in refused
    up = project.run("up", "-v").stderr
    assert "lock taken" in up and "lock given back" in up
    project.run("down", "--purge-bucket")
