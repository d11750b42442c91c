"""The emulator itself: that it refuses what AWS would refuse, goes through EMR's states, and has nodes that exist."""

import gzip
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from conftest import soon
from emulator import Emulator, Fault, node, validate

TRUST = {service: json.dumps({"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Principal": {"Service": f"{service}.amazonaws.com"}, "Action": "sts:AssumeRole"}]}) for service in ("ec2", "elasticmapreduce")}
NODES = pytest.mark.skipif(node.available() is not None, reason=f"clusters have no nodes here: {node.available()}")


@pytest.fixture(scope="module")
def aws(tmp_path_factory):
    with Emulator(start=0.1, bootstrap=0.05, terminate=0.1, resize=0.05, propagation=0, logs=0.2, idle=0.01) as aws:
        iam, s3 = aws.client("iam"), aws.client("s3")
        iam.create_role(RoleName="service", AssumeRolePolicyDocument=TRUST["elasticmapreduce"])
        iam.create_role(RoleName="node", AssumeRolePolicyDocument=TRUST["ec2"])
        allow = {"Effect": "Allow", "Action": ["s3:GetObject", "s3:PutObject"], "Resource": "arn:aws:s3:::cluster/*"}
        iam.put_role_policy(RoleName="node", PolicyName="p", PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [allow]}))
        iam.create_instance_profile(InstanceProfileName="node")
        iam.add_role_to_instance_profile(InstanceProfileName="node", RoleName="node")
        s3.create_bucket(Bucket="cluster", CreateBucketConfiguration={"LocationConstraint": aws.region})
        aws.ssh_key = tmp_path_factory.mktemp("ssh") / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", aws.ssh_key], check=True)
        aws.client("ec2").import_key_pair(KeyName="key", PublicKeyMaterial=aws.ssh_key.with_suffix(".pub").read_bytes())
        yield aws


def job_flow(**more):
    instances = {"InstanceGroups": [{"InstanceRole": "MASTER", "InstanceType": "m5.xlarge", "InstanceCount": 1}],
                 "KeepJobFlowAliveWhenNoSteps": True, "Ec2KeyName": "key"} | more.pop("instances", {})
    return {"Name": "test", "ReleaseLabel": "emr-7.13.0", "ServiceRole": "service", "JobFlowRole": "node",
            "LogUri": "s3://cluster/logs", "Instances": instances} | more


def step(*command, **more):
    return {"Name": "step", "ActionOnFailure": "CONTINUE", "HadoopJarStep": {"Jar": "command-runner.jar", "Args": list(command)}} | more


def wait(aws, cluster, *states):
    deadline = time.time() + 20
    while time.time() < deadline:
        found = aws.client("emr").describe_cluster(ClusterId=cluster)["Cluster"]
        if found["Status"]["State"] in states:
            return found
        time.sleep(0.02)
    raise AssertionError(f"{cluster} is {found['Status']}, not {states}")


def wait_step(aws, cluster, step_id):
    deadline = time.time() + 20
    while time.time() < deadline:
        status = aws.client("emr").describe_step(ClusterId=cluster, StepId=step_id)["Step"]["Status"]
        if status["State"] not in ("PENDING", "RUNNING", "CANCEL_PENDING"):
            return status
        time.sleep(0.02)
    raise AssertionError(status)


