"""What every store promises about finished runs of which only the report is kept."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from orchestrator.errors import Conflict, Fenced, KeptAsReport, NotFound, TargetBusy
from orchestrator.keeping_port import Cut
from tests.contract.conftest import Store
from tests.support.journals import answered, batch, flag_write, started

REPORT = {"status": {"phase": "ended", "share": 0.25}, "report": {"words": "größer ✓", "value": float("inf")}}


def cut_of(run: str = "r", **other: object) -> Cut:
    made = Cut(run=run, rev=2, epoch=1, at=900.0, document=REPORT)
    return replace(made, **other)  # type: ignore[arg-type]


async def finished(store: Store, run: str = "r", at: float = 100.0, refers_to: str | None = None) -> list[str]:
    """A run that has ended after two entries; their hashes."""
    written = await started(store, run, at=at, claims={f"flag:{run}": run}, refers_to=refers_to)
    written += await store.append(batch(run, active=False, release=True, summary={"outcome": "promoted"}))
    return [record.hash for record in written]


async def test_of_a_run_that_is_cut_stay_its_row_its_report_and_the_hashes_of_its_entries(
    store: Store, reopen: Callable[[], Awaitable[Store]]
) -> None:
    hashes = await finished(store)
    await store.save_evidence({"r": (1, "seen")})
    before = await store.row("r")
    assert await store.keeping.cut(cut_of())
    again = await reopen()
    row, kept = await again.row("r"), await again.keeping.kept("r")
    assert before is not None
    assert row is not None
    assert kept is not None
    assert row == replace(before, kept=900.0, epoch=row.epoch)
    assert (kept.run, kept.at, list(kept.hashes), kept.head) == ("r", 900.0, hashes, f"2:{hashes[-1]}")
    assert kept.document == {
        "status": {"phase": "ended", "share": 0.25},
        "report": {"words": "größer ✓", "value": "Infinity"},
    }


async def test_its_entries_answers_and_evidence_are_gone_and_those_of_others_are_not(store: Store) -> None:
    for run in ("r", "s"):
        await finished(store, run)
        await store.save_evidence({run: (1, "seen")})
        await store.append(batch(run, after=2, events=[], active=False, answer=answered("k")))
    await store.keeping.cut(cut_of())
    assert (await store.read("r"), await store.answer("r", "k"), await store.evidence("r")) == ([], None, None)
    assert len(await store.read("s")) == 2
    assert await store.answer("s", "k") is not None
    assert await store.evidence("s") == "seen"


async def test_what_is_whole_or_not_there_is_not_kept(store: Store) -> None:
    await finished(store)
    assert await store.keeping.kept("r") is None
    assert await store.keeping.kept("nobody") is None
    with pytest.raises(NotFound, match="no run 'nobody'"):
        await store.keeping.cut(cut_of("nobody"))


async def test_the_second_cut_does_nothing(store: Store) -> None:
    await finished(store)
    assert await store.keeping.cut(cut_of())
    assert not await store.keeping.cut(cut_of(at=950.0, document={}))
    kept = await store.keeping.kept("r")
    assert kept is not None
    assert (kept.at, set(kept.document)) == (900.0, {"status", "report"})


async def test_who_held_the_run_is_fenced_and_nobody_appends_to_it_any_more(store: Store) -> None:
    await finished(store)
    await store.keeping.cut(cut_of())
    with pytest.raises(Fenced):
        await store.append(batch(after=2, active=False))
    row = await store.row("r")
    assert row is not None
    with pytest.raises(KeptAsReport, match="only its report is kept"):
        await store.append(batch(after=2, epoch=row.epoch, active=False, flags=[flag_write()]))
    assert await store.read("r") == []
    assert await store.all() == []
    with pytest.raises(Conflict, match="run 'r' already"):
        await started(store)


@pytest.mark.parametrize("stale", (cut_of(rev=1), cut_of(rev=3), cut_of(epoch=2)))
async def test_a_run_that_somebody_had_since_stays_whole(store: Store, stale: Cut) -> None:
    await finished(store)
    with pytest.raises((Conflict, Fenced), match="stays whole"):
        await store.keeping.cut(stale)
    assert len(await store.read("r")) == 2
    assert await store.keeping.kept("r") is None


async def test_an_active_run_is_never_cut(store: Store) -> None:
    await started(store)
    await store.append(batch())
    with pytest.raises(Conflict, match="is active"):
        await store.keeping.cut(cut_of())
    assert len(await store.read("r")) == 2


async def test_a_run_is_not_cut_while_another_that_refers_to_it_is_active(store: Store) -> None:
    await finished(store)
    await started(store, "back", at=300.0, refers_to="r")
    with pytest.raises(Conflict, match="active run 'back' refers to 'r'"):
        await store.keeping.cut(cut_of())
    await store.append(batch("back", active=False))
    assert await store.keeping.cut(cut_of())
    assert [row.run for row in await store.keeping.heirs("r")] == ["back"]


async def test_references_go_on_when_who_refers_is_cut(store: Store) -> None:
    await finished(store)
    await finished(store, "newer", at=300.0, refers_to="r")
    await finished(store, "newest", at=400.0, refers_to="r")
    await store.keeping.cut(cut_of("newer"))
    found = await store.keeping.heirs("r")
    assert [(row.run, row.kept) for row in found] == [("newer", 900.0), ("newest", None)]
    assert await store.keeping.heirs("newest") == []


async def test_finished_runs_come_oldest_first_a_page_at_a_time_without_those_that_are_cut(store: Store) -> None:
    for name, at in (("d", 30.0), ("a", 10.0), ("c", 20.0), ("b", 20.0), ("young", 90.0)):
        await finished(store, name, at=at)
    await started(store, "active", at=5.0)
    first = await store.keeping.finished(50.0, limit=2)
    assert [row.run for row in first] == ["a", "b"]
    assert [row.run for row in await store.keeping.finished(50.0, first[-1])] == ["c", "d"]
    await store.keeping.cut(cut_of("b"))
    assert [row.run for row in await store.keeping.finished(50.0)] == ["a", "c", "d"]
    assert await store.keeping.finished(50.0, limit=0) == []


async def test_lists_show_it_and_its_targets_are_free(store: Store) -> None:
    await finished(store)
    await store.keeping.cut(cut_of())
    (row,) = await store.rows(active=False)
    assert (row.run, row.rev, row.summary, row.kept) == ("r", 2, {"outcome": "promoted"}, 900.0)
    await started(store, "next", claims={"flag:r": "flag r"})
    with pytest.raises(TargetBusy, match="'next'"):
        await started(store, "third", claims={"flag:r": "flag r"})
