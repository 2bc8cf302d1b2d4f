"""Names: whatever a plan refers to must be declared in it, and declared once."""

from collections.abc import Iterator, Sequence
from typing import Any

from stages.actions import Action, FlagAction, NotifyAction
from stages.checks import Check, Source
from stages.criteria.base import Criterion
from stages.gates import Gate
from stages.kinds.base import Stage
from stages.kinds.exposure import DrainSection, ExposureStage, ExposureStep, Replicas
from stages.notify import EscalationStep, News, Notify
from stages.plan import PlanSpec, WatchPhaseSection
from stages.problems import Path, listed, suggestion
from stages.review.view import Finding, View
from stages.success import SuccessCriterion
from stages.triggers import DisableAction, SetAction, Trigger
from stages.walk import Place

_DECLARED = {
    "gate": "spec.gates",
    "flag": "spec.flags",
    "channel": "spec.notify.channels",
    "source": "spec.sources",
    "environment": "spec.environments",
    "stage": "spec.stages",
}

Reference = tuple[str, str, Path]  # kind of the thing, its name, where it is named


def review_names(view: View) -> Iterator[Finding]:
    known = {
        "gate": view.known.gates,
        "flag": view.known.flags,
        "channel": view.known.channels,
        "source": view.known.sources,
        "environment": view.known.environments,
        "stage": view.known.stages,
    }
    for place in view.places:
        for kind, name, path in _references(place):
            if name not in known[kind]:
                yield path, unknown(kind, name, known[kind])


def unknown(kind: str, name: str, known: Sequence[str]) -> str:
    hint = suggestion(name, known)
    if hint:
        return f"unknown {kind} {name!r}{hint}"
    declared = f"there are {listed(known, 'and')}" if known else f"{_DECLARED[kind]} declares none"
    return f"unknown {kind} {name!r}; {declared}"


def _references(place: Place) -> Iterator[Reference]:
    part, path = place.part, place.path
    yield from _of_scope(part, path)
    match part:
        case ExposureStage() | FlagAction():
            yield "flag", part.flag, (*path, "flag")
        case DisableAction():
            yield "flag", part.disable, (*path, "disable")
        case SetAction():
            yield from (("flag", key, (*path, "set", key)) for key in part.set)
        case NotifyAction():
            yield "channel", part.notify, (*path, "notify")
        case Trigger():
            yield from _each("channel", part.notify, (*path, "notify"))
            if part.arm_from is not None:
                yield "stage", part.arm_from, (*path, "arm_from")
        case EscalationStep() | News():
            yield from _each("channel", part.channels, (*path, "channels"))
            if isinstance(part, News):
                yield from _each("stage", part.stages, (*path, "stages"))
        case Notify():
            for severity, channels in part.severity.items():
                yield from _each("channel", channels, (*path, "severity", severity))
        case _:
            pass


def _of_scope(part: Any, path: Path) -> Iterator[Reference]:
    """Gates, sources and environments, which many parts name alike."""
    if isinstance(part, Stage | ExposureStep | WatchPhaseSection) and part.gate:
        if isinstance(part.gate, str):
            yield "gate", part.gate, (*path, "gate")
        else:
            yield from _each("gate", part.gate, (*path, "gate"))
    if isinstance(part, Source | DrainSection | Replicas | SuccessCriterion) and part.source is not None:
        yield "source", part.source, (*path, "source")
    if isinstance(part, Check | Action | Criterion | Gate | Stage):
        yield from _each("environment", part.environments, (*path, "environments"))


def _each(kind: str, names: Sequence[str], path: Path) -> Iterator[Reference]:
    return ((kind, name, (*path, index)) for index, name in enumerate(names))


# --- once -------------------------------------------------------------------------------------------------------------


def review_duplicates(view: View) -> Iterator[Finding]:
    for place in view.places:
        for kind, names, path in _declarations(place):
            yield from _twice(kind, names, path)


def _declarations(place: Place) -> Iterator[tuple[str, list[str], Path]]:
    part, path = place.part, place.path
    if isinstance(part, PlanSpec):
        yield "stage", [stage.name for stage in part.stages], (*path, "stages")
        yield "trigger", [trigger.name for trigger in part.triggers], (*path, "triggers")
        yield "environment", [section.name for section in part.environments], (*path, "environments")
        yield "success criterion", [criterion.name for criterion in part.success], (*path, "success")
        yield "follow-up", [entry.name for entry in part.follow_up], (*path, "follow_up")
    if isinstance(part, Gate):
        yield "criterion", [criterion.name for criterion in part.criteria], (*path, "criteria")
    for name in sorted(type(part).model_fields.keys() & part.model_fields_set):
        value = getattr(part, name)
        if isinstance(value, tuple) and value and all(isinstance(entry, Check) for entry in value):
            yield "check", [entry.name for entry in value], (*path, name)
        if isinstance(value, tuple) and value and all(isinstance(entry, WatchPhaseSection) for entry in value):
            yield "phase", [entry.name for entry in value], (*path, name)


def _twice(kind: str, names: list[str], path: Path) -> Iterator[Finding]:
    seen: dict[str, int] = {}
    for index, name in enumerate(names):
        if name in seen:
            yield (
                (*path, index),
                f"the {kind} name {name!r} is used twice (first as entry {seen[name] + 1}); names are distinct",
            )
        seen.setdefault(name, index)
