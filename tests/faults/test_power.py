"""Power cuts under the SQLite store: a few of what `make power-cuts` does."""

import random

from tests.faults.power import cut_once, unsafe


def test_whatever_was_acknowledged_is_there_after_the_power_was_cut() -> None:
    dice = random.Random(1)
    cuts = [cut_once(dice) for _ in range(4)]
    assert [lost for _, lost in cuts] == [[]] * 4
    assert sum(told for told, _ in cuts) > 0


def test_a_store_that_told_before_it_synced_would_be_found_out() -> None:
    dice = random.Random(1)
    with unsafe():
        assert any(lost for _, lost in (cut_once(dice) for _ in range(5)))
