"""The same job with its input, output and model in an object store: moto's S3."""

import os
import shutil
import subprocess
import sys
import time
import urllib.request

import pytest
from conftest import check_complete, digests, fruitctl

PORT = 5591


@pytest.fixture(scope="module")
def s3(tmp_path_factory):
    """An S3 on loopback; yields a boto3 client and the environment that finds it."""
    log = open(tmp_path_factory.mktemp("moto") / "log", "w")
    server = subprocess.Popen([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(PORT)], stdout=log, stderr=log)
    endpoint = f"http://127.0.0.1:{PORT}"
    for _ in range(100):
        try:
            urllib.request.urlopen(endpoint)
            break
        except OSError:
            time.sleep(0.2)
    credentials = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "eu-west-3"}
    import boto3

    client = boto3.client("s3", endpoint_url=endpoint, region_name="eu-west-3", aws_access_key_id="test", aws_secret_access_key="test")
    client.create_bucket(Bucket="fruits", CreateBucketConfiguration={"LocationConstraint": "eu-west-3"})
    yield client, os.environ | credentials | {"AWS_ENDPOINT_URL": endpoint}
    server.terminate()
    server.wait()


def upload(client, folder, prefix):
    for file in sorted(folder.rglob("*.jpg")):
        client.upload_file(str(file), "fruits", f"{prefix}/{file.relative_to(folder)}")


def download(client, prefix, folder):
    pages = client.get_paginator("list_objects_v2").paginate(Bucket="fruits", Prefix=prefix)
    for item in (item for page in pages for item in page.get("Contents", [])):
        target = folder / item["Key"].removeprefix(prefix).lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        client.download_file("fruits", item["Key"], str(target))


def test_s3_gives_the_same_bytes_as_a_directory(s3, fruits, done, tmp_path):
    client, env = s3
    upload(client, fruits, "in/Training")
    # Below the input, as teams do: it must not become input.
    args = ["run", "-i", "s3://fruits/in", "-o", "s3://fruits/in/out"]
    fruitctl(*args, env=env)
    download(client, "in/out", tmp_path / "out")
    run = check_complete(tmp_path / "out")
    assert run["images"]["featurized"] == 480
    nested = tmp_path / "nested"
    shutil.copytree(fruits, nested / "in" / "Training")
    fruitctl("run", "-i", nested / "in", "-o", nested / "out")
    assert digests(tmp_path / "out") == digests(nested / "out")

    # The next night: one more picture, one taken away.
    client.copy({"Bucket": "fruits", "Key": "in/Training/Fig 1/0_100.jpg"}, "fruits", "in/Training/Fig 1/new.jpg")
    client.delete_object(Bucket="fruits", Key="in/Training/Fig 1/1_100.jpg")
    fruitctl(*args, env=env)
    shutil.rmtree(tmp_path / "out")
    download(client, "in/out", tmp_path / "out")
    images = check_complete(tmp_path / "out")["images"]
    assert images["featurized"] == 1 and images["cached"] == 479


def test_model_from_s3(s3, done, fruits, tmp_path):
    client, env = s3
    client.upload_file(str(done / "model" / "model.onnx"), "fruits", "models/fused.onnx")
    fruitctl("run", "-i", fruits, "-o", tmp_path / "out", "-m", "s3://fruits/models/fused.onnx", "-k", 4, env=env)
    assert check_complete(tmp_path / "out")["model"]["features"] == 64


def test_what_is_not_there_is_told(s3, fruits, tmp_path):
    _, env = s3
    none = fruitctl("run", "-i", "s3://fruits/nothing", "-o", tmp_path / "out", code=2, env=env).stderr
    assert "no image below s3://fruits/nothing" in none
    bucket = fruitctl("run", "-i", "s3://no-such-bucket/x", "-o", tmp_path / "out", code=6, env=env).stderr
    assert "cannot list s3://no-such-bucket/x" in bucket
    model = fruitctl("run", "-i", fruits, "-o", tmp_path / "out", "-m", "s3://fruits/none.onnx", code=6, env=env).stderr
    assert "not found" in model
