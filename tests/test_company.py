"""What the accounts of companies want: machine images, security groups, policies and keys of their own, and nested configurations."""

import json

import pytest
from emulator import Emulator
from moto.ec2 import ec2_backends
from stack import ACCOUNT, Project, settle
from test_policy import limited, make_boundary, printed_policy


@pytest.fixture(scope="module")
def aws():
    with Emulator(nodes=False, start=0.05, bootstrap=0.01, terminate=0.05, propagation=0.05) as aws:
        yield aws


@pytest.fixture(autouse=True)
def clean(aws):
    yield
    settle(aws)


def image(aws, architecture="arm64"):
    """A machine image; moto's calls for one take no architecture."""
    ami = ec2_backends[ACCOUNT][aws.region].register_image(name=f"ours-{architecture}")
    ami.architecture, ami.root_device_type = architecture, "ebs"
    return ami.id


def group(aws, name, vpc=None):
    ec2 = aws.client("ec2")
    vpc = vpc or ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"][0]["VpcId"]
    return ec2.create_security_group(GroupName=name, Description="theirs", VpcId=vpc)["GroupId"]


def changes(project):
    plan = json.loads(project.run("plan", "--json").stdout)
    return [(c["action"], c["reasons"]) for c in plan["changes"] if c["action"] != "keep"], plan["notes"]


KEY = "arn:aws:kms:eu-west-3:999999999999:key/1234abcd-12ab-34cd-56ef-1234567890ab"
NESTED = '[cluster.configurations.hadoop-env.export]\nHADOOP_NAMENODE_HEAPSIZE = "2048"\n'


def test_a_cluster_of_what_is_the_companys(aws, tmp_path):
    """From nothing to nothing under the printed policies; what is somebody else's is as it was before."""
    ami, proxy, bastion = image(aws), group(aws, "proxy"), group(aws, "bastion")
    iam, ec2, emr = (aws.client(service) for service in ("iam", "ec2", "emr"))
    agent = iam.create_policy(PolicyName="agent", PolicyDocument=json.dumps(
        {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "ssm:UpdateInstanceInformation", "Resource": "*"}]}))["Policy"]["Arn"]
    more = (f'image = "{ami}"\n{NESTED}[network]\nprimary_groups = ["{proxy}", "{bastion}"]\nworker_groups = ["{proxy}"]\n'
            f'[roles]\nnode_policies = ["{agent}"]\n[places]\nread = ["s3://their-photos/raw"]\nkeys = ["{KEY}"]\n')
    make_boundary(aws, tmp_path, "company")
    assert [s for s in printed_policy(aws, tmp_path, "company", "--for", "boundary", more=more)["Statement"] if s["Resource"] == KEY]
    policy = printed_policy(aws, tmp_path, "company", more=more)
    project = limited(aws, tmp_path, "company", policy)
    project.configure(more)
    project.run("up", "--wait")
    found = emr.describe_cluster(ClusterId=project.exists()["cluster"][0])["Cluster"]
    assert found["CustomAmiId"] == ami and found["Status"]["State"] == "WAITING"
    assert found["Configurations"] == [
        {"Classification": "hadoop-env", "Properties": {}, "Configurations": [{"Classification": "export", "Properties": {"HADOOP_NAMENODE_HEAPSIZE": "2048"}}]}]
    attributes = found["Ec2InstanceAttributes"]
    assert sorted(attributes["AdditionalMasterSecurityGroups"]) == sorted([proxy, bastion]) and attributes["AdditionalSlaveSecurityGroups"] == [proxy]
    role = "fruitctl-company-eu-west-3-node"
    assert [p["PolicyArn"] for p in iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]] == [agent]
    inline = [iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]["Statement"] for name in iam.list_role_policies(RoleName=role)["PolicyNames"]]
    (use,) = [s for statements in inline for s in statements if s["Resource"] == KEY]
    assert use["Action"] == ["kms:Decrypt", "kms:GenerateDataKey"] and use["Condition"] == {"StringEquals": {"kms:ViaService": "s3.eu-west-3.amazonaws.com"}}
    assert changes(project) == ([], []) and "nothing to do" in project.run("up").stdout
    # An image that was taken away is needed by the next cluster, and not by this one.
    gone = ec2_backends[ACCOUNT][aws.region].amis.pop(ami)
    (note,) = changes(project)[1]
    assert f"the next cluster could not start: the machine image {ami} in eu-west-3: it is not there" in note
    assert "nothing to do" in project.run("up").stdout
    # One that is asked for now needs it: in the place of this one, or for a run alone.
    project.configure(more.replace("2048", "4096"))
    assert "it is not there" in project.run("up", code=2).stderr
    project.configure(more)
    (project.folder / "job").write_text("#!/bin/sh\n")
    assert "it is not there" in project.run("run", "--executable", "job", "--one-shot", "--no-ssh", code=2).stderr
    ec2_backends[ACCOUNT][aws.region].amis[ami] = gone
    # Without the right to look at it, it is taken to fit.
    text = json.dumps(policy).replace('"ec2:DescribeImages", ', "")
    assert text != json.dumps(policy)
    project.env = project.env | aws.user("company-less", text)
    assert "cannot be looked at, and is taken to fit" in changes(project)[1][0]
    # Nobody may attach by these policies what is not configured.
    key, secret = project.env["AWS_ACCESS_KEY_ID"], project.env["AWS_SECRET_ACCESS_KEY"]
    with pytest.raises(Exception, match="not authorized|AccessDenied"):
        aws.client("iam", key=key, secret=secret).attach_role_policy(RoleName=role, PolicyArn="arn:aws:iam::aws:policy/AdministratorAccess")
    project.run("down", "--purge-bucket")
    assert project.exists() == {}
    assert {g["GroupId"] for g in ec2.describe_security_groups(GroupIds=[proxy, bastion])["SecurityGroups"]} == {proxy, bastion}
    assert iam.get_policy(PolicyArn=agent)["Policy"]["AttachmentCount"] == 0 and ec2.describe_images(ImageIds=[ami])["Images"]


