"""What a look counts: which interval, and what its counts say.

Counters are counted in intervals ``(from, to]`` of whole seconds that follow one another: each begins where the last
whole count ended, and ends one scrape before the look, so that all samples of it are there. A look that could not
count leaves its interval to the next one. Nothing of before the change is counted, and what happens while it settles
(the warm-up) is counted apart. ``wanted`` and ``judge`` of a kind work the interval out alike, from the same memory.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from stages.criteria.base import NOTHING_WANTED, Counting, Measurement, Memory, Setting, Wanted

LONGEST_SECONDS = 3600.0  # of an interval: what is older is dropped
COUNTED_TO = "counted_to"
SKEW_SHARE = 0.05
SKEW_EVENTS = 1.0
# So many more bad events than events may come of scrapes at different moments; beyond that something is wrong.


@dataclass(frozen=True, slots=True)
class Interval:
    """``(from_, to]`` in whole seconds since the epoch; *is_warmup*: the change was still settling, and with
    *ends_warmup* it has settled at its end."""

    from_: float
    to: float
    is_warmup: bool
    ends_warmup: bool = False

    @property
    def seconds(self) -> float:
        return self.to - self.from_


@dataclass(frozen=True, slots=True)
class Events:
    """*bad* of *total*. *bad_series* is how many series the bad ones were counted by: with none, 0 may be a mistake."""

    bad: float
    total: float
    bad_series: int = 1


def remembered(memory: Memory) -> dict[str, Any]:
    """A kind's own state as a new mapping, empty if there is none or it is something else."""
    return dict(memory.extra) if isinstance(memory.extra, dict) else {}


def begins_at(setting: Setting) -> float:
    """The first whole second that counts: after the change, and after what a person dropped."""
    return float(math.ceil(max(setting.since, setting.evidence_from)))


def settled_at(setting: Setting) -> float:
    """The end of the warm-up, from where on counts are evidence."""
    return begins_at(setting) + math.ceil(setting.warmup_seconds)


def is_settling(setting: Setting, at: float) -> bool:
    """Whether at a look at *at* no event of after the warm-up can have been counted."""
    return _newest(setting, at) <= settled_at(setting)


def interval_of(setting: Setting, memory: Memory, at: float) -> Interval | None:
    """What a look at *at* counts; None if there is nothing new."""
    begin, settled, to = begins_at(setting), settled_at(setting), _newest(setting, at)
    counted_to = number(remembered(memory).get(COUNTED_TO))
    if counted_to is not None and counted_to > at:  # the clock was set back: what is known of it is worth nothing
        counted_to = to - math.ceil(setting.every_seconds)
    from_ = max(begin, counted_to if counted_to is not None else begin)
    is_warmup = from_ < settled
    to = min(to, settled) if is_warmup else to
    from_ = max(from_, to - LONGEST_SECONDS)
    return Interval(from_, to, is_warmup, is_warmup and to == settled) if from_ < to else None


def look_seconds(interval: Interval, setting: Setting) -> float:
    """How long a look's interval is as a rule: one after a gap counts as one."""
    return max(min(interval.seconds, setting.every_seconds), setting.scrape_seconds)


def counting(
    setting: Setting, memory: Memory, at: float, selectors: Mapping[str, str], by: tuple[str, ...] = ()
) -> Wanted:
    """The interval of a look at *at*, to be counted by *selectors*."""
    interval = interval_of(setting, memory, at)
    if interval is None:
        return NOTHING_WANTED
    return Wanted(Counting(selectors, interval.from_, interval.to, by))


def with_counted_to(memory: Memory, interval: Interval, state: Mapping[str, Any]) -> Memory:
    """*memory* after *interval* was counted, *state* being the kind's own; nothing is missing any more."""
    extra = {**state, COUNTED_TO: interval.to}
    return replace(memory, extra=extra, missed_looks=0, missing_since=None)


def total_of(measurement: Measurement, name: str) -> float | None:
    """The sum over all labels; None if no series is there for *name*."""
    values = [count.value for count in measurement.counts if count.name == name]
    return math.fsum(values) if values else None


def events_of(measurement: Measurement, bad: str = "bad", total: str = "total") -> Events | str | None:
    """What was counted under the names *bad* and *total*. None: no series for *total*. A sentence's end: nonsense."""
    all_events = total_of(measurement, total)
    if all_events is None:
        return None
    bad_events = total_of(measurement, bad) or 0.0
    for name, value in ((bad, bad_events), (total, all_events)):
        if not math.isfinite(value):
            return f"the counters of {name} rose by {value}, which is no number of events"
        if value < 0:
            return f"the counters of {name} fell by {-value:,.4g}: counters only rise (is it a gauge?)"
    if bad_events > all_events * (1 + SKEW_SHARE) + SKEW_EVENTS:
        return (
            f"there were more {bad} events than {total} ({bad_events:,.4g} of {all_events:,.4g}): "
            f"{bad} must be a part of {total} (are the two swapped, or is one a gauge?)"
        )
    series = sum(count.series for count in measurement.counts if count.name == bad)
    return Events(min(bad_events, all_events), all_events, series)


def number(value: Any) -> float | None:
    """*value* of a memory if it is a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _newest(setting: Setting, at: float) -> float:
    """The newest second that is whole at *at*; a look that is answered as of its whole second means the same one."""
    return float(math.floor(math.floor(at) - setting.scrape_seconds))
