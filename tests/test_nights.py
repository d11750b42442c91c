"""Night after night on one output: what each costs, what it says has changed, and what is kept."""

import json
import os
import shutil
import time

import jsonschema
import pytest
from conftest import check_complete, digests, download, events, fruitctl, record, results
from emulator import Emulator, node
from nights import Nights

NIGHT = ["run", "--one-shot", "--if-changed", "--json", "--download", "got"]


@pytest.fixture(scope="module")
def aws():
    with Emulator(start=0.05, bootstrap=0.02, terminate=0.05, propagation=0, logs=0.3, idle=0.2) as aws:
        yield aws


def schema(name):
    return jsonschema.Draft202012Validator(json.loads(fruitctl("schema", name).stdout))


@pytest.mark.slow
@pytest.mark.skipif(node.available() is not None, reason=f"clusters have no nodes here: {node.available()}")
def test_fourteen_nights(aws, tmp_path):
    """Each night's results are those of a run from scratch; it featurizes what is new; without news it starts nothing."""
    nights = Nights(aws, tmp_path, "fourteen", classes=6, per_class=20)
    project, quiet = nights.project, {4, 5, 9}
    lines, summaries = schema("events"), schema("run-summary")
    made, first = None, None
    for night in range(14):
        new, changed, removed = (0, 0, 0) if night in quiet else nights.change_some(5)
        clusters = len(aws.emr.clusters)
        said = events(project.run(*NIGHT).stdout)
        summary = json.loads((project.folder / "got" / "run-summary.json").read_text())
        for line in said:
            lines.validate(line)
        summaries.validate(summary)
        assert summary["exit_code"] == 0 and summary["version"] == 2
        if night in quiet or (new, changed, removed) == (0, 0, 0):
            assert [e["event"] for e in said] == ["unchanged"] and len(aws.emr.clusters) == clusters
            assert (summary["state"], summary["results_of"]) == ("unchanged", said[0]["run"])
        else:
            assert len(aws.emr.clusters) == clusters + 1
            images = said[-1]["run"]["images"]
            assert (summary["state"], summary["cluster"]) == ("done", list(aws.emr.clusters)[-1])
            assert images["listed"] == len(nights.paths())
            assert images["featurized"] == (images["listed"] if made is None else new + changed), images
            changes = said[-1]["run"]["changes"]
            if made is None:
                assert changes is None
            else:
                assert (changes["new"], changes["changed"], changes["removed"]) == (new, changed, removed)
                assert changes["listed"] == made["images"]["listed"]
                then, now = ({x["label"]: x["images"] for x in run["labels"]} for run in (made, said[-1]["run"]))
                both = {label: (then.get(label, 0), now.get(label, 0)) for label in then | now}
                assert {x["label"]: (x["before"], x["now"]) for x in changes["labels"]} == {k: v for k, v in both.items() if v[0] != v[1]}
                assert not changes["pca"]["same"] and 0 < changes["pca"]["subspace_distance"] < 1 and 0 < changes["pca"]["vectors_moved"] < 3
            made = said[-1]["run"]
            first = first or said[-1]["run"]["pca"]["id"]
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        download(aws.client("s3"), f"s3://{nights.bucket}/output", tmp_path / "out")
        check_complete(tmp_path / "out")
        assert digests(tmp_path / "out") == nights.expected(), f"night {night}"
    # Another job is not the same, though the images are.
    assert events(project.run(*NIGHT, "-k", "7").stdout)[-1]["event"] == "finished"
    # Nor does it stand if its results are gone.
    aws.client("s3").delete_object(Bucket=nights.bucket, Key="output/results/_SUCCESS")
    assert events(project.run(*NIGHT, "-k", "7").stdout)[-1]["event"] == "finished"
    # Projected on the first night's components: by its run's name.
    runs = json.loads(project.run("runs", "--json").stdout)
    pinned = events(project.run(*NIGHT, "--pin-pca", runs[-1]["id"]).stdout)[-1]["run"]
    assert pinned["pca"]["pinned"] and pinned["pca"]["id"] == runs[-1]["pca"] == first
    # What was shipped for runs that nobody knows any more, and nothing else.
    assert json.loads(project.run("prune", "--json").stdout) == []
    project.run("down", "--purge-bucket")
    assert not aws.refused, aws.refused


@pytest.fixture
def here(fruits, tmp_path):
    folder = tmp_path / "in"
    shutil.copytree(fruits, folder)
    return folder


