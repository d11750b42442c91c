"""fruitctl recognise: new pictures held against a run's results, and what is wrong with either."""

import hashlib
import json
import os
import shutil
import signal
import subprocess

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import ROOT, command, fruitctl, record, results
from emulator import Emulator
from PIL import Image, ImageDraw
from test_hostile import HOSTILE, RUNNERS, is_clean

NEW = 4  # of 40 pictures of each fruit, those that no run sees


@pytest.fixture(scope="module")
def place(fruits, tmp_path_factory):
    """`out`, the results of a run over `in`; `new`, pictures of the same fruits, by label; `chart.png`, of none."""
    place = tmp_path_factory.mktemp("recognise")
    shutil.copytree(fruits, place / "in")
    for label in sorted((place / "in").iterdir()):
        (place / "new" / label.name).mkdir(parents=True)
        for picture in sorted(label.iterdir())[::10][:NEW]:
            picture.rename(place / "new" / label.name / picture.name)
    fruitctl("run", "-i", place / "in", "-o", place / "out", "-k", 16)
    chart = Image.new("RGB", (320, 240), "white")
    draw = ImageDraw.Draw(chart)
    draw.line((30, 10, 30, 220, 310, 220), fill="black", width=2)
    for i, height in enumerate((150, 90, 180, 40, 120)):
        draw.rectangle((50 + 50 * i, 220 - height, 80 + 50 * i, 220), fill=("navy", "teal", "black", "gray", "blue")[i])
    chart.save(place / "chart.png")
    return place


def recognise(output, *args, **kwargs):
    """A dictionary an image."""
    done = fruitctl("recognise", "-o", output, "--json", *args, **kwargs)
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_new_pictures_have_the_label_of_the_row_that_is_nearest(place):
    said = recognise(place / "out", place / "new", "-n", 3)
    assert len(said) == 12 * NEW
    rows = results(place / "out")
    for picture in said:
        nearest = picture["nearest"]
        assert [near["distance"] for near in nearest] == sorted(near["distance"] for near in nearest) and len(nearest) == 3
        assert all(rows[near["path"]][0] == near["label"] for near in nearest)
        assert picture["share"] == pytest.approx(sum(near["label"] == nearest[0]["label"] for near in nearest) / 3)
        assert picture["error"] is None and picture["label"] == (None if picture["unlike"] else nearest[0]["label"])
        assert picture["unlike"] == (nearest[0]["distance"] > picture["limit"] or picture["left_out"] > picture["left_out_limit"])
    right = [picture["nearest"][0]["label"] == picture["image"].split("/")[-2] for picture in said]
    assert np.mean(right) > 0.9, right
    assert np.mean([picture["unlike"] for picture in said]) < 0.2

    # By all distances of the published vectors: a picture of the run is its own nearest one, and the next is numpy's.
    paths, vectors = list(rows), np.array([vector for _, vector in rows.values()])
    for picture in recognise(place / "out", place / "in" / paths[0], place / "in" / paths[-1], "-n", 4):
        own = next(i for i, path in enumerate(paths) if picture["image"].endswith(path))
        distance = np.sqrt(((vectors - vectors[own]) ** 2).sum(1))
        order = np.argsort(distance, kind="stable")[:4]
        assert [near["path"] for near in picture["nearest"]] == [paths[i] for i in order]
        assert [near["distance"] for near in picture["nearest"]] == pytest.approx(distance[order], abs=1e-3)


def test_what_people_see(place):
    """Within 80 columns, without colour where nobody looks; and what is of no fruit is like nothing here."""
    shutil.copy(place / "new" / "Fig 1" / sorted((place / "new" / "Fig 1").iterdir())[0].name, place / "fig.jpg")
    done = fruitctl("recognise", "-o", "out", "fig.jpg", "chart.png", cwd=place)
    fig, *near, chart = [line for line in done.stdout.splitlines() if not line.startswith("  ") or "Fig 1/" in line]
    assert fig.startswith("fig.jpg    Fig 1 ") and " of 5 " in fig and "away" in fig and near[0].lstrip()[0].isdigit()
    assert chart.startswith("chart.png  unlike anything here "), done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80 and "\x1b" not in done.stdout + done.stderr
    # Many images are a line each.
    assert len(fruitctl("recognise", "-o", place / "out", place / "new").stdout.splitlines()) == 12 * NEW


def test_the_output_is_the_project_s(place, tmp_path):
    (tmp_path / "fruitctl.toml").write_text(f'[job]\ninput = "{place}/in"\noutput = "{place}/out"\n')
    assert "chart.png" in fruitctl("recognise", place / "chart.png", cwd=tmp_path).stdout
    (tmp_path / "fruitctl.toml").unlink()
    assert "--output" in fruitctl("recognise", place / "chart.png", cwd=tmp_path, code=2).stderr


