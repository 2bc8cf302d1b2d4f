"""What a gate can see at the traffic of today, step by step, in words.

Traffic is told by *parts*: of a flag's uses, the bands in which its keys lie, so the share that a canary of so many per
cent would have can be added up before there is one; of two arms, the arms themselves.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from flags.exposure_names import BAND_ENDS, BANDS, ERROR, NO_BAND
from stages.criteria import before
from stages.criteria.base import Past, Setting
from stages.criteria.evidence import PLAIN, Keys
from stages.statistics.power import Terms, Traffic, compare_seconds, compare_seen, ratio_seconds, ratio_seen
from stages.values import format_duration

USUAL = 2.0
"""The regression that a gate is expected to see: twice as many bad events."""
BLIND = 5.0
"""A gate that sees nothing below this many times as many bad events is warned of."""
LADDER = (1.0, 2.0, 5.0, 10.0, 25.0, 50.0)
DAY_SECONDS = 86400.0  # no longer bake is proposed
WORTH_TELLING = 1.5
MOST_WANTED = 3.0
SECONDS_AN_HOUR = 3600.0

FLAG_PARTS = (*BANDS, NO_BAND)
"""Where the keys of a flag's uses lie; the last is of those of which it is not known."""

Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Level:
    """One step of a stage: how far up it goes (None: no percentage), and how long it stays there."""

    percentage: float | None
    bake_seconds: float


@dataclass(frozen=True, slots=True)
class Told:
    """One sentence about several steps. *blind*: what was asked for can't be seen there."""

    sentence: str
    blind: bool = False


@dataclass(frozen=True, slots=True)
class Day:
    """Events of the time before in intervals of *interval_seconds*, oldest first: both of shape (intervals, parts).

    *parts* names them: ``FLAG_PARTS``, the arms ``canary`` and ``control``, or what else there is.
    """

    parts: tuple[str, ...]
    bad: Numbers
    total: Numbers
    interval_seconds: float
    dispersion: float = 1.0

    @property
    def seconds(self) -> float:
        return len(self.total) * self.interval_seconds

    @property
    def is_banded(self) -> bool:
        """Whether it is known where keys lie, so that a cohort's share can be added up."""
        return self.parts == FLAG_PARTS and float(self.total[:, : len(BANDS)].sum()) > 0

    @property
    def events_per_second(self) -> float:
        return float(self.total.sum()) / self.seconds if self.seconds else 0.0

    @property
    def bad_per_second(self) -> float:
        return float(self.bad.sum()) / self.seconds if self.seconds else 0.0

    def share(self, percentage: float | None) -> float:
        """Which part of the events a canary at *percentage* has; a band that is cut by it counts in proportion."""
        totals = self.total.sum(axis=0)
        if self.is_banded and percentage is not None:
            banded = totals[: len(BANDS)]
            return float((banded * _covered(percentage)).sum() / banded.sum())
        if self.parts == ("canary", "control") and totals[0] > 0:
            return float(totals[0] / totals.sum())
        return percentage / 100 if percentage is not None else 0.0

    def traffic(self, percentage: float | None) -> Traffic:
        return Traffic(self.events_per_second, self.bad_per_second, self.share(percentage), self.dispersion)


def _covered(percentage: float) -> Numbers:
    """Which part of each band lies below *percentage*."""
    ends = np.array(BAND_ENDS)
    begins = np.concatenate(([0.0], ends[:-1]))
    covered: Numbers = np.clip((percentage - begins) / (ends - begins), 0.0, 1.0)
    return covered


# --- the luck of the draw ---------------------------------------------------------------------------------------------


def luck_of(history: Sequence[Past], setting: Setting, percentage: float) -> Keys:
    """What a test at *percentage* makes of the hours that were asked for by ``before.flag_histories``: the range in
    which the share of bad events of the keys below may lie in the hour to come, if the release is healthy."""
    own = replace(setting, percentage=percentage)
    summary = before.flag_summary(history, own)
    day = day_of_flag(history)
    above = [
        index for index, end in enumerate((0.0, *BAND_ENDS[:-1])) if end >= percentage and day.total[:, index].any()
    ]
    bands = {BANDS[index]: (float(day.bad[:, index].sum()), float(day.total[:, index].sum())) for index in above}
    groups = before.Groups(bands, percentage, float(before.spread_before(summary).phi))
    return before.keys_of(summary, groups, own, own.before)


