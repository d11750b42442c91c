"""The main job: what it writes, who can read it, and that its numbers are right."""

import glob
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import duckdb
import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import ROOT, check_complete, command, digests, events, fruitctl, fruitjob, results
from PIL import Image
from sklearn.decomposition import PCA


def features(output):
    """The features that a run kept, in the order of its listing."""
    parts = [pq.read_table(f) for f in glob.glob(f"{output}/.fruitjob/features/*/*.parquet")]
    table = pa.concat_tables(parts).sort_by("path")
    return np.array(table["features"].to_pylist(), dtype=np.float32)


def test_everything_is_there_and_accounted_for(fruits, done):
    run = check_complete(done)
    assert run["images"]["listed"] == 480 and run["images"]["labels"] == 12 and run["images"]["rejected"] == 0
    assert run["pca"]["components"] == 64
    names = {str(p.relative_to(fruits)) for p in fruits.glob("*/*.jpg")}
    assert results(done).keys() == names
    assert all(label == path.split("/")[0] for path, (label, _) in results(done).items())


def test_results_are_read_by_pyarrow_pandas_and_duckdb(done):
    schema = pq.read_schema(done / "results" / "part-00000.parquet")
    assert schema.names == ["path", "label", "pca"]
    assert schema.field("path").type == pa.string() and schema.field("label").type == pa.string()
    assert schema.field("pca").type == pa.list_(pa.field("element", pa.float32(), nullable=False))
    frame = pd.read_parquet(done / "results")
    assert frame.shape == (480, 3) and len(frame.pca[0]) == 64
    rows = duckdb.sql(f"select label, count(*), avg(pca[1]), min(len(pca)) from '{done}/results/*.parquet' group by 1").fetchall()
    assert len(rows) == 12 and all(row[1] == 40 and row[3] == 64 for row in rows)


def test_pca_agrees_with_scikit_learn(done, fruits, tmp_path):
    x = features(done).astype(np.float64)
    want = PCA(64, svd_solver="covariance_eigh").fit(x)
    load = lambda name: np.load(done / "model" / f"{name}.npy")
    np.testing.assert_allclose(load("mean"), want.mean_, rtol=1e-5)
    np.testing.assert_allclose(load("explained_variance"), want.explained_variance_, rtol=1e-5)
    np.testing.assert_allclose(load("explained_variance_ratio"), want.explained_variance_ratio_, rtol=1e-5)
    components = load("components")
    # A vector is compared as a whole: its elements near 0 have no relative error to speak of. Axes of nearly
    # equal variance turn into each other at a touch, so only well separated ones are compared.
    variance = want.explained_variance_
    gaps = np.min(np.abs(np.diff(variance, prepend=np.inf, append=0))[[np.arange(64), np.arange(1, 65)]], axis=0)
    separated = gaps / variance > 1e-2
    assert separated.sum() > 30
    error = np.linalg.norm(components - want.components_, axis=1)
    assert error[separated].max() < 1e-5, error
    rows = pq.read_table(done / "results").sort_by("path")
    got = np.array(rows["pca"].to_pylist())
    np.testing.assert_allclose(got, (x - load("mean")) @ components.T, atol=1e-4)

    fruitctl("run", "--input", fruits, "--output", tmp_path / "out", "--variance", "0.95")
    k = len(np.load(tmp_path / "out" / "model" / "explained_variance.npy"))
    assert k == PCA(0.95, svd_solver="full").fit(x).n_components_


def test_fused_onnx_gives_the_vectors_of_the_results(tmp_path):
    # PNGs of the size that the model's input is cut from: every program sees the same pixels.
    rng = np.random.default_rng(3)
    (tmp_path / "in" / "noise").mkdir(parents=True)
    for i in range(70):
        low = rng.integers(0, 255, (6, 6, 3), dtype=np.uint8)
        Image.fromarray(low).resize((132, 132)).save(tmp_path / "in" / "noise" / f"{i:02}.png")
    fruitctl("run", "-i", tmp_path / "in", "-o", tmp_path / "out", "-k", 16)
    onnx.checker.check_model(tmp_path / "out" / "model" / "model.onnx", full_check=True)
    session = onnxruntime.InferenceSession(tmp_path / "out" / "model" / "model.onnx")
    metadata = session.get_modelmeta().custom_metadata_map
    mean, std = float(metadata["mean"].split(",")[0]), float(metadata["std"].split(",")[0])
    assert metadata["input_size"] == "128" and metadata["resize"] == "132" and metadata["layout"] == "NCHW"
    for path, (_, vector) in results(tmp_path / "out").items():
        pixels = np.asarray(Image.open(tmp_path / "in" / path), dtype=np.float32)[2:130, 2:130]
        tensor = ((pixels - mean) / std).transpose(2, 0, 1)[None]
        [got] = session.run(["pca"], {session.get_inputs()[0].name: tensor})
        np.testing.assert_allclose(got[0], vector, atol=1e-3)


