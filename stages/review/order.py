"""Order and numbers across parts: percentages, phases of the watch, windows that open, profiles that exist."""

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from flags.errors import InvalidFlag
from flags.model import FlagDocument
from stages.actions import FlagAction
from stages.flag_spec import ABSENT, FlagChange, FlagSpec, change_value, declared_change
from stages.kinds.base import Stage
from stages.kinds.exposure import ExposureStage, ExposureStep
from stages.plan import EnvironmentSection, PlanSpec, WatchPhaseSection
from stages.problems import Path, listed, suggestion
from stages.review.view import Finding, View
from stages.triggers import SetAction
from stages.values import format_duration
from stages.walk import Place
from stages.windows import Freeze, Window

_WEEKS = tuple(datetime(2024, month, 1, tzinfo=UTC).timestamp() for month in (1, 7))  # winter and summer time
_DAYS = 9


def review_order(view: View) -> Iterator[Finding]:
    yield from _percentages(view)
    yield from _flags(view)
    yield from _windows(view)
    for place in view.places:
        yield from _watch(place)
    names = {section.name for section in view.document.spec.environments} or {view.environment}
    if view.environment in names and not any(
        not one.environments or view.environment in one.environments for one in view.document.spec.stages
    ):
        yield ("spec", "stages"), f"no stage runs in the environment {view.environment!r}"


def _percentages(view: View) -> Iterator[Finding]:
    """A stage that raises a flag again must not begin below where an earlier one has left it."""
    if view.section is not None and view.section.percentages is not None:
        return
    reached: dict[str, tuple[float, str]] = {}
    for index, stage in enumerate(view.document.spec.stages):
        if not isinstance(stage, ExposureStage) or (stage.environments and view.environment not in stage.environments):
            continue
        first, last = stage.written_steps[0].percentage, stage.written_steps[-1].percentage
        before, earlier = reached.get(stage.flag, (0.0, ""))
        if first < before:
            field = "percentages" if stage.percentages else "steps"
            message = (
                f"{stage.flag} stands at {before:g} % after the stage {earlier!r}; {first:g} % would be a step down"
            )
            yield ("spec", "stages", index, field), message
        reached[stage.flag] = (last, stage.name)


def _watch(place: Place) -> Iterator[Finding]:
    part: Any = place.part
    if not isinstance(part, PlanSpec | EnvironmentSection) or not isinstance(part.watch, tuple):
        return
    phases: list[tuple[int, WatchPhaseSection]] = sorted(enumerate(part.watch), key=lambda pair: pair[1].from_)
    for (_, one), (index, other) in pairwise(phases):
        if other.from_ < one.to:
            message = (
                f"the phases {one.name!r} and {other.name!r} overlap: {one.name!r} lasts to {format_duration(one.to)}"
            )
            yield (*place.path, "watch", index), message


# --- flags ------------------------------------------------------------------------------------------------------------


def _flags(view: View) -> Iterator[Finding]:
    specs = view.document.spec.flags
    for key, spec in specs.items():
        yield from _spec(key, spec, ("spec", "flags", key))
    for place in view.places:
        for key, change, path in _changes(place):
            if key in specs:
                yield from _change(specs[key], change, path)


def _spec(key: str, spec: FlagSpec, path: Path) -> Iterator[Finding]:
    yield from _profile(spec.profile, spec, path)
    declared = declared_change(spec).model_copy(update={"profile": None})
    try:
        FlagDocument(key=key)
        change_value(ABSENT, declared, spec)
    except InvalidFlag as error:
        yield path, f"{error.field}: {error.expected} is expected, not {error.got}"


def _changes(place: Place) -> Iterator[tuple[str, FlagChange, Path]]:
    part: Any = place.part
    match part:
        case FlagAction():
            yield part.flag, part.change, place.path
        case SetAction():
            yield from ((key, change, (*place.path, "set", key)) for key, change in part.set.items())
        case ExposureStep():
            stage = place.inside(ExposureStage)
            if stage is not None:
                yield stage.flag, part.change, place.path
        case _:
            pass


def _change(spec: FlagSpec, change: FlagChange, path: Path) -> Iterator[Finding]:
    yield from _profile(change.profile, spec, path)
    try:
        change_value(ABSENT, change.model_copy(update={"profile": None}))
    except InvalidFlag as error:
        yield path, f"{error.field}: {error.expected} is expected, not {error.got}"


def _profile(profile: str | None, spec: FlagSpec, path: Path) -> Iterator[Finding]:
    if profile is None or profile in spec.profiles:
        return
    known = list(spec.profiles)
    hint = suggestion(profile, known) or (
        "; there are " + listed(known, "and") if known else "; the flag declares none"
    )
    yield (*path, "profile"), f"unknown profile {profile!r}{hint}"


# --- windows ----------------------------------------------------------------------------------------------------------


def _windows(view: View) -> Iterator[Finding]:
    """Every window must open, and with all that lie around it at the same time. Spans of dates pass."""
    outer: list[tuple[Path, Window | None]] = [(("spec", "window"), view.document.spec.window)]
    for index, section in enumerate(view.document.spec.environments):
        if section.name == view.environment:
            outer.append((("spec", "environments", index, "window"), section.window))
    above: list[Window] = []
    for path, window in outer:
        if window is not None:
            above.append(window)
            yield from _never(above, path)
    for place in view.places:
        part: Any = place.part
        if isinstance(part, Stage | ExposureStep) and part.window is not None and view.concerns(place):
            stage = place.inside(Stage)
            own = [stage.window] if stage is not None and stage.window is not None else []
            yield from _never([*above, *own, part.window], (*place.path, "window"))


def _never(windows: list[Window], path: Path) -> Iterator[Finding]:
    weekly = [
        window.model_copy(update={"deny": tuple(one for one in window.deny if not isinstance(one, Freeze))})
        for window in windows
    ]
    if any(_opens(weekly, start) for start in _WEEKS):
        return
    alone = _opens(weekly[-1:], _WEEKS[0])
    yield path, "this window never opens together with the ones around it" if alone else "this window never opens"


def _opens(windows: list[Window], start: float) -> bool:
    moments = {start}.union(*(window.edges(start, _DAYS) for window in windows))
    return any(all(window.is_open(moment) for window in windows) for moment in moments)
