"""Subnets that are public and private, on the emulator by themselves and under the commands."""

import json
import time

import pytest
from emulator import Emulator, Fault
from emulator import network as emulated
from stack import Project, Vpc, settle


@pytest.fixture(scope="module")
def aws():
    with Emulator(nodes=False, start=0.05, bootstrap=0.01, terminate=0.05, propagation=0) as aws:
        yield aws
        settle(aws)


def tcp(port, group):
    return {"IpProtocol": "tcp", "FromPort": port, "ToPort": port, "UserIdGroupPairs": [{"GroupId": group}]}


# The emulator


def trust(service):
    return json.dumps({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": {"Service": f"{service}.amazonaws.com"}, "Action": "sts:AssumeRole"}]})


def outcome(aws, instances, release="emr-7.13.0"):
    """How a cluster comes up: "", or why it does not. It is taken at first whatever is wrong with its network."""
    iam, emr = aws.client("iam"), aws.client("emr")
    if "direct" not in {role["RoleName"] for role in iam.list_roles()["Roles"]}:
        iam.create_role(RoleName="direct", AssumeRolePolicyDocument=trust("elasticmapreduce"))
        iam.create_role(RoleName="direct-node", AssumeRolePolicyDocument=trust("ec2"))
        iam.create_instance_profile(InstanceProfileName="direct-node")
        iam.add_role_to_instance_profile(InstanceProfileName="direct-node", RoleName="direct-node")
    if "Ec2SubnetIds" in instances:
        primary = {"InstanceFleetType": "MASTER", "TargetOnDemandCapacity": 1, "InstanceTypeConfigs": [{"InstanceType": "m5.xlarge"}]}
        instances = {"InstanceFleets": [primary]} | instances
    else:
        instances = {"InstanceGroups": [{"InstanceRole": "MASTER", "InstanceType": "m5.xlarge", "InstanceCount": 1}]} | instances
    cluster = emr.run_job_flow(
        Name="direct", ReleaseLabel=release, ServiceRole="direct", JobFlowRole="direct-node",
        Instances=instances | {"KeepJobFlowAliveWhenNoSteps": True})["JobFlowId"]
    deadline = time.time() + 20
    while (status := emr.describe_cluster(ClusterId=cluster)["Cluster"]["Status"])["State"] not in ("WAITING", "TERMINATED_WITH_ERRORS"):
        assert time.time() < deadline, status
        time.sleep(0.02)
    emr.terminate_job_flows(JobFlowIds=[cluster])
    if status["State"] == "WAITING":
        return ""
    assert status["StateChangeReason"]["Code"] == "VALIDATION_ERROR", status
    return status["StateChangeReason"]["Message"]


def test_the_default_subnets_are_public(aws):
    for region in ("eu-west-3", "us-east-1"):
        ec2 = aws.client("ec2", region)
        (table,) = ec2.describe_route_tables()["RouteTables"]
        (gateway,) = ec2.describe_internet_gateways()["InternetGateways"]
        assert {"172.31.0.0/16": "local", "0.0.0.0/0": gateway["InternetGatewayId"]} == {r["DestinationCidrBlock"]: r["GatewayId"] for r in table["Routes"]}


def test_emr_wants_an_access_group_in_private_subnets(aws):
    """And looks at its rules. A new group lets everything out."""
    vpc = Vpc(aws)
    subnet, (primary, workers, access) = vpc.subnets[0], map(vpc.group, ("primary", "workers", "access"))
    pair = {"Ec2SubnetId": subnet, "EmrManagedMasterSecurityGroup": primary, "EmrManagedSlaveSecurityGroup": workers}
    three = pair | {"ServiceAccessSecurityGroup": access}
    assert outcome(aws, pair) == "You must also specify a ServiceAccessSecurityGroup if you use custom security groups when creating a cluster in a private subnet."
    for release in ("emr-7.13.0", "emr-6.3.0"):
        assert outcome(aws, three, release) == "ServiceAccessSecurityGroup is missing ingress rule from EmrManagedMasterSecurityGroup on port 9443"
    vpc.ec2.authorize_security_group_ingress(GroupId=access, IpPermissions=[tcp(9443, primary)])
    assert outcome(aws, three) == ""
    everything = [{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]
    vpc.ec2.revoke_security_group_egress(GroupId=access, IpPermissions=everything)
    for group, name in ((primary, "EmrManagedMasterSecurityGroup"), (workers, "EmrManagedSlaveSecurityGroup")):
        assert outcome(aws, three) == f"ServiceAccessSecurityGroup is missing egress rule to {name} on port 8443"
        vpc.ec2.authorize_security_group_egress(GroupId=access, IpPermissions=[tcp(8443, group)])
    assert outcome(aws, three) == ""
    # What EMR added to its two groups, and not to this one.
    groups = {g["GroupId"]: g for g in vpc.ec2.describe_security_groups(GroupIds=[primary, workers, access])["SecurityGroups"]}
    for group in (primary, workers):
        assert any(r["FromPort"] == 8443 and r["UserIdGroupPairs"][0]["GroupId"] == access for r in groups[group]["IpPermissions"])
    rules = [(r["FromPort"], {pair["GroupId"] for pair in r["UserIdGroupPairs"]}) for kind in ("IpPermissions", "IpPermissionsEgress") for r in groups[access][kind]]
    assert rules == [(9443, {primary}), (8443, {primary, workers})]


def test_a_subnet_is_what_its_route_table_says(aws):
    vpc = Vpc(aws)
    pair = {"EmrManagedMasterSecurityGroup": vpc.group("primary"), "EmrManagedSlaveSecurityGroup": vpc.group("workers")}
    first, second = vpc.subnets
    own = vpc.table(first)
    vpc.open(own)
    assert outcome(aws, pair | {"Ec2SubnetId": first}) == ""
    assert outcome(aws, pair | {"Ec2SubnetId": second}) == emulated.NO_GROUP
    assert outcome(aws, pair | {"Ec2SubnetIds": [first, second]}) == emulated.MIXED
    # Without groups of one's own, EMR makes all three.
    assert outcome(aws, {"Ec2SubnetId": second}) == ""


# The commands


NETWORK = "[network]\nsubnets = {}\nssh_cidr = \"none\"\n"


def project_in(aws, folder, name, subnets, more=""):
    return Project(aws, folder, name, more=more + NETWORK.format(json.dumps(subnets)))


def plan(project):
    found = json.loads(project.run("plan", "--json").stdout)
    return [(c["resource"], c["action"], *c["reasons"]) for c in found["changes"] if c["action"] != "keep"], found["notes"]


def groups_of(aws, name):
    """The project's groups: primary, workers, access."""
    found = aws.client("ec2").describe_security_groups(Filters=[{"Name": "tag:fruitctl:project", "Values": [name]}])["SecurityGroups"]
    return {group["GroupName"].rpartition("-")[2]: group for group in found}


def rules(group, kind):
    return [(r["IpProtocol"], r.get("FromPort"), {p["GroupId"] for p in r["UserIdGroupPairs"]}, r["IpRanges"]) for r in group[kind]]


@pytest.mark.parametrize("kind", ["groups", "fleets"])
def test_a_cluster_in_private_subnets(aws, tmp_path, kind):
    """From nothing to nothing, with a third group, which has three rules and no other."""
    vpc = Vpc(aws)
    vpc.nat()
    more = "[cluster.core]\nspot = true\n" if kind == "fleets" else ""
    project = project_in(aws, tmp_path, f"private-{kind}", vpc.subnets, more)
    changes, notes = plan(project)
    assert ("access-group", "create") in changes and notes == []
    project.run("up", "--wait")
    found = project.exists()
    cluster = aws.client("emr").describe_cluster(ClusterId=found["cluster"][0])["Cluster"]
    assert cluster["Status"]["State"] == "WAITING"
    groups = groups_of(aws, project.name)
    ids = {name: group["GroupId"] for name, group in groups.items()}
    assert cluster["Ec2InstanceAttributes"]["ServiceAccessSecurityGroup"] == ids["access"]
    assert rules(groups["access"], "IpPermissions") == [("tcp", 9443, {ids["primary"]}, [])]
    assert rules(groups["access"], "IpPermissionsEgress") == [("tcp", 8443, {ids["primary"], ids["workers"]}, [])]
    # The nodes still reach S3, and the access group.
    assert groups["primary"]["IpPermissionsEgress"][0]["IpProtocol"] == "-1"
    assert plan(project) == ([], [])
    assert "nothing to do" in project.run("up").stdout
    project.run("down", "--purge-bucket")
    assert project.exists() == {} and groups_of(aws, project.name) == {}


def test_a_run_of_its_own_in_a_private_subnet(aws, tmp_path):
    vpc = Vpc(aws)
    vpc.nat()
    project = project_in(aws, tmp_path, "alone", vpc.subnets[:1])
    (project.folder / "job").write_text("#!/bin/sh\n")
    # The step does nothing here.
    assert "the results are incomplete" in project.run("run", "--executable", project.folder / "job", "--one-shot", code=6).stderr
    (cluster,) = [c for c in aws.emr.clusters.values() if c.tags.get("fruitctl:project") == project.name]
    assert cluster.why == ("ALL_STEPS_COMPLETED", "Steps completed")
    project.run("down", "--purge-bucket")
    assert project.exists() == {}


def test_drift_of_the_access_group_is_mended(aws, tmp_path):
    vpc = Vpc(aws)
    vpc.nat()
    project = project_in(aws, tmp_path, "drift", vpc.subnets)
    project.run("up", "--wait")
    groups = groups_of(aws, project.name)
    access, primary = groups["access"]["GroupId"], groups["primary"]["GroupId"]
    vpc.ec2.revoke_security_group_ingress(GroupId=access, IpPermissions=[tcp(9443, primary)])
    vpc.ec2.authorize_security_group_egress(GroupId=access, IpPermissions=[{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}])
    reasons = ["open port 9443 from fruitctl-drift-primary", "close ports 0-65535 to 0.0.0.0/0"]
    assert plan(project) == ([("access-group", "update", *reasons)], [])
    project.run("up")
    assert plan(project) == ([], [])
    # One that somebody else made is not ours to change.
    project.run("down", "--purge-bucket")
    vpc.group("fruitctl-drift-access")
    assert "security group fruitctl-drift-access" in project.run("up", code=None).stderr
    project.run("down", "--purge-bucket")


def test_public_subnets_have_no_access_group(aws, tmp_path):
    vpc = Vpc(aws)
    vpc.open(vpc.main)
    project = project_in(aws, tmp_path, "public", vpc.subnets)
    project.run("up", "--wait")
    assert groups_of(aws, project.name).keys() == {"primary", "workers"}
    project.run("down", "--purge-bucket")
    assert project.exists() == {}


def test_subnets_of_two_kinds_are_refused(aws, tmp_path):
    vpc = Vpc(aws)
    vpc.open(vpc.table(vpc.subnets[0]))
    project = project_in(aws, tmp_path, "mixed", vpc.subnets)
    for command in ("plan", "up"):
        refused = project.run(command, code=2).stderr
        assert f"of two kinds: {vpc.subnets[1]} is private" in refused and "name subnets of one kind under [network]" in refused
    assert project.exists() == {}
    assert verdict(project, 2)["verdict"] == "bad"


@pytest.mark.parametrize("gives", [False, True])
def test_without_the_right_to_read_routes_it_is_a_guess(aws, tmp_path, gives):
    """Private, if no subnet gives public addresses; and this is said."""
    vpc = Vpc(aws)
    if gives:
        vpc.open(vpc.main)
        vpc.ec2.modify_subnet_attribute(SubnetId=vpc.subnets[0], MapPublicIpOnLaunch={"Value": True})
    project = project_in(aws, tmp_path, f"guess-{'public' if gives else 'private'}", vpc.subnets)
    aws.faults[:] = [Fault("ec2:DescribeRouteTables", "deny")]
    try:
        project.run("up", "--wait")
        changes, (note,) = plan(project)
        assert changes == [] and f"taken to be {'public' if gives else 'private'}" in note and "ec2:DescribeRouteTables" in note
        assert ("access" in groups_of(aws, project.name)) != gives
        assert note in verdict(project)["what"]
        project.run("down", "--purge-bucket")
    finally:
        aws.faults.clear()
    assert project.exists() == {}


def verdict(project, code=0):
    """What doctor says of the subnets."""
    found = json.loads(project.run("doctor", "--json", code=code).stdout)
    return next(row for row in found if row["check"] == "subnets")


def test_doctor_looks_for_ways_out(aws, tmp_path):
    vpc = Vpc(aws)
    first, second = vpc.subnets
    project = project_in(aws, tmp_path, "doctor", [first])
    # None at all.
    found = verdict(project, 2)
    assert found["verdict"] == "bad" and "neither a route out nor an endpoint for S3" in found["what"]
    assert f"--vpc-id {vpc.id} --service-name com.amazonaws.eu-west-3.s3 --route-table-ids {vpc.main}" in found["remedy"]
    aws.faults[:] = [Fault("ec2:DescribeVpcEndpoints", "deny")]
    try:
        found = verdict(project)
    finally:
        aws.faults.clear()
    assert found["verdict"] == "unknown" and "may not be asked: ec2:DescribeVpcEndpoints" in found["what"]
    # To S3 only, and not from a subnet with another table.
    endpoint = vpc.ec2.create_vpc_endpoint(VpcId=vpc.id, ServiceName="com.amazonaws.eu-west-3.s3", RouteTableIds=[vpc.main])["VpcEndpoint"]["VpcEndpointId"]
    found = verdict(project)
    assert found["verdict"] == "unknown" and f"to S3, by {endpoint}" in found["what"]
    own = vpc.table(second)
    assert verdict(project_in(aws, tmp_path, "doctor", [second]), 2)["verdict"] == "bad"
    # By a NAT gateway; SSH is another matter.
    gateway = vpc.nat()
    found = verdict(project_in(aws, tmp_path, "doctor", [first]))
    assert found["verdict"] == "good" and f"{first} has a route out by {gateway}" in found["what"]
    project.configure(f"[network]\nsubnets = [\"{first}\"]\nssh_cidr = \"10.0.0.0/8\"\n")
    found = verdict(project)
    assert found["verdict"] == "unknown" and "SSH needs a way in" in found["what"]
    # A public one whose nodes have no address.
    vpc.open(own)
    found = verdict(project_in(aws, tmp_path, "doctor", [second]))
    assert found["verdict"] == "unknown" and f"--subnet-id {second} --map-public-ip-on-launch" in found["what"]
    vpc.ec2.modify_subnet_attribute(SubnetId=second, MapPublicIpOnLaunch={"Value": True})
    assert verdict(project)["verdict"] != "bad"
    assert verdict(project_in(aws, tmp_path, "doctor", [second]))["verdict"] == "good"
