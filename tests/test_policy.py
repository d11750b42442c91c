"""`fruitctl policy` is enough, and none of it is too much: the commands run under exactly it, with IAM enforced."""

import json
import re

import pytest
from conftest import ROOT
from emulator import Emulator, access, node
from stack import Project, Vpc


@pytest.fixture(scope="module")
def aws():
    with Emulator(nodes=False, start=0.05, bootstrap=0.01, terminate=0.02, resize=0.02, propagation=0.02) as aws:
        yield aws

LIST_ALL = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:ListBucket", "Resource": "*"}]})


def circle(aws, project):
    """Everything that fruitctl does to a project, with somebody else's changes in between, made as root."""
    s3, iam, emr = aws.client("s3"), aws.client("iam"), aws.client("emr")
    task = "[cluster.task]\ntypes = [\"m6g.xlarge\"]\ncount = {}\n"
    scaling = "[cluster.managed_scaling]\nmin = 1\nmax = 4\n"
    script = "[[cluster.bootstrap]]\nscript = \"mine.sh\"\n"
    (project.folder / "mine.sh").write_text("#!/bin/sh\n")
    project.configure("")
    # A run whose step is cancelled while it waits for its cluster, for it is over its cost limit from the first.
    (project.folder / "job").write_text("#!/bin/sh\n")
    run = ["run", "--executable", project.folder / "job", "--keep"]
    pace, aws.emr.pace["start"] = aws.emr.pace["start"], 1e6
    for command in (["doctor"], ["plan"], ["up"]):
        project.run(*command)
    assert "--max-cost" in project.run(*run, "--max-cost", "0", code=7).stderr
    project.run("down")
    aws.emr.pace["start"] = pace
    # One whose step does nothing here.
    project.run("up", "--wait")
    assert "the results are incomplete" in project.run(*run, code=6).stderr
    assert "the results are incomplete" in project.run(*run[:-1], "--one-shot", code=6).stderr
    for command in (["up", "--wait"], ["status"], ["runs"], ["sweep"]):
        project.run(*command)
    found = project.check_complete()
    bucket, node_role = found["bucket"][0], found["profile"][0]
    # Drift of everything.
    s3.delete_bucket_policy(Bucket=bucket)
    trust = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    iam.update_assume_role_policy(RoleName=node_role, PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [trust]}))
    iam.put_role_policy(RoleName=node_role, PolicyName="more", PolicyDocument=LIST_ALL)
    project.configure("idle_minutes = 0\n" + task.format(1) + scaling + "[network]\nssh_cidr = \"203.0.113.7\"\n")
    project.run("up")
    project.configure("termination_protection = true\n" + task.format(2))
    project.run("up")
    project.configure("termination_protection = true\n" + task.format(3))
    project.run("up")
    assert emr.describe_cluster(ClusterId=found["cluster"][0])["Cluster"]["TerminationProtected"]
    # Fleets, with a script.
    fleets = "[cluster.core]\nspot = true\n"
    project.configure(fleets + script)
    project.run("up", "--wait")
    for count in (1, 2):
        project.configure(fleets + task.format(count) + script)
        project.run("up")
    project.run("status")
    # Private subnets, without a way out: `doctor` looks for endpoints.
    project.configure(f"[network]\nsubnets = {json.dumps(Vpc(aws).subnets)}\nssh_cidr = \"none\"\n")
    assert "nor an endpoint for S3" in project.run("doctor", code=2).stdout
    project.run("up", "--wait")
    # What `down` has to clear away.
    s3.put_object(Bucket=bucket, Key="output/a", Body=b"1")
    s3.delete_object(Bucket=bucket, Key="output/a")
    s3.create_multipart_upload(Bucket=bucket, Key="output/b")
    iam.create_policy(PolicyName=f"of-{project.name}", PolicyDocument=LIST_ALL)
    iam.attach_role_policy(RoleName=node_role, PolicyArn=f"arn:aws:iam::123456789012:policy/of-{project.name}")
    project.run("down", "--purge-bucket")
    assert project.exists() == {}


def limited(aws, folder, name, policy):
    """A project whose commands are run by a user of this policy."""
    return Project(aws, folder, name, env=aws.user(name, json.dumps(policy)))


def printed_policy(aws, folder, name):
    return json.loads(Project(aws, folder, name).run("policy").stdout)


# What the operator is allowed and no command calls under the emulator, and why.
NOT_CALLED = {
}


