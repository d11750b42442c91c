"""Runs on a cluster, from here to results: with the real fruitjob on an emulated node that reads and writes emulated S3."""

import gzip
import json
import re
import shutil
import signal
import subprocess
import threading
import time

import pytest
from conftest import LONG, ROOT, check_complete, digests, download, fruitctl, fruitjob, results, soon
from emulator import Emulator, Fault, node
from stack import ACTIVE, Project, Vpc

pytestmark = pytest.mark.skipif(node.available() is not None, reason=f"clusters have no nodes here: {node.available()}")

# Types for this machine's processors, and a cluster that ends soon when nobody wants it.
CLUSTER = "idle_minutes = 1\n[cluster.primary]\ntypes = [\"m5.xlarge\"]\n[cluster.core]\ncount = 0\n"

# Pace of idle minutes, and of the end of a cluster.
IDLE, TERMINATE = 0.2, 0.05


@pytest.fixture(scope="module")
def aws():
    with Emulator(start=0.05, bootstrap=0.02, terminate=TERMINATE, propagation=0, logs=0.3, idle=IDLE) as aws:
        yield aws


@pytest.fixture
def project(aws, tmp_path):
    project = Project(aws, tmp_path, "run", more=CLUSTER)
    yield project
    aws.faults.clear()
    aws.emr.failures.clear()
    aws.emr.pace |= {"idle": IDLE, "terminate": TERMINATE}
    if project.exists():
        project.run("down", "--purge-bucket", "--force-unlock", code=None)
    aws.emr.stop()
    assert not aws.refused, aws.refused


def script(project, text, name="job"):
    """An executable that stands in for fruitjob."""
    path = project.folder / name
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(0o755)
    return path


def host_key(aws, bucket, cluster):
    """Where its primary node has published its host key."""
    (key,) = [o["Key"] for o in aws.client("s3").list_objects_v2(Bucket=bucket, Prefix="hostkeys/")["Contents"] if o["Key"].endswith(f":{cluster.primary_id}.pub")]
    return key


def living(aws):
    return [c for c in aws.emr.clusters.values() if c.lives()]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures") / "fruits"
    fruitctl("samples", folder, "--classes", 10, "--per-class", 50)
    return folder


@pytest.mark.parametrize("one_shot", [False, True])
def test_from_pictures_to_results(aws, project, pictures, tmp_path, one_shot):
    """500 images; the same bytes as here; the report on disk; the cluster gone."""
    aws.emr.pace["idle"] = 1  # the cluster waits for us, however slow this machine is
    if not one_shot:
        project.run("up", "--wait")
    assert json.loads(project.run("upload", "--json", pictures).stdout)["uploaded"] == 500
    # Only what changed.
    shutil.copytree(pictures, tmp_path / "copy")
    shutil.copy(pictures / "Fig 1" / "0_100.jpg", tmp_path / "copy" / "Fig 1" / "new.jpg")
    assert "would upload" in project.run("upload", "--dry-run", tmp_path / "copy").stdout
    assert json.loads(project.run("upload", "--json", tmp_path / "copy").stdout) | {"bytes": 0, "to": ""} == {"uploaded": 1, "unchanged": 500, "deleted": 0, "bytes": 0, "to": ""}

    ran = project.run("run", "--download", "got")
    assert "501 images of 10 labels -> vectors" in ran.stdout and re.search(r"cost +\$0\.\d\d \(planned: \$0\.\d\d an hour; prices of [-\d]+\)", ran.stdout), ran.stdout
    assert "featurize 501 images featurized" in ran.stderr and "has ended" in ran.stdout
    bucket = project.exists()["bucket"][0]
    download(aws.client("s3"), f"s3://{bucket}/output", tmp_path / "out")
    assert check_complete(tmp_path / "out")["images"]["results"] == 501
    # Elsewhere, the folder is called otherwise; the pictures lie in it just so.
    fruitctl("run", "-i", tmp_path / "copy", "-o", tmp_path / "here")
    assert digests(tmp_path / "out") == digests(tmp_path / "here")
    assert "<html" in (project.folder / "got" / "report.html").read_text()[:300].lower()
    assert json.loads((project.folder / "got" / "run.json").read_text())["images"]["results"] == 501
    (cluster,) = aws.emr.clusters.values()
    assert cluster.state == "TERMINATED" and "no live logs" not in ran.stderr

    # Another night: nothing new but the labels, from a table of this machine's.
    names = [path.relative_to(tmp_path / "copy").as_posix() for path in (tmp_path / "copy").rglob("*.jpg")]
    (project.folder / "labels.csv").write_text("path,label\n" + "".join(f"{name},{'figs' if 'Fig' in name else 'others'}\n" for name in names))
    assert "0 featurized, 501 from the cache" in project.run("run", "--labels", "labels.csv").stdout
    record = json.loads(aws.client("s3").get_object(Bucket=bucket, Key="output/run.json")["Body"].read())
    assert [(each["label"], each["images"]) for each in record["labels"]] == [("figs", 51), ("others", 450)]
    runs = json.loads(project.run("runs", "--json").stdout)
    assert [(r["state"], r["images"], r["one_shot"]) for r in runs] == [("done", 501, True), ("done", 501, one_shot)]
    assert runs[0]["dollars"] > 0


