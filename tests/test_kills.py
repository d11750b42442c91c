"""`up` and `down` when the worst happens at every single call that they make: killed before it, killed after it, its
answer lost, refused for load; and when several run at once. Afterwards there is exactly one of each, or nothing.

The calls are taken from a run that nothing happens to, so the sweep grows with the code. It takes of each kind of call that
reads the first, of each that changes something the first and the last; in its long form all of them: FRUITCTL_TEST_LONG=1.
"""

import json
import re
import time

import pytest
from conftest import LONG
from emulator import Emulator, Fault
from stack import Project, settle

READS = re.compile(r"\w+:(Get|List|Describe|Head)")


@pytest.fixture(scope="module")
def aws():
    # Clusters never get beyond STARTING: it is about what exists, and nodes would take time.
    with Emulator(nodes=False, start=1e6, terminate=0, propagation=0) as aws:
        yield aws


@pytest.fixture(autouse=True)
def clean(aws):
    yield
    settle(aws)


def calls(project, *args):
    """[(call, which of them)] of a run that nothing happens to, as many as the sweep takes."""
    since = len(project.aws.log)
    project.run(*args)

    def taken(name, count):
        return range(1, count + 1) if LONG else {1} if READS.match(name) else {1, count}

    return sorted((name, n) for name, count in project.calls(since).items() for n in taken(name, count))


def fresh(aws, folder):
    return Project(aws, folder, "kills", more="[cluster.task]\ncount = 2\n")


@pytest.fixture(scope="module")
def up_calls(aws, tmp_path_factory):
    project = fresh(aws, tmp_path_factory.mktemp("up"))
    found = calls(project, "up")
    project.run("down", "--purge-bucket")
    return found


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["kill_before", "kill_after"])
def test_up_killed_anywhere(aws, tmp_path, say, up_calls, mode):
    """Killed at every call; then `up` converges, or `down` leaves nothing. Around a call that only reads, one of the two."""
    project, struck, cases = fresh(aws, tmp_path), 0, 0
    for call, nth in up_calls:
        both = LONG or not READS.match(call)
        for remedy in ("up", "down") if both else ("up",) if mode == "kill_before" else ("down",):
            struck += project.killed(mode, call, nth, "up")
            cases += 1
            if remedy == "up":
                project.run("up")
                project.check_complete()
            project.run("down", "--purge-bucket")
            assert project.exists() == {}, f"{mode} {call} {nth}, then {remedy}"
    say(f"{mode}: {len(up_calls)} calls, {cases} cases, {struck} struck, leftovers 0")
    assert struck == cases


@pytest.mark.slow
def test_down_killed_anywhere(aws, tmp_path, say):
    project = fresh(aws, tmp_path)
    project.run("up")
    down_calls, struck = calls(project, "down", "--purge-bucket"), 0
    for mode in ("kill_before", "kill_after"):
        for call, nth in down_calls:
            project.run("up")
            struck += project.killed(mode, call, nth, "down", "--purge-bucket")
            project.run("down", "--purge-bucket")
            assert project.exists() == {}, f"{mode} {call} {nth}"
    say(f"down killed: {len(down_calls)} calls, {2 * len(down_calls)} cases, {struck} struck, leftovers 0")
    # How often it looks whether clusters have ended depends on the time.
    assert struck >= 1.8 * len(down_calls)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["drop_after", "throttle", "error"])
def test_calls_that_go_wrong_once(aws, tmp_path, say, up_calls, mode):
    """The answer to each changing call is lost; every call is throttled; every call meets a server that breaks down.
    `up` succeeds all the same, and nothing is made twice."""
    project, struck = fresh(aws, tmp_path), 0
    cases = [(call, nth) for call, nth in up_calls if mode != "drop_after" or not READS.match(call)]
    for call, nth in cases:
        fault = Fault(call, mode, first=nth, times=1, key=project.key)
        aws.faults[:] = [fault]
        project.run("up")
        aws.faults.clear()
        struck += fault.hits
        project.check_complete()
        started = [c for c in aws.emr.clusters.values() if c.lives()]
        assert len(started) == 1, f"{mode} {call} {nth}: {len(started)} clusters"
        project.run("down", "--purge-bucket")
        assert project.exists() == {}, f"{mode} {call} {nth}"
    say(f"{mode}: {len(cases)} calls, {struck} struck, leftovers 0")
    assert struck == len(cases)