def run_here(folder, out, *flags, **kwargs):
    return fruitctl("run", "-i", folder, "-o", out, *flags, **kwargs)


def test_what_changed_is_said(here, tmp_path):
    out = tmp_path / "out"
    run_here(here, out)
    assert record(out)["changes"] is None
    (here / "Apple 1" / "0_100.jpg").rename(here / "Fig 1" / "moved.jpg")
    shutil.copy(here / "Fig 1" / "1_100.jpg", here / "Fig 1" / "2_100.jpg")
    shutil.rmtree(here / "Cherry 1")
    (here / "New").mkdir()
    shutil.copy(here / "Fig 1" / "1_100.jpg", here / "New" / "1.jpg")
    ran = run_here(here, out)
    changes = record(out)["changes"]
    assert (changes["new"], changes["changed"], changes["removed"]) == (2, 1, 41)
    assert "2 new, 1 changed, 41 removed" in ran.stdout and "vectors   moved by " in ran.stdout, ran.stdout
    labels = {x["label"]: (x["before"], x["now"]) for x in changes["labels"]}
    assert labels == {"Apple 1": (40, 39), "Cherry 1": (40, 0), "Fig 1": (40, 41), "New": (0, 1)}
    # Killed before it was published and run again, it still tells of the results that are there.
    assert json.loads((out / "run-summary.json").read_text())["run"]["changes"] == changes
    run_here(here, out)
    assert record(out)["changes"]["pca"] == {"same": True, "subspace_distance": 0.0, "vectors_moved": 0.0}
    # Another precision is another engine, and no other model.
    run_here(here, out, "--precision", "int8")
    drift = record(out)["changes"]["pca"]
    assert not drift["same"] and drift["subspace_distance"] < 0.5


def test_a_damaged_past_does_not_stop_a_run(here, tmp_path):
    out = tmp_path / "out"
    for damaged in ("manifest.parquet", "model/mean.npy", "run.json"):
        run_here(here, out)
        before = digests(out)
        (out / damaged).write_bytes(b"damaged")
        run_here(here, out)
        assert digests(out) == before
        warnings = " ".join(record(out)["warnings"])
        assert damaged == "run.json" or f"since the last results cannot be told: {out}/{damaged} is damaged" in warnings, warnings


def test_drift_is_what_numpy_says(here, tmp_path):
    """By its definition: vectors of the same images, by the old components and by the new."""
    import numpy as np
    out = tmp_path / "out"
    run_here(here, out, "-k", "8")
    old = {name: np.load(out / "model" / f"{name}.npy") for name in ("mean", "components")}
    for n in range(30):
        (here / "Fig 1" / f"{n}_100.jpg").unlink()
    run_here(here, out, "-k", "8")
    new = {name: np.load(out / "model" / f"{name}.npy") for name in ("mean", "components")}
    drift = record(out)["changes"]["pca"]
    sines = 1 - np.linalg.svd(old["components"] @ new["components"].T)[1] ** 2
    assert abs(drift["subspace_distance"] - np.sqrt(sines.mean())) < 1e-9
    # The new vectors, and back by the components to features as far as they span them, will not do: pin and compare.
    pinned = tmp_path / "pinned"
    shutil.copytree(out, pinned)
    kept = {p.name for p in (out / ".fruitjob" / "pca").iterdir()}
    (before,) = kept - {record(out)["pca"]["id"]}
    run_here(here, pinned, "--pin-pca", before)
    by_old, by_new = (np.array([v for _, v in results(o).values()]) for o in (pinned, out))
    moved = np.sqrt(((by_new - by_old) ** 2).sum() / (by_new ** 2).sum())
    assert abs(drift["vectors_moved"] - moved) < 1e-3 * moved, (drift, moved)


