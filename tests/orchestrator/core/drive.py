"""Drives the pure core by hand: a world of dicts, a clock that only tests move, no tasks, no crashes.

    drive = Drive(plan)                 # a plan's ``spec`` as data
    drive.run_until(lambda: drive.state.phase == "watching")
    drive.command("pause", reason="look")

What is measured is ``drive.metrics[query]``: a number, None (missing), or a function of the drive. What a kind with a
test makes of its counts is ``drive.judgements[criterion]``, a function of the drive; without one nothing was counted.
"""

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from orchestrator.core import asks as ask_rules
from orchestrator.core import evidence as ev
from orchestrator.core.asks import CheckAsk, MeasureAsk, ObserveAsk, SuccessAsk
from orchestrator.core.commands import Actor, Command, accept
from orchestrator.core.decide import decide
from orchestrator.core.effect import Effect, EffectState, Outcome
from orchestrator.core.events import Event, InheritedTarget, PlanDocument, RunStarted
from orchestrator.core.fold import apply, begin
from orchestrator.core.moment import Moment
from orchestrator.core.outcomes import outcome_events, was_changed_elsewhere
from orchestrator.core.state import State
from orchestrator.core.timing import accumulate
from orchestrator.core.view import status
from stages.checks import Standing
from stages.cluster import ApplyManifest, RestartWorkload, RunJob, ScaleWorkload, SetImage, SetVersion
from stages.compile import environment_names
from stages.criteria.base import Judgement, Measurement, MeasurementState, Memory, SeriesValue, Setting
from stages.criteria.judging import judge
from stages.effects import CallHttp, RunAlembic, RunBackfill, RunCommand, RunSql, SetFlag
from stages.flag_spec import ABSENT
from stages.plan import StagedRollout

Metric = float | None | Callable[["Drive"], float | None]
AUTHOR = Actor("ann", "admin")
OTHER = Actor("bob", "admin", ("on-call", "dba"))
BEGIN = 1_700_000_000.0


def plan_of(spec: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "stagedrollout.io/v1alpha1",
        "kind": "StagedRollout",
        "metadata": {"name": "change"},
        "spec": {"prometheus": {"url": "http://localhost:9090"}, **spec},
    }


