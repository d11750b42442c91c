"""The same job with its input, output and model in an object store: moto's S3."""

import functools
import http.server
import os
import shutil
import threading

import boto3
import pytest
from conftest import check_complete, digests, fruitctl
from moto.server import ThreadedMotoServer


@pytest.fixture(scope="module")
def s3():
    """An S3 on loopback; yields a boto3 client and the environment that finds it."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    region, key = "eu-west-3", "test"
    client = boto3.client(
        "s3", endpoint_url=endpoint, region_name=region, aws_access_key_id=key, aws_secret_access_key=key
    )
    client.create_bucket(Bucket="fruits", CreateBucketConfiguration={"LocationConstraint": region})
    credentials = {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": key, "AWS_REGION": region}
    yield client, os.environ | credentials | {"AWS_ENDPOINT_URL": endpoint}
    server.stop()


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


def test_model_over_http(done, fruits, tmp_path):
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=done / "model")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/model.onnx?signature=secret"
    args = ["run", "-i", fruits, "-o", tmp_path / "out", "-k", 4]
    ran = fruitctl(*args, "-m", url)
    assert check_complete(tmp_path / "out")["model"]["features"] == 64
    assert "secret" not in ran.stdout + ran.stderr + (tmp_path / "out" / "run.json").read_text()
    missing = fruitctl(*args, "-m", url.replace("model.onnx", "none.onnx"), code=6).stderr
    assert "the server answers 404" in missing and "secret" not in missing
    server.shutdown()
    server.server_close()
    assert "refused" in fruitctl(*args, "-m", url, code=6).stderr


def test_what_is_not_there_is_told(s3, fruits, tmp_path):
    _, env = s3
    none = fruitctl("run", "-i", "s3://fruits/nothing", "-o", tmp_path / "out", code=2, env=env).stderr
    assert "no image below s3://fruits/nothing" in none
    bucket = fruitctl("run", "-i", "s3://no-such-bucket/x", "-o", tmp_path / "out", code=6, env=env).stderr
    assert "cannot list s3://no-such-bucket/x" in bucket
    model = fruitctl("run", "-i", fruits, "-o", tmp_path / "out", "-m", "s3://fruits/none.onnx", code=6, env=env).stderr
    assert "not found" in model
