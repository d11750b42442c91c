"""Stopped, killed, continued, repeated, changed: the same bytes as a run from nothing, and no work twice."""

import shutil
import signal
import subprocess
import time

import pytest
from conftest import LONG, check_complete, command, digests, events, fruitctl, record

# All share the pictures, and what was made of them.
pytestmark = pytest.mark.xdist_group("resume")
CLASSES, EACH = 20, 100
ALL = CLASSES * EACH


def start(fruits, output, *args):
    return subprocess.Popen(
        command("fruitctl", "run", "--json", "-i", fruits, "-o", output, *args),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )


def stop_at(process, wanted, sig):
    """Sends a signal at the first event that is `wanted`; returns the exit code."""
    for line in process.stdout:
        [event] = events(line)
        if wanted(event):
            process.send_signal(sig)
            break
    process.stdout.read()
    assert "panicked" not in process.stderr.read()
    return process.wait(timeout=60)


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """Enough pictures to be stopped among."""
    folder = tmp_path_factory.mktemp("many") / "fruits"
    fruitctl("samples", folder, "--classes", CLASSES, "--per-class", EACH)
    return folder


@pytest.fixture(scope="module")
def whole(many, tmp_path_factory):
    output = tmp_path_factory.mktemp("whole") / "out"
    fruitctl("run", "-i", many, "-o", output)
    return output


def half_way(event):
    return event["event"] == "progress" and event["stage"] == "featurize" and event["done"] > event["total"] / 3


