"""Bad input of every kind: a clear error or a row among the rejects; no panic, no partial success."""

import os
import shutil
import struct
import subprocess
import zlib

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import check_complete, command, digests, fruitctl, rejects, results
from PIL import Image


def png(width, height, bits, color, rows):
    """A PNG as its header claims it, with whatever rows."""
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    header = struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")


@pytest.fixture
def zoo(fruits, tmp_path):
    """A folder of good and bad pictures: (folder, names of the good ones, name -> words in the reason)."""
    folder = tmp_path / "zoo"
    shutil.copytree(fruits / "Apple 1", folder / "Apple 1")
    odd = folder / "odd"
    odd.mkdir()
    apple = Image.open(fruits / "Apple 1" / "0_100.jpg")
    jpeg = (fruits / "Apple 1" / "1_100.jpg").read_bytes()

    good = {
        "grey.jpg": lambda f: apple.convert("L").save(f),
        "cmyk.jpg": lambda f: apple.convert("CMYK").save(f),
        "progressive.jpg": lambda f: apple.save(f, progressive=True),
        "1x1.png": lambda f: apple.resize((1, 1)).save(f),
        "3x700.png": lambda f: apple.resize((3, 700)).save(f),
        "16 bit.png": lambda f: Image.fromarray(np.arange(10000, dtype=np.uint16).reshape(100, 100) * 6).save(f),
        "palette.png": lambda f: apple.quantize(64).save(f),
        "alpha.png": lambda f: apple.convert("RGBA").save(f),
        "animated.png": lambda f: apple.save(f, save_all=True, append_images=[apple.rotate(90)]),
        "a jpeg.png": lambda f: f.write_bytes(jpeg),
        "a png.jpg": lambda f: apple.save(f, format="PNG"),
        "gif.jpg": lambda f: apple.save(f, format="GIF"),
        "webp.png": lambda f: apple.save(f, format="WEBP"),
        "CAPITALS.JPEG": lambda f: f.write_bytes(jpeg),
        "with space, é and 🍎.jpg": lambda f: f.write_bytes(jpeg),
        "new\nline.jpg": lambda f: f.write_bytes(jpeg),
        "100% #1?.jpg": lambda f: f.write_bytes(jpeg),
    }
    bad = {
        "truncated.jpg": (lambda f: f.write_bytes(jpeg[: len(jpeg) // 2]), "bad JPEG"),
        "truncated.png": (lambda f: f.write_bytes(png(100, 100, 8, 2, b"\0" * 30_100)[:80]), "bad PNG"),
        "empty.jpg": (lambda f: f.write_bytes(b""), "empty file"),
        "0x0.png": (lambda f: f.write_bytes(png(0, 0, 8, 2, b"")), ""),
        # Well-formed, and 400 million pixels out of 50 KB.
        "bomb.png": (lambda f: f.write_bytes(png(20_000, 20_000, 1, 0, b"\0" * (2501 * 20_000))), "20000x20000 pixels"),
        "text.jpg": (lambda f: f.write_text("I am no picture"), "a text file"),
        "zeros.jpg": (lambda f: f.write_bytes(b"\0" * 5000), "not an image that can be read"),
        "dangling.jpg": (lambda f: f.symlink_to("nowhere.jpg"), "symlink to nothing"),
        "pipe.jpg": (lambda f: os.mkfifo(f), "not a regular file"),
    }
    for name, make in good.items():
        make(odd / name)
    for name, (make, _) in bad.items():
        make(odd / name)
    (odd / "loop").symlink_to("..")
    with open(os.fsencode(odd) + b"/not utf8 \xff.jpg", "wb") as f:
        f.write(jpeg)
    (odd / "notes.txt").write_text("not to be listed")
    if os.geteuid() != 0:
        secret = odd / "secret.jpg"
        secret.write_bytes(jpeg)
        secret.chmod(0)
        bad["secret.jpg"] = (None, "permission denied")
    return folder, {f"odd/{name}" for name in good}, {f"odd/{name}": words for name, (_, words) in bad.items()}


def test_each_picture_is_a_result_or_a_reject_with_its_reason(zoo, tmp_path):
    folder, good, bad = zoo
    output = tmp_path / "out"
    done = fruitctl("run", "-i", folder, "-o", output, "--max-rejects", "50%", "-k", 5)
    check_complete(output)
    found, reasons = results(output), rejects(output)
    assert {p for p in found if p.startswith("odd/")} == good
    for path, words in bad.items():
        assert words in reasons.pop(path), path
    [(name, reason)] = reasons.items()
    assert "not utf8" in name and "UTF-8" in reason
    assert "loop" in done.stderr and "1 .txt" in done.stderr
    # Twice: rejects are remembered, but for the one that is too large, for the limit may be another; and the page survives
    # such names.
    fruitctl("run", "-i", folder, "-o", output, "--max-rejects", "50%", "-k", 5)
    assert check_complete(output)["images"]["featurized"] == 1 or os.geteuid() != 0


def test_too_many_rejects_fail_and_say_which(zoo, tmp_path):
    folder, _, _ = zoo
    output = tmp_path / "out"
    message = fruitctl("run", "-i", folder, "-o", output, code=6).stderr
    assert "10 of 67 images were rejected" in message and "--max-rejects" in message and "rejects.parquet" in message
    assert not (output / "results").exists()
    fruitctl("run", "-i", folder, "-o", output, "--max-rejects", "10", "-k", 3)
    # The one that is too large is tried again.
    assert check_complete(output)["images"]["featurized"] == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_folder_that_cannot_be_listed_is_an_error(fruits, tmp_path):
    folder = tmp_path / "fruits"
    shutil.copytree(fruits, folder)
    (folder / "Fig 1").chmod(0)
    try:
        assert "cannot list" in fruitctl("run", "-i", folder, "-o", tmp_path / "out", code=6).stderr
    finally:
        (folder / "Fig 1").chmod(0o755)


def only(fruits, folder, n, same=False):
    """A folder of n pictures."""
    (folder / "few").mkdir(parents=True)
    for i in range(n):
        shutil.copy(fruits / "Apple 1" / f"{0 if same else i}_100.jpg", folder / "few" / f"{i}.jpg")
    return folder


@pytest.mark.parametrize(
    "make, args, code, words",
    [
        (lambda f, t: t / "nowhere", [], 2, "not found"),
        (lambda f, t: only(f, t / "none", 0), [], 2, "it is empty"),
        (lambda f, t: f / "Apple 1" / "0_100.jpg", [], 2, "is a file"),
        (lambda f, t: only(f, t / "one", 1), [], 6, "at least two images"),
        (lambda f, t: only(f, t / "few", 7), ["-k", "20"], 6, "--components 6"),
        (lambda f, t: only(f, t / "same", 7, same=True), [], 6, "are the same"),
        (lambda f, t: "http://127.0.0.1:9/images", [], 2, "not images or results"),
        (lambda f, t: f, ["-k", "0"], 2, "components"),
        (lambda f, t: f, ["--variance", "1.5"], 2, "between 0 and 1"),
        (lambda f, t: f, ["-k", "3", "--variance", "0.5"], 2, "cannot be used with"),
        (lambda f, t: f, ["--model", "nowhere.onnx"], 2, "not found"),
        (lambda f, t: f, ["--model", __file__], 2, "not an ONNX file"),
        (lambda f, t: f, ["--model", "ftp://x/y"], 2, "no store serves"),
        (lambda f, t: f, ["--input-size", "100"], 2, "multiple of 16 from 96 to 224"),
        (lambda f, t: f, ["--std", "0"], 2, "std must be above 0"),
        (lambda f, t: f, ["--max-rejects", "lots"], 2, "neither a number"),
    ],
)
def test_errors(fruits, tmp_path, make, args, code, words):
    output = tmp_path / "out"
    message = fruitctl("run", "-i", make(fruits, tmp_path), "-o", output, *args, code=code).stderr
    assert words in message, message
    assert not (output / "results").exists()


def test_few_images_without_a_number_of_components_work(fruits, tmp_path):
    fruitctl("run", "-i", only(fruits, tmp_path / "few", 2), "-o", tmp_path / "out")
    assert check_complete(tmp_path / "out")["pca"]["components"] == 1


def test_output_inside_the_input(fruits, tmp_path):
    folder = tmp_path / "fruits"
    shutil.copytree(fruits, folder)
    for _ in range(2):
        fruitctl("run", "-i", folder, "-o", folder / "out")
    # A picture that somebody put into the output is no input.
    shutil.copy(folder / "Apple 1" / "0_100.jpg", folder / "out" / "results")
    fruitctl("run", "-i", folder, "-o", folder / "out")
    parts = (folder / "out" / "results").glob("*.parquet")
    assert sum(pq.read_metadata(part).num_rows for part in parts) == 480
    assert (folder / "out" / "results" / "0_100.jpg").exists(), "nor is it ours to delete"
    assert "the input itself" in fruitctl("run", "-i", folder, "-o", folder, code=2).stderr
    assert not (folder / "results").exists()


def test_output_that_cannot_be_written(fruits, tmp_path):
    (tmp_path / "file").write_text("in the way")
    message = fruitctl("run", "-i", fruits, "-o", tmp_path / "file", code=2).stderr
    assert "cannot make the directory" in message


def test_full_disk(fruits, done, tmp_path):
    """The output is a file system of its own, first too small, then large enough."""
    disk = tmp_path / "disk"
    disk.mkdir()
    run = " ".join(command("fruitctl", "run", "-i", f"'{fruits}'", "-o", f"'{disk}/out'"))
    script = f"""
        mount -t tmpfs -o size=200k tmpfs {disk} || exit 99
        {run}; echo "exit $?"
        ls {disk}/out/results 2>/dev/null && exit 98
        mount -o remount,size=50m {disk} && {run} && cp -r {disk}/out {tmp_path}/out
    """
    unshare = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "--map-root-user"]
    ran = subprocess.run([*unshare, "bash", "-c", script], capture_output=True, text=True)
    if ran.returncode == 99 or "unshare failed" in ran.stderr:
        pytest.skip("no file system can be mounted here")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "exit 6" in ran.stdout and "no space left" in ran.stderr and "panicked" not in ran.stderr
    assert digests(tmp_path / "out") == digests(done)