def test_what_is_no_image_is_told_and_the_others_go_on(place, tmp_path):
    (tmp_path / "text.jpg").write_text("no picture")
    (tmp_path / "empty.png").write_bytes(b"")
    picture = next((place / "new" / "Fig 1").iterdir())
    done = fruitctl("recognise", "-o", place / "out", tmp_path / "text.jpg", picture, tmp_path / "empty.png", code=6)
    assert "Fig 1" in done.stdout and "a text file" in done.stdout and "empty" in done.stdout
    assert "2 of 3 images could not be used" in done.stderr
    said = recognise(place / "out", tmp_path / "text.jpg", picture, code=6)
    assert said[0]["error"] and said[0]["nearest"] == [] and said[1]["error"] is None
    # What is not there is a mistake in the command line; a folder without images is too.
    assert "not found" in fruitctl("recognise", "-o", place / "out", tmp_path / "none.jpg", code=2).stderr
    (tmp_path / "folder").mkdir()
    assert "no image" in fruitctl("recognise", "-o", place / "out", tmp_path / "folder", code=2).stderr


@pytest.mark.parametrize("env", RUNNERS, ids=["terminal", "github", "azure"])
def test_names_of_pictures_and_labels_are_data(place, tmp_path, env):
    label = HOSTILE.replace("/", "∕")
    for folder in ("in", "new"):
        (tmp_path / folder / label).mkdir(parents=True)
    for n, picture in enumerate(sorted((place / "in" / "Fig 1").iterdir())[:4]):
        shutil.copy(picture, tmp_path / ("new" if n == 3 else "in") / label / f"{n} {label[:40]}.jpg")
    (tmp_path / "new" / label / f"bad {label[:60]}.jpg").write_bytes(b"\xff\xd8\xff")
    fruitctl("run", "-i", tmp_path / "in", "-o", tmp_path / "out", "-k", 2)
    for more in ([], ["--json"]):
        done = fruitctl("recognise", "-o", tmp_path / "out", tmp_path / "new", *more, code=6, env=os.environ | env)
        is_clean(done.stdout, env)
        is_clean(done.stderr, env)
    # JSON has the label as it is.
    said = [json.loads(line) for line in done.stdout.splitlines()]
    assert {near["label"] for picture in said for near in picture["nearest"]} == {label}


def test_results_that_are_not_whole_or_somebody_else_s(place, tmp_path):
    out, picture = tmp_path / "out", place / "chart.png"
    shutil.copytree(place / "out", out, ignore=shutil.ignore_patterns(".fruitjob"))

    def refused(code, *words):
        said = fruitctl("recognise", "-o", out, picture, code=code).stderr
        assert all(word in said for word in words), said

    part = sorted((out / "results").glob("part-*"))[0]
    bytes_ = part.read_bytes()
    part.write_bytes(bytes_[:-9])
    refused(6, part.name, "run.json")
    # Vectors of another length, of a file that is the record's.
    run = record(out)
    table = pq.read_table(pa.BufferReader(bytes_)).to_pydict()
    paths = ["\x1b[2Jevil.jpg"] + table["path"][1:]
    schema = pa.schema([("path", pa.string()), ("label", pa.string()), ("pca", pa.list_(pa.float32()))])
    for vectors, word in (([v[:3] for v in table["pca"]], "not of 16 finite numbers"), ([v[:-1] + [float("nan")] for v in table["pca"]], "finite")):
        pq.write_table(pa.table({"path": paths, "label": table["label"], "pca": vectors}, schema), part)
        changed = json.loads(json.dumps(run))
        changed["parts"][0]["sha256"] = hashlib.sha256(part.read_bytes()).hexdigest()
        (out / "run.json").write_text(json.dumps(changed))
        refused(6, word, "\\u001b[2Jevil.jpg")
    pq.write_table(pa.table({"x": [1, 2]}), part)
    changed["parts"][0]["sha256"] = hashlib.sha256(part.read_bytes()).hexdigest()
    (out / "run.json").write_text(json.dumps(changed))
    refused(6, "columns")
    part.write_bytes(bytes_)
    (out / "run.json").write_text(json.dumps(run))
    fruitctl("recognise", "-o", out, picture)
    (out / "results" / "_SUCCESS").unlink()
    refused(2, "no complete results")
    shutil.rmtree(out)
    refused(2, "no output")
    assert not out.exists()


