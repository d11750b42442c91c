"""What people see: whole screens of the commands, as they were last looked at and found good.

FRUITCTL_SCREENS=write writes them anew; look at the difference before you commit it.
"""

import os
import re

import pytest
from conftest import ROOT, fruitctl
from emulator import Emulator
from stack import Project

SCREENS = ROOT / "tests" / "fixtures" / "screens"

# What is another in each run: ids, hashes, times, ports, ages.
PASSING = [
    (r"\b(j|sg|subnet|vpc|i|s|key)-[0-9A-Za-z]{6,}", r"\1-ID"), (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "TIME"), (r"127\.\d+\.\d+\.\d+(:\d+)?", "HOST"),
    (r"\b[0-9a-f]{16}\b", "HASH"), (r"screens-[0-9a-f]{8}\b", "screens-KEY"), (r"\d+ days old", "N days old"), (r"/\S*/data/\S*", "KEYFILE"),
    (r"for [\d.]+s\b", "for N s"), (r"\$0\.0\d so far", "$0.00 so far"), (r"\b10(\.\d+){3}\b", "ADDRESS"),
]


@pytest.fixture(scope="module")
def aws():
    with Emulator(nodes=False, start=0.05, bootstrap=0.01, terminate=0.02, propagation=0) as aws:
        yield aws


def screen(done):
    """What a command said, without what passes."""
    text = "".join(f"$ {name}\n{part.rstrip()}\n" for name, part in (("stdout", done.stdout), ("stderr", done.stderr)) if part.strip())
    for pattern, word in PASSING:
        text = re.sub(pattern, word, text)
    return f"exit {done.returncode}\n{text}"


def check(name, done):
    file, text = SCREENS / f"{name}.txt", screen(done)
    if os.environ.get("FRUITCTL_SCREENS") == "write":
        file.write_text(text)
    assert text == file.read_text(), f"{file.name}: FRUITCTL_SCREENS=write writes it anew"


def test_screens_of_a_project(aws, tmp_path):
    project = Project(aws, tmp_path, "screens", more='[network]\nssh_cidr = "203.0.113.0/24"\n')
    check("doctor", project.run("doctor"))
    check("plan", project.run("plan"))
    project.run("up", "--wait")
    check("plan-nothing", project.run("plan"))
    check("status", project.run("status"))
    project.configure('idle_minutes = 7\nrelease = "emr-7.9.0"\n[network]\nssh_cidr = "198.51.100.0/24"\n')
    check("plan-changes", project.run("plan"))
    check("down-dry-run", project.run("down", "--dry-run"))
    project.run("down", "--purge-bucket")
    check("status-nothing", project.run("status"))


def test_screens_of_errors(aws, tmp_path):
    project = Project(aws, tmp_path, "screens")
    check("error-nothing-uploaded", fruitctl("run", cwd=project.folder, env=project.env, code=2))
    check("error-no-bucket", project.run("run", "--input", "s3://no-such-bucket/fruits", code=2))
    project.configure("[cluster.core]\ntypes = [\"m5.xlarg\"]\n")
    check("error-type", project.run("up", code=2))
    project.configure("relase = \"emr-7.9.0\"\n")
    check("error-key", project.run("plan", code=2))
    check("error-no-input", fruitctl("run", cwd=tmp_path, code=2))