def test_every_other_call_is_throttled(aws, tmp_path, say):
    project = fresh(aws, tmp_path)
    fault = Fault("*", "throttle", every=2, key=project.key)
    aws.faults[:] = [fault]
    project.run("up")
    project.check_complete()
    project.run("status")
    project.run("down", "--purge-bucket")
    assert project.exists() == {} and fault.hits > 100
    say(f"throttled: {fault.hits} calls")


def test_a_lost_answer_of_run_job_flow_makes_one_cluster(aws, tmp_path):
    """Applied or not: the cluster is looked for by its name before it is asked for again. Lists lag behind."""
    for mode, times, lag in (("drop_after", 1, 0), ("drop_after", 1, 0.1), ("drop_before", 1, 0), ("drop_before", 2, 0), ("error", 1, 0)):
        aws.emr.pace["listing"] = lag
        project = fresh(aws, tmp_path)
        fault = Fault("elasticmapreduce:RunJobFlow", mode, times=times, key=project.key)
        aws.faults[:] = [fault]
        since = len(aws.log)
        project.run("up")
        aws.faults.clear()
        asked = project.calls(since)["elasticmapreduce:RunJobFlow"]
        assert fault.hits == times and asked > (times if mode != "drop_after" else 0)
        assert len([c for c in aws.emr.clusters.values() if c.lives()]) == 1, mode
        aws.emr.pace["listing"] = 0
        project.check_complete()
        project.run("down", "--purge-bucket")


@pytest.mark.parametrize("count", [2, pytest.param(8, marks=pytest.mark.slow)])
def test_several_at_once_make_one_cluster(aws, tmp_path, say, count):
    project = fresh(aws, tmp_path)
    processes = [project.start("up", "--lock-wait", "100000") for _ in range(count)]
    errors = [p.communicate(timeout=300)[1] for p in processes]
    assert [p.returncode for p in processes] == [0] * count, errors
    project.check_complete()
    assert len([c for c in aws.emr.clusters.values() if c.lives()]) == 1
    # Without patience, one does it and the others say who.
    project.run("down", "--purge-bucket")
    processes = [project.start("up", "--lock-wait", "0") for _ in range(count)]
    errors = [p.communicate(timeout=300)[1] for p in processes]
    codes = [p.returncode for p in processes]
    assert 0 in codes and set(codes) <= {0, 8}, errors
    assert all("holds the lock of bucket" in e and "fruitctl unlock " in e for e, code in zip(errors, codes) if code == 8), errors
    project.check_complete()
    project.run("down", "--purge-bucket")
    assert project.exists() == {}
    say(f"{count} at once: exit codes {sorted(codes)}, one cluster")


@pytest.mark.slow
def test_up_and_down_at_once(aws, tmp_path):
    """Whoever comes second waits for the first: in the end there is one of each, or nothing but what `down` may leave."""
    for _ in range(4):
        project = fresh(aws, tmp_path)
        project.run("up")
        both = [project.start("up", "--lock-wait", "100000"), project.start("down", "--lock-wait", "100000")]
        errors = [p.communicate(timeout=300)[1] for p in both]
        assert all("panicked" not in e for e in errors), errors
        project.run("up", "--lock-wait", "100000")
        project.check_complete()
        project.run("down", "--purge-bucket")
        assert project.exists() == {}