@pytest.mark.parametrize("sig, code", [(signal.SIGKILL, -9), (signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_run_continues_to_the_same_bytes(many, whole, tmp_path, sig, code):
    output = tmp_path / "out"
    assert stop_at(start(many, output, "--threads", "1"), half_way, sig) == code
    assert not (output / "results").exists()
    fruitctl("run", "-i", many, "-o", output)
    run = check_complete(output)
    assert run["images"]["cached"] > ALL / 10, "nothing was kept"
    assert digests(output) == digests(whole)
    assert not list(output.rglob("*#*")), "half-written files were left"


@pytest.mark.parametrize("stage", ["list", "featurize", "fit", "project", "report"])
def test_ctrl_c_in_any_stage_leaves_the_last_results_whole(many, whole, tmp_path, stage):
    output = tmp_path / "out"
    shutil.copytree(whole, output)
    fruitctl("run", "-i", many, "-o", output, "-k", 5)
    before = digests(output)
    # Another model's key: featurize has work to do again.
    args = ["-k", "7", "--color", "bgr"]
    code = stop_at(start(many, output, *args), lambda e: e["event"] == "stage_started" and e["stage"] == stage, signal.SIGINT)
    if code == 130:
        assert digests(output) == before
        check_complete(output)
    else:
        # The stage was over before the signal came; then all of it must be.
        assert code == 0 and stage not in ("list", "featurize")
    fruitctl("run", "-i", many, "-o", output, *args)
    assert check_complete(output)["pca"]["components"] == 7


@pytest.mark.slow
def test_killed_at_any_moment_a_success_mark_means_whole_results(many, whole, tmp_path):
    """Of the moments of a run some fall into publication; whatever lies there, `_SUCCESS` never lies."""
    output = tmp_path / "out"
    shutil.copytree(whole, output)
    begun = time.monotonic()
    fruitctl("run", "-i", many, "-o", output, "-k", 4)
    takes, nights = time.monotonic() - begun, 40 if LONG else 15
    outcomes = []
    for night in range(nights):
        process = start(many, output, "-k", str(3 + night % 2))
        try:
            process.communicate(timeout=takes * (night + 0.5) / nights)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
        if (output / "results" / "_SUCCESS").exists():
            check_complete(output)
        outcomes.append(process.returncode)
    print(f"{outcomes.count(-9)} killed, {outcomes.count(0)} came through")
    assert set(outcomes) <= {0, -9} and outcomes.count(-9) > nights / 8
    fruitctl("run", "-i", many, "-o", output)
    assert check_complete(output) and digests(output) == digests(whole)


def test_a_second_run_featurizes_nothing(many, whole, tmp_path):
    output = tmp_path / "out"
    shutil.copytree(whole, output)
    fruitctl("run", "-i", many, "-o", output)
    images = check_complete(output)["images"]
    assert images["featurized"] == 0 and images["cached"] == ALL and images["read_bytes"] == 0
    assert digests(output) == digests(whole)


def test_images_added_changed_and_removed_cost_what_changed(many, whole, tmp_path):
    changed, output = tmp_path / "fruits", tmp_path / "out"
    shutil.copytree(many, changed)  # copies the times of modification too
    shutil.copytree(whole, output)
    # Forty new in one folder, ten in a new one.
    fresh = tmp_path / "fresh"
    fruitctl("samples", fresh, "--classes", 2, "--per-class", 40, "--seed", 5)
    for i in range(40):
        shutil.copy(fresh / "Apple 1" / f"{i}_100.jpg", changed / "Kiwi 1" / f"new {i}.jpg")
    (changed / "Quite new").mkdir()
    for i in range(10):
        shutil.copy(fresh / "Banana 1" / f"{i}_100.jpg", changed / "Quite new" / f"{i}.jpg")
    fruitctl("run", "-i", changed, "-o", output)
    assert check_complete(output)["images"]["featurized"] == 50
    assert record(output)["images"]["cached"] == ALL
    fruitctl("run", "-i", changed, "-o", tmp_path / "full")
    assert digests(output) == digests(tmp_path / "full")

    time.sleep(0.01)
    shutil.copyfile(fresh / "Banana 1" / "11_100.jpg", changed / "Fig 1" / "3_100.jpg")
    shutil.rmtree(changed / "Apple 2")
    (changed / "Lemon 1" / "7_100.jpg").unlink()
    fruitctl("run", "-i", changed, "-o", output)
    images = check_complete(output)["images"]
    assert images["featurized"] == 1 and images["listed"] == ALL + 50 - EACH - 1
    fruitctl("run", "-i", changed, "-o", tmp_path / "full2")
    assert digests(output) == digests(tmp_path / "full2")
    # Nothing piles up: as many features are kept as there are partitions.
    kept = list((output / ".fruitjob" / "features").glob("*/*.parquet"))
    assert len(kept) == len(record(output)["parts"])


def test_damaged_features_are_computed_again(many, whole, tmp_path):
    output = tmp_path / "out"
    shutil.copytree(whole, output)
    parts = sorted((output / ".fruitjob" / "features").glob("*/*.parquet"))
    parts[0].write_bytes(b"PAR1 no more")
    parts[1].write_bytes(parts[1].read_bytes()[:-10])
    parts[2].unlink()
    fruitctl("run", "-i", many, "-o", output)
    images = check_complete(output)["images"]
    assert 0 < images["featurized"] < 0.4 * ALL
    assert digests(output) == digests(whole)


def test_two_runs_at_once_on_one_output(many, tmp_path):
    output = tmp_path / "out"
    first = start(many, output, "--threads", "1")
    for line in first.stdout:
        if '"featurize"' in line:
            break
    assert "another run" in fruitctl("run", "-i", many, "-o", output, code=8).stderr
    first.stdout.read()
    assert first.wait() == 0
    check_complete(output)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_images(fruits, tmp_path):
    drawn, folder, output = sorted(fruits.glob("*/*.jpg")), tmp_path / "in", tmp_path / "out"

    def peak(classes):
        """Of a run over so many classes of 200 pictures each, the same ones by other names; what was featurized stays so."""
        for n in range(classes * 200):
            path = folder / f"Class {n // 200:03}" / f"{n % 200:03}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                path.hardlink_to(drawn[n % len(drawn)])
        shutil.rmtree(output / "results", ignore_errors=True)
        for file in ("run.json", "manifest.parquet"):
            (output / file).unlink(missing_ok=True)
        measure = (
            "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL,"
            "stderr=subprocess.DEVNULL); print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
        )
        args = command("fruitctl", "run", "-i", folder, "-o", output, "--threads", "2")
        return int(subprocess.check_output(["python3", "-c", measure, *args]))

    small, large = peak(50), peak(200)
    print(f"peak memory: {small} KB for 10,000 images, {large} KB for 40,000")
    assert check_complete(output)["images"]["listed"] == 40_000 and record(output)["images"]["featurized"] == 30_000
    # The listing and the report's points, some 600 bytes an image, are held in memory; features, 1 KB an image here, are
    # not.
    assert large < 1.15 * small + 30_000 * 0.6, f"{small} KB -> {large} KB"
    assert large < 300_000