def day_of_flag(history: Sequence[Past]) -> Day:
    """The hours of ``before.flag_histories`` by where keys lie, and the dispersion that the minutes show."""
    hours = [one for one in history if one.name == before.HOURS and math.isfinite(one.value)]
    times = {at: row for row, at in enumerate(sorted({one.at for one in hours}))}
    bad, total = (np.zeros((len(times), len(FLAG_PARTS))) for _ in range(2))
    for one in hours:
        _, band, outcome = one.labels
        if band in FLAG_PARTS:
            cell = times[one.at], FLAG_PARTS.index(band)
            total[cell] += one.value
            bad[cell] += one.value if outcome == ERROR else 0.0
    summary = before.flag_summary(history, Setting(since=0.0, before=0.0))
    return Day(FLAG_PARTS, bad, total, SECONDS_AN_HOUR, float(before.spread_before(summary).phi))


# --- a canary against its control -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a canary is compared by. *luck*: what its keys may have of the bad events anyway, by percentage."""

    day: Day
    terms: Terms
    max_increase: float
    luck: Callable[[float], Keys] | None = None

    def keys(self, percentage: float | None) -> Keys:
        return self.luck(percentage) if self.luck is not None and percentage is not None else PLAIN

    def tolerated(self, keys: Keys) -> float:
        return (1 + self.max_increase) * max(keys.against, 1.0)

    def seconds(self, percentage: float | None, factor: float) -> float:
        """Until a canary at *percentage* that is worse by *factor* fails."""
        terms, increase = self._test(percentage)
        return compare_seconds(self._traffic(percentage), terms, factor, increase)

    def seen(self, level: Level) -> float | None:
        """The smallest factor that fails within its bake. Of traffic without bad events, as if there were a few."""
        terms, increase = self._test(level.percentage)
        return compare_seen(_with_some_errors(self._traffic(level.percentage)), terms, level.bake_seconds, increase)

    def _test(self, percentage: float | None) -> tuple[Terms, float]:
        keys = self.keys(percentage)
        return replace(self.terms, alpha=self.terms.alpha * math.exp(-keys.log_cost)), self.tolerated(keys) - 1

    def _traffic(self, percentage: float | None) -> Traffic:
        return self.day.traffic(percentage)


def compared(comparison: Comparison, levels: Sequence[Level]) -> list[Told]:
    """What a comparison sees at each of *levels*."""
    day = comparison.day
    if day.events_per_second <= 0:
        return [Told("there are no events now, so there is nothing to compare; is the selector right?", blind=True)]
    seen: list[str] = []
    told: list[Told] = []
    for level in levels:
        if level.percentage == 100:
            continue  # nobody is left in the control
        told += _of_luck(comparison, level)
        factor = comparison.seen(level)
        if factor is None or factor > BLIND:
            told.append(_blind(comparison, level, factor))
        else:
            seen.append(f"{_times(factor)} {_at(level)}")
    if seen:
        told.insert(0, Told(f"{_traffic_words(day)} it sees {', '.join(seen)}"))
    return told


def _with_some_errors(traffic: Traffic) -> Traffic:
    """Where nothing fails today, what a day might have had: else no factor of it could be seen."""
    if traffic.bad_per_second > 0:
        return traffic
    return replace(traffic, bad_per_second=min(1 / DAY_SECONDS, traffic.events_per_second / 2))


def _of_luck(comparison: Comparison, level: Level) -> list[Told]:
    keys = comparison.keys(level.percentage)
    floor = comparison.tolerated(keys)
    if keys.log_cost == 0 or floor < WORTH_TELLING:
        return []
    times = f"{_short(keys.excluded)} to {_short(keys.against)} times their share"
    drawn = f"the keys below {level.percentage:g} % may have {times}"
    words = (
        f"as far as the last {format_duration(comparison.day.seconds)} shows, {drawn} of the bad events by luck alone"
    )
    words += f", so less than {_times(floor)} can't be told from the draw, however long it bakes"
    return [Told(words, blind=floor >= USUAL)]


def _blind(comparison: Comparison, level: Level, factor: float | None) -> Told:
    day = comparison.day
    if day.bad_per_second <= 0:
        return _without_errors(day, level, factor)
    least = f"nothing below {_times(factor)}" if factor is not None else "no regression, however large,"
    words = f"{_at(level)} it sees {least} at today's {_rate(day.events_per_second)}"
    floor = comparison.tolerated(comparison.keys(level.percentage))
    wanted = min(max(USUAL, 1.5 * floor), MOST_WANTED)
    proposals = []
    needed_seconds = comparison.seconds(level.percentage, wanted)
    if level.bake_seconds < needed_seconds <= DAY_SECONDS:
        proposals.append(f"a bake of {_rounded_up(needed_seconds)}")
    larger = _larger_percentage(comparison, level, wanted)
    if larger is not None:
        proposals.append(f"{larger:g} % here")
    if not proposals:
        helps = "more events would help (a wider selector)" if floor < USUAL else "no longer bake would help"
        return Told(f"{words}; {helps}, or another criterion for this step", blind=True)
    return Told(f"{words}; for {_times(wanted)} it takes {' or '.join(proposals)}", blind=True)


