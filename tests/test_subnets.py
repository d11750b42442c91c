"""Subnets that are public and private, on the emulator by themselves and under the commands."""

import json
import time

import pytest
from emulator import Emulator
from emulator import network as emulated
from stack import settle


@pytest.fixture(scope="module")
def aws():
    with Emulator(nodes=False, start=0.05, bootstrap=0.01, terminate=0.05, propagation=0) as aws:
        yield aws
        settle(aws)


class Vpc:
    """A VPC of its own with two subnets; without a way out at first, so that both are private."""

    def __init__(self, aws):
        self.aws, self.ec2 = aws, aws.client("ec2")
        self.id = self.ec2.create_vpc(CidrBlock="10.1.0.0/16")["Vpc"]["VpcId"]
        self.subnets = [self.ec2.create_subnet(VpcId=self.id, CidrBlock=f"10.1.{n}.0/24")["Subnet"]["SubnetId"] for n in range(2)]
        tables = self.ec2.describe_route_tables(Filters=[{"Name": "vpc-id", "Values": [self.id]}])["RouteTables"]
        self.main = tables[0]["RouteTableId"]

    def group(self, name):
        return self.ec2.create_security_group(GroupName=name, Description="x", VpcId=self.id)["GroupId"]

    def open(self, table):
        """A route to the internet."""
        gateway = self.ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
        self.ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=self.id)
        self.ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway)
        return gateway

    def table(self, subnet):
        """A route table of this subnet alone."""
        table = self.ec2.create_route_table(VpcId=self.id)["RouteTable"]["RouteTableId"]
        self.ec2.associate_route_table(RouteTableId=table, SubnetId=subnet)
        return table

    def nat(self):
        """A NAT gateway, and the route to it."""
        address = self.ec2.allocate_address(Domain="vpc")["AllocationId"]
        gateway = self.ec2.create_nat_gateway(SubnetId=self.subnets[1], AllocationId=address)["NatGateway"]["NatGatewayId"]
        self.ec2.create_route(RouteTableId=self.main, DestinationCidrBlock="0.0.0.0/0", NatGatewayId=gateway)
        return gateway


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
