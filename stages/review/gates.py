"""Gates and their criteria: whether what they compare can be there at all, and what makes them slower or duller than
meant. Nothing is asked of anyone here; what a gate can see at today's traffic is another matter."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import assert_never

from stages.criteria import AnyCriterion, Change, Compare, Latency, Ratio, Slo, Threshold, kind_of
from stages.gates import Gate
from stages.kinds.base import BakeRange, Context, Stage, names, to_bake
from stages.kinds.exposure import ExposureStage
from stages.kinds.version import VersionStage
from stages.plan import WatchPhaseSection
from stages.problems import Path
from stages.review.view import Finding, View
from stages.step import Bake, Step
from stages.values import format_duration
from stages.walk import Place

BOUNDS = ("max_increase", "at_most", "objective")
LARGEST_ALPHA = 0.1
SMALLEST_ALPHA = 1e-6


_STAGES = "the stage's own"  # stands for a flag, to see whether a criterion is about it


@dataclass(frozen=True, slots=True)
class _Use:
    """Where a gate is judged: in words and in the document, by which flag's arms, how far up, for how long."""

    gate: str
    words: str
    path: Path
    flag: str | None = None
    percentage: float | None = None
    bake: Bake | None = None


@dataclass(frozen=True, slots=True)
class _Placed:
    """A criterion of this environment, and its place."""

    gate_name: str
    gate: Gate
    criterion: AnyCriterion
    path: Path


def review_gates(view: View) -> Iterator[Finding]:
    """What would hold a run for ever, or could never be measured."""
    uses = tuple(_uses(view))
    for placed in _criteria(view):
        yield from _without_arms(placed, uses)
        yield from _without_prometheus(view, placed)


def gate_warnings(view: View) -> Iterator[Finding]:
    for name, gate in view.document.spec.gates.items():
        placed = [one for one in _criteria(view) if one.gate_name == name]
        path: Path = ("spec", "gates", name)
        yield from _alpha(gate, path)
        yield from _too_often(view, placed, path)
        yield from _twice(placed)
    for use in _uses(view):
        yield from _of_use([one for one in _criteria(view) if one.gate_name == use.gate], use)
    yield from _no_range(view)


def _criteria(view: View) -> Iterator[_Placed]:
    for name, gate in view.document.spec.gates.items():
        if not _is_for(gate.environments, view.environment):
            continue
        for index, criterion in enumerate(gate.criteria):
            if _is_for(criterion.environments, view.environment):
                yield _Placed(name, gate, criterion, ("spec", "gates", name, "criteria", index))


def _is_for(environments: tuple[str, ...], environment: str) -> bool:
    return not environments or environment in environments


# --- where gates are judged -------------------------------------------------------------------------------------------


def _uses(view: View) -> Iterator[_Use]:
    stages = [
        (("spec", "stages", index), stage)
        for index, stage in enumerate(view.document.spec.stages)
        if _is_for(stage.environments, view.environment)
    ]
    for path, stage in stages:
        yield from _of_stage(view, stage, path)
    last = _steps(view, stages[-1][1])[-1:] if stages else ()
    flag, percentage = (last[0].exposure_flag, last[0].percentage) if last else (None, None)
    for place in view.places:
        phase = place.part
        if isinstance(phase, WatchPhaseSection) and view.concerns(place) and _is_in_force(view, place):
            for name in names(phase.gate):
                yield _Use(name, f"the watch's phase {phase.name!r}", place.path, flag, percentage)


def _of_stage(view: View, stage: Stage, path: Path) -> Iterator[_Use]:
    for step in _steps(view, stage):
        for name in step.gate:
            words = f"the stage {stage.name!r} at {step.percentage:g} %"
            yield _Use(name, words, path, step.exposure_flag, step.percentage, step.bake)
    if not _is_raised(stage):
        bake = to_bake(stage.final_bake) or to_bake(stage.bake)
        for name in names(stage.gate):
            yield _Use(name, f"the stage {stage.name!r}", path, bake=bake)


def _steps(view: View, stage: Stage) -> tuple[Step, ...]:
    """Those that raise what users meet: a flag, or the share of a version."""
    return stage.steps_program(_context(view)) if _is_raised(stage) else ()


def _is_raised(stage: Stage) -> bool:
    return isinstance(stage, ExposureStage) or (isinstance(stage, VersionStage) and stage.canary is not None)


def _is_in_force(view: View, place: Place) -> bool:
    """An environment's own watch stands in place of the plan's."""
    return place.path[:2] != ("spec", "watch") or view.section is None or view.section.watch is None


def _context(view: View) -> Context:
    """Enough of one for percentages and bakes, which files and databases do not change."""
    section = view.section
    return Context(
        environment=view.environment,
        files={},
        flags=dict(view.document.spec.flags),
        database=None,
        command_dir=None,
        command_vars={},
        command_timeout_seconds=0.0,
        bake=to_bake(section.bake) if section is not None else None,
        percentages=section.percentages if section is not None else None,
    )


# --- what cannot work -------------------------------------------------------------------------------------------------


def _without_arms(placed: _Placed, uses: tuple[_Use, ...]) -> Iterator[Finding]:
    criterion = placed.criterion
    if criterion.subject(_STAGES) != _STAGES:
        return
    kind = kind_of(criterion)
    lacking = [use.words for use in uses if use.gate == placed.gate_name and use.flag is None]
    if lacking:
        words = f"{lacking[0]} raises no flag whose arms could be compared"
        yield (*placed.path, kind), f"{words}: name a flag here, or counters and arms, or give it another gate"


