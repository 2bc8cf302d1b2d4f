"""All scenarios of one plan, one after the other, within a budget of steps."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import structlog

from orchestrator.core.events import PlanDocument
from orchestrator.errors import UsageError
from orchestrator.rehearse.loop import START
from orchestrator.rehearse.people import ANSWER_SECONDS
from orchestrator.rehearse.result import Result, milestones_of, row_of
from orchestrator.rehearse.scenarios import FORWARD, TABLE, Case, Scenario
from orchestrator.rehearse.walk import RESTART_SECONDS, Plan, Walk
from orchestrator.rehearse.world import TAKES_SECONDS
from orchestrator.submission import Submission
from stages.load import LoadedPlan

MOST_STEPS = 1_500_000
Progress = Callable[[int, int, str], None]
"""Of scenarios: how many are walked, how many there are, and which one is next."""


@dataclass(frozen=True, slots=True)
class Asked:
    """*scenarios*: their names, all if there are none. *environment*: only what begins there. *most*: steps in all."""

    scenarios: tuple[str, ...] = ()
    environment: str | None = None
    seed: int = 1
    most: int = MOST_STEPS

    def table(self) -> tuple[Scenario, ...]:
        """Raises ``UsageError`` for a name that is none."""
        known = {one.name: one for one in TABLE}
        for name in self.scenarios:
            if name != FORWARD.name and name not in known:
                raise UsageError(f"there is no scenario {name}; there are {', '.join((FORWARD.name, *known))}")
        return tuple(one for one in TABLE if not self.scenarios or one.name in self.scenarios)


def rehearse(plan: LoadedPlan, asked: Asked, progress: Progress, directory: str | None = None) -> Result:
    """Raises ``UsageError`` for scenarios and environments that there are not."""
    table, ground = asked.table(), _ground(plan, asked, directory)
    names = tuple(entry.name for entry in ground.program.environments)
    if asked.environment is not None and asked.environment not in names:
        raise UsageError(f"the plan has no environment {asked.environment}; it has {', '.join(names)}")
    with _overheard() as crashes:
        rehearsal = _Rehearsal(ground, asked, progress, crashes)
        return rehearsal.walked(table)


def _ground(plan: LoadedPlan, asked: Asked, directory: str | None) -> Plan:
    submission = Submission(
        plan=plan.name,
        digest=plan.digest,
        documents=tuple(PlanDocument(environment=name, plan=document) for name, document in plan.raw),
        files=plan.files,
        directory=directory,
        key="rehearsal",
    )
    return Plan(plan.to_program(directory), submission, asked.seed)


class _Rehearsal:
    def __init__(self, plan: Plan, asked: Asked, progress: Progress, crashes: list[str]) -> None:
        self.plan = plan
        self.asked = asked
        self.progress = progress
        self.crashes = crashes
        self.steps = 0
        self.virtual_seconds = 0.0

    def walked(self, table: tuple[Scenario, ...]) -> Result:
        self.progress(0, 1, FORWARD.title)
        forward = self._walk(Case(None, next(FORWARD.cases(self.plan.program, ())).trouble), FORWARD)
        todo = [(scenario, case) for scenario in table for case in self._cases(scenario, forward)]
        rows, cut = [], []
        for number, (scenario, case) in enumerate(todo):
            if self.steps >= self.asked.most:
                cut.append(_title(scenario, case))
                continue
            self.progress(number + 1, len(todo) + 1, _title(scenario, case))
            walk = self._walk(case, scenario)
            if not walk.came_too_late and not scenario.is_moot(walk):
                rows.append(row_of(scenario, case, walk))
        names = tuple(entry.name for entry in self.plan.program.environments)
        return Result(
            plan=self.plan.program.name,
            digest=self.plan.program.digest,
            seed=self.asked.seed,
            environments=names,
            forward=row_of(FORWARD, Case(None, forward.trouble), forward),
            milestones=milestones_of(forward),
            rows=tuple(rows),
            scenarios=tuple((one.name, one.title) for one in table),
            cut=tuple(cut),
            most=self.asked.most,
            steps=self.steps,
            virtual_seconds=round(self.virtual_seconds),
            assumed={**TAKES_SECONDS, "person": ANSWER_SECONDS, "restart": RESTART_SECONDS},
        )

    def _cases(self, scenario: Scenario, forward: Walk) -> Iterator[Case]:
        for case in scenario.cases(self.plan.program, forward.forks):
            assert case.fork is not None
            if self.asked.environment in (None, case.fork.place.environment):
                yield case

    def _walk(self, case: Case, scenario: Scenario) -> Walk:
        known = len(self.crashes)
        walk = Walk(self.plan, _title(scenario, case), case.trouble, case.fork, scenario.until).walked()
        walk.crashes = tuple(self.crashes[known:])
        self.steps += walk.steps
        self.virtual_seconds += walk.over_at - START - (case.fork.at if case.fork is not None else 0.0)
        return walk


def _title(scenario: Scenario, case: Case) -> str:
    place = f"{case.fork.place.environment} / {case.fork.place.words}" if case.fork is not None else ""
    return ": ".join(part for part in (scenario.name, place, case.at) if part)


@contextmanager
def _overheard() -> Iterator[list[str]]:
    """What the controller logs goes nowhere, but for crashes of its own, which are collected."""
    crashes: list[str] = []

    def hear(_: Any, name: str, event: Any) -> str:
        what = str(event.get("event", ""))
        if name == "exception" or what in ("run.crashed", "run.lost"):
            crashes.append(f"the controller stumbled ({what}): {event.get('error', '')}".rstrip(": "))
        raise structlog.DropEvent

    before = structlog.get_config()
    structlog.configure(processors=[hear], cache_logger_on_first_use=False)
    try:
        yield crashes
    finally:
        structlog.configure(**before)
