"""The fruitjobs that release/jobs makes for clusters' nodes: what they ask of the node, and that they do the same."""

import hashlib
import json
import re
import shutil
import statistics
import subprocess
import time

import numpy as np
import pytest
from conftest import BIN, ROOT, check_complete, command, fruitctl, results, soon
from emulator import Emulator
from stack import Project

JOBS = BIN.parent / "jobs"
# Emulated, and with the C library of Debian's cross compilers.
QEMU = ["qemu-aarch64", "-L", "/usr/aarch64-linux-gnu"]


def job(arch):
    """The one for these processors; tests/run makes that for aarch64."""
    if not (program := JOBS / f"fruitjob-{arch}").exists():
        pytest.skip(f"release/jobs has made none for {arch}")
    return program


@pytest.mark.parametrize("arch", ["x86_64", "aarch64"])
def test_it_runs_on_amazon_linux_2(arch):
    """glibc 2.26, and no library beside the C library's; nothing of the machine that built it is in it."""
    program = job(arch)
    symbols = subprocess.run(["objdump", "-T", program], check=True, capture_output=True, text=True).stdout
    versions = {tuple(map(int, v.split("."))) for v in re.findall(r"GLIBC_([\d.]+)", symbols)}
    assert versions and max(versions) <= (2, 26), max(versions)
    dynamic = subprocess.run(["readelf", "-d", program], check=True, capture_output=True, text=True).stdout
    libraries = set(re.findall(r"NEEDED.*\[(.*?)\]", dynamic))
    assert libraries <= {"libc.so.6", "libm.so.6", "libpthread.so.0", "libdl.so.2", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"}, libraries
    content = program.read_bytes()
    for place in [str(ROOT), "/.cargo/registry"]:
        assert place.encode() not in content, place


@pytest.mark.parametrize("arch", ["x86_64", "aarch64"])
def test_what_is_c_in_it_is_hardened(arch):
    """An overflow on the stack of C ends the process; tables of functions are read-only, no address is fixed, and no data are executed."""
    program = job(arch)
    def readelf(what, file=program):
        return subprocess.run(["readelf", "-W", what, file], check=True, capture_output=True, text=True).stdout

    assert "NOW PIE" in readelf("-d") and "GNU_RELRO" in readelf("-l") and re.search(r"GNU_STACK.* RW ", readelf("-l"))
    assert "__stack_chk_fail" in readelf("--dyn-syms")
    # Nearly all C of the job is Zstandard's, whose own build asks for nothing.
    libraries = list((BIN.parent / f"{arch}-unknown-linux-gnu").glob("*/build/zstd-sys-*/out/libzstd.a"))
    assert libraries
    for library in libraries:
        assert "__stack_chk_fail" in readelf("--syms", library), library


def difference(one, other):
    """The largest difference of two results' vectors, after a look at the rest of them."""
    one, other = results(one), results(other)
    assert one.keys() == other.keys() and all(one[path][0] == other[path][0] for path in one)
    return max(np.abs(np.subtract(one[path][1], other[path][1])).max() for path in one)


def test_the_portable_one_gives_the_same(fruits, done, tmp_path):
    subprocess.run([job("x86_64"), "run", "-i", fruits, "-o", tmp_path / "out"], check=True, capture_output=True)
    check_complete(tmp_path / "out")
    assert difference(tmp_path / "out", done) < 1e-4


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("qemu-aarch64"), reason="no qemu-aarch64: apt-get install qemu-user libc6-arm64-cross")
def test_graviton_gives_the_same(tmp_path):
    """All of the job, on an emulated processor: its arithmetic is another, its results are not."""
    fruits = tmp_path / "fruits"
    fruitctl("samples", fruits, "--classes", 8, "--per-class", 12)
    fruitctl("run", "-i", fruits, "-o", tmp_path / "here", "--components", "16")
    words = [*QEMU, job("aarch64"), "run", "-i", fruits, "-o", tmp_path / "there", "--components", "16"]
    subprocess.run(words, check=True, capture_output=True, timeout=600)
    run = check_complete(tmp_path / "there")
    assert run["images"]["results"] == 96
    assert difference(tmp_path / "here", tmp_path / "there") < 1e-4


def release():
    """A fruitctl that carries both fruitjobs; tests/run makes it."""
    if not (program := JOBS / "fruitctl").exists():
        pytest.skip("none was built with the feature 'bundle'")
    return program


