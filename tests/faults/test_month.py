"""Memory does not grow with the runs that came and went: half a virtual day in three parts, counted in objects."""

from __future__ import annotations

from tests.faults.month import growth, month

MOST_GROWTH = 0.005


def test_days_full_of_runs_leave_nothing_behind() -> None:
    first, *_, last = month(3, every=60.0, day_seconds=4 * 3600.0)
    assert last.runs == 3 * first.runs
    assert last.looks > 2.5 * first.looks, "the gates of later days were not looked at"
    assert first.kept == last.kept
    assert growth(first, last) < MOST_GROWTH, (last.objects - first.objects).most_common(10)
