"""Properties of plan, apply and destroy, on configurations drawn from a seed:

    whatever there was, the plan of what was applied is empty
    where one came from does not matter, nor the order of calls that depend on nothing: the same configuration, the same state,
    but for places that were granted on the way, which stay
    whatever was begun and killed at any moment, destroyed, leaves nothing
"""

import random

import pytest
from conftest import LONG
from emulator import Emulator, Fault
from stack import Project, settle

# More of them in the long form, one in a quick round.
SEEDS = [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 6 if LONG else 3))]
TYPES = [["m5.xlarge"], ["m6g.xlarge"], ["m5.xlarge", "m5.2xlarge"]]


@pytest.fixture(scope="module")
def aws():
    # Clusters come up; nothing runs on them.
    with Emulator(nodes=False, start=0.01, bootstrap=0.01, terminate=0, propagation=0) as aws:
        yield aws


@pytest.fixture(autouse=True)
def clean(aws):
    yield
    settle(aws)


def draw(rng):
    """A configuration: what follows [cluster] and ebs_gb."""
    types = rng.choice(TYPES)
    spot = rng.random() < 0.3

    def nodes(role, count):
        return f"[cluster.{role}]\ntypes = {types!r}\ncount = {count}\nspot = {str(spot and role != 'primary').lower()}\n"

    top = [f"idle_minutes = {rng.choice([0, 30, 60])}", f"max_hours = {rng.choice([12, 24])}",
           f"termination_protection = {rng.choice(['true', 'false'])}", f"release = '{rng.choice(['emr-7.13.0', 'emr-6.15.0'])}'",
           f"applications = {rng.choice([['Spark'], ['Hive', 'Spark']])!r}"]
    tables = [nodes("primary", 1), nodes("core", rng.choice([1, 3]))]
    if rng.random() < 0.5:
        tables.append(nodes("task", rng.choice([1, 2, 5])))
    if rng.random() < 0.3:
        tables.append("[cluster.managed_scaling]\nmin = 1\nmax = 8\n")
    if rng.random() < 0.5:
        tables.append(f"[cluster.configurations.spark-defaults]\n'spark.sql.shuffle.partitions' = '{rng.choice([8, 64])}'\n")
    if rng.random() < 0.5:
        tables.append(f"[network]\nssh_cidr = '{rng.choice(['auto', 'none', '203.0.113.0/24'])}'\n")
    if rng.random() < 0.5:
        tables.append(f"[bucket]\nlogs_days = {rng.choice([10, 90])}\ntmp_days = {rng.choice([1, 7])}\n")
    if rng.random() < 0.5:
        tables.append(f"[job]\ninput = 's3://{rng.choice(['apples', 'pears'])}/in'\n")
    return "\n".join(top) + "\n" + "\n".join(tables)


def state(project):
    """What exists of a project as AWS describes it, without what differs from one making of it to the next."""
    found = project.exists()
    s3, iam, ec2, emr = (project.aws.client(service, project.region) for service in ("s3", "iam", "ec2", "emr"))
    (bucket,), (cluster,) = found["bucket"], found["cluster"]
    described = emr.describe_cluster(ClusterId=cluster)["Cluster"]
    tags = {tag["Key"] for tag in described["Tags"]}
    groups = emr.list_instance_fleets if described["InstanceCollectionType"] == "INSTANCE_FLEET" else emr.list_instance_groups
    (workforce,) = [v for k, v in groups(ClusterId=cluster).items() if k.startswith("Instance")]
    keep = ("InstanceGroupType", "InstanceFleetType", "Market", "InstanceType", "RequestedInstanceCount",
            "TargetOnDemandCapacity", "TargetSpotCapacity", "InstanceTypeSpecifications")
    names = {g["GroupId"]: g["GroupName"] for g in ec2.describe_security_groups()["SecurityGroups"]}

    def rules(group):
        return sorted((p["IpProtocol"], p.get("FromPort"), p.get("ToPort"), sorted(r["CidrIp"] for r in p["IpRanges"]),
                       sorted(names[r["GroupId"]] for r in p["UserIdGroupPairs"])) for p in group["IpPermissions"])

    return {
        "names": {kind: sorted(names) for kind, names in found.items() if kind != "cluster"},
        "bucket": [s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"], s3.get_bucket_policy(Bucket=bucket)["Policy"],
                   s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"],
                   s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]],
        "roles": {role: [iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
                         for name in sorted(iam.list_role_policies(RoleName=role)["PolicyNames"]) if name == "fruitctl"]
                  for role in found["role"]},
        "groups": {g["GroupName"]: rules(g) for g in ec2.describe_security_groups()["SecurityGroups"] if g["GroupName"] in found["group"]},
        "cluster": [described[key] for key in ("ReleaseLabel", "Applications", "Configurations", "TerminationProtected")],
        "tags": tags,
        "workforce": sorted(([(k, g[k]) for k in keep if g.get(k)] for g in workforce), key=str),
        "scaling": emr.get_managed_scaling_policy(ClusterId=cluster).get("ManagedScalingPolicy"),
        "idle": emr.get_auto_termination_policy(ClusterId=cluster).get("AutoTerminationPolicy"),
    }


def places(project):
    """Names of the policies by which the nodes may use places; each is a function of its place."""
    names = project.aws.client("iam").list_role_policies(RoleName=f"fruitctl-{project.name}-{project.region}-node")["PolicyNames"]
    return {name for name in names if name.startswith("fruitctl-place-")}


@pytest.mark.parametrize("seed", SEEDS)
def test_the_plan_of_what_was_applied_is_empty(aws, tmp_path, seed):
    """A walk over configurations, calls held up here and there; then the last of them from nothing."""
    rng = random.Random(seed)
    project = Project(aws, tmp_path, f"walk{seed}")
    for step in range(4):
        project.configure(text := draw(rng))
        aws.faults[:] = [Fault("*", "delay", every=rng.choice([2, 3, 5]), seconds=rng.random() / 20, key=project.key)]
        project.run("up")
        aws.faults.clear()
        left = project.run("plan", "--detailed-exitcode", code=None)
        assert left.returncode == 0, f"seed {seed}, step {step}:\n{text}\n{left.stdout}"
    came_here, granted = state(project), places(project)
    project.run("down", "--purge-bucket")
    assert project.exists() == {}
    project.run("up")
    assert state(project) == came_here and places(project) <= granted, f"seed {seed}:\n{text}"
    project.run("down", "--purge-bucket")


@pytest.mark.parametrize("seed", SEEDS)
def test_any_prefix_destroyed_leaves_nothing(aws, tmp_path, seed):
    """Up, changed, up again: each killed at a call of its own, and then `down`, killed too, and again."""
    rng = random.Random(1000 + seed)
    project = Project(aws, tmp_path, f"prefix{seed}")
    for command in [["up"], ["up"], ["down", "--purge-bucket"]]:
        project.configure(text := draw(rng))
        project.killed(rng.choice(["kill_before", "kill_after"]), "*", rng.randrange(1, 60), *command)
    project.run("down", "--purge-bucket")
    assert project.exists() == {}, f"seed {seed}:\n{text}"
