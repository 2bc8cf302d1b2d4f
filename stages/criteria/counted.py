"""What criteria of two counters, bad events and all, have in common: fields, looks that counted nothing, words."""

import math
from dataclasses import replace
from typing import ClassVar, Self, assert_never

from pydantic import model_validator

from stages.criteria import bins as binned
from stages.criteria.base import Criterion, Judgement, Measurement, MeasurementState, Memory, Setting, Verdict
from stages.criteria.bins import Bin
from stages.criteria.counted_evidence import Known
from stages.criteria.counting import (
    Events,
    Interval,
    begins_at,
    events_of,
    interval_of,
    is_settling,
    look_seconds,
    settled_at,
)
from stages.criteria.selectors import CounterSelector
from stages.criteria.unmeasured import because, judge_unmeasured
from stages.statistics.two_arms import ENOUGH, cap_looks
from stages.values import Part, format_duration

USUAL_FOR_SECONDS = 60.0
USUAL_WARMUP_SECONDS = 60.0
LOG_HOLD = math.log(ENOUGH)
"""Evidence of 20 to 1 against a service holds; of 20 to 1 that it is not worse by half, a step may be left early."""
MOST_EXPECTED_IN_QUIET = 5.0
"""A silence in which more events than these were to be expected, by how many came before, is no chance: 1 in 150."""

_UNUSED = ("command", "script", "http", "sql", "health", "query", "file", "env", "database", "dir", "vars", "no_answer")

LARGEST_ODDS = 1_000_000  # that are told apart


class BadOfTotal(Part):
    """``bad`` and ``total`` are series selectors of counters; the bad events are a part of all."""

    bad: CounterSelector
    total: CounterSelector

    @model_validator(mode="after")
    def _two_selectors(self) -> Self:
        if self.bad == self.total:
            raise ValueError("bad and total are the same selector: bad selects the events that went wrong")
        return self

    @property
    def selectors(self) -> dict[str, str]:
        return {"bad": self.bad, "total": self.total}


class Counted(Criterion):
    """A criterion that asks nothing but its counters."""

    usual_warmup_seconds: ClassVar[float] = USUAL_WARMUP_SECONDS
    is_tested: ClassVar[bool] = True

    @model_validator(mode="after")
    def _asks_nothing_else(self) -> Self:
        kind = type(self).__name__.lower()
        for name in _UNUSED:
            if name in self.model_fields_set:
                raise ValueError(f"{name} would be ignored: {kind} counts by its own counters")
        return self

    @property
    def for_seconds(self) -> float:
        return USUAL_FOR_SECONDS if self.for_ is None else self.for_

    def cap_looks(self, interval: Interval, setting: Setting) -> float:
        """How many looks at least must speak against a service until it fails. One after a gap counts as one."""
        return max(cap_looks(self.for_seconds, look_seconds(interval, setting)), 1.0)


# --- looks that counted nothing ---------------------------------------------------------------------------------------


def judge_uncounted(criterion: Criterion, measurement: Measurement, memory: Memory, setting: Setting) -> Judgement:
    """A look whose interval was not counted; the next one counts it as well. With OK, there was no series to count."""
    name, why = criterion.name, because(measurement)
    match measurement.state:
        case MeasurementState.MISSING | MeasurementState.OK:
            return _judge_missing(criterion, f"{name} has no series to count{why}", measurement.at, memory, setting)
        case MeasurementState.STALE:
            return judge_unmeasured(criterion, f"{name} is stale{why}", True, measurement.at, memory)
        case MeasurementState.ERROR:
            return judge_unmeasured(criterion, f"{name} could not be counted{why}", True, measurement.at, memory)
        case MeasurementState.INSUFFICIENT:
            return _or_settling(
                judge_unmeasured(criterion, f"{name} has no events to judge yet{why}", False, measurement.at, memory),
                measurement.at,
                setting,
            )
        case _:
            assert_never(measurement.state)


def _judge_missing(criterion: Criterion, sentence: str, at: float, memory: Memory, setting: Setting) -> Judgement:
    if criterion.empty != "inconclusive":
        kept = replace(memory, missed_looks=0, missing_since=None)
        return Judgement(Verdict.PASS, f"{sentence}; the plan counts that as a pass", kept)
    return _or_settling(judge_unmeasured(criterion, sentence, True, at, memory), at, setting)