class Drive:
    def __init__(
        self,
        spec: dict[str, Any],
        files: dict[str, str] | None = None,
        inherited: tuple[InheritedTarget, ...] = (),
        reverses: str | None = None,
        **flags: dict[str, Any],
    ) -> None:
        document = plan_of(spec)
        names = environment_names(StagedRollout.model_validate(document).spec)
        started = RunStarted(
            by=AUTHOR.name,
            run="change-1",
            plan="change",
            digest="d",
            documents=tuple(PlanDocument(environment=name, plan=document) for name in names),
            files=files or {},
            inherited=inherited,
            reverses=reverses,
        )
        self.now = BEGIN
        self.events: list[Event] = [started]
        self.state: State = begin(started, self.now)
        self.evidence = ev.Evidence()
        self.metrics: dict[str, Metric] = {}
        self.judgements: dict[str, Callable[[Drive], Judgement]] = {}
        self.checks: dict[str, Standing] = {}
        self.world: dict[str, Any] = {f"flag:production/{key}": value for key, value in flags.items()}
        self.outcomes: dict[str, list[Outcome]] = {}  # by target: what comes of its next effects, instead of done
        self.unreadable: dict[str, str] = {}  # targets that can't be looked at now, with why
        self.performed: list[Effect] = []
        self.setting: Setting | None = None  # of the newest look
        self.asked_in: dict[str, str] = {}  # key of an ask -> the environment in whose place it was asked

    # --- time and the loop ----------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Everything that happens without time passing."""
        for _ in range(500):
            before = (len(self.events), self.evidence)
            self._decide()
            self._perform()
            self._ask()
            if before == (len(self.events), self.evidence):
                return
        raise AssertionError(f"it never settles; last events: {[one.type_name for one in self.events[-8:]]}")

    def advance(self, seconds: float, step: float = 1.0) -> None:
        until = self.now + seconds
        self.settle()
        while self.now < until:
            self.now = min(self.now + step, until)
            self.settle()

    def run_until(self, condition: Callable[[], bool], limit_seconds: float = 7200.0, step: float = 1.0) -> None:
        until = self.now + limit_seconds
        self.settle()
        while not condition():
            assert self.now < until, f"it never came about: {self.where()}\n{self.journal()}"
            self.now += step
            self.settle()

    def _append(self, events: list[Event]) -> None:
        for event in events:
            self.state = apply(self.state, event, self.now)
            self.events.append(event)

    def _decide(self) -> None:
        for _ in range(200):
            moment = accumulate(Moment(self.state, self.evidence, self.now))
            self.evidence = moment.evidence
            events = decide(moment).events
            if not events:
                return
            self._append(list(events))
        raise AssertionError(f"decisions chase each other: {[one.type_name for one in self.events[-6:]]}")

    # --- the world ------------------------------------------------------------------------------------------------

    def _perform(self) -> None:
        for entry in list(self.state.outstanding.values()):
            effect = entry.effect
            retry = self.evidence.retries.get(effect.id)
            if entry.void:
                void = Outcome(state=EffectState.UNKNOWN, detail="void")
                self._append(outcome_events(entry, void, forward=self.state.forward)[0])
                continue
            if isinstance(effect.operation, RunBackfill) and self.now - entry.since < 10.0:
                continue  # a slice takes its time
            if entry.unknown or (retry is not None and retry.due_at > self.now):
                continue
            outcome = self._outcome(effect)
            events, again = outcome_events(entry, outcome, forward=self.state.forward)
            if again:
                self.evidence = ev.note_retry(self.evidence, effect.id, self.now + 5.0)
            if was_changed_elsewhere(effect, outcome):
                seen = ev.SeenAt(self.now, outcome.observed, changed_by=outcome.changed_by)
                self.evidence = ev.note_seen(self.evidence, effect.target, seen)
            self._append(events)

    def _outcome(self, effect: Effect) -> Outcome:
        queued = self.outcomes.get(effect.target)
        if queued:
            return queued.pop(0)
        self.performed.append(effect)
        operation = effect.operation
        value: Any = None
        match operation:
            case SetFlag():
                value = copy.deepcopy(operation.value)
            case RunSql():
                value = {"applied": operation.direction == "up"}
            case RunCommand():
                value = {"text": operation.argv[-1]}
            case CallHttp():
                value = {"called": effect.id}
            case RunAlembic():
                value = {"current": operation.revision if operation.direction == "up" else operation.to, "pending": []}
            case ScaleWorkload():
                value = {"replicas": operation.replicas}
            case SetImage():
                value = {"container": operation.container, "image": operation.image}
            case SetVersion():
                value = operation.version.value()
            case RestartWorkload() | ApplyManifest() | RunJob():
                value = {"effect": effect.id}
            case RunBackfill():
                value = {"done": True, "position": 1, "rows": 1, "of": 1}
        self.world[effect.target] = value
        return Outcome(state=EffectState.DONE, observed=value)

    def _ask(self) -> None:
        for ask in ask_rules.due(Moment(self.state, self.evidence, self.now), lambda _: False).now:
            self.asked_in[ask.key] = ask.environment
            match ask:
                case MeasureAsk():
                    measured = self.measure(ask.criterion.query or "", ask.at)
                    known = self.evidence.looks.get(ask.key)
                    memory = known.memory if known is not None else Memory()
                    self.setting = ask.setting
                    made = self.judgements.get(ask.criterion.name)
                    judged = made(self) if made else judge(ask.criterion, measured, memory, ask.setting)
                    self.evidence = ev.note_look(self.evidence, ask.key, measured, judged)
                case CheckAsk():
                    standing = self.checks.get(ask.check.name, Standing.YES)
                    self.evidence = ev.note_asked(self.evidence, ask.key, standing, "asked", self.now, ask.since)
                case ObserveAsk():
                    self.evidence = ev.note_seen(self.evidence, ask.target, self._seen(ask.target))
                case SuccessAsk():
                    measured = self.measure(ask.criterion.query or "", ask.at)
                    self.evidence = ev.note_measured(self.evidence, ask.key, measured)

    def _seen(self, target: str) -> ev.SeenAt:
        if target in self.unreadable:
            return ev.SeenAt(self.now, failure=self.unreadable[target])
        missing: Any = ABSENT if target.startswith("flag:") else {"applied": False}
        if target.startswith("command:"):
            missing = {"text": "old"}
        return ev.SeenAt(self.now, self.world.get(target, missing), target in self.world or ":" not in target)

    def measure(self, query: str, at: float) -> Measurement:
        value = self.metrics.get(query, 0.0)
        if callable(value):
            value = value(self)
        if value is None:
            return Measurement(MeasurementState.MISSING, at)
        return Measurement(MeasurementState.OK, at, (SeriesValue("", value, at),))

    # --- people ---------------------------------------------------------------------------------------------------

    def command(self, name: str, actor: Actor = OTHER, **arguments: Any) -> list[Event]:
        command = Command.model_validate({"command": name, **arguments})
        events = accept(Moment(self.state, self.evidence, self.now), command, actor)
        self._append(events)
        self.settle()
        return events

    def somebody_sets(self, flag: str, **changes: Any) -> None:
        target = f"flag:production/{flag}"
        self.world[target] = {**self.world[target], **changes}
        self.evidence = replace(
            self.evidence, seen={key: one for key, one in self.evidence.seen.items() if key != target}
        )

    # --- looking --------------------------------------------------------------------------------------------------

    def percentage(self, flag: str) -> float:
        value = self.world.get(f"flag:production/{flag}")
        return 0.0 if value is None or value["state"] != "enabled" else float(value["percentage"])

    def holds(self) -> set[str]:
        return {str(reason) for reason, _ in self.state.holds}

    def where(self) -> dict[str, Any]:
        shown = status(self.state, self.evidence, self.now)
        return {key: shown[key] for key in ("phase", "leg", "stage", "step", "holds", "gate", "next", "waiting")}

    def types(self) -> list[str]:
        return [event.type_name for event in self.events]

    def journal(self) -> str:
        return "\n".join(repr(event)[:300] for event in self.events[-40:])
