"""Steps that say a great deal: over SSH, from the bucket and by `logs -f`, in bounded memory, and with an ear for signals."""

import gzip
import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from conftest import LONG, command, soon
from emulator import Emulator, node
from stack import Project, settle

pytestmark = pytest.mark.skipif(node.available() is not None, reason=f"clusters have no nodes here: {node.available()}")
CLUSTER = "[cluster.primary]\ntypes = [\"m5.xlarge\"]\n[cluster.core]\ncount = 0\n"
LINES = 1_000_000 if LONG else 100_000
# Above what a short step takes.
GROWTH = 64 << 10


@pytest.fixture(scope="module")
def aws():
    with Emulator(start=0.1, bootstrap=0.05, terminate=0.05, propagation=0, logs=0.2, idle=1) as aws:
        yield aws
        settle(aws)


@pytest.fixture(scope="module")
def project(aws, tmp_path_factory):
    project = Project(aws, tmp_path_factory.mktemp("streams"), "streams", more=CLUSTER)
    yield project
    project.run("down", "--purge-bucket")


def job(project, text):
    path = project.folder / "job"
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(0o755)
    return path


def measured(project, *args):
    """Lines of stdout and stderr, and the most kB of its own that it was seen to hold; its code is no measure of that."""
    project.seed(args)
    files = [open(project.folder / name, "w+b") for name in ("said.out", "said.err")]
    process = subprocess.Popen(command("fruitctl", *args), cwd=project.folder, env=project.env, stdout=files[0], stderr=files[1])
    most = 0
    while process.poll() is None:
        status = Path(f"/proc/{process.pid}/status").read_text()
        most = max([most] + [int(kb) for kb in re.findall(r"RssAnon:\s+(\d+)", status)])
        time.sleep(0.01)
    for file in files:
        file.seek(0)
    out, err = (file.read().decode().splitlines() for file in files)
    return out, err, most


def numbers(lines):
    """How many lines are a number, behind the time."""
    return sum(bool(re.fullmatch(r"(\S+Z )?\d+", line)) for line in lines)


@pytest.mark.slow
def test_many_lines_arrive_once_in_bounded_memory(project, say):
    _, _, least = measured(project, "run", "--executable", job(project, "echo one"))
    text = f"seq 1 {LINES}; seq 1 {LINES} >&2; head -c 30000000 /dev/zero | tr '\\0' x >&2"
    for how in ([], ["--no-ssh"]):
        out, err, most = measured(project, "run", "--executable", job(project, text), *how)
        assert [line for line in out if line.isdigit()] == [str(n) for n in range(1, LINES + 1)], how
        assert numbers(err) == LINES and any("bytes more]" in line for line in err), (how, err[-3:])
        assert most - least < GROWTH, (how, least, most)
        say(f"{LINES} lines on both streams {' '.join(how)}: {most - least} kB more than one line")
    for args in (["logs"], ["logs", "-f"]):
        out, err, most = measured(project, *args)
        assert sum(line.isdigit() for line in out) == LINES and numbers(err) == LINES, args
        assert most - least < GROWTH, (args, least, most)


@pytest.mark.slow
def test_a_log_that_unpacks_to_a_hundred_times_its_size(aws, project):
    measured(project, "run", "--executable", job(project, "echo one"))
    entry = json.loads(project.run("runs", "--json").stdout)[0]
    place = f"logs/{entry['cluster']}/steps/{entry['step']}"
    line = b"z" * 9999 + b"\n"
    aws.client("s3").put_object(Bucket=project.exists()["bucket"][0], Key=f"{place}/stdout.gz", Body=gzip.compress(line * 6_000))
    for args in (["logs"], ["logs", "-f"]):
        out, _, most = measured(project, *args)
        assert len(out) == 6_000 and most < 100 << 10, (args, most)


@pytest.mark.slow
@pytest.mark.parametrize("how", [[], ["--no-ssh"]], ids=["ssh", "bucket"])
def test_a_signal_is_heard_while_a_step_never_stops_talking(aws, project, how):
    project.seed(["run"])
    out = open(project.folder / "endless", "w+b")
    # Some ten million lines a second, as many again and again, and no more than a disk holds until somebody hears the signal.
    endless = job(project, "while :; do yes | head -n 1000000; sleep 0.1; done")
    process = subprocess.Popen(command("fruitctl", "run", "--executable", endless, *how), cwd=project.folder, env=project.env,
                               stdout=out, stderr=subprocess.PIPE, text=True)
    try:
        if how:
            soon(lambda: any(step.state == "RUNNING" for cluster in aws.emr.clusters.values() for step in cluster.steps), seconds=60)
        else:
            soon(lambda: os.fstat(out.fileno()).st_size > 1 << 20, seconds=60)
        process.send_signal(signal.SIGINT)
        stderr = process.communicate(timeout=60)[1]
    finally:
        process.kill()
    (project.folder / "endless").unlink()
    assert process.returncode == 130, stderr
