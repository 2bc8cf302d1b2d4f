"""Flags in other systems than our own store: what these can't do, at its place."""

from collections.abc import Iterator, Mapping, Sequence

from stages.actions import FlagAction
from stages.actions.flag import flag_target
from stages.compile import compile_plan
from stages.flag_spec import FlagChange, FlagSpec
from stages.flag_systems import AnyFlagSystem, FlagSystemSection, place_of
from stages.kinds.exposure import ExposureStage, ExposureStep
from stages.plan import StagedRollout
from stages.problems import Path, listed, suggestion
from stages.review.view import Finding, View
from stages.triggers import SetAction
from stages.walk import Place

OURS_ALONE = ("targets", "parameters", "profiles", "profile")
"""Fields of a flag that only our own store holds."""


def review_flag_systems(view: View) -> Iterator[Finding]:
    yield from _names(view)
    yield from _environment(view)
    for key, spec in view.document.spec.flags.items():
        system = _system(view, key)
        if system is not None:
            yield from _ours_alone(spec, system, key, ("spec", "flags", key))
    for place in view.places:
        yield from _place(view, place)


def _system(view: View, key: str) -> FlagSystemSection | None:
    """None for a flag of our own store, and for what has no meaning: that is told by its name."""
    spec = view.document.spec
    flag = spec.flags.get(key)
    return spec.flag_systems.get(flag.system) if flag is not None and flag.system is not None else None


def _names(view: View) -> Iterator[Finding]:
    spec, known = view.document.spec, tuple(view.document.spec.flag_systems)
    for key, flag in spec.flags.items():
        if flag.system is not None and flag.system not in known:
            yield ("spec", "flags", key, "system"), _unknown(flag.system, known)
    for index, section in enumerate(spec.environments):
        for name, place in section.flag_systems.items():
            path = ("spec", "environments", index, "flag_systems", name)
            if name not in known:
                yield path, _unknown(name, known)
            elif (sentence := spec.flag_systems[name].system.cannot_be_at(place)) is not None:
                yield path, sentence


def _unknown(name: str, known: tuple[str, ...]) -> str:
    declared = f"there are {listed(known, 'and')}" if known else "spec.flag_systems declares none"
    return f"unknown flag system {name!r}{suggestion(name, known) or f'; {declared}'}"


def _environment(view: View) -> Iterator[Finding]:
    """An environment's own percentages count for every stage in it that raises a flag."""
    section = view.section
    if section is None or section.percentages is None:
        return
    index = view.document.spec.environments.index(section)
    raised = [place.part for place in view.places if isinstance(place.part, ExposureStage) and view.concerns(place)]
    systems = [system for stage in raised if (system := _system(view, stage.flag)) is not None]
    for level, percentage in enumerate(section.percentages):
        sentence = next((words for one in systems if (words := one.system.cannot_say(percentage))), None)
        if sentence is not None:
            yield ("spec", "environments", index, "percentages", level), sentence


def _place(view: View, place: Place) -> Iterator[Finding]:
    part, path = place.part, place.path
    match part:
        case ExposureStage() if (system := _system(view, part.flag)) is not None:
            for index, percentage in enumerate(part.percentages):
                yield from _percentage(percentage, system, (*path, "percentages", index))
        case ExposureStep() if (stage := place.inside(ExposureStage)) is not None:
            yield from _change(view, stage.flag, part, path)
        case FlagAction():
            yield from _change(view, part.flag, part, path)
        case SetAction():
            for key, change in part.set.items():
                yield from _change(view, key, change, (*path, "set", key))
        case _:
            pass


def _change(view: View, key: str, part: ExposureStep | FlagAction | FlagChange, path: Path) -> Iterator[Finding]:
    system = _system(view, key)
    if system is None:
        return
    yield from _ours_alone(part, system, key, path)
    if part.percentage is not None:
        yield from _percentage(part.percentage, system, (*path, "percentage"))


def _ours_alone(
    part: FlagSpec | FlagChange | ExposureStep | FlagAction, system: FlagSystemSection, key: str, path: Path
) -> Iterator[Finding]:
    for field in OURS_ALONE:
        if getattr(part, field, None):
            sentence = (
                f"{key} is in {system.kind}, where a run sets a state and a percentage only; "
                f"set {field} there by hand, or keep the flag in our own store"
            )
            yield (*path, field), sentence


def _percentage(percentage: float, system: FlagSystemSection, path: Path) -> Iterator[Finding]:
    sentence = system.system.cannot_say(percentage)
    if sentence is not None:
        yield path, sentence


def shared_places(
    documents: Sequence[tuple[str, StagedRollout]], files: Mapping[str, str]
) -> Iterator[tuple[int, Finding]]:
    """A flag that two environments raise in one place: the second would begin where the first one ended."""
    if not documents or not documents[0][1].spec.flag_systems:
        return
    seen: dict[tuple[str, AnyFlagSystem], str] = {}
    for index, program in enumerate(compile_plan(documents, "", files).environments):
        targets = program.targets()
        for key in program.flags:
            place = place_of(program.flags, key)
            if place is None or flag_target(program.name, key).id not in targets:
                continue
            first = seen.setdefault((key, place.system), program.name)
            if first != program.name:
                sentence = (
                    f"{key} is in the same place of {place.name!r} as in {first}; say where it is in each environment, "
                    f"such as flag_systems: {{{place.name}: ...}}"
                )
                yield index, (("spec", "environments", index), sentence)


def flag_system_warnings(view: View) -> Iterator[Finding]:
    used = set()
    for key, flag in view.document.spec.flags.items():
        system = _system(view, key)
        if system is None:
            continue
        used.add(flag.system)
        sentence = (
            f"the kill switch does not reach {key}, which is in {system.kind}: a run under it holds, and the flag "
            "stays where it stands; roll the run back to lower it, or switch it off there"
        )
        yield ("spec", "flags", key, "system"), sentence
    for name in view.document.spec.flag_systems:
        if name not in used:
            yield ("spec", "flag_systems", name), f"no flag of the plan is in the flag system {name!r}"
