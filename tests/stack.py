"""Helpers of the tests of infrastructure: a project with its own configuration, credentials and data directory."""

import subprocess
from collections import Counter

from conftest import command, fruitctl
from emulator import Fault
from moto.core import DEFAULT_ACCOUNT_ID as ACCOUNT

# Waits are a hundred times shorter.
PACE = "0.01"
ACTIVE = ["STARTING", "BOOTSTRAPPING", "RUNNING", "WAITING", "TERMINATING"]

CONFIG = """
target = "emr"
project = "{name}"

[aws]
region = "{region}"

[cluster]
ebs_gb = 32
{more}
"""


def settle(aws):
    """After a test: no faults, no clusters, and nothing that the validation refused."""
    aws.faults.clear()
    assert not aws.refused, aws.refused[:5]
    aws.emr.stop()


def confirmed(args):
    """The words of a command that nobody is asked about."""
    return [*args, "--yes"] if "--purge-bucket" in args and "--yes" not in args else args


class Project:
    """A project of its own in an emulated account. `key` signs its calls, so that they can be told from others'."""

    def __init__(self, aws, folder, name="fruits", region=None, more="", env=None):
        self.aws, self.name, self.region = aws, name, region or aws.region
        self.folder = folder / name
        self.folder.mkdir(exist_ok=True)
        self.key = f"AKIATEST{name.upper().replace('-', '')}"
        self.env = (env or aws.environment | {"AWS_ACCESS_KEY_ID": self.key}) | {
            "XDG_DATA_HOME": str(folder / "data"), "FRUITCTL_PACE": PACE}
        self.env.pop("AWS_REGION", None)
        self.configure(more)

    def configure(self, more):
        (self.folder / "fruitctl.toml").write_text(CONFIG.format(name=self.name, region=self.region, more=more))

    def seed(self, args):
        """Before a run that names no input: something in the project's bucket, for a run over nothing is refused."""
        if args[0] != "run" or {"--input", "-i", "--target"} & set(args) or "\ninput = " in (self.folder / "fruitctl.toml").read_text():
            return
        s3, bucket = self.aws.client("s3", self.region), f"fruitctl-{self.name}-{ACCOUNT}-{self.region}"
        try:
            if s3.list_objects_v2(Bucket=bucket, Prefix="input/", MaxKeys=1)["KeyCount"]:
                return
        except s3.exceptions.NoSuchBucket:
            pass
        (self.folder / "seed" / "apple").mkdir(parents=True, exist_ok=True)
        (self.folder / "seed" / "apple" / "1.jpg").write_bytes(b"no picture")
        # As somebody else, and with nothing in the way: the test is about what comes after.
        faults, self.aws.faults[:] = self.aws.faults[:], []
        fruitctl("upload", "seed", cwd=self.folder, env=self.env | {"AWS_ACCESS_KEY_ID": "AKIASEED"})
        self.aws.faults[:] = faults

    def bound(self):
        """What an administrator does once: the policy that the project's roles may not exceed; its ARN."""
        document = fruitctl("policy", "--for", "boundary", cwd=self.folder, env=self.aws.environment).stdout
        name = f"fruitctl-{self.name}-{self.region}-boundary"
        return self.aws.client("iam").create_policy(PolicyName=name, PolicyDocument=document)["Policy"]["Arn"]

    def run(self, *args, **kwargs):
        self.seed(args)
        return fruitctl(*confirmed(args), cwd=self.folder, env=self.env, **kwargs)

    def start(self, *args, stdout=subprocess.DEVNULL):
        """Starts it; stderr is to be read."""
        self.seed(args)
        return subprocess.Popen(command("fruitctl", *confirmed(args)), cwd=self.folder, env=self.env, stdout=stdout, stderr=subprocess.PIPE, text=True)

    def killed(self, mode, call, nth, *args):
        """Runs it until its nth call of this name, and kills it before that is applied or after; whether it came so far."""
        self.seed(args)
        fault = Fault(call, mode, first=nth, times=1, key=self.key)
        holder = {}

        def strike():
            while "process" not in holder:
                pass
            holder["process"].kill()
            holder["process"].wait()

        fault.kill = strike
        self.aws.faults[:] = [fault]
        holder["process"] = self.start(*args)
        _, stderr = holder["process"].communicate(timeout=120)
        self.aws.faults.clear()
        assert "panicked" not in stderr, stderr
        return fault.hits == 1

    def calls(self, since=0):
        """Names of its calls, with how often."""
        return Counter(entry["call"] for entry in self.aws.log[since:] if entry["key"] == self.key)

    def exists(self):
        """What exists of it, as AWS says, by kind."""
        s3, iam, ec2, emr = (self.aws.client(service, self.region) for service in ("s3", "iam", "ec2", "emr"))
        mine, prefix = [{"Name": "tag:fruitctl:project", "Values": [self.name]}], f"fruitctl-{self.name}-"

        def tagged(tags):
            return {"Key": "fruitctl:project", "Value": self.name} in tags

        def bucket_tags(name):
            try:
                return s3.get_bucket_tagging(Bucket=name)["TagSet"]
            except s3.exceptions.ClientError:
                return []

        buckets = [b["Name"] for b in s3.list_buckets()["Buckets"]]
        roles = [r["RoleName"] for page in iam.get_paginator("list_roles").paginate() for r in page["Roles"]]
        profiles = [p for page in iam.get_paginator("list_instance_profiles").paginate() for p in page["InstanceProfiles"]]
        clusters = [c["Id"] for page in emr.get_paginator("list_clusters").paginate(ClusterStates=ACTIVE) for c in page["Clusters"]]
        configurations = [c["Name"] for c in emr.list_security_configurations()["SecurityConfigurations"]]
        return {kind: found for kind, found in {
            "bucket": [b for b in buckets if b.startswith(prefix) and tagged(bucket_tags(b))],
            "role": [r for r in roles if r.startswith(prefix) and tagged(iam.list_role_tags(RoleName=r)["Tags"])],
            "profile": [p["InstanceProfileName"] for p in profiles if p["InstanceProfileName"].startswith(prefix) and tagged(p["Tags"])],
            "key pair": [k["KeyName"] for k in ec2.describe_key_pairs(Filters=mine)["KeyPairs"]],
            "group": [g["GroupName"] for g in ec2.describe_security_groups(Filters=mine)["SecurityGroups"]],
            "configuration": [c for c in configurations if c.startswith(prefix) and "-" not in c.removeprefix(prefix)],
            "cluster": [c for c in clusters if tagged(emr.describe_cluster(ClusterId=c)["Cluster"]["Tags"])],
        }.items() if found}

    def check_complete(self):
        """Exactly one of each, as it should be."""
        found = self.exists()
        counts = {kind: len(names) for kind, names in found.items()}
        assert counts == {"bucket": 1, "role": 2, "profile": 1, "key pair": 1, "group": 2, "configuration": 1, "cluster": 1}, found
        return found


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