def test_kernels_of_every_kind_of_processor_give_the_same(done, fruits, tmp_path):
    want = features(done)
    assert json.loads((done / "run.json").read_text())["model"]["engine"].startswith("mobilenet-")
    flags = Path("/proc/cpuinfo").read_text()
    for isa in ["portable", *["avx2"] * (" avx2 " in flags), *["avx512"] * (" avx512vl " in flags)]:
        run = fruitctl("run", "-i", fruits, "-o", tmp_path / isa, env={**os.environ, "FRUITJOB_ISA": isa})
        assert f"on mobilenet-{isa}" in run.stderr
        error = np.abs(features(tmp_path / isa) - want).max()
        assert error < 1e-4, f"{isa}: {error}"
    refused = fruitctl("run", "-i", fruits, "-o", tmp_path / "none", env={**os.environ, "FRUITJOB_ISA": "z80"})
    assert "general engine" in refused.stderr and "FRUITJOB_ISA=z80" in refused.stderr


def of_another_manner(done, folder):
    """A model that is like no MobileNet: what a run published, with a sigmoid behind it."""
    model = onnx.load(done / "model" / "model.onnx")
    [output] = model.graph.output
    model.graph.node.append(onnx.helper.make_node("Sigmoid", [output.name], ["sigmoid"]))
    output.name = "sigmoid"
    onnx.save(model, folder / "sigmoid.onnx")
    return folder / "sigmoid.onnx"


def test_int8_comes_close_to_f32(done, fruits, tmp_path):
    want = features(done)
    run = fruitctl("run", "-i", fruits, "-o", tmp_path / "out", "--precision", "int8")
    assert re.search(r"on mobilenet-\w+-int8", run.stderr)
    got = features(tmp_path / "out")
    cosine = (got * want).sum(1) / np.linalg.norm(got, axis=1) / np.linalg.norm(want, axis=1)
    assert cosine.min() > 0.99 and not np.array_equal(got, want)
    refused = fruitctl("run", "-i", fruits, "-o", tmp_path / "out", "-m", of_another_manner(done, tmp_path), "--precision", "int8", code=2)
    assert "--precision int8 is not possible" in refused.stderr and "leave it out" in refused.stderr


def test_a_model_of_another_manner_goes_through_the_general_engine(done, fruits, tmp_path):
    run = fruitctl("run", "-i", fruits, "-o", tmp_path / "out", "-m", of_another_manner(done, tmp_path), "-k", "8")
    assert "on rten" in run.stderr and "it follows the global mean" in run.stderr
    rows = results(done)
    got = dict(zip(sorted(rows), features(tmp_path / "out")))
    error = max(np.abs(got[path] - 1 / (1 + np.exp(-np.array(vector)))).max() for path, (_, vector) in rows.items())
    assert error < 1e-3


def test_a_published_model_runs_on_our_kernels(done, fruits, tmp_path):
    run = fruitctl("run", "-i", fruits, "-o", tmp_path / "out", "-m", done / "model" / "model.onnx", "-k", "8")
    assert "on mobilenet-" in run.stderr and "scores" not in run.stderr
    rows = results(done)
    got = dict(zip(sorted(rows), features(tmp_path / "out")))
    error = max(np.abs(got[path] - vector).max() for path, (_, vector) in rows.items())
    assert error < 1e-3, "its features are the vectors of the run that it came from"


def test_scores_of_classes_are_told(fruits, tmp_path):
    model = ROOT / "jobs/fruitjob/tests/exporters/torch_classes.onnx"
    run = fruitctl("run", "-i", fruits, "-o", tmp_path / "out", "-m", model, "--mean=127.5", "--std=127.5", "-k", 2)
    flag = re.search(r"looks like the scores of classes.*(--output-node=\S+)", run.stderr)[1]
    # What it names is the vector before, under a key of its own.
    run = fruitctl("run", "-i", fruits, "-o", tmp_path / "out", "-m", model, flag, "--mean=127.5", "--std=127.5", "-k", 2)
    assert "scores of classes" not in run.stderr
    assert json.loads((tmp_path / "out" / "run.json").read_text())["model"]["output_node"] == flag.partition("=")[2]


def test_stage_by_stage_equals_run(fruits, done, tmp_path):
    output = tmp_path / "out"
    for stage, args in [("list", ["-i", fruits]), ("featurize", ["-i", fruits]), ("fit", []), ("project", [])]:
        fruitjob(stage, "-o", output, *args)
        assert not (output / "results").exists(), f"{stage} published something"
    fruitjob("report", "-o", output, "-i", fruits)
    check_complete(output)
    assert digests(output) == digests(done)


