"""The same job with its input, output and model in an object store: S3, as the emulator has it, also on bad days."""

import functools
import http.server
import re
import shutil
import threading

import pytest
from conftest import ROOT, check_complete, digests, download, fruitctl, rejects
from emulator import Emulator, Fault


@pytest.fixture(scope="module")
def aws():
    with Emulator() as aws:
        aws.client("s3").create_bucket(Bucket="fruits", CreateBucketConfiguration={"LocationConstraint": aws.region})
        yield aws


def test_s3_gives_the_same_bytes_as_a_directory(aws, fruits, tmp_path):
    client = aws.client("s3")
    aws.fill("fruits", "in/Training", fruits)
    # Below the input, as teams do: it must not become input.
    args = ["run", "-i", "s3://fruits/in", "-o", "s3://fruits/in/out"]
    fruitctl(*args, env=aws.environment)
    download(client, "s3://fruits/in/out", tmp_path / "out")
    run = check_complete(tmp_path / "out")
    assert run["images"]["featurized"] == 480
    nested = tmp_path / "nested"
    shutil.copytree(fruits, nested / "in" / "Training")
    fruitctl("run", "-i", nested / "in", "-o", nested / "out")
    assert digests(tmp_path / "out") == digests(nested / "out")

    # The next night: one more picture, one taken away.
    client.copy({"Bucket": "fruits", "Key": "in/Training/Fig 1/0_100.jpg"}, "fruits", "in/Training/Fig 1/new.jpg")
    client.delete_object(Bucket="fruits", Key="in/Training/Fig 1/1_100.jpg")
    fruitctl(*args, env=aws.environment)
    shutil.rmtree(tmp_path / "out")
    download(client, "s3://fruits/in/out", tmp_path / "out")
    images = check_complete(tmp_path / "out")["images"]
    assert images["featurized"] == 1 and images["cached"] == 479


BAD_DAYS = {
    "throttled": [Fault("s3:*", "throttle", every=4)],
    "errors": [Fault("s3:*", "error", every=5)],
    "resets": [Fault("s3:*", "drop_before", every=5)],
    "lost answers": [Fault(f"s3:{action}", "drop_after", every=3) for action in ("Put*", "Copy*", "Delete*")],
    "slow": [Fault("s3:GetObject", "delay", every=10, seconds=0.1)],
}


@pytest.mark.slow
@pytest.mark.parametrize("day", BAD_DAYS)
def test_the_same_bytes_on_a_bad_day(aws, fruits, tmp_path, day):
    """A store that throttles, fails, hangs up or loses its answer costs patience, and nothing else."""
    client, prefix = aws.client("s3"), day.replace(" ", "-")
    few = tmp_path / "fruits"
    for label in ("Apple 1", "Banana 1", "Fig 1"):
        shutil.copytree(fruits / label, few / label)
    aws.fill("fruits", f"{prefix}/in", few)
    aws.faults[:] = BAD_DAYS[day]
    try:
        said = fruitctl("run", "-v", "-i", f"s3://fruits/{prefix}/in", "-o", f"s3://fruits/{prefix}/out", env=aws.environment).stderr
    finally:
        aws.faults.clear()
    # Asked for, what the job asks again is told.
    told = {"throttled": r"asked again method=\w+ host=\S+ status=(429|503)", "errors": r"asked again method=\w+ host=\S+ status=500", "resets": "no answer of the store"}
    assert len(re.findall(told.get(day, "^"), said)) > 0 and "AWS4-HMAC" not in said, said
    struck = {fault.call: fault.hits for fault in BAD_DAYS[day]}
    print(f"{day}: {struck}")
    assert all(struck.values()), struck
    download(client, f"s3://fruits/{prefix}/out", tmp_path / "out")
    assert check_complete(tmp_path / "out")["images"]["rejected"] == 0
    fruitctl("run", "-i", few, "-o", tmp_path / "local")
    assert digests(tmp_path / "out") == digests(tmp_path / "local")


