"""What three controllers do more than one is told only where they had more to do than they could."""

from typing import Any

import pytest

from benchmarks import cluster
from benchmarks._fleet import ASKED
from benchmarks._quota import Unlimited

MOST = cluster.BUSY_RUNS * len(ASKED)
NO_SERVER: Any = None


def rates(monkeypatch: pytest.MonkeyPatch, alone: float, together: float) -> tuple[dict[int, float], str]:
    monkeypatch.setattr(cluster, "_throughput", lambda count, _: alone if count == 1 else together)
    return cluster._throughputs(NO_SERVER)


def test_controllers_that_leave_something_to_ask_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    found, why = rates(monkeypatch, alone=0.25 * MOST, together=0.7 * MOST)
    assert found[cluster.CONTROLLERS] / found[1] == pytest.approx(2.8)
    assert not why


def test_controllers_that_asked_all_there_was_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    found, why = rates(monkeypatch, alone=0.5 * MOST, together=0.95 * MOST)
    assert found == {}
    assert str(MOST) in why


def test_without_a_way_to_limit_a_process_it_is_said_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def unlimited(count: int, _: object) -> float:
        raise Unlimited("no control group can be made here")

    monkeypatch.setattr(cluster, "_throughput", unlimited)
    assert cluster._throughputs(NO_SERVER) == ({}, "no control group can be made here")