def test_pinned_vectors_stay(here, tmp_path):
    """Projected on an earlier run's components, unchanged images keep their vectors, whatever else comes and goes."""
    out, other = tmp_path / "out", tmp_path / "other"
    run_here(here, out)
    first, model = results(out), digests(out)
    pin = record(out)["pca"]["id"]
    shutil.rmtree(here / "Cherry 1")
    run_here(here, out)
    kept = {path: row for path, row in first.items() if not path.startswith("Cherry 1/")}
    assert results(out) != kept
    said = run_here(here, out, "--pin-pca", pin)
    assert results(out) == kept and f"of PCA {pin}, fitted earlier," in said.stderr
    pca = record(out)["pca"]
    assert pca["pinned"] and pca["id"] == pin and 0 < sum(pca["explained_variance_ratio"]) <= 1
    assert {k: v for k, v in digests(out).items() if k.startswith("model/")} == {k: v for k, v in model.items() if k.startswith("model/")}
    # From a file; by the place of other results; and again from there.
    (tmp_path / "fruitctl.toml").write_text(f'[job]\ninput = "in"\noutput = "other"\npin_pca = "{pin}"\n')
    assert f"there is no PCA '{pin}'" in fruitctl("run", cwd=tmp_path, code=2).stderr
    fruitctl("run", "--pin-pca", out, cwd=tmp_path)
    assert results(other) == kept
    fruitctl("run", cwd=tmp_path)
    # What cannot be, and why.
    assert "cannot be used with" in run_here(here, out, "--pin-pca", pin, "-k", "3", code=2).stderr
    message = run_here(here, out, "--pin-pca", "pears", code=2).stderr
    assert "there is no PCA 'pears'" in message and pin in message, message
    message = run_here(here, out, "--pin-pca", pin, "--resize", "140", code=2).stderr
    assert "was fitted on images that were preprocessed otherwise" in message and "--resize=132" in message, message
    assert results(out) == kept


def test_prune_keeps_what_is_in_use(here, tmp_path):
    out = tmp_path / "out"
    assert "there is no output" in fruitctl("prune", "--output", out, code=2).stderr
    run_here(here, out, "--precision", "int8")
    run_here(here, out)
    before = digests(out)
    models = {p.name for p in (out / ".fruitjob" / "features").iterdir()}
    assert len(models) == 2
    said = fruitctl("prune", "--output", out, "--dry-run").stdout
    assert "would delete features of model" in said and len({p.name for p in (out / ".fruitjob" / "features").iterdir()}) == 2
    (garbage,) = json.loads(fruitctl("prune", "--output", out, "--json").stdout)
    assert garbage["bytes"] > 0 and {p.name for p in (out / ".fruitjob" / "features").iterdir() if any(p.iterdir())} == {record(out)["model"]["key"]}
    assert len(list((out / ".fruitjob" / "pca").iterdir())) == 2
    # All PCAs are of long ago; the published one stays.
    for file in (out / ".fruitjob" / "pca").glob("*/*"):
        os.utime(file, (time.time() - 91 * 24 * 3600,) * 2)
    assert fruitctl("prune", "--output", out, "--pca-days", "92").stdout.startswith("nothing to prune")
    assert fruitctl("prune", "--output", out).stdout.count("deleted PCA") == 1
    assert {p.parent.name for p in (out / ".fruitjob" / "pca").glob("*/mean.npy")} == {record(out)["pca"]["id"]}
    assert "nothing to prune" in fruitctl("prune", "--output", out).stdout
    run_here(here, out)
    assert digests(out) == before and record(out)["images"]["featurized"] == 0


def test_a_log_and_a_page_for_ci(here, tmp_path, monkeypatch):
    """Lines begin with the time where nobody looks on; GitHub gets a page and annotations; stdout stays JSON."""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "page.md"))
    (here / "Fig 1" / "1_100.jpg").write_bytes(b"no picture")
    ran = run_here(here, tmp_path / "out", "--max-rejects", "1")
    lines = ran.stderr.splitlines()
    assert lines and all(line[:4].isdigit() and line[19] == "Z" for line in lines), ran.stderr
    run_here(here, tmp_path / "out", "--max-rejects", "1")
    page = (tmp_path / "page.md").read_text()
    assert page.count("### fruitctl run ") == 2 and "0 featurized, 480 from the cache, 1 rejected" in page, page
    assert "0 new, 0 changed, 0 removed" in page and "of the same PCA" in page
    failed = run_here(here, tmp_path / "out", "--max-rejects", "0", "--json", code=6)
    assert [line for line in failed.stderr.splitlines() if line.startswith("::error title=fruitctl::")], failed.stderr
    assert events(failed.stdout)[-1]["event"] == "failed"
    summary = json.loads((tmp_path / "out" / "run-summary.json").read_text())
    assert (summary["state"], summary["exit_code"]) == ("failed", 6) and "failed" in (tmp_path / "page.md").read_text()
    schema("run-summary").validate(summary)
