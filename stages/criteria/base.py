"""What every criterion kind has in common: its verdicts, its measurements, and the shape of a judgement.

A criterion is judged once a look. ``judge`` of a kind takes the measurement of this look and what it remembered of the
looks before (``Memory``), and returns a verdict with a sentence and the memory for the next look. It is pure, so the
same code judges a live run, a simulation and a replay of history.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal, Self

from pydantic import Field

from stages.checks import Source
from stages.values import Duration, Environments, Json, Name, Part

MISSED_LOOKS_ALLOWED = 2  # so many looks without a value a pending ``for`` survives


class Verdict(StrEnum):
    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


SEVERITY = {Verdict.PASS: 0, Verdict.INCONCLUSIVE: 1, Verdict.FAIL: 2}


def worst(verdicts: list[Verdict]) -> Verdict:
    return max(verdicts, key=SEVERITY.__getitem__, default=Verdict.PASS)


class MeasurementState(StrEnum):
    OK = "ok"
    INSUFFICIENT = "insufficient"  # measured, but nothing happened that could be judged
    MISSING = "missing"  # the series is not there
    STALE = "stale"  # its newest sample is older than two scrapes
    ERROR = "error"  # the question was not answered: HTTP status, timeout, warnings, nonsense


@dataclass(frozen=True, slots=True)
class SeriesValue:
    """One series: its labels as ``{a="b"}`` (empty for a scalar), its value, and the time of the sample."""

    labels: str
    value: float
    sampled_at: float


@dataclass(frozen=True, slots=True)
class Measurement:
    """What was measured at one time, or why there is nothing. ``at`` is seconds since the epoch.

    A ``stale`` measurement still holds the series that are not stale, if there are some beside those that are.
    ``lookback_seconds`` is how far back the measured value reaches (longest range plus offset, two scrapes): a pass
    says something of a change only if it lies that long behind.
    """

    state: MeasurementState
    at: float
    series: tuple[SeriesValue, ...] = ()
    detail: str = ""
    lookback_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Memory:
    """What a criterion remembers from look to look. May be lost: the next looks then build it again."""

    failing_since: float | None = None  # begin of the pending ``for``
    missed_looks: int = 0  # looks without a measurement since ``failing_since``
    missing_since: float | None = None
    extra: Json = None  # state of a kind's own test


def memory_after_gap(memory: Memory, last_at: float, at: float, every_seconds: float) -> Memory:
    """What is left of *memory* at a look at *at*, if the one before was at *last_at* and looks come *every_seconds*.

    Looks that were not made (the controller was away) count like looks without a value: a breach that was pending is
    not known to have lasted over more than two of them. A clock that was set back makes no gap.
    """
    missed = memory.missed_looks + max(round((at - last_at) / every_seconds) - 1, 0)
    if memory.failing_since is None or missed == memory.missed_looks:
        return memory
    if missed > MISSED_LOOKS_ALLOWED:
        return replace(memory, failing_since=None, missed_looks=0)
    return replace(memory, missed_looks=missed)


@dataclass(frozen=True, slots=True)
class Judgement:
    """A criterion's answer at one look, in a word, a number and a sentence."""

    verdict: Verdict
    sentence: str
    memory: Memory
    value: float | None = None
    series: str = ""


class RollbackAfter(Part):
    rollback_after: Duration


class Criterion(Source):
    """Fields of every criterion. A kind adds what it asks of the measured value."""

    name: Name
    for_: Duration | None = Field(default=None, alias="for")
    empty: Literal["inconclusive", "pass", 0] = "inconclusive"
    on_missing: Literal["hold"] | RollbackAfter = "hold"
    no_answer: Literal["inconclusive", "fail"] = "inconclusive"
    environments: Environments = ()

    @property
    def for_seconds(self) -> float:
        return self.for_ or 0.0

    def measures_one_thing(self) -> Self:
        self._check_one_source(("command", "script", "http", "sql", "health", "query", "file", "env"))
        return self
