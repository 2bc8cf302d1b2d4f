"""``ratio``: bad events against all events, tested against a bound.

The share of bad events is not compared with the bound as it happens to come out (1 bad of 3 is no 33 %): the criterion
fails when the evidence that the share lies above the bound is enough (``stages.statistics.one_sample``). Before that it
holds, at an evidence of 20 to 1. One thing needs no test, and is looked at even while a change settles: more than half
of at least 30 events bad, for 30 seconds.

A step may be left early when the share is known to be below one and a half times the bound, by an evidence of 20 to 1.
"""

import math
from dataclasses import dataclass, replace

from pydantic import field_validator

from stages.criteria.base import Judgement, Measurement, Memory, Setting, Verdict, Wanted
from stages.criteria.bins import Bin
from stages.criteria.counted import (
    LOG_HOLD,
    BadOfTotal,
    Counted,
    bad_of_total,
    counted,
    judge_settling,
    judge_without,
    one_in,
    percent,
    taken,
)
from stages.criteria.counted_evidence import EXCLUDED, Known, fed, in_step, known_of
from stages.criteria.counting import Events, Interval, begins_at, counting, number, remembered, with_counted_to
from stages.criteria.unmeasured import span_since
from stages.statistics.one_sample import BETTER, WORSE, Test, at_least, at_most, multiplied
from stages.values import Share, format_duration

AGAINST = "against"
SHAPES = {AGAINST: len(WORSE), EXCLUDED: len(BETTER)}
EXCLUDED_TIMES = 1.5
SHOWN_SECONDS = 300.0
WINDOWS_SECONDS = (60.0, SHOWN_SECONDS, 900.0, 3600.0)

OUTAGE_SHARE = 0.5
OUTAGE_EVENTS = 30.0
OUTAGE_SECONDS = 30.0


class RatioOf(BadOfTotal):
    """``at_most`` is the largest share of bad events that is tolerated for good."""

    at_most: Share

    @field_validator("at_most")
    @classmethod
    def _some_and_not_all(cls, value: float) -> float:
        if 0 < value < 1:
            return value
        if value >= 1:
            raise ValueError(f'at_most is a share below 100%, not {percent(value)} (is "{value:g}%" meant?)')
        raise ValueError("at_most is a share above 0, such as 1%; where a single bad event decides, use a threshold")


class Ratio(Counted):
    ratio: RatioOf

    def tests(self, interval: Interval, setting: Setting) -> dict[str, Test]:
        bound, looks = self.ratio.at_most, self.cap_looks(interval, setting)
        return {
            AGAINST: at_most(bound, setting.alpha, looks),
            EXCLUDED: at_least(multiplied(bound, EXCLUDED_TIMES), math.exp(-LOG_HOLD), looks),
        }


def wanted(criterion: Ratio, setting: Setting, memory: Memory, at: float) -> Wanted:
    return counting(setting, memory, at, criterion.ratio.selectors)


def judge(criterion: Ratio, measurement: Measurement, memory: Memory, setting: Setting) -> Judgement:
    judgement = _judge_look(criterion, measurement, _of_this_step(memory, setting), setting)
    known = known_of(judgement.memory, setting, SHAPES)
    shown, excluded = known.window(SHOWN_SECONDS), known.log(EXCLUDED)
    return replace(
        judgement,
        value=shown.share if shown is not None else None,
        log_evidence=known.log(AGAINST),
        log_excluded=excluded,
        enough=judgement.enough and judgement.verdict is Verdict.PASS and excluded >= LOG_HOLD,
    )


def _of_this_step(memory: Memory, setting: Setting) -> Memory:
    """An outage that began before the step is another's."""
    if memory.failing_since is None or memory.failing_since > begins_at(setting):
        return memory
    return replace(memory, failing_since=None, missed_looks=0)


def _judge_look(criterion: Ratio, measurement: Measurement, memory: Memory, setting: Setting) -> Judgement:
    known, at = known_of(memory, setting, SHAPES), measurement.at
    looked = taken(criterion, measurement, memory, setting)
    if isinstance(looked, Judgement):
        return looked
    if looked is None:
        return judge_without(criterion, known, at, memory, setting) or _judge_evidence(
            criterion, known, memory, setting
        )
    interval, events = looked
    outage = _outage_of(memory).with_look(interval, events, max(OUTAGE_SHARE, criterion.ratio.at_most))
    if not interval.is_warmup:
        tests = criterion.tests(interval, setting)
        known = in_step(known, interval, setting)
        known = fed(known, interval, events, tests, criterion.ratio.at_most, WINDOWS_SECONDS[-1])
    memory = with_counted_to(memory, interval, {**known.to_json(), "outage": outage.to_json()})
    memory = replace(memory, failing_since=span_since(memory.failing_since, at) if outage.seconds > 0 else None)
    if outage.total >= OUTAGE_EVENTS:
        return _judge_outage(criterion, outage, memory)
    if interval.is_warmup:
        return judge_settling(criterion, looked, memory, setting)
    silent = judge_without(criterion, known, at, memory, setting) if events.total <= 0 else None
    return silent or _judge_evidence(criterion, known, memory, setting, events.total > 0 and events.bad_series == 0)