def test_the_policy_fits_a_managed_policy(aws, tmp_path):
    """At most 6,144 characters, not counting white space, with the longest names of project and region. More buckets
    (`input`, `output`) add to it. A role's inline policies may have 10,240.
    Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html"""
    policy = json.dumps(printed_policy(aws, tmp_path, "a" * 20)).replace("eu-west-3", "ap-southeast-1")
    assert len(re.sub(r"\s", "", policy)) <= 6_144


def test_the_policy_is_enough_and_not_too_much(aws, tmp_path):
    policy = printed_policy(aws, tmp_path, "enough")
    project = limited(aws, tmp_path, "enough", policy)
    circle(aws, project)
    used = aws.actions[project.env["AWS_ACCESS_KEY_ID"]]
    allowed = {action for statement in policy["Statement"] for action in listed(statement["Action"])}
    assert allowed - used == NOT_CALLED.keys(), sorted((allowed - used) ^ NOT_CALLED.keys())
    assert not aws.refused, aws.refused


def listed(value):
    return value if isinstance(value, list) else [value]


SIDS = ["Bucket", "Objects", "LookAtRoles", "MakeRoles", "MakeProfile", "MakeLinkedRoles", "HandRolesOn", "LookAround",
        "MakeGroupsAndKeys", "GroupsAreInVpcs", "TagWhatIsMade", "ChangeOwnGroupsAndKeys", "StartCluster", "SeeClusters", "OwnClusters"]
# The emulator does not ask for this one: see NOT_CALLED.
NEEDED = [sid for sid in SIDS if sid != "MakeLinkedRoles"]


@pytest.mark.slow
@pytest.mark.parametrize("sid", NEEDED)
def test_without_a_statement_it_fails_and_says_what_is_missing(aws, tmp_path, sid):
    """The test above can fail: each statement is needed. The message names an action that was taken away."""
    name = f"w-{SIDS.index(sid)}"
    policy = printed_policy(aws, tmp_path, name)
    assert [s["Sid"] for s in policy["Statement"]] == SIDS
    taken = next(s for s in policy["Statement"] if s["Sid"] == sid)
    policy["Statement"].remove(taken)
    project = limited(aws, tmp_path, name, policy)
    messages = []
    for command in (["up", "--wait"], ["down", "--purge-bucket"]):
        done = project.run(*command, code=None)
        if done.returncode:
            assert done.returncode == 4, done.stderr
            messages.append(done.stderr)
    assert messages and any(action in messages[0] for action in listed(taken["Action"])), messages
    assert "fruitctl policy" in messages[0]
    aws.emr.stop()


def test_conditions_hold(aws, tmp_path):
    """Under one project's policy, another's things cannot be touched."""
    other = Project(aws, tmp_path, "other")
    other.run("up", "--wait")
    found = other.check_complete()
    thief = limited(aws, tmp_path, "thief", printed_policy(aws, tmp_path, "thief"))
    key, secret = thief.env["AWS_ACCESS_KEY_ID"], thief.env["AWS_SECRET_ACCESS_KEY"]
    emr, ec2, s3, iam = (aws.client(s, key=key, secret=secret) for s in ("emr", "ec2", "s3", "iam"))
    group = aws.client("ec2").describe_security_groups(Filters=[{"Name": "group-name", "Values": [found["group"][0]]}])["SecurityGroups"][0]["GroupId"]
    for attempt in (
        lambda: emr.terminate_job_flows(JobFlowIds=found["cluster"]),
        lambda: ec2.delete_security_group(GroupId=group),
        lambda: ec2.delete_key_pair(KeyName=found["key pair"][0]),
        lambda: s3.list_objects_v2(Bucket=found["bucket"][0]),
        lambda: iam.delete_role(RoleName=found["role"][0]),
        lambda: emr.cancel_steps(ClusterId=found["cluster"][0], StepIds=["s-1"]),
        lambda: ec2.create_security_group(GroupName="untagged", Description="x", VpcId="vpc-1"),
    ):
        with pytest.raises(Exception, match="not authorized|AccessDenied|Forbidden"):
            attempt()
    assert other.check_complete() == found
    other.run("down", "--purge-bucket")


