"""What every criterion kind has in common: its verdicts, its measurements, and the shape of a judgement.

A criterion is judged once a look. ``judge`` of a kind takes the measurement of this look and what it remembered of the
looks before (``Memory``), and returns a verdict with a sentence and the memory for the next look. It is pure, so the
same code judges a live run, a simulation and a replay of history.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, Self

from pydantic import Field

from stages.checks import Source
from stages.values import Duration, Environments, Json, Name, Part


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
        self._check_one_source(("command", "script", "http", "sql", "query", "file", "env"))
        return self
