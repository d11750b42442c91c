"""Nothing that others can write is believed: what nodes run is proven by its hash, and a bucket by its owner."""

import json
import os
import shutil
import signal
import socket
import subprocess

import pytest
from conftest import ROOT, command, fruitctl, record
from emulator import Emulator, Fault, node, quirks
from moto.core import DEFAULT_ACCOUNT_ID as ACCOUNT
from stack import Project, settle

CLUSTER = "idle_minutes = 1\n[cluster.primary]\ntypes = [\"m5.xlarge\"]\n[cluster.core]\ncount = 0\n"
EVIL = b"#!/bin/bash\necho evil\n"

needs_nodes = pytest.mark.skipif(node.available() is not None, reason=f"clusters have no nodes here: {node.available()}")


@pytest.fixture(scope="module")
def aws():
    with Emulator(start=0.05, bootstrap=0.02, terminate=0.05, propagation=0, logs=0.3, idle=0.2) as aws:
        yield aws


@pytest.fixture
def project(aws, tmp_path):
    project = Project(aws, tmp_path, "trust", more=CLUSTER + "[[cluster.bootstrap]]\nscript = \"mine.sh\"\nargs = [\"two words\"]\n")
    (project.folder / "mine.sh").write_text("#!/bin/bash\ntest \"$#:$1\" = '1:two words'\n")
    (project.folder / "job").write_text("#!/bin/bash\necho mine\n")
    yield project
    quirks.OWNERS.clear()
    project.run("down", "--purge-bucket", "--force-unlock", code=None)
    settle(aws)