def test_a_stage_without_the_one_before_says_so(fruits, tmp_path):
    assert "fruitjob list" in fruitjob("featurize", "-i", fruits, "-o", tmp_path / "out", code=2).stderr
    fruitjob("list", "-i", fruits, "-o", tmp_path / "out")
    assert "fruitjob featurize" in fruitjob("fit", "-o", tmp_path / "out", code=2).stderr
    fruitjob("featurize", "-i", fruits, "-o", tmp_path / "out")
    assert "fruitjob fit" in fruitjob("project", "-o", tmp_path / "out", code=2).stderr
    assert "fruitjob project" in fruitjob("report", "-i", fruits, "-o", tmp_path / "out", code=2).stderr
    other = fruitjob("featurize", "-i", fruits / "Apple 1", "-o", tmp_path / "out", code=2).stderr
    assert "listing of" in other


def test_event_stream(fruits, tmp_path):
    stream = events(fruitctl("run", "--json", "-i", fruits, "-o", tmp_path / "out").stdout)
    assert stream[0]["event"] == "started" and stream[0]["version"] == 2
    assert stream[-1]["event"] == "finished" and stream[-1]["run"]["images"]["results"] == 480
    started = [e["stage"] for e in stream if e["event"] == "stage_started"]
    finished = [e["stage"] for e in stream if e["event"] == "stage_finished"]
    assert started == finished == ["list", "featurize", "fit", "project", "report"]
    last = [e for e in stream if e["event"] == "progress" and e["stage"] == "featurize"][-1]
    assert last["done"] == last["total"] == 480
    failed = events(fruitctl("run", "--json", "-i", fruits / "none", "-o", tmp_path / "out", code=2).stdout)
    assert failed[-1]["event"] == "failed" and failed[-1]["exit_code"] == 2


def test_plain_output_has_no_terminal_codes(fruits, tmp_path):
    done = fruitctl("run", "-i", fruits, "-o", tmp_path / "out")
    assert "\x1b" not in done.stdout + done.stderr
    assert re.search(r"480 images of 12 labels -> vectors of 64 components", done.stdout)
    assert str(tmp_path / "out" / "report.html") in done.stdout
    # A reader that leaves early ends in no panic.
    head = subprocess.run(
        f"{' '.join(command('fruitctl', 'run', '--json', '-i', fruits, '-o', tmp_path / 'out'))} | head -1; exit ${{PIPESTATUS[0]}}",
        shell=True, executable="/bin/bash", capture_output=True, text=True,
    )
    assert head.returncode == 0 and "panicked" not in head.stderr


def test_init_then_run(fruits, tmp_path):
    assert "no input; type 'fruitctl run --input" in fruitctl("run", cwd=tmp_path, code=2).stderr
    fruitctl("init", "--input", fruits, cwd=tmp_path)
    assert "already" in fruitctl("init", cwd=tmp_path, code=2).stderr
    fruitctl("run", "-k", 8, cwd=tmp_path)
    assert check_complete(tmp_path / "out")["pca"]["components"] == 8
    config = tmp_path / "fruitctl.toml"
    config.write_text(config.read_text().replace("# components = 64", "compnents = 64"))
    message = fruitctl("run", cwd=tmp_path, code=2).stderr
    assert re.search(r"fruitctl.toml:\d+:1: unknown key 'compnents'; did you mean 'components'\?", message)


def test_samples_are_idempotent_and_harm_nothing(fruits, tmp_path):
    copy = tmp_path / "fruits"
    shutil.copytree(fruits, copy)
    before = {p: p.stat().st_mtime_ns for p in copy.glob("*/*.jpg")}
    fruitctl("samples", copy, "--classes", 12, "--per-class", 40)
    assert {p: p.stat().st_mtime_ns for p in copy.glob("*/*.jpg")} == before
    mine = copy / "Apple 1" / "0_100.jpg"
    mine.write_bytes(b"my own picture")
    assert "--force" in fruitctl("samples", copy, "--classes", 12, "--per-class", 40, code=2).stderr
    assert mine.read_bytes() == b"my own picture"


def test_completions_and_help(tmp_path):
    assert fruitctl("man").stdout.splitlines()[2].startswith(".TH fruitctl 1")
    fruitctl("man", tmp_path / "man1")
    page = (tmp_path / "man1" / "fruitctl-run.1").read_text()
    assert "components" in page and "Flags overrule fruitctl.toml" in page
    assert "samples" in fruitctl("completions", "bash").stdout
    assert "--variance" in fruitctl("run", "--help").stdout
    assert "similar" in fruitctl("smaples", code=2).stderr


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_same_bytes_for_any_number_of_threads(fruits, done, tmp_path, threads):
    fruitctl("run", "-i", fruits, "-o", tmp_path / "out", "--threads", threads)
    assert digests(tmp_path / "out") == digests(done)


def test_report_embeds_its_data_and_nothing_from_elsewhere(done):
    html = (done / "report.html").read_text()
    data = json.loads(re.search(r'id="data">(.*?)</script>', html, re.S).group(1))
    assert len(data["points"]["x"]) == 480 and len(data["labels"]) == 12
    assert all(len(label["thumbnails"]) == 4 for label in data["labels"])
    assert not re.search(r'(?:src|href)="https?:', html)
