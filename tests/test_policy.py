"""`fruitctl policy` is enough, and none of it is too much: the commands run under exactly it, with IAM enforced."""

import json

import pytest
from conftest import ROOT
from emulator import Emulator, access, launch, node
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
    iam.delete_role_permissions_boundary(RoleName=node_role)
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


def printed_policy(aws, folder, name, *flags, more=""):
    return json.loads(Project(aws, folder, name, more=more).run("policy", *flags).stdout)


def make_boundary(aws, folder, name):
    return Project(aws, folder, name).bound()


# What the operator is allowed and no command calls under the emulator, and why.
NOT_CALLED = {
}


def test_the_policy_is_enough_and_not_too_much(aws, tmp_path):
    policy = printed_policy(aws, tmp_path, "enough")
    make_boundary(aws, tmp_path, "enough")
    project = limited(aws, tmp_path, "enough", policy)
    circle(aws, project)
    used = aws.actions[project.env["AWS_ACCESS_KEY_ID"]]
    allowed = {action for statement in policy["Statement"] for action in listed(statement["Action"])}
    assert allowed - used == NOT_CALLED.keys(), sorted((allowed - used) ^ NOT_CALLED.keys())
    assert not aws.refused, aws.refused


def listed(value):
    return value if isinstance(value, list) else [value]


SIDS = ["LookAtBucket", "Objects", "LookAtRoles", "HandRolesOn", "LookAround", "StartCluster", "TagNewCluster", "MarkNoCluster", "SeeClusters", "UseClusters",
        "Bucket", "Versions", "ReadRoles", "SeeBoundary", "MakeRoles", "ChangeRoles", "MakeProfile", "PutRoleIntoProfile", "MakeLinkedRoles",
        "SecurityConfigurations", "MakeGroupsAndKeys", "GroupsAreInVpcs", "TagWhatIsMade", "ChangeOwnGroupsAndKeys", "ChangeClusters"]
# The emulator does not ask for the first: see NOT_CALLED. Without the others, `up` and `down` of a new project go by.
NEEDED = [sid for sid in SIDS if sid not in ("MakeLinkedRoles", "MarkNoCluster", "ReadRoles", "ChangeClusters")]


@pytest.mark.slow
@pytest.mark.parametrize("sid", NEEDED)
def test_without_a_statement_it_fails_and_says_what_is_missing(aws, tmp_path, sid):
    """The test above can fail: each statement is needed. The message names an action that was taken away."""
    name = f"w-{SIDS.index(sid)}"
    policy = printed_policy(aws, tmp_path, name)
    assert [s["Sid"] for s in policy["Statement"]] == SIDS
    taken = next(s for s in policy["Statement"] if s["Sid"] == sid)
    policy["Statement"].remove(taken)
    make_boundary(aws, tmp_path, name)
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
    policy = printed_policy(aws, tmp_path, name, more=more)
    make_boundary(aws, tmp_path, name)
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


def test_a_run_under_the_policy_of_runs(aws, tmp_path):
    """What `up --no-cluster` made is enough for nights under `--for run` and `--for sweep`; without it, a run says so and pays nothing."""
    policy = printed_policy(aws, tmp_path, "night", "--for", "run")
    assert {a for s in policy["Statement"] for a in listed(s["Action"]) if a.startswith("iam:")} == {"iam:PassRole", "iam:GetRole", "iam:GetInstanceProfile"}
    make_boundary(aws, tmp_path, "night")
    night = limited(aws, tmp_path, "night", policy)
    (night.folder / "job").write_text("#!/bin/sh\n")
    run = ["run", "--executable", night.folder / "job", "--one-shot", "--ssh-cidr", "none"]
    since = len(aws.log)
    said = night.run(*run, code=4).stderr
    assert "'fruitctl up --no-cluster' first" in said, said
    setup = {"Version": "2012-10-17", "Statement": policy["Statement"] + printed_policy(aws, tmp_path, "night", "--for", "setup")["Statement"]}
    owner = aws.user("night-owner", json.dumps(setup))
    admin = Project(aws, tmp_path, "night", env=owner)
    assert "none was started" in admin.run("up", "--no-cluster", "--ssh-cidr", "none").stdout
    assert not [e for e in aws.log[since:] if e["call"] == "elasticmapreduce:RunJobFlow"]
    launch.linked_role("elasticmapreduce.amazonaws.com", None)
    for role in admin.exists()["role"]:
        found = aws.client("iam").get_role(RoleName=role)["Role"]
        assert found["PermissionsBoundary"]["PermissionsBoundaryArn"].endswith(":policy/fruitctl-night-eu-west-3-boundary")
    since = len(aws.log)
    said = night.run(*run, code=6).stderr
    assert "the results are incomplete" in said and "not compared, for this identity may not read them" in said, said
    for command in (["doctor"], ["plan", "--ssh-cidr", "none"], ["status"], ["runs"], ["prune"]):
        night.run(*command)
    assert not [e for e in aws.log[since:] if e["call"].startswith("iam:") and not e["call"].startswith(("iam:Get", "iam:List"))]
    env = aws.user("night-sweep", json.dumps(printed_policy(aws, tmp_path, "night", "--for", "sweep")))
    Project(aws, tmp_path, "night", env=env).run("sweep", "--project", "night")
    admin.run("down", "--purge-bucket")
    assert admin.exists() == {}