def replace(aws, bucket, prefix, name):
    """What somebody does who may write to the bucket; the key."""
    s3 = aws.client("s3")
    (key,) = [o["Key"] for o in s3.list_objects_v2(Bucket=bucket, Prefix=prefix)["Contents"] if o["Key"].endswith(f"/{name}")]
    was = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    # A model is one still, with another weight.
    body = was[:len(was) // 2] + bytes([was[len(was) // 2] ^ 1]) + was[len(was) // 2 + 1:] if name.endswith(".onnx") else EVIL
    s3.put_object(Bucket=bucket, Key=key, Body=body)
    return key


def refuses(done, key):
    assert f"/{key} is not what fruitctl put there: its SHA-256 is not " in done.stderr, done.stderr
    assert "evil" not in done.stdout + done.stderr


@needs_nodes
@pytest.mark.parametrize("name", ["step.sh", "job", "fruit.onnx"])
def test_what_is_reused_is_what_was_put_there(aws, project, name):
    """A script, an executable and a model that were replaced in the bucket are not used; removed, they are put there again."""
    shutil.copy(ROOT / "jobs" / "fruitjob" / "models" / "builtin.onnx", project.folder / "fruit.onnx")
    (project.folder / "fruitjob").write_text("#!/bin/bash\necho mine\n")
    command = ["run", "--executable", "job", "--model", "fruit.onnx"]
    # It writes no results.
    assert "mine" in project.run(*command, code=6).stdout
    bucket = project.exists()["bucket"][0]
    key = replace(aws, bucket, "jobs/", {"job": "fruitjob"}.get(name, name))
    launched = aws.calls.count("elasticmapreduce:RunJobFlow")
    done = project.run(*command, code=5)
    refuses(done, key)
    assert aws.calls.count("elasticmapreduce:RunJobFlow") == launched
    # What it says to do works.
    assert f"aws s3 rm s3://{bucket}/{key}" in done.stderr
    aws.client("s3").delete_object(Bucket=bucket, Key=key)
    assert "mine" in project.run(*command, code=6).stdout


def test_a_bootstrap_script_that_was_replaced_is_refused(aws, project):
    project.run("up", "--no-cluster")
    bucket = project.exists()["bucket"][0]
    key = replace(aws, bucket, "bootstrap/", "mine.sh")
    for command in (["plan"], ["up"], ["run", "--executable", "job"]):
        refuses(project.run(*command, code=5), key)


def test_one_of_the_same_length_is_refused(aws, project):
    """It says no SHA-256, so it is read."""
    project.run("up", "--no-cluster")
    s3, bucket = aws.client("s3"), project.exists()["bucket"][0]
    (key,) = [o["Key"] for o in s3.list_objects_v2(Bucket=bucket, Prefix="bootstrap/")["Contents"] if o["Key"].endswith("/mine.sh")]
    was = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    s3.put_object(Bucket=bucket, Key=key, Body=was.replace(b"two", b"owt"))
    refuses(project.run("up", code=5), key)
    s3.put_object(Bucket=bucket, Key=key, Body=was)
    assert "= keep     bootstrap action        " + key in project.run("plan").stdout


@needs_nodes
@pytest.mark.parametrize("prefix, name", [("bootstrap/", "mine.sh"), ("jobs/", "step.sh"), ("jobs/", "fruitjob"), ("jobs/", "fruit.onnx")])
def test_nodes_run_nothing_that_was_replaced(aws, project, prefix, name):
    """Replaced after fruitctl has looked: the hash is in EMR's arguments."""
    project.run("up", "--no-cluster")
    bucket = project.exists()["bucket"][0]
    fault = Fault("elasticmapreduce:RunJobFlow", "kill_after", times=1, key=project.key)
    fault.kill = lambda: replace(aws, bucket, prefix, name)
    shutil.copy(ROOT / "jobs" / "fruitjob" / "models" / "builtin.onnx", project.folder / "fruit.onnx")
    # A model is read by fruitjob itself.
    command = ["run", "--model", "fruit.onnx"] if name == "fruit.onnx" else ["run", "--executable", "job"]
    project.seed(command)
    aws.faults[:] = [fault]
    done = project.run(*command, code=6)
    assert fault.hits == 1 and f"/{name} is not what was shipped" in done.stderr, done.stderr
    assert "evil" not in done.stdout + done.stderr and "mine" not in done.stdout


def test_a_bucket_of_our_name_in_another_account_is_not_read(aws, project):
    """Names of buckets can be guessed, and whoever makes one first may let everybody read it."""
    s3, bucket = aws.client("s3"), f"fruitctl-trust-{ACCOUNT}-{aws.region}"
    s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": aws.region})
    s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": [{"Key": "fruitctl:project", "Value": "trust"}]})
    entry = {"version": 2, "id": "20261127-000000-abcd", "state": "done", "output": "s3://evil/out", "cluster": "j-1", "step": "s-1",
             "work": {"executable": "s3://evil/x", "job": {"output": "s3://evil/out"}, "preprocessing": {}}}
    s3.put_object(Bucket=bucket, Key="runs/20261127-000000-abcd.json", Body=json.dumps(entry))
    s3.put_object(Bucket=bucket, Key="logs/j-1/steps/s-1/stdout.gz", Body=b"evil")
    quirks.OWNERS[bucket] = "999999999999"
    for command in (["runs"], ["results"], ["logs"], ["clone", "20261127"], ["plan"], ["up"], ["status"], ["prune"], ["upload", "."], ["unlock"],
                    ["run", "--executable", "job", "--input", f"s3://{bucket}/input"]):
        done = project.run(*command, code=None)
        assert done.returncode == (0 if command == ["status"] else 4), (command, done.stdout, done.stderr)
        assert "evil" not in done.stdout + done.stderr, (command, done.stdout, done.stderr)
        if command[0] in ("runs", "results", "logs", "clone"):
            assert f"bucket {bucket} is another account's" in done.stderr, (command, done.stderr)
    # What it proposes is another name.
    message = project.run("up", code=4).stderr
    assert f"such as fruitctl-trust-" in message and f"such as {bucket}\n" not in message + "\n", message
    quirks.OWNERS.clear()
    assert project.run("runs").stdout.startswith("20261127-000000-abcd")


def test_a_model_with_another_hash_is_refused(aws, project, fruits, tmp_path):
    """Here, and before a cluster is asked for; with its hash, it is used, and the history has that."""
    model = ROOT / "jobs" / "fruitjob" / "models" / "builtin.onnx"
    args = ["run", "--target", "local", "-i", fruits, "-k", 2, "-m", model]
    refused = fruitctl(*args, "-o", tmp_path / "out", "--model-sha256", "0" * 64, code=6)
    assert "its SHA-256 is " in refused.stderr and not (tmp_path / "out" / "report.html").exists()
    fruitctl(*args, "-o", tmp_path / "out")
    sha256 = record(tmp_path / "out")["model"]["sha256"]
    fruitctl(*args, "-o", tmp_path / "out", "--model-sha256", sha256.upper())
    assert "is no SHA-256" in fruitctl(*args, "-o", tmp_path / "out", "--model-sha256", "abc", code=2).stderr
    far = ["run", "--executable", "job", "--model", model]
    refused = project.run(*far, "--model-sha256", "0" * 64, code=2)
    assert f"its SHA-256 is {sha256} and not 000" in refused.stderr and not project.exists().get("cluster")
    # The nodes of this emulator may be none: what was asked for is what counts.
    project.run(*far, code=None)
    s3, bucket = aws.client("s3"), project.exists()["bucket"][0]
    (key,) = [o["Key"] for o in s3.list_objects_v2(Bucket=bucket, Prefix="runs/")["Contents"]]
    assert json.loads(s3.get_object(Bucket=bucket, Key=key)["Body"].read())["work"]["job"]["model_sha256"] == sha256
    (cluster,) = aws.emr.clusters.values()
    assert f"--model-sha256={sha256}" in cluster.steps[0].spec["HadoopJarStep"]["Args"]


def test_a_signed_address_is_not_given_to_a_cluster(aws, project):
    for url in ("https://h.example/m.onnx?X-Amz-Signature=s3cr3t", "https://u:s3cr3t@h.example/m.onnx", "https://h.example/m.onnx#s3cr3t"):
        done = project.run("run", "-vv", "--executable", "job", "--model", url, code=2)
        assert "name the file" in done.stderr and "s3cr3t" not in done.stdout + done.stderr, done.stderr
    assert "s3cr3t" not in project.run("run", "--executable", "job", "--model", "http://h.example/m.onnx?s3cr3t", code=2).stderr
    assert project.exists().keys() <= {"bucket"}


def test_a_signal_ends_the_wait_for_a_model(fruits, tmp_path):
    """A server that takes the question and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        words = command("fruitctl", "run", "-i", fruits, "-o", tmp_path / "out", "-m", f"http://127.0.0.1:{server.getsockname()[1]}/m.onnx")
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        connection, _ = server.accept()
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 128 + signal.SIGTERM
        connection.close()


def test_a_server_does_not_send_us_to_its_neighbours(fruits, tmp_path):
    """A redirect to another place on this machine, or to the cloud's metadata."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        for place in ("http://127.0.0.1:9/m.onnx", "https://127.0.0.1:9/m.onnx", "https://169.254.169.254/latest/meta-data/", "https://localhost:9/m.onnx"):
            words = command("fruitctl", "run", "-i", fruits, "-o", tmp_path / "out", "-m", f"http://127.0.0.1:{server.getsockname()[1]}/m.onnx")
            process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            connection, _ = server.accept()
            connection.recv(1 << 16)
            connection.sendall(f"HTTP/1.1 302 Found\r\nLocation: {place}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
            connection.close()
            said = process.communicate(timeout=30)[1]
            assert process.returncode == 6 and "it redirects to" in said and "169.254" not in said, said
    assert "fetched by https" in fruitctl("run", "-i", fruits, "-o", tmp_path / "out", "-m", "http://models.example/m.onnx", code=2).stderr


def test_a_pinned_pca_that_was_changed_is_refused(fruits, tmp_path):
    out = tmp_path / "out"
    fruitctl("run", "-i", fruits, "-o", out, "-k", 2)
    pca = record(out)["pca"]["id"]
    kept = out / ".fruitjob" / "pca" / pca / "mean.npy"
    body = bytearray(kept.read_bytes())
    body[-1] ^= 1
    kept.write_bytes(body)
    for pin in (pca, out, kept.parent):
        assert "is not the one of that id" in fruitctl("run", "-i", fruits, "-o", out, "--pin-pca", pin, code=6).stderr


def test_results_are_not_written_through_links(fruits, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    for name in ("results", "report.html"):
        (tmp_path / "out" / name).symlink_to(tmp_path / "elsewhere")
        assert f"{name} is a link" in fruitctl("run", "-i", fruits, "-o", tmp_path / "out", code=2).stderr
        (tmp_path / "out" / name).unlink()
    assert not list((tmp_path / "elsewhere").iterdir())


@needs_nodes
def test_ssh_reads_no_settings(aws, project):
    """Neither the user's nor the machine's; and a host is a host."""
    project.run("up", "--wait")
    (project.folder / "bin").mkdir()
    (project.folder / "bin" / "ssh").write_text("#!/bin/bash\nprintf '%s\\n' \"$@\"\n")
    (project.folder / "bin" / "ssh").chmod(0o755)
    project.env["PATH"] = f"{project.folder}/bin:{os.environ['PATH']}"
    (cluster,) = [c for c in aws.emr.clusters.values() if c.lives()]
    words = project.run("ssh", "--", "uptime").stdout.splitlines()
    assert words[:2] == ["-F", "none"] and words[-3:] == ["--", cluster.host(), "uptime"], words
    for option in ("StrictHostKeyChecking=yes", "ForwardAgent=no", "PasswordAuthentication=no", "IdentityAgent=none"):
        assert option in words
    assert project.run("tunnel").stdout.splitlines()[-2:] == ["--", cluster.host()]