# What is wrong, and where.
BROKEN = {
    "required": ("emr", "run_job_flow", job_flow() | {"Instances": {"InstanceGroups": [{"InstanceType": "m5.xlarge", "InstanceCount": 1}]}}, "InstanceRole: required"),
    "enum": ("emr", "run_job_flow", job_flow(instances={"InstanceGroups": [{"InstanceRole": "BOSS", "InstanceType": "m5.xlarge", "InstanceCount": 1}]}), "'BOSS' is none of MASTER"),
    "pattern": ("emr", "run_job_flow", job_flow(Name="bell \x07"), "does not match"),
    "length": ("emr", "run_job_flow", job_flow(Name="n" * 257), "length 257 is above 256"),
    "type": ("emr", "run_job_flow", job_flow(StepConcurrencyLevel="one"), "is no number"),
    "unknown": ("emr", "run_job_flow", job_flow(Nmae="x"), "Nmae: no such member"),
    "query length": ("iam", "create_role", {"RoleName": "r" * 65, "AssumeRolePolicyDocument": TRUST["ec2"]}, "length 65 is above 64"),
    "query pattern": ("iam", "create_role", {"RoleName": "a role", "AssumeRolePolicyDocument": TRUST["ec2"]}, "does not match"),
    "query required": ("ec2", "create_security_group", {"GroupName": "x"}, "Description: required"),
    "query enum": ("ec2", "import_key_pair", {"KeyName": "x", "PublicKeyMaterial": b"x", "TagSpecifications": [{"ResourceType": "keys", "Tags": []}]}, "'keys' is none of"),
    "header enum": ("s3", "put_object", {"Bucket": "cluster", "Key": "x", "StorageClass": "COLD"}, "'COLD' is none of"),
    "xml enum": ("s3", "put_bucket_versioning", {"Bucket": "cluster", "VersioningConfiguration": {"Status": "On"}}, "'On' is none of"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_request_is_refused(aws, what, monkeypatch):
    service, method, params, words = BROKEN[what]
    client = boto3.client(service, endpoint_url=aws.endpoint, region_name=aws.region, aws_access_key_id="test", aws_secret_access_key="test",
                          config=Config(parameter_validation=False, retries={"total_max_attempts": 1}))
    if what == "unknown":
        # A serializer leaves out what its model lacks: sent as it is.
        body, params = json.dumps(params).encode(), job_flow()
        client.meta.events.register("before-call.emr.RunJobFlow", lambda params, **_: params.update(body=body))
    aws.refused.clear()
    with pytest.raises(ClientError):
        getattr(client, method)(**params)
    assert any(words in line for line in aws.refused), aws.refused
    # It is the validation that refuses: without, the request gets through to the service.
    before = len(aws.refused)
    monkeypatch.setattr(validate, "problems", lambda *_, **__: [])
    try:
        getattr(client, method)(**params)
    except ClientError:
        pass
    assert len(aws.refused) == before
    aws.refused.clear()


def test_what_only_emr_refuses(aws):
    emr = aws.client("emr")
    for change, words in (
        ({"ReleaseLabel": "emr-9.9.9"}, "release label is invalid"),
        ({"JobFlowRole": "nobody"}, "Invalid InstanceProfile"),
        ({"ServiceRole": "node"}, "ServiceRole"),
        ({"AutoTerminationPolicy": {"IdleTimeout": 5}}, "IdleTimeout"),
        ({"Steps": [step("x" * 6000, "x" * 6000)]}, "exceeds 10240"),
        ({"Steps": [step("true")] * 257}, "256"),
        ({"SecurityConfiguration": "none"}, "does not exist"),
        ({"instances": {"InstanceFleets": [{"InstanceFleetType": "MASTER", "TargetOnDemandCapacity": 1}]}}, "mutually exclusive"),
    ):
        with pytest.raises(ClientError, match=words):
            emr.run_job_flow(**job_flow(**change))
    for call in (lambda: emr.describe_cluster(ClusterId="j-NONE"), lambda: emr.list_steps(ClusterId="j-NONE")):
        with pytest.raises(ClientError, match="is not valid"):
            call()
    # Found out later.
    for instances, words in (({"Ec2KeyName": "none"}, "key pair none"), ({"Ec2SubnetId": "subnet-none"}, "subnet-none")):
        cluster = emr.run_job_flow(**job_flow(instances=instances))["JobFlowId"]
        status = wait(aws, cluster, "TERMINATED_WITH_ERRORS")["Status"]
        assert status["StateChangeReason"]["Code"] == "VALIDATION_ERROR" and words in status["StateChangeReason"]["Message"]


@NODES
def test_a_node_exists(aws):
    """sshd with the key pair's key, bash as hadoop with the role's credentials, logs in EMR's places."""
    emr, s3 = aws.client("emr"), aws.client("s3")
    s3.put_object(Bucket="cluster", Key="b.sh", Body=b"#!/bin/bash\necho \"$(whoami) $1\" > /mnt/mark\n")
    cluster = emr.run_job_flow(**job_flow(
        BootstrapActions=[{"Name": "b", "ScriptBootstrapAction": {"Path": "s3://cluster/b.sh", "Args": ["one"]}}],
        Steps=[step("bash", "-c", "cat /mnt/mark; echo oops >&2; exit 4")]))["JobFlowId"]
    found = wait(aws, cluster, "WAITING")
    (ran,) = emr.list_steps(ClusterId=cluster)["Steps"]
    assert ran["Status"]["State"] == "FAILED" and ran["Status"]["FailureDetails"]["LogFile"].endswith(f"{ran['Id']}/stderr.gz")
    logs = {}
    for item in s3.list_objects_v2(Bucket="cluster", Prefix=f"logs/{cluster}/")["Contents"]:
        logs[item["Key"].removeprefix(f"logs/{cluster}/")] = gzip.decompress(s3.get_object(Bucket="cluster", Key=item["Key"])["Body"].read()).decode()
    assert logs[f"steps/{ran['Id']}/stdout.gz"] == "hadoop one\n" and logs[f"steps/{ran['Id']}/stderr.gz"] == "oops\n"
    assert "exit code 4" in logs[f"steps/{ran['Id']}/controller.gz"]
    assert any(name.startswith("node/i-") and name.endswith("bootstrap-actions/1/stderr.gz") for name in logs)
    ssh = ["ssh", "-p", str(node.SSH_PORT), "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes", f"hadoop@{found['MasterPublicDnsName']}"]
    remote = "whoami; sudo tail -n 1 /mnt/mark; ls /mnt; ls /home"
    assert subprocess.run([*ssh[:1], "-i", aws.ssh_key, *ssh[1:], remote], capture_output=True, text=True).stdout.split() == ["hadoop", "hadoop", "one", "mark", "var", "hadoop"]
    refused = subprocess.run([*ssh, "true"], capture_output=True, text=True, env={"HOME": "/nonexistent", "PATH": os.environ["PATH"]})
    assert refused.returncode == 255 and "Permission denied" in refused.stderr
    emr.terminate_job_flows(JobFlowIds=[cluster])
    assert wait(aws, cluster, "TERMINATED")["Status"]["StateChangeReason"]["Code"] == "USER_REQUEST"
    assert subprocess.run([*ssh, "true"], capture_output=True).returncode == 255


@NODES
def test_steps_are_cancelled_and_end_clusters(aws):
    emr = aws.client("emr")
    cluster = emr.run_job_flow(**job_flow())["JobFlowId"]
    wait(aws, cluster, "WAITING")
    ids = emr.add_job_flow_steps(JobFlowId=cluster, Steps=[step("sleep", "60"), step("true"), step("true")])["StepIds"]
    assert [s["Id"] for s in emr.list_steps(ClusterId=cluster)["Steps"]] == ids[::-1]
    wait(aws, cluster, "RUNNING")
    info = emr.cancel_steps(ClusterId=cluster, StepIds=ids[:2])["CancelStepsInfoList"]
    assert [i["Status"] for i in info] == ["SUBMITTED", "SUBMITTED"]
    assert [wait_step(aws, cluster, i)["State"] for i in ids] == ["CANCELLED", "CANCELLED", "COMPLETED"]
    assert emr.cancel_steps(ClusterId=cluster, StepIds=ids[2:])["CancelStepsInfoList"][0]["Status"] == "FAILED"
    emr.set_termination_protection(JobFlowIds=[cluster], TerminationProtected=True)
    with pytest.raises(ClientError, match="termination protected"):
        emr.terminate_job_flows(JobFlowIds=[cluster])
    # What is protected outlives a step that fails.
    (failed,) = emr.add_job_flow_steps(JobFlowId=cluster, Steps=[step("false", ActionOnFailure="TERMINATE_CLUSTER")])["StepIds"]
    assert wait_step(aws, cluster, failed)["State"] == "FAILED"
    assert wait(aws, cluster, "WAITING")
    emr.set_termination_protection(JobFlowIds=[cluster], TerminationProtected=False)
    (last,) = emr.add_job_flow_steps(JobFlowId=cluster, Steps=[step("false", ActionOnFailure="TERMINATE_CLUSTER")])["StepIds"]
    status = wait(aws, cluster, "TERMINATED_WITH_ERRORS")["Status"]
    assert status["StateChangeReason"]["Code"] == "STEP_FAILURE"
    with pytest.raises(ClientError, match="may not be modified"):
        emr.add_job_flow_steps(JobFlowId=cluster, Steps=[step("true")])


@NODES
def test_a_cancelled_step_is_one_process(aws):
    """Source: https://docs.aws.amazon.com/emr/latest/ManagementGuide/emr-cancel-steps.html"""
    emr = aws.client("emr")
    cluster = emr.run_job_flow(**job_flow())["JobFlowId"]
    wait(aws, cluster, "WAITING")
    (asked,) = emr.add_job_flow_steps(JobFlowId=cluster, Steps=[step("sh", "-c", "trap 'exit 3' TERM; sleep 61 & touch /tmp/up; wait")])["StepIds"]
    primary = aws.emr.clusters[cluster].node

    def children():
        return [pid for pid in primary.running(b"sleep") if b"61" in Path(f"/proc/{pid}/cmdline").read_bytes()]

    soon(primary.path("/tmp/up").exists)
    emr.cancel_steps(ClusterId=cluster, StepIds=[asked])
    assert wait_step(aws, cluster, asked)["State"] == "CANCELLED"
    assert children(), "its child was signalled too"
    emr.terminate_job_flows(JobFlowIds=[cluster])


@NODES
def test_the_script_runner_is_fetched_with_the_nodes_role(aws):
    emr = aws.client("emr")
    cluster = emr.run_job_flow(**job_flow())["JobFlowId"]
    wait(aws, cluster, "WAITING")
    jar = {"Jar": f"s3://{aws.region}.elasticmapreduce/libs/script-runner/script-runner.jar", "Args": ["s3://cluster/x.sh"]}
    (runner,) = emr.add_job_flow_steps(JobFlowId=cluster, Steps=[step(HadoopJarStep=jar)])["StepIds"]
    assert wait_step(aws, cluster, runner)["State"] == "FAILED"
    assert "Forbidden" in aws.emr.clusters[cluster].node.path(f"/mnt/var/log/hadoop/steps/{runner}/controller").read_text()
    emr.terminate_job_flows(JobFlowIds=[cluster])


@NODES
def test_a_step_is_cancelled_before_its_process_is_there(aws, monkeypatch):
    """It runs as of when EMR says so, and its process comes a moment later: a cancellation in between is not lost."""
    emr = aws.client("emr")
    cluster = emr.run_job_flow(**job_flow())["JobFlowId"]
    wait(aws, cluster, "WAITING")
    cancelled, popen = threading.Event(), node.Node.popen

    def late(*args, **kwargs):
        assert cancelled.wait(20)
        return popen(*args, **kwargs)

    monkeypatch.setattr(node.Node, "popen", late)
    (slow,) = emr.add_job_flow_steps(JobFlowId=cluster, Steps=[step("sleep", "60")])["StepIds"]
    wait(aws, cluster, "RUNNING")
    assert emr.cancel_steps(ClusterId=cluster, StepIds=[slow])["CancelStepsInfoList"][0]["Status"] == "SUBMITTED"
    assert emr.describe_step(ClusterId=cluster, StepId=slow)["Step"]["Status"]["State"] == "CANCEL_PENDING"
    cancelled.set()
    assert wait_step(aws, cluster, slow)["State"] == "CANCELLED"


@NODES
def test_clusters_end_by_themselves(aws):
    """When the last step is done, when told to; and when idle, unless the node says that it is busy."""
    emr = aws.client("emr")
    once = emr.run_job_flow(**job_flow(instances={"KeepJobFlowAliveWhenNoSteps": False}, Steps=[step("true")]))["JobFlowId"]
    assert wait(aws, once, "TERMINATED")["Status"]["StateChangeReason"]["Code"] == "ALL_STEPS_COMPLETED"
    # A minute is 0.6 seconds here. A native step is no activity; touching isbusy is.
    idle = {"AutoTerminationPolicy": {"IdleTimeout": 60}}
    lazy = emr.run_job_flow(**job_flow(**idle, Steps=[step("sleep", "60")]))["JobFlowId"]
    busy = emr.run_job_flow(**job_flow(**idle, Steps=[step("bash", "-c", "for i in $(seq 15); do touch /emr/metricscollector/isbusy; sleep 0.1; done")]))["JobFlowId"]
    assert "idle" in wait(aws, lazy, "TERMINATED")["Status"]["StateChangeReason"]["Message"]
    assert emr.list_steps(ClusterId=lazy)["Steps"][0]["Status"]["State"] == "INTERRUPTED"
    wait(aws, busy, "TERMINATED")
    assert emr.list_steps(ClusterId=busy)["Steps"][0]["Status"]["State"] == "COMPLETED"


def test_lists_have_pages_and_regions_are_apart(aws):
    emr = aws.client("emr")
    aws.emr.stop()
    # Lists look at the time of creation: nothing need ever start.
    aws.emr.pace["start"] = 60
    made = {emr.run_job_flow(**job_flow())["JobFlowId"] for _ in range(52)}
    first = emr.list_clusters()
    assert len(first["Clusters"]) == 50 and first["Marker"]
    listed = {c["Id"] for page in emr.get_paginator("list_clusters").paginate() for c in page["Clusters"]}
    assert listed == made
    assert aws.client("emr", "us-east-1").list_clusters()["Clusters"] == []
    with pytest.raises(ClientError, match="is not valid"):
        aws.client("emr", "us-east-1").describe_cluster(ClusterId=made.pop())
    aws.emr.stop()
    aws.emr.pace["start"] = 0.1


def test_faults_and_the_log(aws):
    calm = Config(retries={"total_max_attempts": 1})
    emr = boto3.client("emr", endpoint_url=aws.endpoint, region_name=aws.region, aws_access_key_id="AKIAFAULT", aws_secret_access_key="x", config=calm)
    for mode, error in (("throttle", "ThrottlingException"), ("error", "InternalFailure"), ("deny", "AccessDeniedException"), ("drop_before", "onnection"), ("drop_after", "onnection")):
        aws.faults[:] = [Fault("elasticmapreduce:List*", mode, key="AKIAFAULT", times=1)]
        with pytest.raises(Exception, match=error):
            emr.list_clusters()
        assert aws.log[-1]["fault"] == mode and aws.calls[-1] == "elasticmapreduce:ListClusters"
        emr.list_clusters()
    aws.faults.clear()


AS_SOMEBODY = """
import sys, tempfile
sys.path.insert(0, sys.argv[1])
from emulator.node import Node, available
assert available() is None, available()
node = Node(tempfile.mkdtemp() + "/j", "i-1", "", {})
process = node.popen(["bash", "-c", "whoami; touch /mnt/mine; ls /mnt"], "/", "/mnt/out", "/mnt/err")
assert process.wait() == 0
print(node.path("/mnt/out").read_text().split())
node.stop()
"""


@pytest.mark.slow
@NODES
@pytest.mark.skipif(os.getuid() != 0, reason="all other tests run as an ordinary user already")
def test_ordinary_users_have_nodes_too(tmp_path):
    as_nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
    here = Path(__file__).resolve().parent
    if subprocess.run([*as_nobody, sys.executable, "-c", f"import moto; open({str(here / 'conftest.py')!r})"], capture_output=True).returncode:
        pytest.skip("others may not read this checkout or its Python")
    tmp_path.chmod(0o777)
    done = subprocess.run([*as_nobody, sys.executable, "-B", "-c", AS_SOMEBODY, here], capture_output=True, text=True, timeout=60,
                          env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "TMPDIR": "/tmp"})
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "['hadoop', 'err', 'mine', 'out', 'var']"