@pytest.mark.parametrize("keys", [["service"], ["node"], ["service", "node"]], ids="-".join)
def test_no_right_on_a_role_that_is_not_ours(aws, tmp_path, keys):
    """Where [roles] names roles of somebody else's making, one or both: they are used, never changed, and `down` goes by."""
    name, iam = f"half-{len(keys)}{keys[0][0]}", aws.client("iam")
    theirs = {key: f"Team_{name}_{key}" for key in keys}
    for key, role in theirs.items():
        trust = {"Effect": "Allow", "Principal": {"Service": SERVICES[key]}, "Action": "sts:AssumeRole"}
        iam.create_role(RoleName=role, AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [trust]}))
    if "node" in theirs:
        iam.create_instance_profile(InstanceProfileName=theirs["node"])
        iam.add_role_to_instance_profile(InstanceProfileName=theirs["node"], RoleName=theirs["node"])
    more = "[roles]\n" + "".join(f"{key} = \"{role}\"\n" for key, role in theirs.items())
    policy = json.loads(Project(aws, tmp_path, name, more=more).run("policy").stdout)
    for role in theirs.values():
        for arn in (f"arn:aws:iam::{ACCOUNT}:role/{role}", f"arn:aws:iam::{ACCOUNT}:instance-profile/{role}"):
            for action in CHANGES_OF_ROLES:
                assert not access.permitted([policy], action, arn, {}), (action, arn)
    project = Project(aws, tmp_path, name, more=more, env=aws.user(name, json.dumps(policy)))
    project.run("up", "--wait")
    assert len(project.exists().get("role", [])) == 2 - len(keys)
    project.run("down", "--purge-bucket")
    assert project.exists() == {} and not aws.refused
    for role in theirs.values():
        assert iam.list_role_policies(RoleName=role)["PolicyNames"] == []


SERVICES = {"service": "elasticmapreduce.amazonaws.com", "node": "ec2.amazonaws.com"}
# What changes a role or a profile.
CHANGES_OF_ROLES = [f"iam:{action}" for action in (
    "CreateRole", "DeleteRole", "TagRole", "UntagRole", "UpdateRole", "PutRolePolicy", "DeleteRolePolicy", "AttachRolePolicy", "DetachRolePolicy",
    "UpdateAssumeRolePolicy", "PutRolePermissionsBoundary", "DeleteRolePermissionsBoundary", "CreateInstanceProfile", "TagInstanceProfile",
    "AddRoleToInstanceProfile", "RemoveRoleFromInstanceProfile", "DeleteInstanceProfile")]


def test_service_linked_roles_of_emr_and_spot_only(aws, tmp_path):
    """The operator may look at these two roles and have them made; the service role may have Spot's made."""
    operator = [printed_policy(aws, tmp_path, "linked")]
    names = {"elasticmapreduce.amazonaws.com": "AWSServiceRoleForEMRCleanup", "spot.amazonaws.com": "AWSServiceRoleForEC2Spot"}
    for service, name in names.items():
        role = f"arn:aws:iam::123456789012:role/aws-service-role/{service}/{name}"
        make = "iam:CreateServiceLinkedRole", role
        assert access.permitted(operator, *make, {"iam:AWSServiceName": service})
        assert not access.permitted(operator, *make, {"iam:AWSServiceName": "ecs.amazonaws.com"})
        assert access.permitted([service_role()], *make, {"iam:AWSServiceName": service}) == (service == "spot.amazonaws.com")
        assert access.permitted(operator, "iam:GetRole", role, {})
        assert not access.permitted(operator, "iam:DeleteRole", role, {})


TAG, PROJECT = "fruitctl:project", "fruits"
REGION, ACCOUNT = "eu-west-3", "123456789012"
AWS_TAG = "for-use-with-amazon-emr-managed-policies"
AWS_NODE_ROLE = f"arn:aws:iam::{ACCOUNT}:role/EMR_EC2_DefaultRole"
NODE_ROLE = "fruitctl-fruits-eu-west-3-node"

# Types of resource that an action is decided on, where the managed policy only says "*".
# Source: https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2.html
TYPES = {
    "ec2:CreateLaunchTemplateVersion": ["launch-template"],
    "ec2:DeleteLaunchTemplate": ["launch-template"],
    "ec2:DeleteNetworkInterface": ["network-interface"],
    "ec2:ModifyInstanceAttribute": ["instance", "security-group", "volume"],
    "ec2:TerminateInstances": ["instance"],
    "ec2:AuthorizeSecurityGroupEgress": ["security-group"],
    "ec2:AuthorizeSecurityGroupIngress": ["security-group"],
    "ec2:RevokeSecurityGroupEgress": ["security-group"],
    "ec2:RevokeSecurityGroupIngress": ["security-group"],
}

