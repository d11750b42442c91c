"""Three people at one project, at random: see `hands`. Five rounds of one seed; a hundred with FRUITCTL_TEST_LONG=1, of the
seed in FRUITCTL_TEST_SEED, if it is there."""

import os

import pytest
from conftest import LONG
from emulator import Emulator
from hands import Walk


@pytest.mark.slow
def test_nobody_is_in_anothers_way(tmp_path, say):
    rounds, seed = 100 if LONG else 5, int(os.environ.get("FRUITCTL_TEST_SEED", 1))
    with Emulator(nodes=False, start=0.05, bootstrap=0.01, terminate=0.02, propagation=0, idle=1e3) as aws:
        walk = Walk(aws, tmp_path, seed)
        try:
            walk.walk(rounds)
        finally:
            told = [f"{dict(counted)}" for counted in (walk.commands, walk.struck, walk.codes)]
            say(f"seed {seed}, {walk.round} of {rounds} rounds: {', '.join(told)}; {len(walk.wrote)} results, {len(walk.violations)} violations")
        assert not aws.refused, aws.refused[:5]