def _without_errors(day: Day, level: Level, factor: float | None) -> Told:
    """Nothing fails today: a factor of nothing says nothing, a share does."""
    if factor is None:
        return Told(f"{_at(level)} it sees nothing: there is not one bad event now, and too few events", blind=True)
    share = factor * _with_some_errors(day.traffic(level.percentage)).bad_share
    return Told(f"there is not one bad event now; {_at(level)} it sees a canary of which {_percent(share)} fails")


def _larger_percentage(comparison: Comparison, level: Level, wanted: float) -> float | None:
    """The first step of the ladder at which *wanted* is seen within the same bake."""
    if level.percentage is None:
        return None
    higher = (one for one in LADDER if one > level.percentage)
    return next((one for one in higher if comparison.seconds(one, wanted) <= level.bake_seconds), None)


def slower(comparison: Comparison, levels: Sequence[Level], edges: Mapping[float, float]) -> list[Told]:
    """Of a latency: by how many times more events are slower than an edge. *edges*: edge in the histogram's unit ->
    share of events that are slower now. The evidence is averaged over them, so each has its part of the budget."""
    terms = replace(comparison.terms, alpha=comparison.terms.alpha / max(len(edges), 1))
    found: list[Told] = []
    for edge, share in edges.items():
        day = replace(comparison.day, bad=comparison.day.total * share)
        told = compared(replace(comparison, day=day, terms=terms), levels)
        found += [replace(one, sentence=f"of events slower than {edge:g}: {one.sentence}") for one in told]
    return found


# --- a share against a bound ------------------------------------------------------------------------------------------


def bounded(day: Day, terms: Terms, levels: Sequence[Level], at_most: float) -> list[Told]:
    """What a test of a share against its bound sees at each of *levels*."""
    if day.events_per_second <= 0:
        return [Told("there are no events now, so there is no share to judge; is the selector right?", blind=True)]
    traffic = day.traffic(None)
    seen, told = [], []
    for level in levels:
        share = ratio_seen(traffic, at_most, terms, level.bake_seconds)
        if share is not None and share <= BLIND * at_most:
            seen.append(f"{_percent(share)} {_at(level)}")
            continue
        needed = ratio_seconds(traffic, min(USUAL * at_most, 1.0), at_most, terms)
        least = f"nothing below {_percent(share)}" if share is not None else "nothing"
        words = f"{_at(level)} it sees {least} at today's {_rate(day.events_per_second)}"
        longer = f"for {_percent(USUAL * at_most)} it takes a bake of {_rounded_up(needed)}"
        fits = level.bake_seconds < needed <= DAY_SECONDS
        told.append(Told(f"{words}; {longer if fits else 'more events would help: a wider selector'}", blind=True))
    if seen:
        told.insert(0, Told(f"{_traffic_words(day)} it sees {', '.join(seen)}"))
    return told


# --- words ------------------------------------------------------------------------------------------------------------


def _traffic_words(day: Day) -> str:
    return f"at {_rate(day.events_per_second)} with {_percent(day.bad_per_second / day.events_per_second)} bad"


def _at(level: Level) -> str:
    where = f"at {level.percentage:g} % " if level.percentage is not None else ""
    return f"{where}within {format_duration(level.bake_seconds)}"


def _times(factor: float) -> str:
    return f"{_short(factor)}x"


def _rate(per_second: float) -> str:
    if per_second >= 1:
        return f"{_short(per_second)} events/s"
    return f"{_short(per_second * 60)} events/min" if per_second >= 1 / 60 else f"{_short(per_second * 3600)} events/h"


def _percent(share: float) -> str:
    return f"{_short(share * 100)} %"


def _short(number: float) -> str:
    """Two digits, but all that stand before the point."""
    return f"{number:,.0f}" if number >= 10 else f"{number:.2g}"


def _rounded_up(seconds: float) -> str:
    minutes = math.ceil(seconds / 60)
    step = 1 if minutes <= 10 else 5 if minutes <= 60 else 30
    return format_duration(math.ceil(minutes / step) * step * 60)
