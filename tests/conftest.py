"""End-to-end tests of the built executables, from the outside: command lines, files, exit codes.

Pictures and models are made on the spot. Where FRUITCTL_TEST_DATA names a folder with data/*.tar.gz (Fruits-360)
and models/ (MobileNetV2 as ONNX, reference features), test_fruits360.py runs on those too.

Where a test sweeps over many points or seeds, it takes some of them, always the same, among them each kind; all with
FRUITCTL_TEST_LONG=1. A quick round, with each command in it at least once: pytest -m "not slow".
"""

import hashlib
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug"
LONG = os.environ.get("FRUITCTL_TEST_LONG") == "1"


# Of what runs in the background of a script, the shell has SIGINT ignored, and children would have it too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: left out of a quick round, -m 'not slow'")
    config.addinivalue_line("markers", "xdist_group(name): tests that share something dear, for one process")


def command(program, *args):
    return [str(BIN / program), *map(str, args)]


def run(program, *args, code=0, **kwargs):
    """Runs an executable to its end and checks its exit code; any will do, if it is None."""
    done = subprocess.run(command(program, *args), capture_output=True, text=True, timeout=600, **kwargs)
    assert code is None or done.returncode == code, f"exit {done.returncode}, not {code}: {args}\n{done.stdout}\n{done.stderr}"
    assert "panicked" not in done.stderr, done.stderr
    return done


def fruitctl(*args, **kwargs):
    return run("fruitctl", *args, **kwargs)


def fruitjob(*args, **kwargs):
    return run("fruitjob", *args, **kwargs)


def events(text):
    return [json.loads(line) for line in text.splitlines()]


def record(output):
    return json.loads((output / "run.json").read_text())


def results(output):
    """path -> (label, vector), over all parts."""
    rows = pq.read_table(output / "results").to_pylist()
    return {row["path"]: (row["label"], row["pca"]) for row in rows}


def rejects(output):
    return {row["path"]: row["reason"] for row in pq.read_table(output / "rejects.parquet").to_pylist()}


def digests(output):
    """What must be the same however a result was made: name -> SHA-256."""
    files = [*sorted((output / "results").iterdir()), output / "rejects.parquet", *sorted((output / "model").iterdir())]
    return {str(f.relative_to(output)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


def check_complete(output):
    """Every image is accounted for, and run.json describes the files that are there."""
    run_record = record(output)
    images = run_record["images"]
    assert images["listed"] == images["results"] + images["rejected"]
    assert images["listed"] == images["featurized"] + images["cached"]
    assert len(results(output)) == images["results"]
    assert len(rejects(output)) == images["rejected"]
    parts = {part["name"]: part for part in run_record["parts"]}
    files = {f.name: f for f in (output / "results").iterdir() if f.name != "_SUCCESS"}
    assert files.keys() == parts.keys()
    for name, part in parts.items():
        assert hashlib.sha256(files[name].read_bytes()).hexdigest() == part["sha256"]
        assert pq.read_metadata(files[name]).num_rows == part["rows"]
    assert (output / "results" / "_SUCCESS").exists()
    return run_record


def soon(condition, what="it", seconds=20):
    """What `condition` gives, once that is something."""
    deadline = time.time() + seconds
    while time.time() < deadline:
        if found := condition():
            return found
        time.sleep(0.02)
    raise AssertionError(f"{what} did not come in {seconds} s")


def download(client, uri, folder):
    """Everything below an S3 URI, to a folder."""
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{prefix}/")
    for item in (item for page in pages for item in page.get("Contents", [])):
        target = folder / item["Key"].removeprefix(f"{prefix}/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(client.get_object(Bucket=bucket, Key=item["Key"])["Body"].read())


@pytest.fixture(scope="session")
def fruits(tmp_path_factory):
    """12 drawn fruits, 40 pictures each. Not to be changed: copy it."""
    folder = tmp_path_factory.mktemp("samples") / "fruits"
    fruitctl("samples", folder, "--classes", 12, "--per-class", 40)
    return folder


@pytest.fixture(scope="session")
def done(fruits, tmp_path_factory):
    """The output of a plain run over `fruits`. Not to be changed."""
    output = tmp_path_factory.mktemp("done") / "out"
    fruitctl("run", "--input", fruits, "--output", output)
    return output


@pytest.fixture
def say(capsys):
    """Prints past pytest: counts that people want to see."""

    def say(text):
        with capsys.disabled():
            print(f"\n  {text}", flush=True)

    return say
