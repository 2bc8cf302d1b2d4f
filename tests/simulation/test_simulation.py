"""Thousands of rollouts under faults, each of which must keep every promise."""

import os
import subprocess
import sys

import pytest

from tests.simulation.batch import judge, judge_all, kept_seeds
from tests.support.process import ROOT

SEEDS = 200  # as many as a whole test run has time for; `make simulate` runs more
TWICE = range(0, 40, 4)
pytestmark = pytest.mark.simulation


def _told(seed: int, violations: tuple[str, ...]) -> str:
    return f"seed {seed} (python -m tests.simulation --seed {seed}): " + "; ".join(violations)


@pytest.mark.timeout(300)
def test_seeds_that_failed_once_hold() -> None:
    failed = [_told(one.seed, one.violations) for one in judge_all(kept_seeds()) if one.violations]
    assert not failed, "\n".join(failed)


@pytest.mark.timeout(2400)  # it stands behind all that is timed
def test_nothing_is_violated_whatever_goes_wrong() -> None:
    failed = [_told(one.seed, one.violations) for one in judge_all(range(SEEDS)) if one.violations]
    assert not failed, "\n".join(failed[:20])


@pytest.mark.timeout(120)
def test_the_same_seed_gives_the_same_journals() -> None:
    for seed in TWICE:
        assert judge(seed).digest == judge(seed).digest


@pytest.mark.timeout(120)
def test_the_same_seed_gives_the_same_journals_in_another_process() -> None:
    """Where strings hash otherwise: no decision may hang on the order of a set."""
    program = "from tests.simulation.batch import judge; print([judge(seed).digest for seed in range(5)])"
    answers = {
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": number},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for number in ("1", "2", "3")
    }
    assert len(answers) == 1
