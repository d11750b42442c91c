"""JPEGs of all kinds, beside libjpeg-turbo by way of Pillow: the same pixels, or a reason; never others."""

import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from conftest import BIN

SIZES = [(67, 45), (17, 31), (8, 8)]
# The first two components of each: brightness, then colour.
SAMPLING = ["1x1", "2x1", "1x2", "2x2", "4x1", "1x4", "4x2", "3x1", "3x2", "2x1,1x1,1x1", "1x2,1x2,1x2", "2x2,1x2,2x1", "2x2,2x1,2x1"]
# Colour finer than brightness: no camera writes it.
REFUSED_SAMPLING = ["1x1,2x1,1x1", "1x1,2x2,2x2"]
SCANS = {
    "interleaved": None,
    "y_cb_cr": "0;\n1;\n2;\n",
    "cr_cb_y": "2;\n1;\n0;\n",
    "progressive": "0 1 2: 0-0, 0, 1;\n0: 1-9, 0, 2;\n2: 1-63, 0, 1;\n1: 1-63, 0, 1;\n0: 10-63, 0, 2;\n0: 1-63, 2, 1;\n"
    "0 1 2: 0-0, 1, 0;\n2: 1-63, 1, 0;\n1: 1-63, 1, 0;\n0: 1-63, 1, 0;\n",
    "spectral": "1: 0-0, 0, 0;\n0: 0-0, 0, 0;\n2: 0-0, 0, 0;\n0: 1-63, 0, 0;\n1: 1-63, 0, 0;\n2: 1-63, 0, 0;\n",
}
REFUSED_SCANS = {"y_cbcr": "0;\n1 2;\n"}


def picture(width, height):
    y, x = np.mgrid[0:height, 0:width].astype(float)
    waves = [128 + 100 * np.sin(x / 9 + y / 17), 128 + 100 * np.cos(y / 11 - x / 23), 255 * ((x // 16 + y // 16) % 2)]
    noise = np.random.default_rng(width).normal(0, 6, (height, width, 3))
    return np.clip(np.stack(waves, -1) + noise, 0, 255).astype(np.uint8)


def decode(folder, out):
    """Name to pixels, or to the reason why there are none."""
    out.mkdir()
    subprocess.run([BIN / "examples" / "decode", folder, out], check=True)
    pixels = {path.name.removesuffix(".ppm"): np.asarray(Image.open(path)) for path in out.glob("*.ppm")}
    return pixels | {path.name.removesuffix(".txt"): path.read_text() for path in out.glob("*.txt")}


def worst_block(a, b):
    """The largest mean difference of a channel in a block of 16 x 16."""
    difference = np.abs(a.astype(int) - b.astype(int))
    blocks = [difference[y : y + 16, x : x + 16] for y in range(0, a.shape[0], 16) for x in range(0, a.shape[1], 16)]
    return max(block.mean(axis=(0, 1)).max() for block in blocks)


def check(folder, out):
    decoded = decode(folder, out)
    wrong = {}
    for path in folder.glob("*.jpg"):
        with Image.open(path) as image:
            expected = np.asarray(image.convert("RGB"))
        got = decoded[path.name]
        if isinstance(got, str):
            wrong[path.name] = got
        elif got.shape != expected.shape or worst_block(got, expected) > 8:
            wrong[path.name] = "other pixels"
    return wrong, len(decoded)


@pytest.mark.skipif(not shutil.which("cjpeg"), reason="no cjpeg (apt-get install libjpeg-turbo-progs)")
def test_every_kind_of_jpeg_comes_out_as_from_libjpeg_turbo(tmp_path):
    good, bad = tmp_path / "good", tmp_path / "bad"
    good.mkdir(), bad.mkdir()
    for name, script in (SCANS | REFUSED_SCANS).items():
        (tmp_path / name).write_text(script or "")
    for width, height in SIZES:
        source = tmp_path / f"{width}x{height}.ppm"
        Image.fromarray(picture(width, height)).save(source)
        for sampling in SAMPLING + REFUSED_SAMPLING:
            for number, scans in enumerate(SCANS | REFUSED_SCANS):
                for coding in ["huffman", "arithmetic"]:
                    refused = sampling in REFUSED_SAMPLING or (scans in REFUSED_SCANS and coding == "huffman")
                    name = f"{source.stem}_{sampling}_{scans}_{coding}.jpg"
                    words = ["cjpeg", "-quality", "90", "-sample", sampling, "-outfile", (bad if refused else good) / name]
                    words += ["-arithmetic"] if coding == "arithmetic" else []
                    words += ["-scans", tmp_path / scans] if scans != "interleaved" else []
                    # A restart marker after each row of blocks, or each block, in two files of three.
                    words += [[], ["-restart", "1"], ["-restart", "1B"]][(number + len(sampling) + width) % 3]
                    subprocess.run([*words, source], check=True)
    wrong, count = check(good, tmp_path / "decoded")
    assert count == len(SIZES) * len(SAMPLING) * (2 * len(SCANS) + len(REFUSED_SCANS)) and not wrong
    reasons = decode(bad, tmp_path / "refused")
    finer = {name: reason for name, reason in reasons.items() if any(f"_{s}_" in name for s in REFUSED_SAMPLING)}
    assert finer and all("sampled finer" in reason for reason in finer.values())
    partial = {name: reason for name, reason in reasons.items() if name not in finer}
    assert partial and all("a scan of some of its components" in str(reason) for reason in partial.values())


def test_what_libjpeg_turbo_decodes_with_a_warning_is_decoded(tmp_path):
    files = tmp_path / "files"
    files.mkdir()
    source = tmp_path / "source.jpg"
    Image.fromarray(picture(67, 45)).save(source, quality=90)
    whole = source.read_bytes()
    table = whole.index(b"\xff\xdb")
    Image.fromarray(picture(67, 45)).save(source, quality=90, restart_marker_rows=1)
    restarts = source.read_bytes()
    restart = restarts.index(b"\xff\xd1")
    kinds = {
        "half_a_picture_behind": whole + whole[: len(whole) // 2],
        "film_behind": whole + b"\0\0\0\x18ftypmp42" + bytes(range(256)) * 9,
        "junk_before_a_table": whole[:table] + b"\x12\x34" + whole[table:],
        "junk_before_a_restart": restarts[:restart] + b"\x12\x34" + restarts[restart:],
    }
    for name, content in kinds.items():
        (files / f"{name}.jpg").write_bytes(content)
    assert check(files, tmp_path / "decoded") == ({}, len(kinds))


def test_what_is_missing_is_never_painted(tmp_path):
    files = tmp_path / "files"
    files.mkdir()
    source = tmp_path / "source.jpg"
    for progressive in [False, True]:
        Image.fromarray(picture(67, 45)).save(source, quality=90, progressive=progressive, restart_marker_rows=1)
        whole = source.read_bytes()
        for cut in range(2, len(whole) - 2, 61):
            (files / f"cut_{progressive}_{cut}.jpg").write_bytes(whole[:cut])
    Image.fromarray(picture(67, 45)).save(source, quality=90, restart_marker_rows=1)
    whole = source.read_bytes()
    lost = whole.index(b"\xff\xd1")
    (files / "restart_lost.jpg").write_bytes(whole[:lost] + whole[lost + 2 :])
    half = whole.index(b"\xff\xda") + 200
    (files / "ended_early.jpg").write_bytes(whole[:half] + b"\xff\xd9")
    decoded = decode(files, tmp_path / "decoded")
    assert len(decoded) > 40 and all(isinstance(reason, str) for reason in decoded.values())