def test_a_key_of_kms_is_used_through_s3_alone(aws, tmp_path):
    """Who encrypts the bucket with a key of KMS may use it, with what 'policy' prints, and only by way of S3."""
    more = "[bucket]\nkms_key = \"1234abcd-12ab-34cd-56ef-1234567890ab\"\n"
    policy = printed_policy(aws, tmp_path, "sealed", more=more)
    make_boundary(aws, tmp_path, "sealed")
    project = limited(aws, tmp_path, "sealed", policy)
    project.configure(more)
    project.run("up", "--no-cluster")
    (project.folder / "pictures").mkdir()
    (project.folder / "pictures" / "1.jpg").write_bytes(b"x")
    project.run("upload", "pictures")
    used = aws.actions[project.env["AWS_ACCESS_KEY_ID"]]
    assert {"kms:GenerateDataKey", "kms:Decrypt"} <= used
    iam, role = aws.client("iam"), f"fruitctl-sealed-{aws.region}-node"
    (name,) = [name for name in iam.list_role_policies(RoleName=role)["PolicyNames"] if name.startswith("fruitctl-key-")]
    node = iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
    for document in (policy, node):
        (key,) = [s for s in document["Statement"] if s["Sid"].startswith("Key")]
        assert key["Condition"] == {"StringEquals": {"kms:ViaService": f"s3.{aws.region}.amazonaws.com"}} and key["Resource"].endswith(":key/1234abcd-12ab-34cd-56ef-1234567890ab")
    less = {"Version": "2012-10-17", "Statement": [s for s in policy["Statement"] if not s["Sid"].startswith("Key")]}
    project.env = project.env | aws.user("sealed-less", json.dumps(less))
    (project.folder / "pictures" / "2.jpg").write_bytes(b"y")
    assert "kms:GenerateDataKey" in project.run("upload", "pictures", code=4).stderr
    Project(aws, tmp_path, "sealed").run("down", "--purge-bucket")


