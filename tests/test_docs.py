"""What docs/howto.md says to write into fruitctl.toml is taken, and planned."""

import re

import pytest
from conftest import ROOT
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
