"""What the docs say is so: pieces of configuration are planned, and commands are run."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import BIN, ROOT
from emulator import Emulator
from stack import Project

PIECES = re.findall(r"## ([^\n]+)\n(?:(?!\n## ).)*?```toml\n(.*?)```", (ROOT / "docs" / "howto.md").read_text(), re.S)


@pytest.fixture(scope="module")
def aws():
    with Emulator(nodes=False) as aws:
        yield aws


def test_there_are_pieces():
    assert len(PIECES) == 6


@pytest.mark.parametrize("title, piece", PIECES, ids=[title for title, _ in PIECES])
def test_the_piece_is_planned(aws, tmp_path, title, piece):
    subnet = aws.client("ec2").describe_subnets()["Subnets"][0]["SubnetId"]
    project = Project(aws, tmp_path, "howto")
    rest = "" if "[aws]" in piece else '[aws]\nregion = "eu-west-3"\n'
    text = piece.replace("subnet-0123456789abcdef0", subnet)
    (project.folder / "fruitctl.toml").write_text(f'target = "emr"\nproject = "howto"\n{text}\n{rest}')
    assert "to create" in project.run("plan").stdout


def test_the_tutorial_runs(tmp_path):
    """Its commands, one after another, in one shell and an empty folder."""
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "docs" / "tutorial.md").read_text(), re.S)
    *blocks, clear = blocks
    path = os.pathsep.join([str(BIN), str(Path(sys.executable).parent), os.environ["PATH"]])

    def sh(script):
        return subprocess.run(["bash", "-euo", "pipefail", "-c", script], cwd=tmp_path, env=os.environ | {"PATH": path},
                              check=True, capture_output=True, text=True, timeout=300).stdout

    said = sh("\n".join(blocks))
    for words in ["960 images of 24 labels", "64 numbers each", "nearest to", "961 images of 24 labels", "2 featurized", "1 x bad JPEG"]:
        assert words in said, f"{words}\n{said}"
    sh(clear)
    assert not any(tmp_path.iterdir())


def test_the_number_of_crates_is_as_the_readme_says():
    """One more is a decision: say so there."""
    words = ["cargo", "tree", "--locked", "--package", "fruitctl", "--edges", "normal", "--prefix", "none", "--target", "x86_64-unknown-linux-gnu"]
    tree = subprocess.run(words, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    crates = {line.removesuffix(" (*)") for line in tree.splitlines() if line}
    for readme in ["README.md", "README.fr.md"]:
        assert f"{len(crates)} crates" in (ROOT / readme).read_text(), f"{len(crates)} crates"


def test_all_that_is_compiled_stays_within_its_budget():
    """Whoever builds it pays for each crate, with build scripts and macros."""
    words = ["cargo", "tree", "--locked", "--workspace", "--edges", "normal,build", "--prefix", "none"]
    tree = subprocess.run(words, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    crates = {tuple(line.split()[:2]) for line in tree.splitlines() if line}
    assert len(crates) <= 345, len(crates)


def test_the_cloud_half_does_without_the_job():
    """What talks to AWS is compiled, linked and tested without an inference engine, Arrow or linear algebra."""
    words = ["cargo", "tree", "--locked", "--package", "fruitctl", "--no-default-features", "--edges", "normal", "--prefix", "none"]
    tree = subprocess.run(words, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    crates = {line.split()[0] for line in tree.splitlines() if line}
    assert "fruitjob-interface" in crates
    assert not crates & {"fruitjob", "mobilenet", "arrow-array", "parquet", "faer", "object_store", "rten", "zune-jpeg", "png", "prost"}
