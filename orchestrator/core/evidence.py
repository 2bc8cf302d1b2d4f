"""Evidence: what is measured, kept beside the journal in a checkpoint that is overwritten and may be lost.

Losing it costs time, never correctness: a bake starts again, a pending ``for`` starts again, a question is asked again.
Whatever decides is written into the event that it decided. Frozen like the state; each ``note_`` function returns the
next one.
"""

from collections.abc import Mapping
from dataclasses import field, replace
from functools import cache
from typing import Any

from pydantic import TypeAdapter

from orchestrator.core.freeze import Freeze
from orchestrator.core.state import drop, put
from orchestrator.core.trail import Point, Trail
from stages.checks import Standing
from stages.criteria.base import Judgement, Measurement, MeasurementState, Memory, Verdict
from stages.lean import dataclass
from stages.statistics.window_mean import mean_of
from stages.success import Level
from stages.values import Json

NO_TRAIL = Trail()
MOST_JUMPS = 20
SMALLEST_JUMP_SECONDS = 1.0  # clocks that are read one after the other always differ a little


@dataclass(frozen=True, slots=True)
class Look:
    """The newest look at one criterion, and the *trail* of those before. *measured* is false if there was nothing to
    judge."""

    at: float
    verdict: Verdict
    sentence: str
    memory: Memory
    measured: bool
    lookback_seconds: float
    value: float | None = None
    series: str = ""
    passed_at: float | None = None  # newest passing look
    seen: bool = False  # whether its series was ever there
    log_evidence: float | None = None  # None: this kind has no test
    log_excluded: float | None = None
    enough: bool = True  # a pass suffices to advance early
    mismatch: bool = False
    settling: bool = False  # it passes, and says nothing of the change yet
    trail: Trail = NO_TRAIL


@dataclass(frozen=True, slots=True)
class Progress:
    """Passing time that has added up, in seconds, for what *key* names."""

    key: str = ""
    seconds: float = 0.0
    at: float | None = None
    counting: bool = False


@dataclass(frozen=True, slots=True)
class Asked:
    """The newest answer to a check, and when it was first and last asked in this entry."""

    first_at: float
    at: float
    standing: Standing
    detail: str


@dataclass(frozen=True, slots=True)
class SeenAt:
    """What a target was at one time; *failure* says why it could not be seen."""

    at: float
    value: Json = None
    exists: bool = True
    changed_by: str | None = None
    failure: str | None = None
    permanent: bool = False


@dataclass(frozen=True, slots=True)
class Retry:
    """How often an effect was tried in vain, and when it is due again."""

    count: int
    due_at: float


@dataclass(frozen=True, slots=True)
class Jump:
    """The clock was set ahead: *seconds* of the run's time, up to *at*, did not really pass."""

    at: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Measured:
    """What a value was, over a window or at one time; without a *level* it could not be told, and *detail* says why."""

    state: MeasurementState
    at: float
    detail: str = ""
    level: Level | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    looks: Mapping[str, Look] = field(default_factory=dict)
    bake: Progress = Progress()
    watch: Progress = Progress()
    asked: Mapping[str, Asked] = field(default_factory=dict)
    seen: Mapping[str, SeenAt] = field(default_factory=dict)
    retries: Mapping[str, Retry] = field(default_factory=dict)
    killed: frozenset[str] = frozenset()
    freezes: tuple[Freeze, ...] = ()  # the newest of each place over the plan's environments, those that are over too
    ahead_seconds: float = 0.0  # of the wall clock, which was set back: windows go by that
    unsure_until: float = 0.0  # looks up to then may be older than they say: the clock was set back between two lives
    jumps: tuple[Jump, ...] = ()
    life_at: float = 0.0  # when this life of the controller began to walk the run
    measured: Mapping[str, Measured] = field(default_factory=dict)  # values without a verdict: success criteria


def note_look(evidence: Evidence, key: str, measurement: Measurement, judgement: Judgement) -> Evidence:
    known = evidence.looks.get(key)
    has_value = measurement.state is MeasurementState.OK and judgement.value is not None
    measured = has_value or judgement.verdict is not Verdict.INCONCLUSIVE
    passed_at = measurement.at if judgement.verdict is Verdict.PASS else known.passed_at if known else None
    look = Look(
        at=measurement.at,
        verdict=judgement.verdict,
        sentence=judgement.sentence,
        memory=judgement.memory,
        measured=measured,
        lookback_seconds=measurement.lookback_seconds,
        value=judgement.value,
        series=judgement.series,
        passed_at=passed_at,
        seen=(known.seen if known else False) or measurement.state is MeasurementState.OK,
        log_evidence=judgement.log_evidence,
        log_excluded=judgement.log_excluded,
        enough=judgement.enough,
        mismatch=judgement.mismatch,
        settling=judgement.settling,
        trail=_trail(known.trail if known else NO_TRAIL, measurement.at, judgement),
    )
    return replace(evidence, looks=put(evidence.looks, key, look))


def _trail(known: Trail, at: float, judgement: Judgement) -> Trail:
    """With this look."""
    if judgement.value is None and judgement.log_evidence is None:
        return known
    return known.with_look(
        Point(at, judgement.value, _rounded(judgement.log_evidence), _rounded(judgement.log_excluded))
    )


def _rounded(logarithm: float | None) -> float | None:
    return None if logarithm is None else round(logarithm, 3)


