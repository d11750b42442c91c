"""What several people, machines and nightly jobs share: a cluster that one ends and another uses, places that each has named, a
bucket that somebody wants to delete, rules that nobody needs any more."""

import json
import os
import pty
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from conftest import command, fruitctl, soon
from emulator import Emulator, Fault
from hands import publish, run_of
from stack import ACCOUNT, settle
from test_hands import ALONE, asleep_at, living, people, wake


@pytest.fixture(scope="module")
def aws():
    with Emulator(nodes=False, start=0.05, bootstrap=0.01, terminate=0.02, propagation=0, idle=1e3) as aws:
        yield aws


@pytest.fixture(autouse=True)
def clean(aws):
    yield
    settle(aws)
    aws.emr.job = lambda step: (0, b"")


RUN = ["run", "--executable", "job", "--no-ssh"]


def apart(aws, folder, name, more=""):
    """Two people whose runs have outputs of their own."""
    both = people(aws, folder, name)
    for number, project in enumerate(both):
        project.configure(f"{ALONE}{more}[job]\noutput = \"s3://fruitctl-{name}-{ACCOUNT}-{aws.region}/output/{number}\"\n")
    return both


def until(signal, seconds):
    """A job that takes so long, unless it is told to end."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if signal():
            return 143, b""
        time.sleep(0.01)
    return 0, b""


def ended(process):
    """Its exit code, and what it said."""
    said = process.communicate(timeout=60)[1]
    assert "panicked" not in said, said
    return process.returncode, said


def test_a_cluster_does_not_end_under_a_step_that_it_is_just_given(aws, tmp_path):
    ana, ben = apart(aws, tmp_path, "handover")
    ana.run("up", "--wait")
    aws.emr.job = lambda step: until(lambda: step.signal, 0 if "/output/0" in str(step.spec) else 2.5)
    aws.faults.append(Fault("elasticmapreduce:TerminateJobFlows", "delay", seconds=1.5, times=1, key=ana.key))
    hers = ana.start(*RUN)
    soon(lambda: ana.calls()["elasticmapreduce:TerminateJobFlows"])
    code, said = ended(ben.start(*RUN))
    # That it wrote nothing is what is wrong with it, and all that is.
    assert code == 6 and "wrote no results" in said or "incomplete" in said, said
    (his,) = [step for cluster in aws.emr.clusters.values() for step in cluster.steps if "/output/1" in str(step.spec)]
    assert his.state == "COMPLETED"
    assert ended(hers)[0] == 6
    ana.run("down", "--purge-bucket")


def test_roles_stay_while_a_cluster_is_asked_for(aws, tmp_path):
    ana, ben = apart(aws, tmp_path, "begins")
    ana.run("up", "--no-cluster")
    aws.emr.job = lambda step: until(lambda: step.signal, 1)
    aws.faults.append(Fault("elasticmapreduce:RunJobFlow", "delay", seconds=1, times=1, key=ana.key))
    hers = ana.start(*RUN, "--one-shot")
    soon(lambda: ana.calls()["elasticmapreduce:RunJobFlow"])
    told = ben.run("down", "--lock-wait", "1000", code=5).stderr
    assert "was made while this command waited; nothing was deleted" in told, told
    code, said = ended(hers)
    assert code == 6 and "has ended" in said, said
    assert len(ben.exists()["role"]) == 2
    ana.run("down", "--purge-bucket")


def test_who_slept_takes_nobodys_results_for_his(aws, tmp_path):
    """Her step has ended when she sleeps; another's run over the same output is through when she wakes."""
    ana, ben = people(aws, tmp_path, "results")
    for project in (ana, ben):
        project.env["FRUITCTL_LEASE_PACE"] = "0.01"
    wrote = {}

    def job(step):
        wrote[run_of(step)], said = publish(aws.client("s3"), step)
        return 0, said

    aws.emr.job = job
    ana.run("up", "--wait")
    process = asleep_at(aws, ana, "elasticmapreduce:TerminateJobFlows", *RUN)
    ben.run(*RUN, "--lock-wait", "1000")
    code, said = wake(process)
    assert code == 8 and "whose results are in s3://" in said and "was lost: " in said, (code, said)
    runs = json.loads(ben.run("runs", "--json").stdout)
    assert {run["id"]: run["results"] for run in runs} == wrote and {run["state"] for run in runs} == {"done"}, runs
    ana.run("down", "--purge-bucket")


