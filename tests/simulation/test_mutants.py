"""Deliberate bugs in the real code: each must be caught by some seed, or the simulation proves nothing."""

import pytest

from tests.simulation.mutants import MUTANTS, Mutant, caught_by

pytestmark = [pytest.mark.simulation, pytest.mark.slow]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_deliberate_bug_is_caught(mutant: Mutant) -> None:
    assert caught_by(mutant) is not None, f"{mutant.name} was not caught: {mutant.words}"
