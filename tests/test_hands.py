"""A project that several people, machines and nightly jobs use at once: nobody ends another's work, and who slept finds out."""

import json
import os
import signal
import subprocess
import time

import pytest
from conftest import command, soon
from emulator import Emulator, Fault
from stack import Project, settle

# Short-lived locks: two and a half seconds.
LEASE = 120 * 0.02
ALONE = "[cluster.primary]\ntypes = [\"m5.xlarge\"]\n[cluster.core]\ncount = 0\n"


@pytest.fixture(scope="module")
def aws():
    with Emulator(nodes=False, start=0.1, bootstrap=0.01, terminate=0.02, propagation=0, idle=1) as aws:
        yield aws


@pytest.fixture(autouse=True)
def clean(aws):
    yield
    settle(aws)


def people(aws, folder, name, count=2):
    """Several, each with an identity and a data directory of their own, on one project."""
    projects = []
    for number in range(count):
        (folder / f"of-{number}").mkdir()
        project = Project(aws, folder / f"of-{number}", name, more=ALONE)
        project.key = f"AKIA{name.upper()}{number}"
        project.env |= {"AWS_ACCESS_KEY_ID": project.key, "USER": f"user{number}", "FRUITCTL_LEASE_PACE": "0.02"}
        (project.folder / "job").write_text("#!/bin/sh\n")
        projects.append(project)
    return projects


def asleep_at(aws, project, call, *args):
    """Starts a command and stops its process while it waits for the answer to this call."""
    project.seed(args)
    aws.faults.append(Fault(call, "delay", seconds=0.5, times=1, key=project.key))
    since = len(aws.log)
    process = project.start(*args)
    while not project.calls(since)[call]:
        assert process.poll() is None, process.communicate()
        time.sleep(0.002)
    process.send_signal(signal.SIGSTOP)
    return process


def wake(process):
    """Its exit code, and what it said."""
    process.send_signal(signal.SIGCONT)
    stderr = process.communicate(timeout=60)[1]
    assert "panicked" not in stderr, stderr
    return process.returncode, stderr


def check_complete(project):
    """Exactly one of each; key pairs are people's own."""
    found = project.exists()
    counts = {kind: len(names) for kind, names in found.items() if kind != "key pair"}
    assert counts == {"bucket": 1, "role": 2, "profile": 1, "group": 2, "configuration": 1, "cluster": 1}, found


def living(aws, name):
    return [c for c in aws.emr.clusters.values() if c.lives() and c.spec["Name"].startswith(f"fruitctl-{name}-")]


@pytest.mark.parametrize("call", ["iam:PutRolePolicy", "ec2:CreateSecurityGroup", "elasticmapreduce:ListClusters", "elasticmapreduce:RunJobFlow"])
def test_an_up_that_slept_makes_no_second_cluster(aws, tmp_path, call):
    ana, ben = people(aws, tmp_path, "sleepup")
    process = asleep_at(aws, ana, call, "up")
    ben.run("up", "--lock-wait", "1000")
    code, said = wake(process)
    assert code == 8 and "was lost: " in said and "fruitctl status" in said, (code, said)
    soon(lambda: len(living(aws, "sleepup")) == 1)
    check_complete(ben)
    ben.run("down", "--purge-bucket")
    assert ben.exists() == {}


# Before it has the lock, when it knows what there is to delete, and twice while it deletes.
@pytest.mark.parametrize("call", ["elasticmapreduce:DescribeCluster", "elasticmapreduce:TerminateJobFlows", "iam:DeleteRolePolicy"])
def test_a_down_that_slept_deletes_nothing_of_anothers(aws, tmp_path, call):
    ana, ben = people(aws, tmp_path, "sleepdown")
    ana.run("up", "--wait")
    process = asleep_at(aws, ana, call, "down")
    if call == "elasticmapreduce:DescribeCluster":
        ben.run("down")
    ben.run("up", "--wait", "--lock-wait", "1000")
    code, said = wake(process)
    if call == "elasticmapreduce:DescribeCluster":
        assert code == 5 and "was made while this command waited; nothing was deleted" in said, (code, said)
    else:
        assert code == 8 and "was lost: " in said, (code, said)
    check_complete(ben)
    assert len(living(aws, "sleepdown")) == 1
    ben.run("down", "--purge-bucket")