def test_a_change_of_them_is_a_new_cluster(aws, tmp_path):
    proxy = group(aws, "other-proxy")
    project = Project(aws, tmp_path, "moves", more=NESTED)
    project.run("up", "--wait")
    ami = image(aws)
    project.configure(f'image = "{ami}"\n{NESTED.replace("2048", "4096")}[network]\nprimary_groups = ["{proxy}"]\n')
    (change,), _ = changes(project)
    assert change == ("replace", [f"machine image of the release -> {ami}", f"additional primary security groups none -> {proxy}", "configuration hadoop-env"])
    project.run("up", "--wait")
    assert changes(project) == ([], [])
    # A rule that lets everybody in is told, and is not fruitctl's to close.
    aws.client("ec2").authorize_security_group_ingress(GroupId=proxy, IpPermissions=[
        {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}])
    (note,) = changes(project)[1]
    assert proxy in note and "lets the whole internet in: SSH from 0.0.0.0/0" in note
    assert "image and groups" in project.run("doctor").stdout
    project.run("down", "--purge-bucket")
    assert aws.client("ec2").describe_security_groups(GroupIds=[proxy])["SecurityGroups"][0]["IpPermissions"]


def test_a_run_detaches_nothing_and_up_says_so(aws, tmp_path):
    """What another fruitctl.toml of the project names may be what its cluster needs."""
    iam, role = aws.client("iam"), "fruitctl-shared-eu-west-3-node"
    agent = iam.create_policy(PolicyName="of-shared", PolicyDocument=json.dumps(
        {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "ssm:UpdateInstanceInformation", "Resource": "*"}]}))["Policy"]["Arn"]
    project = Project(aws, tmp_path, "shared", more=f'[roles]\nnode_policies = ["{agent}"]\n')
    project.run("up", "--no-cluster")
    project.configure("")
    (project.folder / "job").write_text("#!/bin/sh\n")
    project.run("run", "--executable", "job", "--one-shot", "--no-ssh", code=6)
    attached = lambda: [p["PolicyArn"] for p in iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]]
    assert attached() == [agent]
    assert ("update", [f"detach policy {agent}"]) in changes(project)[0]
    project.run("up", "--no-cluster")
    assert attached() == []
    project.run("down", "--purge-bucket")


def test_more_groups_than_an_account_begins_with_are_told(aws, tmp_path):
    more = [group(aws, f"many-{n}") for n in range(5)]
    project = Project(aws, tmp_path, "many", more=f"[network]\nworker_groups = {json.dumps(more)}\n")
    (note,) = changes(project)[1]
    assert "nodes are in 6 security groups, and an account allows 5 a network interface unless its quota was raised" in note
    assert "SecurityGroupsPerInterfaceLimitExceeded" in project.run("up", "--wait", code=None).stderr
    project.run("down", "--purge-bucket")


@pytest.mark.parametrize("wrong", ["image", "architecture", "group", "vpc"])
def test_what_does_not_fit_is_told_before_anything_is_made(aws, tmp_path, wrong):
    elsewhere = aws.client("ec2").create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    more, words = {
        "image": ('image = "ami-0"\n', "ami-0 in eu-west-3: it is not there"),
        "architecture": (f'image = "{image(aws, "x86_64")}"\n', "it is for x86_64, and m6g.xlarge is aarch64"),
        "group": ('[network]\nworker_groups = ["sg-0"]\n', "no security group sg-0"),
        "vpc": (f'[network]\nprimary_groups = ["{group(aws, "elsewhere", elsewhere)}"]\n', f"is in {elsewhere}, and the subnets are in"),
    }[wrong]
    project = Project(aws, tmp_path, f"unfit-{wrong}", more=more)
    assert words in project.run("up", code=2).stderr
    assert words in project.run("doctor", code=2).stdout
    assert project.exists() == {}