def test_a_model_that_has_moved_or_changed(place, tmp_path):
    models = ROOT / "jobs" / "fruitjob" / "models"
    # One that does not come with the program: the same, with a documentation (ModelProto's field 6).
    model = tmp_path / "m.onnx"
    model.write_bytes((models / "builtin-1.onnx").read_bytes() + b"\x32\x01x")
    few = tmp_path / "in"
    for label in ("Fig 1", "Apple 1"):
        shutil.copytree(place / "in" / label, few / label)
    fruitctl("run", "-i", few, "-o", tmp_path / "out", "--model", model, "-k", 4)
    picture = next((place / "new" / "Fig 1").iterdir())
    assert recognise(tmp_path / "out", picture)[0]["nearest"][0]["label"] == "Fig 1"
    moved = tmp_path / "moved.onnx"
    model.rename(moved)
    assert "--model" in fruitctl("recognise", "-o", tmp_path / "out", picture, code=2).stderr
    assert recognise(tmp_path / "out", picture, "--model", moved)[0]["nearest"][0]["label"] == "Fig 1"
    said = fruitctl("recognise", "-o", tmp_path / "out", picture, "--model", "builtin", code=2).stderr
    assert "SHA-256" in said and "--model" in said


def test_pictures_without_labels(place, tmp_path):
    """In one folder, all have its name: what is nearest can be told, and what is like nothing here."""
    (tmp_path / "flat").mkdir()
    for label in ("Fig 1", "Apple 1"):
        for picture in (place / "in" / label).iterdir():
            shutil.copy(picture, tmp_path / "flat" / f"{label[:3]}{picture.name}")
    fruitctl("run", "-i", tmp_path / "flat", "-o", tmp_path / "out", "-k", 8)
    fig, chart = recognise(tmp_path / "out", next((place / "new" / "Fig 1").iterdir()), place / "chart.png")
    assert fig["label"] == "flat" and fig["nearest"][0]["path"].startswith("Fig")
    assert chart["unlike"] and chart["label"] is None


def test_results_in_a_store(place):
    with Emulator() as aws:
        client = aws.client("s3")
        client.create_bucket(Bucket="fruits", CreateBucketConfiguration={"LocationConstraint": aws.region})
        aws.fill("fruits", "out", place / "out")
        there = recognise("s3://fruits/out", place / "new" / "Fig 1", env=aws.environment)
        assert there == recognise(place / "out", place / "new" / "Fig 1")
        said = fruitctl("recognise", "-o", "s3://fruits/none", place / "chart.png", code=2, env=aws.environment).stderr
        assert "no complete results" in said


def test_a_run_of_other_pictures_is_told(place, tmp_path):
    """What builtin was not trained on: textures. What it was, and drawn fruit is like it, is told nothing."""
    (tmp_path / "textures").mkdir()
    rng = np.random.default_rng(1)
    for number in range(60):
        noise = Image.fromarray(rng.integers(0, 256, (3 + number, 3 + number, 3), np.uint8))
        noise.resize((160, 160), Image.Resampling.BICUBIC).save(tmp_path / "textures" / f"{number}.png")
    fruitctl("run", "-i", tmp_path / "textures", "-o", tmp_path / "out", "-k", 4)
    [warning] = record(tmp_path / "out")["warnings"]
    assert "unlike those that model builtin was trained on" in warning and "--model mobilenet_v2" in warning
    assert record(place / "out")["warnings"] == []


def test_it_can_be_interrupted(place):
    images = [str(picture) for picture in (place / "in").rglob("*.jpg")] * 20
    words = command("fruitctl", "recognise", "-o", place / "out", *images)
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    with pytest.raises(subprocess.TimeoutExpired):
        process.communicate(timeout=0.7)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    # On a slow day, before it listens.
    assert process.returncode in (130, -signal.SIGINT)


def test_what_is_no_file_does_not_hang_and_what_is_damaged_is_told(place, tmp_path):
    odd = tmp_path / "odd"
    odd.mkdir()
    os.mkfifo(odd / "pipe.jpg")
    (odd / "empty.JPG").touch()
    (odd / "notes.txt").write_text("no picture")
    picture = next((place / "new").rglob("*.jpg"))
    (odd / "link.jpg").symlink_to(picture)
    done = fruitctl("recognise", "--output", place / "out", odd, odd / "pipe.jpg", "/dev/zero", "--json", code=6)
    said = {name: line["error"] for line in map(json.loads, done.stdout.splitlines()) for name in [line["image"].rsplit("/", 1)[1]]}
    assert said.pop("link.jpg") is None and said.pop("pipe.jpg") == said.pop("zero") == "it is no file"
    assert set(said) == {"empty.JPG"} and said["empty.JPG"], said


def test_a_model_of_a_web_server_is_not_fetched_because_the_results_say_so(place, tmp_path):
    shutil.copytree(place / "out", tmp_path / "out")
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    for name in ("http://127.0.0.1:9/m.onnx", "/dev/zero", "/etc"):
        run["model"] |= {"name": name, "sha256": "0" * 64}
        (tmp_path / "out" / "run.json").write_text(json.dumps(run))
        done = fruitctl("recognise", "--output", tmp_path / "out", place / "chart.png", code=2)
        assert f"the model was {name}" in done.stderr and "--model" in done.stderr, done.stderr