def test_a_run_that_slept_ends_its_own_cluster_alone(aws, tmp_path):
    ana, ben = people(aws, tmp_path, "sleeprun")
    aws.emr.pace["start"] = 1e6
    process = asleep_at(aws, ana, "elasticmapreduce:DescribeCluster", "run", "--executable", "job", "--one-shot")
    (hers,) = living(aws, "sleeprun")
    # Somebody takes the lock of its output away: its other one is over.
    (held,) = [line.split()[0] for line in ben.run("unlock").stdout.splitlines() if "an output" in line]
    ben.run("unlock", held)
    ben.run("up")
    time.sleep(LEASE)
    code, said = wake(process)
    assert code == 8 and "was lost: it was taken away" in said, (code, said)
    soon(lambda: not hers.lives())
    assert len(living(aws, "sleeprun")) == 1
    aws.emr.pace["start"] = 0.1
    ben.run("down", "--purge-bucket")


def test_a_sleep_that_nobody_used_costs_nothing(aws, tmp_path):
    ana, _ = people(aws, tmp_path, "nap")
    process = asleep_at(aws, ana, "iam:PutRolePolicy", "up")
    time.sleep(LEASE)
    code, said = wake(process)
    assert code == 0, said
    check_complete(ana)
    ana.run("down", "--purge-bucket")


def doors(aws, project):
    group = aws.client("ec2").describe_security_groups(Filters=[{"Name": "group-name", "Values": [f"fruitctl-{project.name}-primary"]}])["SecurityGroups"][0]
    return sorted(r["CidrIp"] for rule in group["IpPermissions"] if rule.get("FromPort") == 22 for r in rule["IpRanges"])


def test_a_door_is_whose_it_was_made_for(aws, tmp_path):
    """Neither a colleague nor a nightly job closes it; and whoever moves closes his own."""
    ana, ben, night = people(aws, tmp_path, "doors", 3)
    for project, user in ((ana, "ana"), (ben, "ben"), (night, "night")):
        project.env |= aws.user(f"doors-{user}", json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}))
    ana.run("up", "--ssh-cidr", "203.0.113.7")
    ben.run("up", "--ssh-cidr", "203.0.113.9")
    night.run("run", "--executable", "job", "--one-shot", "--ssh-cidr", "none", "--no-ssh", code=6)
    assert doors(aws, ana) == ["203.0.113.7/32", "203.0.113.9/32"]
    ana.run("up", "--ssh-cidr", "203.0.113.8")
    assert doors(aws, ana) == ["203.0.113.8/32", "203.0.113.9/32"]
    ben.run("up", "--ssh-cidr", "none")
    assert doors(aws, ana) == ["203.0.113.8/32"]
    ana.run("down", "--purge-bucket")


def test_before_there_is_a_bucket(aws, tmp_path):
    """Nothing to tell, and for a schedule nothing to fail for."""
    (ana,) = people(aws, tmp_path, "nobucket", 1)
    for words in (["prune"], ["runs"], ["unlock"], ["sweep"], ["status"]):
        ana.run(*words)
    for words in (["results"], ["logs"], ["clone", "2026"]):
        said = ana.run(*words, code=2).stderr
        assert "there is no run" in said and "NoSuchBucket" not in said, said


def test_nohup_and_a_second_signal(aws, tmp_path):
    """What whoever started us has us ignore stays ignored; and of two signals, the second ends the process."""
    (ana,) = people(aws, tmp_path, "nohup", 1)
    aws.emr.pace["start"] = 1e6
    process = subprocess.Popen(command("fruitctl", "up", "--wait"), cwd=ana.folder, env=ana.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                               preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    soon(lambda: living(aws, "nohup"))
    process.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.5)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 143
    # One that cleans up, and is told twice.
    aws.faults[:] = [Fault("elasticmapreduce:TerminateJobFlows", "delay", seconds=5, times=1, key=ana.key)]
    ana.seed(["run"])
    process = ana.start("run", "--executable", "job", "--one-shot")
    soon(lambda: len(living(aws, "nohup")) == 2)
    process.send_signal(signal.SIGTERM)
    soon(lambda: ana.calls()["elasticmapreduce:TerminateJobFlows"])
    process.send_signal(signal.SIGINT)
    assert process.wait(4) == 130
    aws.faults.clear()
    aws.emr.pace["start"] = 0.1
    ana.run("down", "--purge-bucket")