def test_who_may_make_roles_is_no_administrator(aws, tmp_path):
    """The attacks of somebody who has the policies of setup and run: each is refused, or comes to no more than the boundary."""
    everything = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]})
    boundary = make_boundary(aws, tmp_path, "rogue")
    policy = printed_policy(aws, tmp_path, "rogue")
    policy["Statement"].append({"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "*"})
    rogue = limited(aws, tmp_path, "rogue", policy)
    key, secret = rogue.env["AWS_ACCESS_KEY_ID"], rogue.env["AWS_SECRET_ACCESS_KEY"]
    iam, name = aws.client("iam", key=key, secret=secret), "fruitctl-rogue-eu-west-3-node"
    me = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:user/rogue"}, "Action": "sts:AssumeRole"}]}
    make = {"RoleName": name, "AssumeRolePolicyDocument": json.dumps(me)}
    refused(lambda: iam.create_role(**make))
    refused(lambda: iam.create_role(**make, PermissionsBoundary="arn:aws:iam::aws:policy/AdministratorAccess"))
    refused(lambda: iam.create_role(**make | {"RoleName": "mine"}, PermissionsBoundary=boundary))
    # A role of our name that has no boundary, made by an administrator before there was one.
    aws.client("iam").create_role(**make)
    refused(lambda: iam.put_role_policy(RoleName=name, PolicyName="x", PolicyDocument=everything))
    refused(lambda: iam.attach_role_policy(RoleName=name, PolicyArn="arn:aws:iam::aws:policy/AdministratorAccess"))
    refused(lambda: iam.put_role_permissions_boundary(RoleName=name, PermissionsBoundary="arn:aws:iam::aws:policy/AdministratorAccess"))
    iam.put_role_permissions_boundary(RoleName=name, PermissionsBoundary=boundary)
    iam.put_role_policy(RoleName=name, PolicyName="x", PolicyDocument=everything)
    refused(lambda: iam.delete_role_permissions_boundary(RoleName=name))
    refused(lambda: iam.create_policy_version(PolicyArn=boundary, PolicyDocument=everything, SetAsDefault=True))
    refused(lambda: iam.delete_policy(PolicyArn=boundary))
    refused(lambda: iam.create_user(UserName="more"))
    # It may take the role on, and is then no more than the boundary.
    lent = aws.client("sts", key=key, secret=secret).assume_role(RoleArn=f"arn:aws:iam::{ACCOUNT}:role/{name}", RoleSessionName="rogue")["Credentials"]
    as_role = [aws.client(s, key=lent["AccessKeyId"], secret=lent["SecretAccessKey"], token=lent["SessionToken"]) for s in ("iam", "s3", "ec2", "emr")]
    refused(lambda: as_role[0].create_user(UserName="more"))
    refused(lambda: as_role[1].list_objects_v2(Bucket="somebodys"))
    refused(lambda: as_role[2].create_security_group(GroupName="x", Description="x", VpcId="vpc-1"))
    refused(lambda: as_role[3].list_clusters())
    aws.client("iam").delete_role_policy(RoleName=name, PolicyName="x")
    aws.client("iam").delete_role(RoleName=name)


def refused(attempt):
    with pytest.raises(Exception, match="not authorized|AccessDenied|Forbidden"):
        attempt()


def test_the_boundary_holds_what_the_roles_may_and_little_more(aws, tmp_path):
    """Each right of the two roles, also in other buckets, is within the boundary; what neither has is not."""
    more = ("[bucket]\nkms_key = \"1234abcd-12ab-34cd-56ef-1234567890ab\"\n[job]\ninput = \"s3://photos/Training\"\noutput = \"s3://vectors/nightly\"\n"
            "model = \"s3://models/a.onnx\"\n")
    make_boundary(aws, tmp_path, "bound")
    project = Project(aws, tmp_path, "bound", more=more)
    project.run("up", "--no-cluster")
    boundary = [printed_policy(aws, tmp_path, "bound", "--for", "boundary", more=more)]
    iam = aws.client("iam")
    for role in project.exists()["role"]:
        names = iam.list_role_policies(RoleName=role)["PolicyNames"]
        for statement in [s for name in names for s in iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]["Statement"]]:
            for action in listed(statement["Action"]):
                for resource in listed(statement["Resource"]):
                    for context in contexts_of(statement.get("Condition", {})):
                        assert access.permitted(boundary, action, resource.replace("*", "x-1") if resource != "*" else "*", context), (action, resource)
    own = f"arn:aws:ec2:{REGION}:{ACCOUNT}:instance/i-1"
    for action, resource, context in (
        ("iam:CreateRole", f"arn:aws:iam::{ACCOUNT}:role/x", {}), ("iam:PassRole", f"arn:aws:iam::{ACCOUNT}:role/other", {}),
        ("s3:GetObject", "arn:aws:s3:::somebodys/x", {}), ("s3:PutObject", "arn:aws:s3:::photos/Training/x", {}), ("s3:GetObject", "arn:aws:s3:::photos/Private/x", {}),
        ("s3:DeleteObjectVersion", "arn:aws:s3:::vectors/nightly/x", {}), ("ec2:RunInstances", own, {}), ("ec2:TerminateInstances", own, {}),
        ("ec2:TerminateInstances", own, {f"aws:ResourceTag/{TAG}": "other"}), ("elasticmapreduce:RunJobFlow", "*", {}), ("sts:AssumeRole", "*", {}),
    ):
        assert not access.permitted(boundary, action, resource, context), action
    project.run("down", "--purge-bucket")


def test_the_boundary_is_drift(aws, tmp_path):
    """A boundary that is missing or another's and policies that are attached: the plan shows them, and `up` puts them right."""
    project, iam = Project(aws, tmp_path, "bounds"), aws.client("iam")
    project.run("up", "--no-cluster")
    service, node = (f"fruitctl-bounds-eu-west-3-{kind}" for kind in ("service", "node"))
    assert "PermissionsBoundary" not in iam.get_role(RoleName=node)["Role"]
    arn = make_boundary(aws, tmp_path, "bounds")
    iam.put_role_permissions_boundary(RoleName=service, PermissionsBoundary="arn:aws:iam::aws:policy/AdministratorAccess")
    more = iam.create_policy(PolicyName="of-bounds", PolicyDocument=LIST_ALL)["Policy"]["Arn"]
    iam.attach_role_policy(RoleName=node, PolicyArn=more)
    reasons = {c["resource"]: c["reasons"] for c in json.loads(project.run("plan", "--json").stdout)["changes"] if c["action"] == "update"}
    assert reasons == {
        "service-role": ["permissions boundary AdministratorAccess -> fruitctl-bounds-eu-west-3-boundary"],
        "node-role": ["permissions boundary none -> fruitctl-bounds-eu-west-3-boundary", f"detach policy {more}"],
    }
    project.run("up", "--no-cluster")
    for role in (service, node):
        assert iam.get_role(RoleName=role)["Role"]["PermissionsBoundary"]["PermissionsBoundaryArn"] == arn
        assert not iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]
    project.run("down", "--purge-bucket")