@pytest.mark.parametrize("build", ["release", "development"])
def test_the_fruitjob_that_fits_the_nodes_is_shipped(tmp_path, build):
    """Graviton by default: the one that a release carries, with nothing beside it; of those beside a development build, the one for it."""
    place = tmp_path / "bin"
    place.mkdir()
    for program in [release()] if build == "release" else [BIN / "fruitctl", BIN / "fruitjob", job("aarch64")]:
        shutil.copy2(program, place)
    with Emulator(nodes=False, start=0.05, bootstrap=0.02, terminate=0.05, propagation=0) as aws:
        project = Project(aws, tmp_path, "graviton")
        project.seed(["run"])
        process = subprocess.Popen([place / "fruitctl", "run", "--no-ssh"], cwd=project.folder, env=project.env,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            soon(lambda: project.calls()["elasticmapreduce:RunJobFlow"], "a cluster", seconds=60)
        finally:
            process.kill()
            process.wait()
        s3 = aws.client("s3")
        (bucket,) = project.exists()["bucket"]
        keys = [item["Key"] for item in s3.list_objects_v2(Bucket=bucket, Prefix="jobs/")["Contents"]]
        (shipped,) = [key for key in keys if key.endswith("/fruitjob")]
        body = s3.get_object(Bucket=bucket, Key=shipped)["Body"].read()
        assert body == job("aarch64").read_bytes()
        project.run("down", "--purge-bucket", "--force-unlock")


def test_a_development_build_says_what_it_carries():
    """Each template and script, with its SHA-256; no executable, and none to extract."""
    carried = json.loads(fruitctl("version", "--bundle", "--json").stdout)["bundle"]
    assert {"templates/fruitctl.toml", "bootstrap/step.sh", "jobs/interface/src/spark.py"} <= {item["name"] for item in carried}
    for item in carried:
        content = (ROOT / item["name"]).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (item["bytes"], item["sha256"]), item
    assert "a development build" in fruitctl("version").stdout
    assert "cargo build --release --workspace" in fruitctl("version", "--extract", "nowhere", code=2).stderr


def test_a_release_carries_both_fruitjobs(tmp_path):
    """It lists them with their hashes and what they need, and writes them as they were built."""
    listed = json.loads(subprocess.run([release(), "version", "--json"], check=True, capture_output=True).stdout)["bundle"]
    subprocess.run([release(), "version", "--extract", tmp_path], check=True, capture_output=True)
    written = {path.name: path for path in tmp_path.iterdir()}
    carried = {item["name"]: item for item in listed if item["name"] in written}
    assert len(carried) == len(written) == 2
    for name, path in written.items():
        content = path.read_bytes()
        assert (carried[name]["bytes"], carried[name]["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    (graviton,) = [path for name, path in written.items() if "aarch64" in name]
    assert graviton.read_bytes() == job("aarch64").read_bytes()
    assert tuple(map(int, carried[graviton.name]["glibc"].split("."))) <= (2, 26)
    # Each once.
    packed = sum(path.stat().st_size for path in JOBS.glob("*.zst"))
    assert release().stat().st_size - (BIN / "fruitctl").stat().st_size < 1.1 * packed
    (here,) = [path for name, path in written.items() if "x86_64" in name]
    assert "fruitjob" in subprocess.run([here, "--version"], check=True, capture_output=True, text=True).stdout


def test_one_kind_of_pixel_is_resized():
    """With the code for pixels of floats, two builds were not the same bytes; all in all there are 13 kinds, which weigh 3 MB."""
    symbols = subprocess.run(["nm", "-C", BIN / "fruitjob"], check=True, capture_output=True, text=True).stdout
    assert "convolution::vertical_u8::" in symbols and "convolution::vertical_f32::" not in symbols


def test_it_is_not_larger_than_its_budget(tmp_path):
    """Without the names of functions, as it is released; release/pack holds the release itself against a budget of its own."""
    subprocess.run(["strip", "-o", tmp_path / "fruitctl", BIN / "fruitctl"], check=True)
    assert (tmp_path / "fruitctl").stat().st_size < 95e6


def test_help_is_quick():
    """Beside a bare Python that does nothing, each in turn; no wall time is asserted."""
    def seconds(words):
        begun = time.perf_counter()
        subprocess.run(words, check=True, capture_output=True)
        return time.perf_counter() - begun

    both = [(seconds(command("fruitctl", "--help")), seconds(["python3", "-I", "-S", "-c", "pass"])) for _ in range(11)]
    ours, theirs = (statistics.median(times) for times in zip(*both))
    assert ours < 2 * theirs, f"{1000 * ours:.1f} ms against {1000 * theirs:.1f} ms"