def _without_prometheus(view: View, placed: _Placed) -> Iterator[Finding]:
    criterion, spec, section = placed.criterion, view.document.spec, view.section
    field = _asks_prometheus(criterion)
    if field is None:
        return
    if criterion.source is not None:
        source = spec.sources.get(criterion.source)
        if source is not None and source.prometheus is None:
            yield (*placed.path, "source"), f"the source {criterion.source!r} has no prometheus, which {field} needs"
    elif spec.prometheus is None and (section is None or section.prometheus is None):
        yield (
            (*placed.path, field),
            f"{field} needs a Prometheus: name its url under spec.prometheus, of the environment, or as a source",
        )


def _asks_prometheus(criterion: AnyCriterion) -> str | None:
    """The field of a kind that is put to a Prometheus; a threshold's own query is looked at with all other queries."""
    match criterion:
        case Compare():
            return "compare"
        case Latency():
            return "latency"
        case Ratio():
            return "ratio"
        case Slo():
            return "slo"
        case Change():
            return "change" if criterion.change.query is not None else None
        case Threshold():
            return None
        case _:
            assert_never(criterion)


# --- what is worth a second look --------------------------------------------------------------------------------------


def _alpha(gate: Gate, path: Path) -> Iterator[Finding]:
    if gate.alpha is None:
        return
    place = (*path, "alpha")
    tested = [one for one in gate.criteria if one.is_tested]
    if not tested:
        yield place, "alpha is the error budget of tests, and this gate has none (compare, latency, ratio)"
    elif gate.alpha > LARGEST_ALPHA:
        yield place, f"with alpha {gate.alpha:g} a healthy run is failed once in {1 / gate.alpha:.0f} times"
    elif gate.alpha < SMALLEST_ALPHA:
        yield place, f"alpha {gate.alpha:g} asks for evidence of {1 / gate.alpha:.0e} to 1: it delays every rollback"


def _too_often(view: View, placed: list[_Placed], path: Path) -> Iterator[Finding]:
    """Looks between two samples see what the look before saw."""
    for one in placed:
        asks = one.criterion.query is not None or _asks_prometheus(one.criterion) is not None
        scrape_seconds = _scrape_seconds(view, one.criterion.source)
        if asks and one.gate.every < scrape_seconds:
            every, scrape = format_duration(one.gate.every), format_duration(scrape_seconds)
            words = f"looking every {every} mostly shows nothing new: samples come every {scrape} (scrape_interval)"
            yield (*path, "every"), words
            return


def _scrape_seconds(view: View, source: str | None) -> float:
    spec, section = view.document.spec, view.section
    if source is not None:
        named = spec.sources.get(source)
        prometheus = named.prometheus if named is not None else None
    else:
        prometheus = (section.prometheus if section is not None else None) or spec.prometheus
    return prometheus.scrape_interval if prometheus is not None else 0.0


def _twice(placed: list[_Placed]) -> Iterator[Finding]:
    seen: dict[str, _Placed] = {}
    for one in placed:
        key = _measured(one.criterion)
        first = seen.setdefault(key, one)
        if first is not one:
            spent = "; of the error budget both take a share" if one.criterion.is_tested else ""
            yield one.path, f"{one.criterion.name!r} measures the same as {first.criterion.name!r}{spent}"


def _measured(criterion: AnyCriterion) -> str:
    """What is measured, and for thresholds also the bounds: the same number may well be held against several."""
    kind = type(criterion).__name__.lower()
    given = criterion.model_dump(mode="json", by_alias=True, exclude={"name", "for_", "environments", "timeout"})
    if isinstance(criterion, Compare | Latency | Ratio | Slo):
        inner = {name: value for name, value in given[kind].items() if name not in BOUNDS}
        given = {"source": criterion.source, **inner}
    return f"{kind} {json.dumps(given, sort_keys=True)}"


def _of_use(placed: list[_Placed], use: _Use) -> Iterator[Finding]:
    compared = [one.criterion.name for one in placed if _compares_arms_of(one.criterion, use)]
    if use.percentage == 100 and compared:
        words = f"{use.words} leaves nobody in the control, so {compared[0]!r} can't compare there"
        yield use.path, f"{words}; change, ratio or slo can judge, in a gate of its own"
    if use.bake is not None:
        yield from _short_bake(placed, use, use.bake.max_seconds)


def _compares_arms_of(criterion: AnyCriterion, use: _Use) -> bool:
    """Whether what it compares are arms of what rises there: of a flag, or the two Deployments of a version."""
    return criterion.subject(_STAGES) is not None or (use.flag is None and isinstance(criterion, Compare | Latency))


def _short_bake(placed: list[_Placed], use: _Use, bake_seconds: float) -> Iterator[Finding]:
    """Of tests alone: a threshold that is pending holds the bake up, but a test passes until its evidence is enough.

    The bake counts from after the warm-up.
    """
    for one in placed:
        needed_seconds = one.criterion.for_seconds + one.gate.every
        if one.criterion.is_tested and bake_seconds < needed_seconds:
            words = f"{use.words} bakes for {format_duration(bake_seconds)}, in which {one.criterion.name!r} can't fail"
            yield use.path, f"{words}: its 'for' and a look last {format_duration(needed_seconds)}"


def _no_range(view: View) -> Iterator[Finding]:
    for place in view.places:
        for field in ("bake", "final_bake"):
            bake = getattr(place.part, field, None)
            if isinstance(bake, BakeRange) and bake.min == bake.max:
                last = format_duration(bake.max)
                yield (
                    (*place.path, field),
                    f"min and max are both {last}, so nothing advances early; {last} says the same",
                )