LINES = 200_000


def count_lines(project, aws, disturb):
    """The step prints many lines; `disturb` hears how many tenths have been printed."""
    aws.emr.pace["terminate"] = 1  # the node is not gone before the command has heard that the step has ended
    # Each tenth when the last has been allowed: the disturbance decides how fast it goes.
    job = script(project, f"for t in $(seq 0 9); do seq -f 'line %.0f' $((t * {LINES // 10} + 1)) $(((t + 1) * {LINES // 10})); "
                          "touch /mnt/tenth-$t; while [ ! -e /mnt/go-$t ]; do sleep 0.01; done; done")
    process = project.start("run", "--executable", job, stdout=subprocess.PIPE)

    def drive():
        cluster = soon(lambda: next((c for c in aws.emr.clusters.values() if c.node), None))
        for tenth in range(10):
            soon(lambda: cluster.node.path(f"/mnt/tenth-{tenth}").exists())
            disturb(cluster.node, tenth)
            cluster.node.path(f"/mnt/go-{tenth}").touch()

    driver = threading.Thread(target=drive)
    driver.start()
    out, err = process.communicate(timeout=120)
    driver.join()
    assert process.returncode == 6, err
    lines = [line for line in out.splitlines() if line.startswith("line ")]
    assert len(lines) == LINES, (len(lines), err[-2000:])
    assert lines == [f"line {n}" for n in range(1, LINES + 1)]
    return err


@pytest.mark.slow
def test_every_line_arrives_once_over_broken_connections(aws, project):
    cut = []

    def disturb(node, tenth):
        soon(lambda: len(node.running(b"tail")) == 2, "stdout's and stderr's connection")
        if tenth % 2 == 0:
            cut.append(tenth)
            node.cut()

    # Its patience with a node that is away: three seconds.
    project.env["FRUITCTL_PACE"] = "0.05"

    err = count_lines(project, aws, disturb)
    assert len(cut) == 5, cut
    assert "no live logs" not in err


@pytest.mark.slow
def test_the_bucket_takes_over_from_ssh(aws, project):
    def read_from_the_bucket():
        return any(e["key"] == project.key and e["call"] == "s3:GetObject" for e in aws.log[since:])

    def disturb(node, tenth):
        nonlocal since
        if tenth == 4:
            soon(lambda: len(node.sshd()) > 1, "a connection")
            since = len(aws.log)
            node.cut(for_good=True)
            soon(read_from_the_bucket, "a look into the bucket")

    since = 0
    err = count_lines(project, aws, disturb)
    assert err.count("no live logs over SSH") == 1 and "from here on they come from the bucket" in err, err


@pytest.mark.parametrize("published", ["another", "none"])
def test_only_published_host_keys_are_believed(aws, project, published, tmp_path):
    """The run goes on, for its results are safe; but nobody is listened to who cannot prove to be the node."""
    project.run("up", "--wait")
    found, s3 = project.exists(), aws.client("s3")
    key = host_key(aws, found["bucket"][0], aws.emr.clusters[found["cluster"][0]])
    assert s3.get_object(Bucket=found["bucket"][0], Key=key)["Body"].read().startswith(b"ssh-ed25519 ")
    if published == "none":
        s3.delete_object(Bucket=found["bucket"][0], Key=key)
    else:
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "other"], check=True)
        s3.put_object(Bucket=found["bucket"][0], Key=key, Body=(tmp_path / "other.pub").read_bytes())
    done = project.run("run", "--executable", script(project, "echo hello; sleep 1; exit 3"), code=6)
    words = "wrong host key: the server's key" if published == "another" else "the node has published no host key"
    assert words in done.stderr, done.stderr
    assert done.stdout.count("hello") == 1