def test_a_result_that_cannot_be_written_is_no_success(aws, tmp_path):
    for words in (["version", "--json"], ["man"], ["completions", "bash"], ["schema", "config"]):
        with open("/dev/full", "w") as full:
            done = subprocess.run(command("fruitctl", *words), stdout=full, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
        assert done.returncode == 6 and "cannot write to stdout: " in done.stderr, (words, done)


def test_an_upload_takes_images_alone_and_compares_content(aws, tmp_path):
    (ana,) = people(aws, tmp_path, "upload", 1)
    fruits, s3 = tmp_path / "fruits" / "Fig", aws.client("s3")
    fruits.mkdir(parents=True)
    for name in ("a.jpg", "b.WEBP"):
        (fruits / name).write_bytes(b"first")
    (fruits / "id_rsa").write_text("a key")
    (fruits / "link.jpg").symlink_to(fruits / "a.jpg")
    (fruits.parent / "home").symlink_to("/root")
    said = json.loads((done := ana.run("upload", "--json", fruits.parent)).stdout)
    assert said["uploaded"] == 2 and "1 file passed over" in done.stderr and "2 links not followed" in done.stderr, done
    bucket = said["to"].split("/")[2]

    def keys():
        return sorted(o["Key"] for o in s3.list_objects_v2(Bucket=bucket, Prefix="input/")["Contents"])

    assert keys() == ["input/Fig/a.jpg", "input/Fig/b.WEBP"]
    # Of the same size, and older than what is there.
    (fruits / "a.jpg").write_bytes(b"other")
    os.utime(fruits / "a.jpg", (0, 0))
    assert json.loads(ana.run("upload", "--json", fruits.parent).stdout)["uploaded"] == 1
    assert s3.get_object(Bucket=bucket, Key="input/Fig/a.jpg")["Body"].read() == b"other"
    # Written again, and the same: nothing to do.
    (fruits / "a.jpg").write_bytes(b"other")
    assert json.loads(ana.run("upload", "--json", fruits.parent).stdout) | {"to": ""} == {"uploaded": 0, "unchanged": 2, "bytes": 0, "deleted": 0, "to": ""}
    (fruits / "b.WEBP").unlink()
    # What lies behind links that were not followed is not gone.
    assert "2 links that were not followed" in ana.run("upload", "--delete", fruits.parent, code=2).stderr
    (fruits / "link.jpg").unlink()
    (fruits.parent / "home").unlink()
    s3.put_object(Bucket=bucket, Key="input/notes.txt", Body=b"somebody's")
    assert f"would delete s3://{bucket}/input/Fig/b.WEBP" in ana.run("upload", "--dry-run", "--delete", fruits.parent).stdout
    assert json.loads(ana.run("upload", "--json", "--delete", fruits.parent).stdout)["deleted"] == 1
    assert keys() == ["input/Fig/a.jpg", "input/notes.txt"]
    # Two names that differ in a byte that is no UTF-8 would be one key.
    for byte in (b"\xe9", b"\xe8"):
        (fruits / os.fsdecode(b"caf" + byte + b".jpg")).write_bytes(b"first")
    assert "its name is no UTF-8" in ana.run("upload", fruits.parent, code=2).stderr
    ana.run("down", "--purge-bucket")


def test_a_company_s_bucket_keeps_what_it_is(aws, tmp_path):
    (ana,) = people(aws, tmp_path, "adopted", 1)
    s3, bucket = aws.client("s3"), "company-pictures"
    s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": aws.region})
    s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": [{"Key": "fruitctl:project", "Value": "adopted"}]})
    rules = [{"ID": "theirs", "Filter": {"Prefix": ""}, "Status": "Enabled", "Expiration": {"Days": 900}}]
    s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": rules})
    ana.configure(ALONE + f"[bucket]\nname = \"{bucket}\"\n")
    said = ana.run("up").stdout
    assert f"bucket {bucket} was not made by fruitctl, and keeps its settings; it could: block public access" in said, said
    assert "nothing to do" in ana.run("up").stdout
    assert s3.get_bucket_versioning(Bucket=bucket).get("Status") is None
    assert [r["ID"] for r in s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]] == ["theirs"]
    for key in ("reports/2026.pdf", "input/Fig/1.jpg", "output/results/_SUCCESS", "logs/j-1/x"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"theirs or ours")
    assert "was not made by fruitctl and stays" in ana.run("down").stdout
    assert len(s3.list_objects_v2(Bucket=bucket, Prefix="output/").get("Contents", [])) == 1
    ana.run("up")
    assert "was not made by fruitctl and stays" in ana.run("down", "--purge-bucket").stdout
    assert [o["Key"] for o in s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["input/Fig/1.jpg", "reports/2026.pdf"]
