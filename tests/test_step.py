"""bootstrap/step.sh, alone: what becomes of the job."""

import hashlib
import os
import signal
import subprocess

import pytest
from conftest import ROOT, soon

# Instead of the AWS command line: aws s3 cp --only-show-errors --region REGION SOURCE TARGET
AWS = '#!/bin/sh\ncp "$6" "$7"\n'
JOB = '#!/bin/bash\ntrap \'echo "told to stop" >&2; touch "$1/stopped"; exit 130\' TERM\ntouch "$1/works"\nwhile true; do sleep 0.05; done\n'


@pytest.fixture
def step(tmp_path):
    """Starts it beneath a process of its own, with a job that works until it is told to stop."""
    (tmp_path / "bin").mkdir()
    for name, text in (("bin/aws", AWS), ("job", JOB)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    sha256 = hashlib.sha256(JOB.encode()).hexdigest()
    script = ["bash", ROOT / "bootstrap" / "step.sh", "eu-west-3", tmp_path / "job", sha256, "60", tmp_path]
    environment = os.environ | {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "FRUITCTL_WORK": str(tmp_path), "FRUITCTL_BUSY_SECONDS": "0.05"}
    # The shell stays: it has something to do afterwards.
    parent = subprocess.Popen(["bash", "-c", '"$@" & echo $!; wait; true', "parent", *script], env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True)
    yield tmp_path, parent
    os.killpg(parent.pid, signal.SIGKILL)
    parent.stdout.close()
    parent.wait()


def is_over(folder, pid):
    """Told to stop, ended, and nothing left."""
    return (folder / "stopped").exists() and not os.path.exists(f"/proc/{pid}") and not list(folder.glob("fruitjob-*"))


@pytest.mark.parametrize("end", ["told", "orphaned"])
def test_the_job_ends_with_its_step(step, end):
    """Told: EMR signals the step's process alone. Orphaned: nobody would know of it any more."""
    folder, parent = step
    pid = int(parent.stdout.readline())
    soon((folder / "works").exists)
    os.kill(pid if end == "told" else parent.pid, signal.SIGTERM if end == "told" else signal.SIGKILL)
    soon(lambda: is_over(folder, pid), "the end of the step")