# name -> (script, exit code, words of the message)
FAILURES = {
    "exit 3": ("echo 'cannot find the pears' >&2; exit 3", 6, ["step s-", "the end of its stderr:", "    cannot find the pears"]),
    "signal 9": ("kill -9 $$", 6, ["it probably ran out of memory", "fruitjob was ended by signal 9", "larger instance type"]),
    "no disk": ("set -e; head -c 100000 /dev/zero > /dev/full", 6, ["the node's disk is full", "No space left on device", "raise ebs_gb"]),
    "too long": ("sleep 60", 7, ["it took longer than it may", "--max-duration"]),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_failed_steps_are_explained(aws, project, failure):
    text, code, words = FAILURES[failure]
    limit = ["--max-duration", "1s"] if failure == "too long" else []
    done = project.run("run", "--executable", script(project, text), *limit, code=code)
    for word in [*words, "left behind: cluster j-", "has ended", "all that it said: s3://"]:
        assert word in done.stderr, (word, done.stderr)
    assert living(aws) == []
    (run,) = json.loads(project.run("runs", "--json").stdout)
    assert run["state"] == "failed" and run["failure"]


def test_a_cluster_of_one_run_is_not_protected(aws, project):
    """It ends with its run, also when nobody is there to take the protection off."""
    project.configure("termination_protection = true\n" + CLUSTER)
    project.run("run", "--one-shot", "--executable", script(project, "exit 3"), code=6)
    (cluster,) = aws.emr.clusters.values()
    assert not cluster.spec["Instances"]["TerminationProtected"] and not cluster.lives()


def test_denied_input_is_explained(aws, project, pictures):
    project.run("up", "--wait")
    project.run("upload", pictures / "Fig 1", "--to", f"s3://{project.exists()['bucket'][0]}/input/Fig 1")
    (cluster,) = living(aws)
    aws.faults[:] = [Fault("s3:ListObjects*", "deny", key=cluster.credentials["AWS_ACCESS_KEY_ID"])]
    done = project.run("run", code=4)
    assert "the nodes' role may not do that" in done.stderr and "permission denied" in done.stderr, done.stderr


def test_clusters_that_do_not_start_are_explained(aws, project):
    """Applications that cannot be installed, with Puppet's errors; and a refusal that nobody knows, with where to look."""
    def fail(cluster):
        log = "2026-01-01 Puppet (notice): fine\n2026-01-01 Puppet (err): \x1b[31mSystemd start for hadoop-hdfs-namenode failed!\n"
        key = f"{cluster.id}/node/i-0ab/provision-node/apps-phase/0/a1b2/puppet.log.gz"
        bucket, prefix = cluster.spec["LogUri"].removeprefix("s3://").split("/", 1)
        aws.client("s3").put_object(Bucket=bucket, Key=prefix + key, Body=gzip.compress(log.encode()))
        cluster.terminate("BOOTSTRAP_FAILURE", "On the master instance (i-0ab), application provisioning failed")

    aws.emr.failures += [fail, ("VALIDATION_ERROR", "The moon is wrong\x1b[2J", [])]
    told = project.run("run", "--executable", script(project, "true"), code=6).stderr
    assert "could not install or start the applications (On the master instance (i-0ab), application provisioning failed)" in told, told
    assert "    2026-01-01 Puppet (err): Systemd start for hadoop-hdfs-namenode failed!\n" in told and "fine" not in told, told
    assert "/node/i-0ab/provision-node/" in told and "[cluster.configurations]" in told, told
    told = project.run("run", "--executable", script(project, "true"), code=6).stderr
    assert "(The moon is wrong)" in told and "\x1b" not in told and "doctor" not in told, told
    assert re.search(r"aws cloudtrail lookup-events --region eu-west-3 --start-time 20\S+Z .*'fruitctl-run-eu-west-3-service'", told), told
    assert living(aws) == []


def test_steps_that_never_begin_are_explained(aws, project, monkeypatch):
    """Its script may not be fetched: the aws of the node says so, or EMR's own log of the step."""
    project.run("up", "--wait")
    (cluster,) = living(aws)
    aws.faults[:] = [Fault("s3:GetObject", "deny", key=cluster.credentials["AWS_ACCESS_KEY_ID"])]
    run = ["run", "--keep", "--executable", script(project, "true")]
    told = project.run(*run, code=6).stderr
    assert "may not fetch the script or the executable" in told and "(403) when calling the HeadObject operation: Forbidden" in told, told
    assert "fruitctl plan" in told, told
    aws.faults.clear()

    def popen(*args, **kwargs):
        raise RuntimeError("Error fetching jar file s3://elsewhere/step.jar: \x1b[31mnot there")

    monkeypatch.setattr(node.Node, "popen", popen)
    told = project.run(*run, code=6).stderr
    assert "the end of EMR's log of it:" in told and "ERROR Error fetching jar file s3://elsewhere/step.jar: not there\n" in told, told
    assert "is not in the bucket" in told and "Unknown Error." in told, told


@pytest.mark.slow
def test_a_lost_cluster_is_explained(aws, project):
    """Terminated by somebody; its primary node taken back; no capacity; a bootstrap action that fails."""
    def lose(how):
        def strike():
            cluster = soon(lambda: next((c for c in living(aws) if c.state == "RUNNING"), None))
            time.sleep(0.2)
            how(cluster)

        striker = threading.Thread(target=strike)
        striker.start()
        done = project.run("run", "--executable", script(project, "sleep 30"), code=6)
        striker.join()
        assert living(aws) == []
        return done.stderr

    message = lose(lambda c: aws.client("emr").terminate_job_flows(JobFlowIds=[c.id]))
    assert "was stopped with its cluster" in message and "somebody terminated it" in message, message
    message = lose(lambda c: c.terminate("INSTANCE_FAILURE", "The master node was terminated"))
    assert "its primary node was lost" in message, message
    for zone in "abc":
        no_capacity = {"ErrorCode": "INTERNAL_ERROR_EC2_INSUFFICIENT_CAPACITY_AZ", "ErrorData": [{"availability-zone": f"eu-west-3{zone}", "instance-type": "m5.xlarge"}]}
        aws.emr.failures.append(("INTERNAL_ERROR", "No capacity", [no_capacity]))
    done = project.run("run", "--executable", script(project, "true"), code=6)
    assert "AWS has no such instances left in this availability zone" in done.stderr and "name more instance types" in done.stderr, done.stderr
    aws.emr.failures.append(("VALIDATION_ERROR", "You have requested more vCPU capacity than your current vCPU limit of 4 allows", []))
    done = project.run("run", "--executable", script(project, "true"), code=6)
    assert "servicequotas" in done.stderr, done.stderr
    project.configure(CLUSTER + "[[cluster.bootstrap]]\nscript = \"bad.sh\"\n")
    (project.folder / "bad.sh").write_text("#!/bin/bash\necho 'no pears' >&2; exit 1\n")
    done = project.run("run", "--executable", script(project, "true"), code=6)
    assert "bootstrap action 2 'bad.sh' failed on node i-" in done.stderr and "    no pears" in done.stderr, done.stderr
    assert living(aws) == []


def test_a_private_node_is_out_of_reach(aws, project):
    """Its name says nothing outside its VPC: the logs come from the bucket, and it is said why."""
    vpc = Vpc(aws)
    vpc.nat()
    project.configure(CLUSTER + f"[network]\nsubnets = {json.dumps(vpc.subnets)}\nssh_cidr = \"203.0.113.0/24\"\n")
    done = project.run("run", "--executable", script(project, "echo plums >&2; exit 3"), code=None)
    (cluster,) = aws.emr.clusters.values()
    assert re.fullmatch(r"ip-[\d-]+\.eu-west-3\.compute\.internal", cluster.host()) and living(aws) == []
    assert "its subnet is private" in done.stderr and "they come from the bucket" in done.stderr and "plums" in done.stderr, done.stderr


@pytest.mark.slow
def test_a_step_of_45_minutes_is_not_called_failed_at_30(aws, project):
    project.env["FRUITCTL_PACE"] = "0.001"
    # 45 minutes at this pace: waiters that give up after 30 would.
    done = project.run("run", "--executable", script(project, f"sleep {45 * 60 * 0.001}; echo done"), "--max-duration", "2h", code=6)
    assert "done" in done.stdout and "the results are incomplete" in done.stderr, done.stderr


@pytest.mark.slow
def test_throttling_on_every_call(aws, project):
    fault = Fault("elasticmapreduce:*", "throttle", every=2, key=project.key)
    aws.faults[:] = [fault]
    done = project.run("run", "--executable", script(project, "echo one; sleep 1; echo two"), code=6)
    assert "one\ntwo" in done.stdout and "the results are incomplete" in done.stderr, done.stderr
    assert fault.hits > 10 and living(aws) == []


STOPS = [signal.SIGINT, signal.SIGTERM, signal.SIGKILL]


@pytest.mark.slow
@pytest.mark.parametrize("standing", [False, True])
@pytest.mark.parametrize("how", STOPS)
def test_stopped_at_any_point_the_cluster_ends(aws, project, how, standing):
    """By the command, or by itself: within its idle time, or when its step is done. And there never is a second one. Each kind
    of call is met by one of the signals, or in the long form by all, the first call and the last one by all."""
    job = script(project, "sleep 0.5")
    if standing:
        project.run("up", "--wait")
    since = len(aws.log)
    project.run("run", "--executable", job, code=6)
    calls = [e["call"] for e in aws.log[since:] if e["key"] == project.key]
    kinds = sorted({calls.index(call) for call in calls})
    points = sorted({0, len(calls) - 1, *(kinds if LONG else kinds[STOPS.index(how)::len(STOPS)])})
    for point in points:
        aws.emr.pace["idle"] = 1  # the cluster waits for us, however slow this machine is
        if standing:
            project.run("up", "--wait")
        before, since = set(aws.emr.clusters), len(aws.log)
        process = project.start("run", "--executable", job)
        while process.poll() is None and sum(e["key"] == project.key for e in aws.log[since:]) <= point:
            time.sleep(0.002)
        process.send_signal(how)
        stderr = process.communicate(timeout=60)[1]
        assert "panicked" not in stderr, stderr
        if how != signal.SIGKILL and process.returncode not in (6,):
            assert process.returncode == 128 + how, (point, process.returncode, stderr)
        aws.emr.pace["idle"] = 0.02  # and no longer
        soon(lambda: not living(aws), seconds=30)
        assert len(set(aws.emr.clusters) - before) <= (0 if standing else 1), point
        assert aws.client("emr").list_clusters(ClusterStates=ACTIVE)["Clusters"] == []


def test_around_a_run(aws, project, pictures):
    """Logs, results, the same again; a shell on the node, and the ports of its web pages."""
    aws.emr.pace["idle"] = 1  # the cluster waits for us, however slow this machine is
    project.run("upload", pictures)
    assert "there is no run yet" in project.run("logs", code=2).stderr
    project.run("run", "-k", "7")
    (first,) = json.loads(project.run("runs", "--json").stdout)
    assert '"event":"finished"' in project.run("logs").stdout
    assert "s3://" in project.run("results").stdout
    fetched = project.run("results", "--download", "fetched", "--parts").stdout
    assert "with 500 rows are as run.json says" in fetched and (project.folder / "fetched" / "report.html").exists()
    assert len(results(project.folder / "fetched")) == 500
    # A step that ends well and writes nothing has not made what is there.
    assert "wrote no results: those in" in project.run("run", "--executable", script(project, "echo nothing"), code=6).stderr
    failed = json.loads(project.run("runs", "--json").stdout)[0]["id"]
    assert "is failed: it has no results" in project.run("results", "--run", failed, "--download", "none", code=2).stderr
    assert first["id"] in project.run("results").stdout
    again = project.run("clone", first["id"][:-1])
    assert "vectors of 7 components" in again.stdout and "--components=7" in again.stderr
    # Its results were replaced; and a beginning that several runs have is no name.
    assert "which has replaced its own" in project.run("results", "--run", first["id"], "--download", "none", code=2).stderr
    assert "runs begin with 2" in project.run("clone", "2", code=2).stderr
    # For scripts: the job's events, of which the last one is the whole story.
    events = [json.loads(line) for line in project.run("run", "--json").stdout.splitlines()]
    assert [e["event"] for e in events[:1] + events[-1:]] == ["started", "finished"] and events[-1]["run"]["images"]["results"] == 500
    failed = project.run("run", "--json", "--executable", script(project, "exit 3"), code=6).stdout.splitlines()
    assert json.loads(failed[-1])["event"] == "failed" and json.loads(failed[-1])["exit_code"] == 6
    # What was changed behind run.json's back is found.
    s3, bucket = aws.client("s3"), project.exists()["bucket"][0]
    s3.put_object(Bucket=bucket, Key="output/results/part-00000.parquet", Body=b"other")
    assert "part-00000.parquet has another SHA-256" in project.run("results", "--download", "fetched", code=6).stderr

    assert "there is no cluster to log in to" in project.run("ssh", "--", "true", code=2).stderr
    project.run("up", "--wait")
    assert project.run("ssh", "--", "whoami; ls /mnt").stdout.split() == ["hadoop", "var"]
    process = project.start("tunnel", stdout=subprocess.PIPE)
    assert [process.stdout.readline().split()[-1] for _ in range(3)] == ["http://localhost:18080", "http://localhost:8088", "https://localhost:9443"]
    process.terminate()
    process.communicate(timeout=20)
    (cluster,) = living(aws)
    key = host_key(aws, bucket, cluster)
    s3.put_object(Bucket=bucket, Key=key, Body=b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti\n")
    refused = project.run("ssh", "--", "true", code=255).stderr
    assert "Host key verification failed" in refused
    s3.delete_object(Bucket=bucket, Key=key)
    assert "has published no host key" in project.run("ssh", "--", "true", code=6).stderr


@pytest.mark.slow
def test_what_fails_after_the_job_takes_nothing_away(aws, project, pictures):
    project.run("upload", pictures)
    (project.folder / "there" / "report.html").mkdir(parents=True)
    said = project.run("run", "-k", "7", "--if-changed", "--download", "there", code=10).stderr
    assert "the job has succeeded, and its results are in s3://" in said and "fruitctl results --run " in said, said
    assert json.loads((project.folder / "there" / "run-summary.json").read_text())["state"] == "done"
    (run,) = json.loads(project.run("runs", "--json").stdout)
    assert run["state"] == "done" and run["images"] == 500
    project.run("results", "--run", run["id"], "--download", "fetched")
    assert "nothing has changed" in project.run("run", "-k", "7", "--if-changed").stdout


@pytest.mark.slow
def test_a_run_whose_command_was_killed_is_told_as_it_ended(aws, project, pictures):
    project.run("upload", pictures)
    process = project.start("run", "-k", "7", "--if-changed")
    soon(lambda: any(step.state == "RUNNING" for cluster in living(aws) for step in cluster.steps))
    process.kill()
    process.communicate()
    soon(lambda: not living(aws), seconds=60)
    (run,) = json.loads(project.run("runs", "--json").stdout)
    assert run["state"] == "done" and run["images"] == 500, run
    assert "nothing has changed" in project.run("run", "-k", "7", "--if-changed").stdout
    # One that failed.
    process = project.start("run", "--executable", script(project, "sleep 1; exit 3"))
    soon(lambda: any(step.state == "RUNNING" for cluster in living(aws) for step in cluster.steps))
    process.kill()
    process.communicate()
    soon(lambda: not living(aws), seconds=60)
    run = json.loads(project.run("runs", "--json").stdout)[0]
    assert run["state"] == "failed" and "its command was killed, and its step" in run["failure"], run


def test_two_runs_over_one_output(aws, project):
    """The second waits or says who; also when the first one's command is gone, and its step is not."""
    job = script(project, "while [ ! -e /mnt/go ]; do sleep 0.01; done")
    first = project.start("run", "--executable", job)
    soon(lambda: any(c.state == "RUNNING" for c in living(aws)))
    assert "holds the lock" in project.run("run", "--executable", job, "--lock-wait", "0", code=8).stderr
    first.kill()
    first.communicate()
    message = project.run("run", "--executable", job, "--lock-wait", "0", code=8).stderr
    assert "is still at work on" in message and "fruitctl down" in message, message
    (cluster,) = living(aws)
    cluster.node.path("/mnt/go").touch()
    soon(lambda: not living(aws))
    project.run("run", "--executable", script(project, "true", "other"), code=6)


@pytest.mark.slow
def test_a_working_step_is_not_idle(aws, project):
    """EMR would end a cluster under a native program; the step's script says that it works, for as long as it does."""
    aws.emr.pace["idle"] = 0.03
    done = project.run("run", "--keep", "--executable", script(project, "sleep 5; echo woken"), code=6)
    assert "woken" in done.stdout and "the results are incomplete" in done.stderr, done.stderr
    assert "is kept; fruitctl down ends it" in done.stderr
    (cluster,) = aws.emr.clusters.values()
    soon(lambda: not cluster.lives())
    assert "idle" in cluster.reason["Message"] and cluster.steps[0].state == "COMPLETED"


def test_large_files_go_up_in_parts(aws, project, tmp_path):
    large = tmp_path / "large" / "Fig"
    large.mkdir(parents=True)
    (large / "a.jpg").write_bytes(bytes(range(256)) * (70 << 12))
    assert json.loads(project.run("upload", "--json", tmp_path / "large").stdout)["bytes"] == 70 << 20
    s3, bucket = aws.client("s3"), project.exists()["bucket"][0]
    assert s3.head_object(Bucket=bucket, Key="input/Fig/a.jpg")["ETag"].endswith('-3"')
    assert s3.get_object(Bucket=bucket, Key="input/Fig/a.jpg")["Body"].read() == (large / "a.jpg").read_bytes()


def test_every_file_of_a_model_is_shipped(aws, project):
    exporters = ROOT / "jobs/fruitjob/tests/exporters"
    model = shutil.copy(exporters / "torch_new.onnx", project.folder)
    job = script(project, "echo no plums >&2; exit 3")
    missing = project.run("run", "--model", model, "--executable", job, code=2).stderr
    assert "torch_new.onnx.data beside it, and that file: not found" in missing and "into one folder" in missing, missing
    shutil.copy(exporters / "torch_new.onnx.data", project.folder)
    # What a node would find out is found out here.
    assert "it does not say its normalisation" in project.run("run", "--model", model, "--executable", job, code=2).stderr
    assert living(aws) == []
    project.run("run", "--model", model, "--mean", "127.5", "--std", "127.5", "--executable", job, code=6)
    objects = aws.client("s3").list_objects_v2(Bucket=project.exists()["bucket"][0], Prefix="jobs/")["Contents"]
    folders = {o["Key"].rsplit("/", 1)[0] for o in objects if "/torch_new.onnx" in o["Key"]}
    assert sum("/torch_new.onnx" in o["Key"] for o in objects) == 2 and len(folders) == 1, objects


def test_a_model_that_fruitctl_carries_is_shipped(aws, project):
    """The executables for nodes have the small ones alone."""
    models = {model["name"]: model for model in json.loads(fruitctl("models", "--json").stdout)}
    project.run("run", "--model", "mobilenet_v2", "--executable", script(project, "echo no plums >&2; exit 3"), code=6)
    [cluster] = aws.emr.clusters.values()
    args, sha256 = cluster.steps[0].spec["HadoopJarStep"]["Args"], models["mobilenet_v2"]["sha256"]
    assert f"--model-sha256={sha256}" in args
    [uri] = [arg.split("=", 1)[1] for arg in args if arg.startswith("--model=")]
    bucket, key = uri.removeprefix("s3://").split("/", 1)
    assert key == f"jobs/{sha256[:16]}/mobilenet_v2.onnx"
    assert aws.client("s3").head_object(Bucket=bucket, Key=key)["ContentLength"] == models["mobilenet_v2"]["bytes"]
    by_hand = fruitjob("run", "--input", ".", "--output", project.folder / "out", "--model", "mobilenet_v2", code=2)
    assert "fruitctl run --model mobilenet_v2" in by_hand.stderr


def test_what_would_not_run_is_not_shipped(aws, project):
    job = script(project, "true")
    message = project.run("run", "--input", "fruits", "--executable", job, code=2).stderr
    assert "is not in S3" in message and "fruitctl upload fruits" in message
    project.configure(CLUSTER.replace("m5.xlarge", "m6g.xlarge"))
    assert "would not run on the cluster: it is for x86-64, and m6g.xlarge is aarch64" in project.run("run", code=2).stderr
    project.configure(CLUSTER)
    project.env["FRUITCTL_NODE_GLIBC"] = "2.17"
    assert re.search(r"it needs glibc 2.\d+, and emr-7.13.0 has 2.17", project.run("run", code=2).stderr)
    # Nothing was made but what the upload needs.
    assert living(aws) == [] and project.exists().keys() == {"bucket"}