def _or_settling(judgement: Judgement, at: float, setting: Setting) -> Judgement:
    """While a change settles, what is not there yet need not be."""
    if judgement.verdict is not Verdict.INCONCLUSIVE or not is_settling(setting, at):
        return judgement
    return replace(
        judgement,
        verdict=Verdict.PASS,
        sentence=f"{judgement.sentence}; {settling(setting, at)}",
        enough=False,
        settling=True,
    )


def judge_nonsense(criterion: Criterion, said: str, at: float, memory: Memory) -> Judgement:
    """Counts that cannot be. Not taken for missing: it is the plan that is wrong, or a scrape, and not the service."""
    return judge_unmeasured(criterion, f"{criterion.name} can't be judged: {said}", False, at, memory)


def taken(
    criterion: "Counted", measurement: Measurement, memory: Memory, setting: Setting
) -> tuple[Interval, Events] | Judgement | None:
    """The interval that a look counted and what it found; or the judgement, if it could not be counted; or None, if
    there was nothing new to count."""
    if measurement.state is not MeasurementState.OK:
        return judge_uncounted(criterion, measurement, memory, setting)
    interval = interval_of(setting, memory, measurement.at)
    if interval is None:
        return None
    events = events_of(measurement)
    if events is None:
        return judge_uncounted(criterion, measurement, memory, setting)
    if isinstance(events, str):
        return judge_nonsense(criterion, events, measurement.at, memory)
    return interval, events


def judge_settling(
    criterion: "Counted", looked: tuple[Interval, Events], memory: Memory, setting: Setting
) -> Judgement:
    interval, events = looked
    look = Bin(interval.from_, interval.to, interval.seconds, events.bad, events.total)
    at = interval.to + setting.scrape_seconds
    words = f"{criterion.name}: {settling(setting, at)}; so far {bad_of_total(look)}"
    return Judgement(Verdict.PASS, words, memory, enough=False, settling=True)


def judge_without(criterion: "Counted", known: Known, at: float, memory: Memory, setting: Setting) -> Judgement | None:
    """The judgement on a look without events: too soon, or in a silence. None if what is known says enough."""
    if is_settling(setting, at):
        return Judgement(
            Verdict.PASS, f"{criterion.name}: {settling(setting, at)}", memory, enough=False, settling=True
        )
    here = binned.after(known.bins, begins_at(setting))
    if known.eventful_to is None or not here:
        return judge_unmeasured(criterion, f"{criterion.name} has no events to judge yet", False, at, memory)
    total, quiet_seconds = math.fsum(one.total for one in here), here[-1].to - known.eventful_to
    counted_seconds = math.fsum(one.seconds for one in here) - quiet_seconds
    if quiet_seconds * total <= MOST_EXPECTED_IN_QUIET * counted_seconds:
        return None
    before = f"where there were {counted(total)} in {span(counted_seconds)} before"
    words = f"{criterion.name} has no events to judge: none for {span(quiet_seconds)}, {before}"
    return judge_unmeasured(criterion, words, False, at, memory)


# --- words ------------------------------------------------------------------------------------------------------------


def settling(setting: Setting, at: float) -> str:
    left = math.ceil(settled_at(setting) + setting.scrape_seconds - at)
    still = f" for another {format_duration(left)}" if left > 0 else ""
    return f"the change is settling, nothing is held against it{still}"


def counted(value: float) -> str:
    return f"{value:,.0f}" if value.is_integer() else f"{value:,.1f}"


def percent(share: float) -> str:
    """Three digits, and none that say nothing: 0.05 is ``5%``."""
    return f"{100 * share:.3g}%" if share < 10 else f"{100 * share:,.0f}%"


def bad_of_total(window: Bin) -> str:
    """``61 of 1,530 events were bad over 5m, 3.99%``."""
    events = f"{counted(window.bad)} of {counted(window.total)} events were bad"
    return f"{events} over {span(window.to - window.from_)}, {percent(window.share)}"


def span(seconds: float) -> str:
    """Roughly, as one would say it: ``45s``, ``5m``, ``2.5h``."""
    if seconds < 120:
        return f"{seconds:.0f}s"
    return f"{seconds / 60:.0f}m" if seconds < 7200 else f"{seconds / 3600:.3g}h"


def one_in(log_evidence: float) -> str:
    """What the chance of such evidence is below, by Ville's inequality: two digits, rounded so that it stays true."""
    if log_evidence >= math.log(LARGEST_ODDS):
        return f"1 in {LARGEST_ODDS:,}"
    most = math.floor(math.exp(log_evidence))
    unit = 10 ** max(len(str(most)) - 2, 0)
    return f"1 in {most // unit * unit:,}"