def test_a_lock_of_elsewhere_is_waited_for_and_can_be_forced(aws, tmp_path):
    """Of a machine that cannot be asked, the lock counts until its time has passed."""
    project = fresh(aws, tmp_path)
    project.run("up")
    (bucket,) = project.exists()["bucket"]
    s3 = aws.client("s3")
    lock = {"id": "1", "owner": "ana@elsewhere (process 7)", "doing": "up", "since": 1_700_000_000, "expires": 4_000_000_000, "machine": "another", "process": [7, "1"]}

    def put(**change):
        s3.put_object(Bucket=bucket, Key=".fruitctl/lock", Body=json.dumps(lock | change).encode())

    put()
    message = project.run("up", "--lock-wait", "0", code=8).stderr
    assert "ana@elsewhere (process 7) holds the lock" in message and "'fruitctl up'" in message
    assert "locked by ana@elsewhere" in project.run("status").stdout
    assert "took the lock away from ana@elsewhere" in project.run("up", "--force-unlock").stderr
    # What the message names frees this lock and does nothing else.
    put(id="ab12")
    since = len(aws.log)
    assert "fruitctl unlock ab12" in project.run("up", "--lock-wait", "0", code=8).stderr
    assert json.loads(project.run("unlock", "--json").stdout)[0]["owner"] == "ana@elsewhere (process 7)"
    assert "nobody holds a lock ab13" in project.run("unlock", "ab13", code=5).stderr
    assert "took the lock of the project's resources away from ana@elsewhere" in project.run("unlock", "ab12").stdout
    assert "no lock is held" in project.run("unlock").stdout
    assert {call for call in project.calls(since) if call.split(":")[1][:3] not in ("Get", "Lis", "Des", "Hea")} <= {"s3:PutObject"}
    put(expires=1_700_000_100)
    project.run("up", "--lock-wait", "0")
    # By our clock its time has passed; by its holder's it need not have.
    put(expires=int(time.time()) - 60)
    assert "ana@elsewhere (process 7) holds the lock" in project.run("up", "--lock-wait", "0", code=8).stderr
    # What another version wrote, or anything: not ours to take.
    s3.put_object(Bucket=bucket, Key=".fruitctl/lock", Body=b"what?")
    assert "another version of fruitctl" in project.run("up", "--lock-wait", "0", code=8).stderr
    project.run("down", "--purge-bucket", "--force-unlock")


def test_a_lock_that_nobody_renews_is_taken_over(aws, tmp_path):
    """Watched for as long as a lock lives."""
    project = fresh(aws, tmp_path)
    project.run("up")
    (bucket,) = project.exists()["bucket"]
    lock = {"id": "1", "owner": "ana@elsewhere (process 7)", "doing": "up", "since": 0, "expires": 4_000_000_000, "machine": "another", "process": [7, "1"]}
    aws.client("s3").put_object(Bucket=bucket, Key=".fruitctl/lock", Body=json.dumps(lock).encode())
    project.env["FRUITCTL_LEASE_PACE"] = "0.005"
    begun = time.time()
    assert "waiting for ana@elsewhere" in project.run("up", "--lock-wait", "1000").stderr
    assert time.time() - begun > 120 * 0.005
    project.run("down", "--purge-bucket")


def test_a_store_that_ignores_conditions_is_found_out(aws, tmp_path):
    """One that answers 200 to a conditional write over an object would let two at it."""

    class Deaf(Fault):
        def apply(self, request, start_response, app):
            request.environ.pop("HTTP_IF_NONE_MATCH", None)
            request.environ.pop("HTTP_IF_MATCH", None)
            return app(request.environ, start_response)

    project = fresh(aws, tmp_path)
    aws.faults[:] = [Deaf("s3:PutObject", "delay", key=project.key)]
    message = project.run("up", code=5).stderr
    assert "ignores If-None-Match" in message
    aws.faults.clear()
    project.run("down", "--purge-bucket")


def test_interrupted(aws, tmp_path):
    """A signal ends it at once, gives the lock back, and says how to go on."""
    project = fresh(aws, tmp_path)
    aws.faults[:] = [Fault("iam:PutRolePolicy", "delay", seconds=3, key=project.key)]
    since = len(aws.log)
    process = project.start("up")
    while not project.calls(since)["iam:PutRolePolicy"]:
        assert process.poll() is None
    process.terminate()
    stderr = process.communicate(timeout=10)[1]
    aws.faults.clear()
    assert process.returncode == 143 and "the same command goes on from there" in stderr, stderr
    project.run("up", "--lock-wait", "0")
    project.check_complete()
    project.run("down", "--purge-bucket")