def note_asked(evidence: Evidence, key: str, standing: Standing, detail: str, at: float, since: float) -> Evidence:
    """*since*: when the entry opened that the question belongs to; what was asked before is another question."""
    known = evidence.asked.get(key)
    first_at = known.first_at if known is not None and known.at >= since else at
    asked = Asked(first_at, at, standing, detail)
    return replace(evidence, asked=put(evidence.asked, key, asked))


def forget_asked(evidence: Evidence, *keys: str) -> Evidence:
    return replace(evidence, asked=drop(evidence.asked, *keys))


def note_seen(evidence: Evidence, target: str, seen: SeenAt) -> Evidence:
    return replace(evidence, seen=put(evidence.seen, target, seen))


def note_measured(evidence: Evidence, key: str, measurement: Measurement) -> Evidence:
    measured = Measured(measurement.state, measurement.at, measurement.detail, _level(measurement))
    return replace(evidence, measured=put(evidence.measured, key, measured))


def _level(measurement: Measurement) -> Level | None:
    """The mean over the window where it was asked for, else the one number."""
    if measurement.state is not MeasurementState.OK:
        return None
    if measurement.past:
        return Level.of(mean_of([one.at for one in measurement.past], [one.value for one in measurement.past]))
    return Level(value=measurement.series[0].value) if measurement.series else None


def note_retry(evidence: Evidence, effect: str, due_at: float) -> Evidence:
    count = evidence.retries[effect].count + 1 if effect in evidence.retries else 1
    return replace(evidence, retries=put(evidence.retries, effect, Retry(count, due_at)))


def note_killed(evidence: Evidence, killed: frozenset[str]) -> Evidence:
    return evidence if killed == evidence.killed else replace(evidence, killed=killed)


def note_freezes(evidence: Evidence, freezes: tuple[Freeze, ...]) -> Evidence:
    return evidence if freezes == evidence.freezes else replace(evidence, freezes=freezes)


def note_ahead(evidence: Evidence, seconds: float) -> Evidence:
    return evidence if abs(seconds - evidence.ahead_seconds) < 1.0 else replace(evidence, ahead_seconds=seconds)


def note_life(evidence: Evidence, now: float, ahead_seconds: float) -> Evidence:
    """A life begins. Where the clock was set back meanwhile, nobody knows how long nobody looked."""
    unsure_until = now if ahead_seconds > 0.0 else evidence.unsure_until
    return replace(evidence, life_at=now, unsure_until=unsure_until)


def note_jump(evidence: Evidence, jump: Jump) -> Evidence:
    """Of many, the oldest count as one."""
    if jump.seconds < SMALLEST_JUMP_SECONDS:
        return evidence
    jumps = (*evidence.jumps, jump)
    if len(jumps) > MOST_JUMPS:
        first, second, *rest = jumps
        jumps = (Jump(second.at, first.seconds + second.seconds), *rest)
    return replace(evidence, jumps=jumps)


@dataclass(frozen=True, slots=True)
class Gap:
    """What lies between two moments at most: *longest_seconds* still count as observed, *passed_seconds* went by."""

    longest_seconds: float
    passed_seconds: float


def add_up(progress: Progress, key: str, counting: bool, now: float, gap: Gap) -> Progress:
    """Add the time since the last call if it counted then and counts now.

    A gap that is longer than observed ones can be adds nothing, nor does what a clock jumped ahead.
    """
    if progress.key != key:
        return Progress(key, 0.0, now, counting)
    if progress.at is None or not (progress.counting and counting):
        return replace(progress, at=now, counting=counting)
    passed = now - progress.at
    gained = min(passed, gap.passed_seconds) if 0.0 <= passed <= gap.longest_seconds else 0.0
    return replace(progress, seconds=progress.seconds + gained, at=now, counting=True)


def newest_at(evidence: Evidence) -> float | None:
    """The latest time of which anything is known here."""
    known = [one.at for noted in (evidence.looks, evidence.asked, evidence.seen) for one in noted.values()]
    known += [progress.at for progress in (evidence.bake, evidence.watch) if progress.at is not None]
    return max(known, default=None)


def prune(evidence: Evidence, check_items: frozenset[str], effects: frozenset[str]) -> Evidence:
    """Without what no entry and no outstanding effect asks for any more, so that it stays small in a long run."""
    asked = {key: value for key, value in evidence.asked.items() if key in check_items}
    retries = {key: value for key, value in evidence.retries.items() if key in effects}
    if len(asked) == len(evidence.asked) and len(retries) == len(evidence.retries):
        return evidence
    return replace(evidence, asked=asked, retries=retries)


@cache
def _adapter() -> TypeAdapter[Any]:
    return TypeAdapter(Evidence)  # built when it is first used: reading commands never do


def to_text(evidence: Evidence) -> str:
    """Small, for it is written all the time. How a plain value came to be what it is, Prometheus knows as well; how the
    evidence of a test did, nobody else."""
    looks = {key: look if look.log_evidence is not None else _untold(look) for key, look in evidence.looks.items()}
    return str(_adapter().dump_json(replace(evidence, looks=looks), exclude_defaults=True).decode())


def _untold(look: Look) -> Look:
    return replace(look, trail=NO_TRAIL) if look.trail else look


def from_text(text: str | None) -> Evidence:
    """What was checkpointed; empty evidence if there is none or it can't be read (it may be lost at no risk)."""
    if not text:
        return Evidence()
    try:
        evidence: Evidence = _adapter().validate_json(text)
    except ValueError:
        return Evidence()
    return evidence