def test_an_image_that_vanishes_is_a_reject_and_is_tried_again(aws, fruits, tmp_path):
    """Listed, and gone when it is read; there again the next night."""
    client = aws.client("s3")
    aws.fill("fruits", "vanish/in/Apple 1", fruits / "Apple 1")
    args = ["run", "-i", "s3://fruits/vanish/in", "-o", "s3://fruits/vanish/out", "--max-rejects", 5]
    # Listings are made before the first read: take the image away in between.
    watch = VanishAfterListing(client, "vanish/in/Apple 1/7_100.jpg")
    aws.faults.append(watch)
    try:
        fruitctl(*args, env=aws.environment)
    finally:
        aws.faults.clear()
    download(client, "s3://fruits/vanish/out", tmp_path / "first")
    check_complete(tmp_path / "first")
    assert rejects(tmp_path / "first") == {"Apple 1/7_100.jpg": "cannot be read: not found"}
    # The same picture again, by the same ETag: only it is computed, though its partition is the same.
    client.upload_file(str(fruits / "Apple 1" / "7_100.jpg"), "fruits", "vanish/in/Apple 1/7_100.jpg")
    fruitctl(*args, env=aws.environment)
    download(client, "s3://fruits/vanish/out", tmp_path / "second")
    # A browser that is led to the report shows it.
    kind = lambda name: client.head_object(Bucket="fruits", Key=f"vanish/out/{name}")["ContentType"]
    assert kind("report.html").startswith("text/html") and kind("run.json") == "application/json"
    images = check_complete(tmp_path / "second")["images"]
    assert (images["featurized"], images["cached"], images["rejected"]) == (1, 39, 0)


def test_images_that_may_not_be_read_end_the_run_soon(aws, fruits, tmp_path):
    aws.fill("fruits", "denied", fruits)
    before = len(aws.calls)
    aws.faults.append(Fault("s3:GetObject", "deny"))
    try:
        message = fruitctl("run", "-i", "s3://fruits/denied", "-o", tmp_path / "out", code=4, env=aws.environment).stderr
    finally:
        aws.faults.clear()
    assert re.search("[56] unreadable images of 480", message) and "permission denied" in message, message
    # Two threads compute, and two more wait for a store: each has up to 48 images under way when the fifth refusal comes.
    assert aws.calls[before:].count("s3:GetObject") <= 4 * 48 + 8


class VanishAfterListing(Fault):
    """Deletes an object just before the first image is read."""

    def __init__(self, client, key):
        super().__init__("s3:GetObject", "delay", times=1, seconds=0)
        self.client, self.vanishing = client, key

    def apply(self, request, start_response, app):
        self.client.delete_object(Bucket="fruits", Key=self.vanishing)
        return super().apply(request, start_response, app)


def test_model_from_s3(aws, done, fruits, tmp_path):
    aws.client("s3").upload_file(str(done / "model" / "model.onnx"), "fruits", "models/fused.onnx")
    fruitctl("run", "-i", fruits, "-o", tmp_path / "out", "-m", "s3://fruits/models/fused.onnx", "-k", 4, env=aws.environment)
    assert check_complete(tmp_path / "out")["model"]["features"] == 64


def test_model_with_its_weights_in_another_file(aws, fruits, tmp_path):
    """What torch writes today: from a directory, a store and a web server, and the same each time."""
    exporters = ROOT / "jobs/fruitjob/tests/exporters"
    for name in ["torch_new.onnx", "torch_new.onnx.data"]:
        aws.client("s3").upload_file(str(exporters / name), "fruits", f"models/{name}")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=exporters)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    keys, args = set(), ["run", "-i", fruits, "--mean=127.5", "--std=127.5", "-k", 4]
    places = [exporters, "s3://fruits/models", f"http://127.0.0.1:{server.server_port}"]
    for number, place in enumerate(places):
        fruitctl(*args, "-o", tmp_path / str(number), "-m", f"{place}/torch_new.onnx", env=aws.environment)
        model = check_complete(tmp_path / str(number))["model"]
        assert model["engine"].startswith("mobilenet-"), model
        keys.add((model["sha256"], model["key"]))
    assert len(keys) == 1, keys
    server.shutdown()
    server.server_close()
    aws.client("s3").delete_object(Bucket="fruits", Key="models/torch_new.onnx.data")
    missing = fruitctl(*args, "-o", tmp_path / "none", "-m", "s3://fruits/models/torch_new.onnx", code=6, env=aws.environment).stderr
    assert "torch_new.onnx.data beside it, and that file: not found" in missing, missing


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


def test_what_is_not_there_is_told(aws, fruits, tmp_path):
    env = aws.environment
    none = fruitctl("run", "-i", "s3://fruits/nothing", "-o", tmp_path / "out", code=2, env=env).stderr
    assert "no image below s3://fruits/nothing" in none
    bucket = fruitctl("run", "-i", "s3://no-such-bucket/x", "-o", tmp_path / "out", code=2, env=env).stderr
    assert "cannot list s3://no-such-bucket/x: there is no such bucket" in bucket
    model = fruitctl("run", "-i", fruits, "-o", tmp_path / "out", "-m", "s3://fruits/none.onnx", code=6, env=env).stderr
    assert "not found" in model
