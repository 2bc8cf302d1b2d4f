"""Time is skipped only where nothing would happen, and what is decided is the same with and without."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from orchestrator.ports import CheckAnswer, Scene
from orchestrator.rehearse import Result, rehearsing, walk
from orchestrator.rehearse.loop import START
from orchestrator.rehearse.result import Row, row_of
from orchestrator.rehearse.scenarios import Case, Scenario
from orchestrator.rehearse.skipping import Around
from orchestrator.rehearse.walk import Walk
from orchestrator.rehearse.world import RehearsedWorld
from stages.checks import Check
from tests.rehearse.plans import SMALL, read, rehearsed

SHORT = SMALL.replace("bake: 30m", "bake: 20m").replace("watch: 48h", "watch: 20m")
NEARLY_SECONDS = 30
DAY = 86_400.0

PHASES = """
    - {name: at first, to: 5m, every: 1m, checks: [{name: up, query: up, expect: {number: "> 0"}}]}
    - {name: later, from: 20m, to: 1h, every: 9m, gate: health, checks: [{name: fine, http: {url: "http://app/fine"}}]}
"""
IN_PHASES = SHORT.replace("watch: 20m", f"watch: {PHASES}")
TWO_DAYS = IN_PHASES.replace("20m, to: 1h, every: 9m", "24h, to: 48h, every: 50m")
TIMED_OUT = SHORT.replace("bake: 20m", "bake: 20m, approval: {any_of: [dba], timeout: 12m}")
DEADLINE = SHORT.replace("{health: {every: 15s,", "{health: {every: 15s, hold: {deadline: 8m},")
TOLD = DEADLINE.replace(
    "{channels: {",
    '{escalation: [{after: 7m, channels: [boss]}], channels: {boss: {webhook: {url: "https://chat.example/boss"}}, ',
)


@contextmanager
def without_skipping() -> Iterator[None]:
    def never(_: object, __: Around) -> float:
        return 0.0

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(walk, "seconds_to_skip", never)
        yield


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, float]]:
    """What checks were asked, and when: seconds from the begin."""
    found: list[tuple[str, float]] = []
    ask = RehearsedWorld.ask

    async def noted(self: RehearsedWorld, check: Check, scene: Scene) -> CheckAnswer:
        found.append((check.name, self.clock.now() - START))
        return await ask(self, check, scene)

    monkeypatch.setattr(RehearsedWorld, "ask", noted)
    return found


def journals(text: str, scenarios: tuple[str, ...]) -> tuple[Result, dict[str, list[tuple[str, float]]]]:
    """Of every walk: kinds of what was written, and how long after its begin."""
    found: dict[str, list[tuple[str, float]]] = {}

    def kept(scenario: Scenario, case: Case, walk: Walk) -> Row:
        place = case.fork.place.words if case.fork is not None else ""
        begin = START + case.fork.at if case.fork is not None else START
        written = ((type(one.event).__name__, one.at - begin) for one in walk.new_records)
        found[f"{scenario.name} {place} {case.at}"] = sorted(written)
        return row_of(scenario, case, walk)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rehearsing, "row_of", kept)
        return rehearsed(read(text), scenarios), found


def assert_alike(some: dict[str, list[tuple[str, float]]], others: dict[str, list[tuple[str, float]]]) -> None:
    assert some.keys() == others.keys()
    for name, journal in some.items():
        assert [kind for kind, _ in journal] == [kind for kind, _ in others[name]], name
        for (kind, at), (_, other) in zip(journal, others[name], strict=True):
            assert abs(at - other) < NEARLY_SECONDS, (name, kind, at, other)


@pytest.mark.parametrize(
    ("text", "scenarios"),
    ((IN_PHASES, ("back", "prometheus", "pause")), (TIMED_OUT, ("unanswered",)), (TOLD, ("prometheus",))),
    ids=["phases of a watch", "an approval with a timeout", "a hold that is told three times"],
)
def test_a_walk_with_skips_writes_what_one_without_does(text: str, scenarios: tuple[str, ...]) -> None:
    skipping, some = journals(text, scenarios)
    with without_skipping():
        whole, others = journals(text, scenarios)
    assert_alike(some, others)
    assert skipping.steps < whole.steps / 2


def test_a_watch_of_two_days_is_skipped_and_its_checks_are_asked_in_each_phase(asked: list[tuple[str, float]]) -> None:
    result = rehearsed(read(TWO_DAYS), ["drain"])
    assert result.forward.end == "promoted"
    assert 2 * DAY < result.forward.seconds < 2 * DAY + 3600
    assert {name for name, at in asked if at < DAY} == {"up"}
    assert {name for name, at in asked if at > DAY} == {"fine"}
    assert result.steps < 3_000