def granted(aws, project):
    """Resources of the policies that the nodes' role has."""
    iam, role = aws.client("iam"), f"fruitctl-{project.name}-{aws.region}-node"
    names = iam.list_role_policies(RoleName=role)["PolicyNames"]
    documents = [iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"] for name in names]
    return json.dumps([statement["Resource"] for document in documents for statement in document["Statement"]])


def test_places_add_up_and_others_are_refused(aws, tmp_path):
    ana, ben = people(aws, tmp_path, "places")
    s3 = aws.client("s3")
    for bucket in ("plums", "pears", "figs"):
        s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": aws.region})
        s3.put_object(Bucket=bucket, Key="in/Fig/1.jpg", Body=b"no picture")
    ana.configure(ALONE + "[job]\ninput = \"s3://plums/in\"\n")
    ben.configure(ALONE + "[places]\nread = [\"s3://pears/in\"]\nwrite = [\"s3://pears/out\"]\n")
    ana.run("up", "--wait")
    told = ben.run("up").stdout
    assert "places or keys that this fruitctl.toml does not name" in told and "s3://plums/in (read): fruitctl-place-" in told, told
    assert all(place in granted(aws, ana) for place in ("plums/in/*", "pears/in/*", "pears/out/*"))
    # Nor does a run take anything away; and nothing differs for either.
    ben.run(*RUN, "--input", "s3://pears/in/Fig", "--output", "s3://pears/out/1", "--keep", code=6)
    for project in (ana, ben):
        project.run("plan", "--detailed-exitcode")
    since = len(aws.log)
    told = ben.run(*RUN, "--input", "s3://figs/in", code=2).stderr
    assert "the nodes may not read s3://figs/in (--input)" in told and 'read = ["s3://pears/in", "s3://figs/in"]' in told, told
    told = ben.run(*RUN, "--input", "s3://pears/in", "--output", "s3://pears/in", code=2).stderr
    assert "the nodes may not write to s3://pears/in (--output)" in told, told
    told = ben.run(*RUN, "--input", "s3://pears/in", "--model", "s3://figs/models/m.onnx", code=2).stderr
    assert 'read = ["s3://pears/in", "s3://figs/models"]' in told, told
    assert not {"iam:PutRolePolicy", "elasticmapreduce:AddJobFlowSteps", "elasticmapreduce:RunJobFlow"} & ben.calls(since).keys()
    # With the line, it goes.
    ben.configure(ALONE + "[places]\nread = [\"s3://pears/in\", \"s3://figs/in\"]\n")
    ben.run(*RUN, "--input", "s3://figs/in", "--keep", code=6)
    assert "figs/in/*" in granted(aws, ana) and "plums/in/*" in granted(aws, ana)
    ana.run("down", "--purge-bucket")


def type_at(project, *words, typed):
    """Runs a command with a terminal at which somebody types; (exit code, what it said)."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(command("fruitctl", *words), cwd=project.folder, env=project.env, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    os.write(ours, typed.encode())
    said = process.communicate(timeout=60)[0].decode()
    os.close(ours)
    os.close(theirs)
    return process.returncode, said


def test_a_bucket_is_purged_when_its_project_is_named(aws, tmp_path):
    """And whose work and results go with it is said before."""
    ana, ben = apart(aws, tmp_path, "purge")
    ana.run("up", "--wait")
    aws.emr.job = lambda step: until(lambda: step.signal, 60)
    hers = ana.start(*RUN)
    soon(lambda: any(step.state == "RUNNING" for cluster in living(aws, "purge") for step in cluster.steps))
    (cluster,) = living(aws, "purge")
    words = ["down", "--purge-bucket"]
    told = fruitctl(*words, cwd=ben.folder, env=ben.env, code=2, stdin=subprocess.DEVNULL).stderr
    assert f"cluster {cluster.id} of arn:aws:" in told and f"has work to do: {cluster.steps[0].id} (fruitctl run " in told, told
    assert "is at work on s3://" in told and "nobody is at a terminal" in told and "--purge-bucket --yes" in told, told
    assert "the history of 1 run goes with the bucket" in ben.run("down", "--purge-bucket", "--dry-run").stderr
    code, told = type_at(ben, *words, typed="plums\n")
    assert code == 2 and "type the project's name, purge, to delete bucket" in told and "'plums' is not the project's name; nothing was deleted" in told, told
    assert cluster.lives() and ben.exists()["bucket"]
    # Without the bucket, it says whose work ends and does as it is told.
    code, told = type_at(ben, *words, "--lock-wait", "1000", typed="purge\n")
    assert code == 0 and ben.exists() == {}, told
    assert ended(hers)[0] in (5, 6, 9)
    # Where there is no bucket, there is nothing to ask.
    fruitctl(*words, cwd=ben.folder, env=ben.env, stdin=subprocess.DEVNULL)
    assert "required arguments were not provided" in ben.run("down", "--yes", code=2).stderr


def test_a_cluster_that_stands_is_used_whatever_is_configured(aws, tmp_path):
    (ana,) = people(aws, tmp_path, "stands", 1)
    ana.run("up", "--wait")
    (cluster,) = living(aws, "stands")
    ana.configure(ALONE.replace("m5.xlarge", "m6g.2xlarge"))
    said = ana.run("run", "--executable", "/bin/true", "--no-ssh", "--keep", code=6).stderr
    assert f"cluster {cluster.id} is used as it stands" in said and "primary nodes m5.xlarge -> m6g.2xlarge; fruitctl up changes it" in said, said
    assert len(cluster.steps) == 1 and living(aws, "stands") == [cluster]
    # One of its own is another matter.
    assert "m6g.2xlarge is aarch64" in ana.run("run", "--executable", "/bin/true", "--one-shot", code=2).stderr
    ana.run("down", "--purge-bucket")


def test_prune_leaves_what_anothers_run_may_read(aws, tmp_path):
    ana, ben = apart(aws, tmp_path, "pruned")
    ana.run("up", "--wait")
    (bucket,) = ana.exists()["bucket"]
    s3 = aws.client("s3")
    s3.put_object(Bucket=bucket, Key="jobs/0123456789abcdef/fruitjob", Body=b"of long ago")
    from moto.s3 import s3_backends
    from datetime import datetime
    s3_backends[ACCOUNT]["aws"].buckets[bucket].keys["jobs/0123456789abcdef/fruitjob"].last_modified = datetime(2026, 1, 1)
    working = threading.Event()
    aws.emr.job = lambda step: until(lambda: step.signal or working.is_set(), 60)
    hers = ana.start(*RUN, "--keep")
    soon(lambda: ana.calls()["elasticmapreduce:AddJobFlowSteps"])
    said = ben.run("prune")
    assert "is at 'fruitctl run': PCAs and what was shipped stay" in said.stderr and "nothing to prune" in said.stdout, said
    # Its command may be gone, and its step at work.
    hers.kill()
    hers.communicate()
    said = ben.run("prune")
    assert "is at work: PCAs and what was shipped stay" in said.stderr, said
    working.set()
    soon(lambda: all(step.ended for cluster in living(aws, "pruned") for step in cluster.steps))
    assert "deleted what was shipped for runs of long ago: 1 object" in ben.run("prune").stdout
    ana.run("down", "--purge-bucket")


def test_sweep_closes_doors_that_have_expired(aws, tmp_path):
    (ana,) = people(aws, tmp_path, "expired", 1)
    ana.run("up", "--no-cluster", "--ssh-cidr", "203.0.113.7")
    ec2 = aws.client("ec2")
    (group,) = ec2.describe_security_groups(Filters=[{"Name": "group-name", "Values": ["fruitctl-expired-primary"]}])["SecurityGroups"]
    for cidr, about in (("203.0.113.9/32", "SSH for fruitctl: user/ben, k, 2026-01-01"), ("198.51.100.0/24", "the office")):
        rule = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": cidr, "Description": about}]}
        ec2.authorize_security_group_ingress(GroupId=group["GroupId"], IpPermissions=[rule])

    def open_to():
        (found,) = ec2.describe_security_groups(GroupIds=[group["GroupId"]])["SecurityGroups"]
        return sorted(r["CidrIp"] for rule in found["IpPermissions"] if rule.get("FromPort") == 22 for r in rule["IpRanges"])

    assert "would close SSH from 203.0.113.9/32" in ana.run("sweep", "--dry-run").stderr
    aws.faults.append(Fault("ec2:RevokeSecurityGroupIngress", "deny", times=1, key=ana.key))
    assert "rules for SSH that have expired stay" in ana.run("sweep", "--project", "expired").stderr
    assert open_to() == ["198.51.100.0/24", "203.0.113.7/32", "203.0.113.9/32"]
    assert "closed SSH from 203.0.113.9/32 to fruitctl-expired-primary" in ana.run("sweep", "--project", "expired").stderr
    assert open_to() == ["198.51.100.0/24", "203.0.113.7/32"]
    ana.run("down", "--purge-bucket")


class Heard(BaseHTTPRequestHandler):
    texts, status = [], 200

    def do_POST(self):
        self.texts.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(self.status)
        self.end_headers()

    def log_message(self, *_):
        pass


def test_a_run_that_fails_tells_somebody(tmp_path):
    with HTTPServer(("127.0.0.1", 0), Heard) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/secret"
        environment = os.environ | {"FRUITCTL_WEBHOOK": address}
        words = ["run", "-i", tmp_path / "nowhere", "-o", tmp_path / "out"]
        assert "warning" not in fruitctl(*words, code=2, env=environment).stderr
        (told,) = Heard.texts
        assert told.keys() == {"text"} and "nowhere: not found" in told["text"] and "exit code 2" in told["text"], told
        # Who cannot be told takes nothing away, and the address is a secret.
        Heard.status = 500
        said = fruitctl(*words, code=2, env=environment).stderr
        assert "warning: FRUITCTL_WEBHOOK was not told of this: " in said and "secret" not in said and str(server.server_port) not in said, said
        server.shutdown()
    assert len(Heard.texts) == 2
