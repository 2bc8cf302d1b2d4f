"""A journal as a file: what an auditor finds in it without anything else of ours."""

import asyncio
import json
from collections.abc import Callable

import pytest

from orchestrator.audit import Head, head_of, line, verify
from orchestrator.core.effect import Notice
from orchestrator.core.events import Event, Paused, Resumed
from orchestrator.errors import Tampered, UsageError
from orchestrator.journal import chain
from orchestrator.ports import Scene
from stages.notify import Channel
from tests.orchestrator.house import ANN, QUICK, House, eventually, submission
from tests.support.process import DEADLINE_SECONDS

Lines = list[str]
EVENTS: tuple[Event, ...] = (Paused(by="ann", reason="lunch é"), Resumed(by="bob"), Paused(by="ann"), Resumed(by="eve"))


def journal(*events: Event, run: str = "r-1") -> Lines:
    encoded = [chain.encode(event) for event in events]
    return [line(record) for record, _ in chain.extend(run, 0, chain.GENESIS, 5.25, encoded)]


@pytest.fixture
def lines() -> Lines:
    return journal(*EVENTS)


def head(lines: Lines, seq: int, source: str = "a report") -> Head:
    return Head(seq, json.loads(lines[seq - 1])["hash"], source)


def changed(text: str, **fields: object) -> str:
    return json.dumps({**json.loads(text), **fields})


def test_what_was_written_is_verified_however_the_lines_are_spaced(lines: Lines) -> None:
    spaced = [json.dumps(json.loads(text), indent=None, separators=(" , ", " : ")) + "\n" for text in lines]
    found = verify([*spaced, "\n"], [head(lines, 2), head(lines, 4)])
    assert (found.run, found.entries, found.heads) == ("r-1", 4, 2)
    assert found.head == json.loads(lines[-1])["hash"]


CHANGES: dict[str, tuple[Callable[[Lines], Lines], str]] = {
    "another person": (
        lambda old: [old[0], changed(old[1], data={"by": "mallory", "type": "Resumed"}), *old[2:]],
        "entry 2 of r-1 (line 2) is not what was written there",
    ),
    "another time": (
        lambda old: [*old[:3], changed(old[3], at=6.0)],
        "entry 4 of r-1 (line 4) is not what was written there",
    ),
    "another type": (lambda old: [changed(old[0], type="Resumed"), *old[1:]], "entry 1 of r-1 (line 1) bears another"),
    "another hash": (lambda old: [changed(old[0], hash="0" * 64), *old[1:]], "entry 1 of r-1 (line 1) is not what"),
    "the beginning is gone": (lambda old: old[1:], "line 1 is entry 2 of r-1: 1 is left out, or elsewhere"),
    "two are gone": (lambda old: [old[0], old[3]], "line 2 is entry 4 of r-1: 2 to 3 are left out, or elsewhere"),
    "two are swapped": (
        lambda old: [old[0], old[2], old[1], old[3]],
        "line 2 is entry 3 of r-1: 2 is left out, or elsewhere",
    ),
    "one is there twice": (lambda old: [*old[:2], *old[1:]], "line 3 is entry 2 of r-1 again"),
    "one is of another run": (
        lambda old: [old[0], journal(*EVENTS, run="r-2")[1], *old[2:]],
        "line 2 is of another run: r-2, not r-1",
    ),
    "one is no JSON": (lambda old: [old[0], "{", *old[2:]], "line 2 is no JSON"),
    "one is nested too deep": (lambda old: [old[0], "[" * 100_000, *old[2:]], "line 2 is no JSON"),
    "one is something else": (lambda old: [*old[:2], '{"seq": true}'], "line 3 is no entry of a journal"),
    "all are gone": (lambda old: [], "there is no entry"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_what_was_done_to_it_is_found_and_the_place_is_named(lines: Lines, what: str) -> None:
    change, words = CHANGES[what]
    with pytest.raises(Tampered) as found:
        verify(change(lines))
    assert words in str(found.value)


def test_an_end_that_was_cut_off_is_known_by_a_head_alone(lines: Lines) -> None:
    assert verify(lines[:2]).entries == 2
    with pytest.raises(Tampered, match="ends with entry 2, and a report knows of an entry 4: its end was cut off"):
        verify(lines[:2], [head(lines, 4)])


def test_a_journal_that_was_written_anew_does_not_fit_a_head_and_the_stretch_is_named(lines: Lines) -> None:
    forged = journal(*EVENTS[:2], Paused(by="mallory"), EVENTS[3])
    assert verify(forged).entries == 4
    with pytest.raises(Tampered, match="entry 4 has another hash than the last knows of: something from entry 3 to it"):
        verify(forged, [head(lines, 4, "the last"), head(lines, 2, "the first")])


@pytest.mark.parametrize("text", ("4", "4:abc", "0:" + "a" * 64, "-1:" + "a" * 64, "4:" + "A" * 64, "4:" + "a" * 65))
def test_what_is_no_head_is_refused_with_what_one_looks_like(text: str) -> None:
    with pytest.raises(UsageError, match="--head: a head is SEQ:HASH"):
        head_of(text, "--head")


async def test_every_message_bears_a_head_that_the_journal_fits_at_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    house, told = House(), dict[str, str]()

    async def keep(notice: Notice, channel: Channel, scene: Scene) -> None:
        told[notice.key] = scene.head

    monkeypatch.setattr(house.outside, "deliver", keep)
    service = await house.move_in()
    channels = {"ops": {"webhook": {"url": "https://ops.example"}}}
    notify = {"channels": channels, "news": [{"when": ["started", "promoted"], "channels": ["ops"]}]}
    run, _ = await service.start(submission(**QUICK, watch="0s", notify=notify), ANN)
    await eventually(service, run, phase="ended")
    async with asyncio.timeout(DEADLINE_SECONDS):
        while len(told) < 2:  # noqa: ASYNC110 - news of the end are sent after it
            await asyncio.sleep(0.01)
    found = verify(await service.journal_lines(run), [head_of(text, key) for key, text in told.items()])
    assert (found.heads, len(set(told.values()))) == (2, 2)
    await service.close(0)
