"""A run's journal as the invariants read it: plain walks over events, with the plan beside them. No use of the core."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.core.events import (
    EffectRequested,
    Event,
    LegEntered,
    RollbackStarted,
    RunEnded,
    RunStarted,
)
from orchestrator.ports import Recorded
from stages.values import parse_duration
from tests.simulation.loop import START

Spec = dict[str, Any]


@dataclass(frozen=True)
class Story:
    """One run: its records, and the plan that it walks (as written, from its own first event)."""

    run: str
    records: Sequence[Recorded]
    plan: Spec = field(default_factory=dict)

    @property
    def started(self) -> RunStarted:
        event = self.records[0].event
        assert isinstance(event, RunStarted)
        return event

    @property
    def ended(self) -> RunEnded | None:
        return next((record.event for record in self.records if isinstance(record.event, RunEnded)), None)

    def of(self, *kinds: type[Event]) -> Iterator[Recorded]:
        return (record for record in self.records if isinstance(record.event, kinds))

    def between(self, after: int, before: int) -> Iterator[Recorded]:
        return (record for record in self.records if after < record.seq < before)

    @property
    def whole_rollback(self) -> Recorded | None:
        return next(
            (one for one in self.of(RollbackStarted) if isinstance(one.event, RollbackStarted) and not one.event.scope),
            None,
        )

    def stage(self, index: int) -> Spec:
        return dict(self.plan["stages"][index])

    def step(self, stage: int, step: int) -> Spec:
        """A step of a stage that raises exposure as written, with what it has from its stage; empty for other kinds."""
        spec = self.stage(stage)
        if not is_exposure(spec):
            return {}
        written = spec.get("steps") or [{"percentage": level} for level in spec["percentages"]]
        return dict(written[step])

    def gates_of(self, stage: int, step: int) -> tuple[str, ...]:
        spec = self.stage(stage)
        found: Any = self.step(stage, step).get("gate", spec.get("gate", ()))
        if not is_exposure(spec) and step < last_step(spec):
            return ()
        return (found,) if isinstance(found, str) else tuple(found)

    def criteria_of(self, gates: tuple[str, ...]) -> list[tuple[Spec, Spec]]:
        """Pairs of a gate and one of its criteria."""
        return [(self.plan["gates"][name], one) for name in gates for one in self.plan["gates"][name]["criteria"]]

    def bake_seconds(self, environment: str, stage: int, step: int) -> float:
        """The least passing time that the plan asks for."""
        spec, written = self.stage(stage), self.step(stage, step)
        is_last = step == last_step(spec)
        section: Spec = next((one for one in self.plan.get("environments", ()) if one["name"] == environment), {})
        choices: list[Any] = [written.get("bake")]
        if is_exposure(spec):
            choices += [section.get("bake"), spec.get("final_bake") if is_last else None, spec.get("bake"), "2m"]
        elif is_last:
            choices += [spec.get("final_bake"), spec.get("bake"), "0s"]
        found = next((one for one in choices if one is not None), "0s")
        return seconds(found["min"] if isinstance(found, dict) else found)


def is_exposure(spec: Spec) -> bool:
    """Whether a stage raises what users meet, step by step: a flag, or a version's share of the pods."""
    return "flag" in spec or spec["kind"] == "version"


def last_step(spec: Spec) -> int:
    for name in ("percentages", "steps", "migrations"):
        if spec.get(name):
            return len(spec[name]) - 1
    return 0


def seconds(text: Any) -> float:
    return float(parse_duration(text))


def virtual(at: float) -> float:
    return at - START


def is_forward(record: Recorded) -> bool:
    """An intent of the plan's own way: of a step, a stage's before or after. Not a trigger's, not an undo."""
    event = record.event
    if not isinstance(event, EffectRequested) or event.effect.node is not None:
        return False
    return (event.effect.walk or "").partition(":")[0] in ("step", "before", "after")


def place_of(event: LegEntered) -> tuple[int, int]:
    return event.stage, event.step
