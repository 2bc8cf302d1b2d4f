"""Which releases are replayed: the steps of each stage by whose gate they are judged, and when they begin."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from orchestrator.errors import UsageError
from stages.gates import Gate
from stages.step import EnvironmentProgram, Program, StageProgram, Step
from stages.values import format_duration

MOST_RELEASES = 300
FEW_RELEASES = 10  # with fewer, the numbers say little: then releases overlap
LOOKS_AT_LEAST = 4


@dataclass(frozen=True, slots=True)
class Reached:
    """A step of a release, in seconds after the release began. *judged*: whether the gate is this step's."""

    begins_seconds: float
    lasts_seconds: float
    percentage: float | None
    judged: bool


@dataclass(frozen=True, slots=True)
class Course:
    """A release as one gate sees it: the steps of one stage, or a phase of the watch. *where* is in words."""

    name: str
    gate: Gate
    where: str
    flag: str | None
    steps: tuple[Reached, ...]

    @property
    def lasts_seconds(self) -> float:
        return max((step.begins_seconds + step.lasts_seconds for step in self.steps), default=0.0)


def courses(program: Program, environment: EnvironmentProgram, only: str | None) -> list[Course]:
    """Raises ``UsageError`` if there is nothing to replay."""
    if only is not None and only not in environment.gates:
        known = ", ".join(sorted(environment.gates)) or "none"
        raise UsageError(f"the plan has no gate {only}; it has {known}")
    found = [one for stage in environment.stages for one in _of_stage(environment, stage)]
    found += list(_of_watch(environment))
    found = [one for one in found if one.gate.criteria and only in (None, one.name)]
    if not found:
        raise UsageError(_nothing(program, environment, only))
    return found


def _nothing(program: Program, environment: EnvironmentProgram, only: str | None) -> str:
    if not environment.gates:
        return f"the plan {program.name} has no gates, so there is nothing to replay; write some under spec.gates"
    which = f"the gate {only} is" if only else f"the gates {', '.join(sorted(environment.gates))} are"
    remedy = "a stage or a phase of the watch must name it (gate: NAME), and it must have criteria there"
    return f"{which} judged nowhere in {environment.name}, so there is nothing to replay; {remedy}"


def _of_stage(environment: EnvironmentProgram, stage: StageProgram) -> Iterator[Course]:
    names = dict.fromkeys(name for step in stage.steps for name in step.gate)
    for name in names:
        gate = environment.gates[name]
        steps = tuple(_reached(stage.steps, name, gate))
        flag = next((step.exposure_flag for step in stage.steps if name in step.gate), None)
        yield Course(name, gate, f"stage {stage.name}", flag, _without_tail(steps))


def _reached(steps: Sequence[Step], name: str, gate: Gate) -> Iterator[Reached]:
    begins_seconds = 0.0
    for step in steps:
        judged = name in step.gate
        lasts_seconds = max(step.bake.max_seconds, _shortest_seconds(gate)) if judged else step.bake.max_seconds
        yield Reached(begins_seconds, lasts_seconds, step.percentage, judged)
        begins_seconds += lasts_seconds


def _shortest_seconds(gate: Gate) -> float:
    """Where nothing bakes, a gate is judged until it could have failed."""
    return LOOKS_AT_LEAST * gate.every + max(
        (one.for_seconds + gate.warmup_seconds(one) for one in gate.criteria), default=0.0
    )


def _without_tail(steps: tuple[Reached, ...]) -> tuple[Reached, ...]:
    last = max(index for index, step in enumerate(steps) if step.judged)
    return steps[: last + 1]


def _of_watch(environment: EnvironmentProgram) -> Iterator[Course]:
    last = environment.stages[-1].steps[-1] if environment.stages and environment.stages[-1].steps else None
    flag, percentage = (last.exposure_flag, last.percentage) if last is not None else (None, None)
    for phase in environment.watch:
        for name in phase.gate:
            step = Reached(0.0, phase.to_seconds - phase.from_seconds, percentage, judged=True)
            yield Course(name, environment.gates[name], f"watch {phase.name}", flag, (step,))


@dataclass(frozen=True, slots=True)
class Schedule:
    """When releases of one course begin, all on the grid of its looks."""

    course: Course
    begins: tuple[float, ...]
    spacing_seconds: float

    @property
    def overlap(self) -> bool:
        return self.spacing_seconds < self.course.lasts_seconds


def schedule(course: Course, from_: float, to: float) -> Schedule:
    """As many releases as fit one after the other, ``MOST_RELEASES`` at most; if they are so long that few do, so many
    that overlap. Raises ``UsageError`` if not even one fits."""
    span_seconds, lasts_seconds, every_seconds = to - from_, course.lasts_seconds, course.gate.every
    if lasts_seconds > span_seconds:
        raise UsageError(
            f"a release of {course.where} takes {in_words(lasts_seconds)}, longer than the past that is asked for: "
            f"give --last {in_words(_days(lasts_seconds))}, or shorten its bakes with --set"
        )
    spacing_seconds = max(lasts_seconds, span_seconds / MOST_RELEASES)
    if span_seconds < FEW_RELEASES * spacing_seconds:
        spacing_seconds = (span_seconds - lasts_seconds) / (FEW_RELEASES - 1)
        looks = math.floor(spacing_seconds / every_seconds + 1e-6)
    else:
        looks = math.ceil(spacing_seconds / every_seconds - 1e-6)
    spacing_seconds = max(looks, 1) * every_seconds
    count = min(math.floor((span_seconds - lasts_seconds) / spacing_seconds + 1e-6) + 1, MOST_RELEASES)
    return Schedule(course, tuple(from_ + index * spacing_seconds for index in range(count)), spacing_seconds)


def in_words(seconds: float) -> str:
    """``48h30m``: as plans write it, and as people say it."""
    whole = [(unit, size) for unit, size in (("d", 86400), ("h", 3600), ("m", 60)) if seconds % size == 0]
    if whole and (seconds < 86400 or whole[0][0] != "m"):
        return format_duration(seconds)
    hours, rest = divmod(round(seconds), 3600)
    minutes, left = divmod(rest, 60)
    return "".join(f"{number}{unit}" for number, unit in ((hours, "h"), (minutes, "m"), (left, "s")) if number) or "0s"


def _days(seconds: float) -> float:
    return (math.floor(seconds / 86400) + 2) * 86400.0