def _judge_evidence(
    criterion: Ratio, known: Known, memory: Memory, setting: Setting, is_unseen: bool = False
) -> Judgement:
    """*is_unseen*: there is no series of bad events, which may be a mistake of the plan."""
    bound, against = criterion.ratio.at_most, known.log(AGAINST)
    if against < LOG_HOLD:
        words = _passing_words(criterion, known)
        words += "; there is no series of bad events, which counts as none" if is_unseen else ""
        return Judgement(Verdict.PASS, words, memory)
    chance = f"the chance of this at {percent(bound)} is below {one_in(against)}"
    words = f"{criterion.name}: {_worst_window(known, bound)}, where at most {percent(bound)} is allowed; {chance}"
    if against >= -math.log(setting.alpha):
        return Judgement(Verdict.FAIL, words, memory)
    words += f", which holds (it fails at 1 in {math.ceil(1 / setting.alpha):,})"
    return Judgement(Verdict.INCONCLUSIVE, words, memory)


def _passing_words(criterion: Ratio, known: Known) -> str:
    window, bound = known.window(SHOWN_SECONDS), criterion.ratio.at_most
    if window is None:
        return f"{criterion.name}: no events over {format_duration(SHOWN_SECONDS)}, as is usual here"
    numbers = f"{criterion.name}: {bad_of_total(window)}"
    if window.share > bound:
        return f"{numbers}, where at most {percent(bound)} is allowed; that much is within chance so far"
    return f"{numbers}; at most {percent(bound)} is allowed"


def _worst_window(known: Known, bound: float) -> str:
    """In words, that of the newest windows which stands out most against the bound."""
    windows = [window for seconds in WINDOWS_SECONDS if (window := known.window(seconds)) is not None]
    worst = max(windows, key=lambda one: _deviation(one, bound), default=None)
    return bad_of_total(worst) if worst is not None else "there were too many bad events"


def _deviation(window: Bin, bound: float) -> float:
    return (window.bad - bound * window.total) / math.sqrt(bound * window.total)


# --- an outage --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Outage:
    """Looks in a row of which most is bad. *seconds* are weighed by the share that was bad, so a look in which the
    outage began or ended counts for its part."""

    bad: float = 0.0
    total: float = 0.0
    seconds: float = 0.0

    def to_json(self) -> list[float]:
        return [self.bad, self.total, self.seconds]

    def with_look(self, interval: Interval, events: Events, share: float) -> "_Outage":
        """A look without events says nothing of it."""
        if events.total <= 0:
            return self
        if events.bad <= share * events.total:
            return _Outage()
        seconds = interval.seconds * events.bad / events.total
        return _Outage(self.bad + events.bad, self.total + events.total, self.seconds + seconds)


def _outage_of(memory: Memory) -> _Outage:
    """The one that is pending; it is forgotten with ``Memory.failing_since``, after looks that were missed."""
    value = remembered(memory).get("outage")
    parts = [number(one) for one in value] if isinstance(value, list) and len(value) == 3 else []
    if memory.failing_since is None or not parts or any(one is None or one < 0 for one in parts):
        return _Outage()
    return _Outage(*(one for one in parts if one is not None))


def _judge_outage(criterion: Ratio, outage: _Outage, memory: Memory) -> Judgement:
    numbers = (
        f"{criterion.name}: {counted(outage.bad)} of the last {counted(outage.total)} events were bad, "
        f"{percent(outage.bad / outage.total)}"
    )
    lasted = format_duration(math.floor(outage.seconds))
    if outage.seconds >= OUTAGE_SECONDS:
        return Judgement(Verdict.FAIL, f"{numbers}, for {lasted}: an outage, which needs no test", memory)
    pending = f"pending {lasted} of {format_duration(OUTAGE_SECONDS)}"
    return Judgement(Verdict.INCONCLUSIVE, f"{numbers}: an outage; {pending}", memory)
