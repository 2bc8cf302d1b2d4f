"""A plan held against a world of answers, before anything is run."""

from types import SimpleNamespace
from typing import Any

from orchestrator.errors import Temporary
from orchestrator.ports import Scene, Seen
from orchestrator.survey import Finding, Level, survey
from stages.checks import Source
from stages.compile import compile_plan
from stages.criteria.base import NOTHING_WANTED, Measurement, MeasurementState, SeriesValue, Wanted
from stages.effects import ObserveFlag, ObserveSql
from stages.flag_spec import ABSENT
from stages.plan import StagedRollout
from tests.orchestrator.core.drive import BEGIN, plan_of

SPEC: dict[str, Any] = {
    "flags": {"beta": {}, "other": {}},
    "gates": {"health": {"criteria": [{"name": "errors", "query": "errors", "fail": "> 0.1", "for": "5m"}]}},
    "stages": [
        {"name": "schema", "kind": "migration", "database": "sqlite:///x",
         "migrations": [{"up": "1.sql", "irreversible": "enum"}]},
        {"name": "open", "kind": "monitoring", "flag": "beta", "percentages": [100], "gate": "health"},
    ],
}  # fmt: skip


class Answers:
    """A world in which flags, files and series are what a test says."""

    def __init__(self, value: float | None = 0.0, flags: tuple[str, ...] = ("beta", "other"), applied: bool = False):
        self.value, self.flags, self.applied = value, flags, applied
        self.database_is_away = False
        self.file: dict[str, Any] = {}

    def now(self) -> float:
        return BEGIN

    async def observe(self, observation: Any, scene: Scene) -> Seen:
        if isinstance(observation, ObserveFlag):
            return Seen(dict(ABSENT), exists=observation.key in self.flags)
        assert isinstance(observation, ObserveSql)
        if self.database_is_away:
            raise Temporary("connection refused")
        return Seen({"applied": self.applied, **self.file})

    async def measure(self, source: Source, scene: Scene, at: float, wanted: Wanted = NOTHING_WANTED) -> Measurement:
        if self.value is None:
            return Measurement(MeasurementState.ERROR, at, detail="Prometheus does not answer")
        return Measurement(MeasurementState.OK, at, (SeriesValue("", self.value, at),))


async def found(answers: Answers, spec: dict[str, Any] | None = None) -> list[Finding]:
    document = StagedRollout.model_validate(plan_of(spec or SPEC))
    program = compile_plan([("production", document)], "d", {"1.sql": "select 1"})
    observers = {"observe_flag": answers, "observe_sql": answers}
    world: Any = SimpleNamespace(clock=answers, observers=observers, measurer=answers, cluster=None)
    return await survey(program, world)


def sentences(findings: list[Finding], level: Level) -> list[str]:
    return [f"{one.where}: {one.sentence}" for one in findings if one.level is level]


async def test_a_plan_that_would_go_through_has_nothing_worse_than_notes() -> None:
    findings = await found(Answers())
    assert {one.level for one in findings} == {Level.NOTE}
    assert any("stays at a rollback: enum" in one.sentence for one in findings)


async def test_a_query_that_cannot_be_asked_is_an_error_that_says_why() -> None:
    (error,) = sentences(await found(Answers(value=None)), Level.ERROR)
    assert error == "production: gate health, errors: it can't be measured: Prometheus does not answer"


async def test_a_gate_that_fails_before_anything_has_begun_is_a_warning_whatever_its_for() -> None:
    (warning,) = sentences(await found(Answers(value=0.5)), Level.WARNING)
    assert "it fails already: errors is 0.5" in warning


async def test_a_flag_that_no_stage_raises_must_exist() -> None:
    (error,) = sentences(await found(Answers(flags=())), Level.ERROR)
    assert error.startswith("production: flag other: it does not exist")


async def test_a_database_that_is_away_is_an_error() -> None:
    answers = Answers()
    answers.database_is_away = True
    (error,) = sentences(await found(answers), Level.ERROR)
    assert "its database can't be looked at: connection refused" in error


async def test_a_file_that_was_applied_with_other_contents_would_be_refused() -> None:
    answers = Answers(applied=True)
    answers.file = {"checksum": "of another text"}
    errors = sentences(await found(answers), Level.ERROR)
    assert any("it was applied with other contents; put the file back" in error for error in errors)


async def test_a_file_that_ran_in_part_is_told() -> None:
    answers = Answers()
    answers.file = {"statements": 2}
    notes = sentences(await found(answers), Level.NOTE)
    assert any("it ran in part before (2 statements)" in note for note in notes)


async def test_a_file_that_was_applied_before_is_told() -> None:
    notes = sentences(await found(Answers(applied=True)), Level.NOTE)
    assert any("it was applied before" in note for note in notes)


async def test_a_point_of_no_return_is_seen_before_the_start() -> None:
    stages = [{**SPEC["stages"][0], "point_of_no_return": True}, SPEC["stages"][1]]
    (warning,) = sentences(await found(Answers(), {**SPEC, "stages": stages}), Level.WARNING)
    assert "point of no return" in warning


async def test_a_stage_that_pauses_is_told_that_its_gate_rolls_back() -> None:
    pausing = {**SPEC, "stages": [SPEC["stages"][0], {**SPEC["stages"][1], "on_fail": "pause"}]}
    words = "it pauses if an effect or a verify fails, but gate health rolls back: the gate has no on_fail: pause"
    told = Finding(Level.NOTE, "production: stage open", words)
    assert told in await found(Answers(), pausing)
    gates = {"health": {**SPEC["gates"]["health"], "on_fail": "pause"}}
    assert told not in await found(Answers(), {**pausing, "gates": gates})
    assert told not in await found(Answers())
