"""What is built in, by the crates themselves: 'cargo deny check' asks the list of advisories besides, on every change."""

import json
import re
import subprocess
import tomllib
from datetime import date
from pathlib import Path

from conftest import ROOT

LOCK = {p["name"]: p["version"] for p in tomllib.loads((ROOT / "Cargo.lock").read_text())["package"]}
C = {".c", ".cc", ".cpp"}
# What releases are made for; the two systems have the same crates. Those that no build has fetched yet are.
SYSTEM = "x86_64-unknown-linux-gnu"


def built_in():
    """(name, version) of all that an executable of ours is made of."""
    words = ["cargo", "tree", "--locked", "--package", "fruitctl", "--package", "fruitjob", "--features", "fruitctl/vendored-openssl",
             "--edges", "normal,build", "--prefix", "none", "--target", SYSTEM]
    tree = subprocess.run(words, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return {(line.split()[0], line.split()[1].removeprefix("v")) for line in tree.splitlines() if line}


def test_c_that_crates_carry_is_known():
    """Each crate with C in it is in the list, with this version and what is known of it."""
    metadata = json.loads(subprocess.run(["cargo", "metadata", "--locked", "--filter-platform", SYSTEM, "--all-features", "--format-version=1"], cwd=ROOT, check=True, capture_output=True, text=True).stdout)
    ours = built_in()
    with_c = set()
    for package in metadata["packages"]:
        if package["source"] and (package["name"], package["version"]) in ours:
            folder = Path(package["manifest_path"]).parent
            files = (f.relative_to(folder) for f in folder.rglob("*") if f.suffix in C)
            # One or two are probes of a compiler.
            if sum(not {"tests", "test", "examples", "benches"} & set(f.parts) for f in files) > 2:
                with_c.add((package["name"], package["version"]))
    listed = tomllib.loads((ROOT / "release" / "vendored.toml").read_text())
    assert isinstance(listed["checked"], date)
    assert {(c["name"], c["version"]) for c in listed["crate"]} == with_c
    assert all(c["holds"] and c["used"] for c in listed["crate"])


def test_what_is_ignored_is_built_in_and_has_a_reason():
    """An advisory that is ignored names its crate first in its reason."""
    for ignored in tomllib.loads((ROOT / "deny.toml").read_text())["advisories"]["ignore"]:
        assert re.fullmatch(r"RUSTSEC-\d{4}-\d{4}", ignored["id"]) and ignored["reason"].split()[0] in LOCK, ignored


def test_crates_come_from_one_place():
    """crates.io alone; and none of these, which others' features would bring back."""
    sources = {p.get("source") for p in tomllib.loads((ROOT / "Cargo.lock").read_text())["package"]}
    assert sources == {None, "registry+https://github.com/rust-lang/crates.io-index"}
    names = {name for name, _ in built_in()}
    assert not names & {"aws-lc-rs", "aws-lc-sys", "native-tls", "atty", "serde_yaml", "backoff", "instant"}
