"""What every criterion kind has in common: its verdicts, its measurements, and the shape of a judgement.

A criterion is judged once a look. ``wanted`` of a kind says what this look must measure beside the criterion's own
source; ``judge`` takes that measurement and what was remembered of the looks before (``Memory``), and returns a verdict
with a sentence and the memory for the next look. Both are pure, so the same code judges a live run, a simulation and a
replay of history.
"""

from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum
from typing import ClassVar, Literal, Self

from pydantic import Field

from stages.checks import Source
from stages.lean import dataclass
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
class Counting:
    """Asks for the increase of counters over ``(from_, to]``: *selectors* of series by a name, *by* the labels that
    are kept apart in the sums. Bounds are whole seconds since the epoch."""

    selectors: Mapping[str, str]
    from_: float
    to: float
    by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Count:
    """By how much the counters under *name* rose, resets known, summed over all series with these *labels* (values in
    the order of ``Counting.by``; empty text where a series has no such label). *series* is how many there were."""

    name: str
    labels: tuple[str, ...]
    value: float
    series: int = 1


@dataclass(frozen=True, slots=True)
class History:
    """Asks for what a PromQL *expression* was every *step_seconds* over ``[from_, to]``."""

    name: str
    expression: str
    from_: float
    to: float
    step_seconds: float
    by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Past:
    """One value of a ``History`` at one time; *labels* are those of its ``by``."""

    name: str
    labels: tuple[str, ...]
    at: float
    value: float


@dataclass(frozen=True, slots=True)
class Measurement:
    """What was measured at one time, or why there is nothing. ``at`` is seconds since the epoch.

    A ``stale`` measurement still holds the series that are not stale, if there are some beside those that are.
    ``lookback_seconds`` is how far back the measured value reaches (longest range plus offset, two scrapes): a pass
    says something of a change only if it lies that long behind.

    ``counts`` and ``past`` answer what was ``Wanted``. Counts are whole only if the state is ``ok``: if some series
    could not be counted, none is given, and the next look counts from where the last whole one ended.
    """

    state: MeasurementState
    at: float
    series: tuple[SeriesValue, ...] = ()
    detail: str = ""
    lookback_seconds: float = 0.0
    counts: tuple[Count, ...] = ()
    past: tuple[Past, ...] = ()


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a look measures beside the criterion's own source. Counters that no series is there for are no ``Count``."""

    counting: Counting | None = None
    history: tuple[History, ...] = ()

    def moved(self, seconds: float) -> Self:
        """The same by a clock that is ahead by *seconds*."""
        if not seconds or (self.counting is None and not self.history):
            return self
        counting = self.counting
        if counting is not None:
            counting = replace(counting, from_=counting.from_ + seconds, to=counting.to + seconds)
        history = tuple(replace(one, from_=one.from_ + seconds, to=one.to + seconds) for one in self.history)
        return replace(self, counting=counting, history=history)


NOTHING_WANTED = Wanted()


@dataclass(frozen=True, slots=True)
class Setting:
    """What a look is about, beside the criterion itself. Times are seconds since the epoch.

    *since*: what is judged came into force; *before*: until when nothing of it was in force, the end of what counts as
    history; *evidence_from*: evidence from before was dropped by a person. *alpha* is this criterion's share of the
    error budget of the run's tests. *flag* and *percentage* are the stage's, None where it raises none.
    """

    since: float
    before: float
    evidence_from: float = 0.0
    warmup_seconds: float = 0.0
    every_seconds: float = 15.0
    scrape_seconds: float = 15.0
    alpha: float = 0.01
    flag: str | None = None
    percentage: float | None = None

    @property
    def counts_from(self) -> float:
        """When counting for evidence begins: what happens while a change settles says nothing of it."""
        return self.since + self.warmup_seconds


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
    """A criterion's answer at one look, in a word, a number and a sentence.

    ``log_evidence``: natural logarithm of the evidence against the release, an e-value (None: this kind has no test).
    ``log_excluded``: the same against the hypothesis that it is worse by half, by which a step may
    advance early. ``enough``: a pass that suffices for that. ``mismatch``: the canary's share is not what it should be.
    ``settling``: a pass that says nothing of the change yet, and is no bake.
    """

    verdict: Verdict
    sentence: str
    memory: Memory
    value: float | None = None
    series: str = ""
    log_evidence: float | None = None
    log_excluded: float | None = None
    enough: bool = True
    mismatch: bool = False
    settling: bool = False


class RollbackAfter(Part):
    rollback_after: Duration


class Criterion(Source):
    """Fields of every criterion. A kind adds what it asks of the measured value.

    ``usual_warmup_seconds``: how long after a change nothing is counted, unless the gate says otherwise. ``is_tested``:
    its verdict rests on a statistical test, which takes a share of the run's error budget.
    """

    usual_warmup_seconds: ClassVar[float] = 0.0
    is_tested: ClassVar[bool] = False

    name: Name
    for_: Duration | None = Field(default=None, alias="for")
    empty: Literal["inconclusive", "pass", 0] = "inconclusive"
    on_missing: Literal["hold"] | RollbackAfter = "hold"
    no_answer: Literal["inconclusive", "fail"] = "inconclusive"
    environments: Environments = ()

    @property
    def for_seconds(self) -> float:
        return self.for_ or 0.0

    def subject(self, stage_flag: str | None) -> str | None:
        """The flag whose arms are compared, where this kind compares any: its own, or else the stage's."""
        return None

    @property
    def asked(self) -> Source:
        """What is asked at each look, beside what the kind wants."""
        return self

    def measures_one_thing(self) -> Self:
        self._check_one_source(("command", "script", "http", "sql", "health", "query", "file", "env"))
        return self
