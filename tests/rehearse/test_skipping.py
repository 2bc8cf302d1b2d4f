"""Time is skipped only where nothing would happen, and what is decided is the same with and without."""

import pytest

from orchestrator.rehearse import Result, walk
from orchestrator.rehearse.skipping import Around
from tests.rehearse.plans import SMALL, read, rehearsed, rows

SHORT = SMALL.replace("bake: 30m", "bake: 20m").replace("watch: 48h", "watch: 20m")


def without_skipping(monkeypatch: pytest.MonkeyPatch) -> Result:
    def never(_: object, __: Around) -> float:
        return 0.0

    monkeypatch.setattr(walk, "seconds_to_skip", never)
    return rehearsed(read(SHORT), ["back", "prometheus", "pause"])


def test_a_walk_with_skips_ends_like_one_without(monkeypatch: pytest.MonkeyPatch) -> None:
    skipping = rehearsed(read(SHORT), ["back", "prometheus", "pause"])
    whole = without_skipping(monkeypatch)
    assert skipping.steps < whole.steps / 2
    assert abs(skipping.forward.seconds - whole.forward.seconds) < 30
    for name in ("back", "prometheus", "pause"):
        for one, other in zip(rows(skipping, name), rows(whole, name), strict=True):
            assert (one.end, one.stays, one.told, one.place) == (other.end, other.stays, other.told, other.place)
            assert abs(one.seconds - other.seconds) < 30