GROUPS = "fruitctl names its own security groups, so EMR makes none"
ENDPOINTS = "the network is the user's: EMR may not add endpoints to it"
PLACEMENT = "EMR makes placement groups for clusters of several primary nodes; fruitctl's have one"
SCALING = "only automatic scaling by rules needs it; fruitctl uses managed scaling"
# What AWS's managed policy allows and our service role does not: (statement there, action) and why.
LEFT_OUT = {
    ("CreateDefaultSecurityGroupWithEMRTags", "ec2:CreateSecurityGroup"): GROUPS,
    ("CreateDefaultSecurityGroupInVPCWithEMRTags", "ec2:CreateSecurityGroup"): GROUPS,
    ("TagOnCreateDefaultSecurityGroupWithEMRTags", "ec2:CreateTags"): GROUPS,
    ("CreateAndModifyEmrServiceVPCEndpoint", "ec2:CreateVpcEndpoint"): ENDPOINTS,
    ("CreateAndModifyEmrServiceVPCEndpoint", "ec2:ModifyVpcEndpoint"): ENDPOINTS,
    ("CreateEmrServiceVPCEndpoint", "ec2:CreateVpcEndpoint"): ENDPOINTS,
    ("TagEmrServiceVPCEndpoint", "ec2:CreateTags"): ENDPOINTS,
    ("CreateEMRPlacementGroups", "ec2:CreatePlacementGroup"): PLACEMENT,
    ("DeletePlacementGroups", "ec2:DeletePlacementGroup"): PLACEMENT,
    ("TagPlacementGroups", "ec2:CreateTags"): PLACEMENT,
    ("TagPlacementGroups", "ec2:DeleteTags"): PLACEMENT,
    ("AutoScaling", "application-autoscaling:DeleteScalingPolicy"): SCALING,
    ("AutoScaling", "application-autoscaling:DeregisterScalableTarget"): SCALING,
    ("AutoScaling", "application-autoscaling:DescribeScalableTargets"): SCALING,
    ("AutoScaling", "application-autoscaling:DescribeScalingPolicies"): SCALING,
    ("AutoScaling", "application-autoscaling:PutScalingPolicy"): SCALING,
    ("AutoScaling", "application-autoscaling:RegisterScalableTarget"): SCALING,
    ("PassRoleForAutoScaling", "iam:PassRole"): SCALING,
}

# Actions that our service role is allowed and AWS's managed policy does not have, and why.
# OLD is AmazonElasticMapReduceRole, the managed policy before.
OLD = "the managed policy before, AmazonElasticMapReduceRole, has it"
BEYOND = {
    "ec2:AttachVolume": "guess: EMR attaches the volumes that it makes",
    "ec2:CreateVolume": "guess: EMR makes volumes when it replaces a node",
    "ec2:CancelSpotInstanceRequests": OLD,
    "ec2:DeleteVolume": OLD,
    "ec2:DescribeSpotPriceHistory": OLD,
    "ec2:DetachVolume": OLD,
    # Source: https://docs.aws.amazon.com/emr/latest/ManagementGuide/emr-iam-roles.html
    "iam:CreateServiceLinkedRole": "EMR's guide: the service role makes Spot's role where it is missing",
}


def service_role():
    text = (ROOT / "templates" / "iam" / "service-role.json").read_text()
    for key, value in {"tag": TAG, "project": PROJECT, "region": REGION, "account": ACCOUNT, "node_role": NODE_ROLE}.items():
        text = text.replace("{{" + key + "}}", value)
    return json.loads(text)


def managed_policy():
    return json.loads((ROOT / "tests" / "data" / "aws" / "AmazonEMRServicePolicy_v2.json").read_text())["document"]


def resources_of(action, pattern):
    """Resources that a pattern of the managed policy stands for, in our account and region."""
    if pattern == "*":
        return [f"arn:aws:ec2:{REGION}:{ACCOUNT}:{kind}/x-1" for kind in TYPES.get(action, [])] or ["*"]
    parts = pattern.split(":", 5)
    parts[3:5] = [parts[3].replace("*", REGION), parts[4].replace("*", ACCOUNT)]
    return [":".join(parts).replace("*", "x-1")]


def contexts_of(condition):
    """What is so when the condition holds, and no more; our tag stands for AWS's. One context for each value of a test."""
    contexts = [{}]
    for tests in condition.values():
        for key, values in tests.items():
            if key.endswith(f"/{AWS_TAG}"):
                key, values = key.replace(AWS_TAG, TAG), PROJECT
            contexts = [c | {key: v.rstrip("*")} for c in contexts for v in listed(values)]
    return contexts


def asked_of_the_managed_policy():
    """(statement, action, resource, context) of all that AWS's managed policy allows."""
    for statement in managed_policy()["Statement"]:
        for action in listed(statement["Action"]):
            for pattern in listed(statement["Resource"]):
                for resource in resources_of(action, pattern):
                    if resource == AWS_NODE_ROLE:
                        resource = f"arn:aws:iam::{ACCOUNT}:role/{NODE_ROLE}"
                    for context in contexts_of(statement.get("Condition", {})):
                        yield statement["Sid"], action, resource, context


