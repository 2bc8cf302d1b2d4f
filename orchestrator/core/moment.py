"""What a decision is made from, and the small questions that every rule asks of it."""

from dataclasses import field, replace

from orchestrator.core.effect import Effect
from orchestrator.core.events import EffectRequested, Event
from orchestrator.core.evidence import Evidence, Progress, SeenAt
from orchestrator.core.freeze import Freeze
from orchestrator.core.gates import GateView, judge_gates, reached_gates
from orchestrator.core.phases import Leg, Phase, Reason
from orchestrator.core.state import State
from stages.criteria.base import Verdict
from stages.effects import Operation, Target, TargetKind
from stages.lean import dataclass
from stages.values import Json
from stages.windows import Window

OBSERVATION_LASTS_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Moment:
    state: State
    evidence: Evidence
    now: float
    _judged: dict[tuple[str, ...], GateView] = field(default_factory=dict, repr=False, compare=False)

    def progressed(self, **progress: Progress) -> "Moment":
        """The same moment with what has added up in *bake* or *watch*, of which what gates say does not depend."""
        evidence = replace(self.evidence, **progress)  # type: ignore[arg-type]
        return Moment(self.state, evidence, self.now, self._judged)

    def judged(self, names: tuple[str, ...]) -> GateView:
        """What gates say together. Several rules ask, and a moment has one answer."""
        view = self._judged.get(names)
        if view is None:
            view = self._judged[names] = judge_gates(self.state, self.evidence, names, self.now)
        return view

    def seen(self, target: str, since: float | None = None) -> SeenAt | None:
        """What was seen of a target, if it is fresh (or no older than *since*) and could be seen."""
        seen = self.evidence.seen.get(target)
        if seen is None or seen.failure is not None:
            return None
        oldest = since if since is not None else self.now - OBSERVATION_LASTS_SECONDS
        return seen if seen.at >= oldest and seen.at > self.changed_at(target) else None

    def changed_at(self, target: str) -> float:
        """What was seen before the run's own newest change of a target says nothing of how it stands."""
        return self.state.changed_at.get(target, self.state.started_at - 1.0)

    def unreadable_flags(self) -> dict[str, str]:
        """Flags of this environment that the run has changed and that can't be looked at now, with why."""
        state = self.state
        found = {
            target.id: self.evidence.seen.get(target.id)
            for target in state.targets.values()
            if target.kind is TargetKind.FLAG and target.touched and target.environment == state.cursor.environment
        }
        return {key: seen.failure for key, seen in found.items() if seen is not None and seen.failure is not None}

    def passed_since(self, at: float) -> float:
        """The seconds that really passed since then, whatever was done to the clock."""
        return self.now - at - sum(jump.seconds for jump in self.evidence.jumps if jump.at > at)

    @property
    def wall(self) -> float:
        """The wall clock, by which windows open and close; *now* may be ahead of it."""
        return self.now - self.evidence.ahead_seconds

    @property
    def held(self) -> bool:
        return bool(self.state.holds)

    @property
    def is_held_by_more_than_time(self) -> bool:
        """Whether anything holds but a window or a freeze: those hold what moves forward, and never a way back."""
        return any(reason is not Reason.WINDOW for reason, _ in self.state.holds)

    @property
    def is_paused(self) -> bool:
        return any(reason is Reason.PAUSED for reason, _ in self.state.holds)

    @property
    def reached_gate(self) -> GateView:
        return self.judged(reached_gates(self.state))

    @property
    def may_raise(self) -> bool:
        """Whether the gate last reached lets exposure rise: passing on what was seen since, or overridden and not
        failing. Who resumes after a failure begins the evidence anew, of which an override says nothing before there
        was a look. Before a stage begins one look will do, since its step was left on all that it asks for."""
        view = self.reached_gate
        ref = self.state.gate_ref
        if view.passing and (view.counts or self.state.leg is Leg.PREPARING):
            return True
        if ref is None or self.state.advanced_seq <= ref.seq or view.verdict is Verdict.FAIL:
            return False
        return view.complete or self.state.evidence_from <= ref.since

    def windows(self) -> tuple[Window, ...]:
        """Every window above the place where the run stands."""
        state = self.state
        found = state.program.windows
        if state.phase is Phase.CHECKING:
            return found
        found += state.environment.windows
        if state.stage is not None:
            found += state.stage.windows
        if state.step is not None:
            found += state.step.windows
        return found

    def freezes(self) -> tuple[Freeze, ...]:
        """Those that stand now over the environment where the run is."""
        here, wall = self.state.cursor.environment, self.wall
        return tuple(one for one in self.evidence.freezes if one.covers(here) and one.stands(wall))

    def closed_window(self) -> Window | None:
        return next((window for window in self.windows() if not window.is_open(self.wall)), None)


def request(target: Target, operation: Operation, label: str, *, reason: str = "", **fields: Json) -> Event:
    """The durable intent for one operation; *fields* are those of ``Effect``. ``decide`` gives it its number when all
    that is requested together is known."""
    effect = Effect.model_validate(
        {
            "id": "",
            "target": target.id,
            "target_kind": target.kind,
            "label": label,
            "operation": operation,
            **fields,
        }
    )
    return EffectRequested(effect=effect, reason=reason)