PERMITTED = """
run       elasticmapreduce:AddTags                  -     -     -     -
run       elasticmapreduce:AddJobFlowSteps          ours  -     -     -
run       elasticmapreduce:TerminateJobFlows        ours  -     -     -
run       elasticmapreduce:ModifyInstanceGroups     -     -     -     -
run       ec2:DeleteSecurityGroup                   -     -     -     -
run       ec2:AuthorizeSecurityGroupIngress         -     -     -     -
run       iam:GetRole                               ours  -     -     ours
run       iam:PutRolePolicy                         -     -     -     -
run       iam:UpdateAssumeRolePolicy                -     -     -     -
run       s3:GetObject                              ours  -     -     -
run       s3:PutBucketPolicy                        -     -     -     -
run       s3:DeleteBucket                           -     -     -     -
run       s3:DeleteObjectVersion                    -     -     -     -
setup     elasticmapreduce:AddTags                  -     -     -     -
setup     elasticmapreduce:AddJobFlowSteps          -     -     -     -
setup     elasticmapreduce:TerminateJobFlows        -     -     -     -
setup     elasticmapreduce:ModifyInstanceGroups     ours  -     -     -
setup     ec2:DeleteSecurityGroup                   ours  -     -     -
setup     ec2:AuthorizeSecurityGroupIngress         ours  -     -     -
setup     iam:GetRole                               -     -     -     -
setup     iam:PutRolePolicy                         ours  -     -     -
setup     iam:UpdateAssumeRolePolicy                ours  -     -     ours
setup     s3:GetObject                              -     -     -     -
setup     s3:PutBucketPolicy                        ours  -     -     ours
setup     s3:DeleteBucket                           ours  -     -     ours
setup     s3:DeleteObjectVersion                    ours  -     -     ours
sweep     elasticmapreduce:AddTags                  -     -     -     -
sweep     elasticmapreduce:AddJobFlowSteps          -     -     -     -
sweep     elasticmapreduce:TerminateJobFlows        ours  -     -     -
sweep     elasticmapreduce:ModifyInstanceGroups     -     -     -     -
"""


def things(action, project):
    """(resource, what conditions may ask) of a thing of this project's, of another's, of somebody's, and one of our name without a mark."""
    service = action.split(":")[0]
    names = [f"fruitctl-{project}-eu-west-3-node", "fruitctl-other-eu-west-3-node", "Team", f"fruitctl-{project}-eu-west-3-node"]
    buckets = [f"fruitctl-{p}-{ACCOUNT}-eu-west-3" for p in (project, "other")] + ["team", f"fruitctl-{project}-{ACCOUNT}-eu-west-3"]
    bound = f"arn:aws:iam::{ACCOUNT}:policy/fruitctl-{project}-eu-west-3-boundary"
    for i, tags in enumerate(({TAG: project}, {TAG: "other"}, {"team": "x"}, {})):
        if service == "iam":
            yield f"arn:aws:iam::{ACCOUNT}:role/{names[i]}", {} if i == 3 else {"iam:PermissionsBoundary": bound}
        elif service == "s3":
            yield f"arn:aws:s3:::{buckets[i]}" + ("/output/x" if "Object" in action else ""), {}
        elif service == "ec2":
            yield f"arn:aws:ec2:{REGION}:{ACCOUNT}:security-group/sg-1", {f"aws:ResourceTag/{k}": v for k, v in tags.items()}
        else:
            # Whoever tags gives our tag.
            asked = {f"aws:RequestTag/{TAG}": project} if action.endswith("AddTags") else {}
            yield f"arn:aws:elasticmapreduce:{REGION}:{ACCOUNT}:cluster/j-1", asked | {f"elasticmapreduce:ResourceTag/{k}": v for k, v in tags.items()}