def test_the_service_role_may_do_what_the_managed_policy_allows():
    """Each (action, resource, condition) of AmazonEMRServicePolicy_v2 is allowed, with our tag, or is in LEFT_OUT."""
    ours, refused, kept = [service_role()], set(), set()
    for sid, action, resource, context in asked_of_the_managed_policy():
        if access.permitted(ours, action, resource, context):
            kept.add((sid, action))
        else:
            refused.add((sid, action))
            assert (sid, action) in LEFT_OUT, f"{sid}: {action} on {resource} with {context}"
    assert refused == LEFT_OUT.keys(), LEFT_OUT.keys() - refused
    assert not kept & LEFT_OUT.keys(), kept & LEFT_OUT.keys()
    assert len(kept) > 50


def test_the_service_role_may_do_little_more_than_the_managed_policy():
    ours, theirs = ({a for s in p["Statement"] for a in listed(s["Action"])} for p in (service_role(), managed_policy()))
    assert ours - theirs == BEYOND.keys()


def test_the_service_role_needs_the_tag():
    """Without our tag, nothing is launched, changed or tagged."""
    ours = [service_role()]
    for sid, action, resource, context in asked_of_the_managed_policy():
        bare = {k: v for k, v in context.items() if not k.endswith(TAG)}
        # Subnets and security groups to launch into are the user's, and need no tag.
        if bare != context and sid != "CreateInTaggedNetwork":
            assert not access.permitted(ours, action, resource, bare), f"{sid}: {action} on {resource}"


@pytest.mark.skipif(node.available() is not None, reason=f"clusters have no nodes here: {node.available()}")
def test_a_node_may_do_its_work_and_no_more(tmp_path):
    """With the credentials of the instance profile, on the node: its prefixes, and nothing else."""
    with Emulator(start=0.1, bootstrap=0.05, terminate=0.1) as aws:
        project = Project(aws, tmp_path, "node", more="[job]\ninput = \"s3://photos/Training\"\noutput = \"s3://vectors/nightly\"\n")
        for name in ("photos", "vectors"):
            aws.client("s3").create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": aws.region})
        aws.client("s3").put_object(Bucket="photos", Key="Training/Apple/1.jpg", Body=b"jpeg")
        aws.client("s3").put_object(Bucket="photos", Key="Private/1.jpg", Body=b"jpeg")
        project.run("up", "--wait")
        found = project.check_complete()
        bucket = found["bucket"][0]
        cluster = aws.emr.clusters[found["cluster"][0]]
        c = cluster.credentials
        s3, emr, iam = (aws.client(s, key=c["AWS_ACCESS_KEY_ID"], secret=c["AWS_SECRET_ACCESS_KEY"], token=c["AWS_SESSION_TOKEN"]) for s in ("s3", "emr", "iam"))
        s3.get_object(Bucket="photos", Key="Training/Apple/1.jpg")
        s3.list_objects_v2(Bucket="photos", Prefix="Training/")
        s3.put_object(Bucket="vectors", Key="nightly/results/part-00000.parquet", Body=b"")
        s3.delete_object(Bucket="vectors", Key="nightly/results/part-00000.parquet")
        for key in ("logs/x", "hostkeys/x", "output/x", "tmp/x"):
            s3.put_object(Bucket=bucket, Key=key, Body=b"")
        for attempt in (
            lambda: s3.put_object(Bucket="photos", Key="Training/Apple/2.jpg", Body=b""),
            lambda: s3.get_object(Bucket="photos", Key="Private/1.jpg"),
            lambda: s3.list_objects_v2(Bucket="photos", Prefix="Private/"),
            lambda: s3.put_object(Bucket="vectors", Key="other", Body=b""),
            # Neither its own scripts nor the lock: what runs as the next cluster's root is not its to write.
            lambda: s3.put_object(Bucket=bucket, Key="bootstrap/x", Body=b""),
            lambda: s3.put_object(Bucket=bucket, Key="jobs/x", Body=b""),
            lambda: s3.put_object(Bucket=bucket, Key=".fruitctl/lock", Body=b""),
            lambda: s3.delete_object(Bucket=bucket, Key="logs/x"),
            lambda: s3.put_bucket_policy(Bucket=bucket, Policy="{}"),
            lambda: emr.terminate_job_flows(JobFlowIds=[cluster.id]),
            lambda: iam.list_roles(),
        ):
            with pytest.raises(Exception, match="not authorized|AccessDenied|Forbidden"):
                attempt()
        project.run("down", "--purge-bucket")