def test_who_may_do_what_to_whose(aws, tmp_path):
    """The matrix: policy, action; on a thing of the project's, of another project's, of somebody's, and one without a mark."""
    policies = {name: printed_policy(aws, tmp_path, "matrix", "--for", name) for name in ("run", "setup", "sweep")}
    for line in PERMITTED.strip().splitlines():
        name, action, *expected = line.split()
        found = ["ours" if access.permitted([policies[name]], action, *thing) else "-" for thing in things(action, "matrix")]
        # Buckets and roles are known by their names: a bucket of ours has the same without its tag.
        if action == "s3:GetObject":
            expected[3] = expected[0]
        assert found == expected, (name, action, found)


def test_no_cluster_that_exists_is_made_ours(aws, tmp_path):
    """Somebody's cluster cannot be given our tag, and so not be used; ours can be made with it."""
    theirs = Project(aws, tmp_path, "theirs")
    theirs.run("up", "--wait")
    (cluster,) = theirs.exists()["cluster"]
    tagger = limited(aws, tmp_path, "tagger", printed_policy(aws, tmp_path, "tagger"))
    make_boundary(aws, tmp_path, "tagger")
    emr = aws.client("emr", key=tagger.env["AWS_ACCESS_KEY_ID"], secret=tagger.env["AWS_SECRET_ACCESS_KEY"])
    refused(lambda: emr.add_tags(ResourceId=cluster, Tags=[{"Key": TAG, "Value": "tagger"}]))
    refused(lambda: emr.terminate_job_flows(JobFlowIds=[cluster]))
    assert theirs.exists()["cluster"] == [cluster]
    theirs.run("down", "--purge-bucket")


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
        who = aws.client("sts", key=c["AWS_ACCESS_KEY_ID"], secret=c["AWS_SECRET_ACCESS_KEY"], token=c["AWS_SESSION_TOKEN"]).get_caller_identity()["UserId"]
        for key in ("logs/x", f"hostkeys/{who}.pub", "output/x", "tmp/x"):
            s3.put_object(Bucket=bucket, Key=key, Body=b"")
        for attempt in (
            lambda: s3.put_object(Bucket="photos", Key="Training/Apple/2.jpg", Body=b""),
            lambda: s3.get_object(Bucket="photos", Key="Private/1.jpg"),
            lambda: s3.list_objects_v2(Bucket="photos", Prefix="Private/"),
            lambda: s3.put_object(Bucket="vectors", Key="other", Body=b""),
            # Neither its own scripts nor the lock: what runs as the next cluster's root is not its to write.
            lambda: s3.put_object(Bucket=bucket, Key="bootstrap/x", Body=b""),
            lambda: s3.put_object(Bucket=bucket, Key="jobs/x", Body=b""),
            # Nor another node's host key.
            lambda: s3.put_object(Bucket=bucket, Key=f"hostkeys/{who.partition(':')[0]}:i-0123456789abcdef0.pub", Body=b""),
            lambda: s3.put_object(Bucket=bucket, Key=f"hostkeys/x:{who}.pub", Body=b""),
            lambda: s3.put_object(Bucket=bucket, Key=".fruitctl/lock", Body=b""),
            lambda: s3.delete_object(Bucket=bucket, Key="logs/x"),
            lambda: s3.put_bucket_policy(Bucket=bucket, Policy="{}"),
            lambda: emr.terminate_job_flows(JobFlowIds=[cluster.id]),
            lambda: iam.list_roles(),
        ):
            with pytest.raises(Exception, match="not authorized|AccessDenied|Forbidden"):
                attempt()
        project.run("down", "--purge-bucket")
