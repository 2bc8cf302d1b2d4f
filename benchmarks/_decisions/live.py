"""One trace before a real gate: look by look, the criterion ``compare`` is given a measurement and says what it says.

This is what a run does, without the run. It is slow beside ``ours``, which follows thousands of traces at once through
the same statistics; here they meet everything around these as well: warm-up, gaps, nothing to divide by, holds.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from benchmarks._decisions.missing import Caused, Fault
from benchmarks._decisions.traffic import BEFORE, HOUR_TICKS, TICK_SECONDS, Flags, Numbers, Traffic
from flags.exposure_names import BAND_ENDS, BANDS, CANARY, CONTROL, ERROR, OK
from stages.criteria import arm_counts, before, compare
from stages.criteria.arms import Arms
from stages.criteria.base import (
    Count,
    Judgement,
    Measurement,
    MeasurementState,
    Memory,
    Past,
    Setting,
    Verdict,
    Wanted,
)

STEP_AT = 1_800_000_000.0  # seconds since the epoch, a whole hour
FLAG = "new-search"
_SCRAPE_SECONDS = 15.0
_MINUTE = 60 // TICK_SECONDS

BY_SELECTORS = compare.Compare(
    name="errors",
    compare=compare.CompareOf(
        bad='errors_total{job="shop"}',
        total='requests_total{job="shop"}',
        arms=Arms(canary='{track="canary"}', control='{track="stable"}'),
    ),
)
BY_FLAG = compare.Compare(name="errors", compare=compare.CompareOf())


def setting_of(criterion: compare.Compare, percentage: float, alpha: float, warmup_seconds: float) -> Setting:
    return Setting(
        STEP_AT,
        STEP_AT,
        warmup_seconds=warmup_seconds,
        every_seconds=TICK_SECONDS,
        scrape_seconds=_SCRAPE_SECONDS,
        alpha=alpha,
        flag=criterion.subject(FLAG),
        percentage=percentage,
    )


@dataclass(frozen=True, slots=True)
class Looked:
    """*at*: seconds after the step."""

    at: float
    judgement: Judgement


class Gate:
    """*counts*: (HOUR_TICKS, 2, 2), bad and all events of canary and control, or (HOUR_TICKS, 2, 2, groups)."""

    def __init__(self, criterion: compare.Compare, setting: Setting, counts: Numbers, past: tuple[Past, ...]) -> None:
        self._criterion, self._setting = criterion, setting
        self._counts, self._past = counts, past

    def looks(self, reached: Flags, sampled: Flags) -> Iterator[Looked]:
        """All of an hour. *reached*, *sampled*: truth values by tick, as in ``missing.Fault``."""
        memory = Memory()
        for tick in range(1, HOUR_TICKS):
            at = STEP_AT + (tick + 1) * TICK_SECONDS
            wanted = compare.wanted(self._criterion, self._setting, memory, at)
            state = self._state(bool(reached[tick]), bool(sampled[tick - 1]))
            measurement = self._measured(wanted, at) if state is MeasurementState.OK else Measurement(state, at)
            judgement = compare.judge(self._criterion, measurement, memory, self._setting)
            memory = judgement.memory
            yield Looked(at - STEP_AT, judgement)

    def _state(self, reached: bool, sampled: bool) -> MeasurementState:
        if not reached:
            return MeasurementState.ERROR
        return MeasurementState.OK if sampled else MeasurementState.STALE

    def _measured(self, wanted: Wanted, at: float) -> Measurement:
        past = self._past if wanted.history else ()
        if wanted.counting is None:
            return Measurement(MeasurementState.OK, at, past=past)
        first, last = (round((bound - STEP_AT) / TICK_SECONDS) for bound in (wanted.counting.from_, wanted.counting.to))
        summed = self._counts[first:last].sum(axis=0)
        has_series = np.asarray(self._counts[:, :, 1].any(axis=0), np.bool_)
        counts = _counts_by_band(summed, has_series) if summed.ndim == 3 else _counts_of_arms(summed)
        return Measurement(MeasurementState.OK, at, counts=counts, past=past)


def _counts_of_arms(summed: Numbers) -> tuple[Count, ...]:
    names = ((f"{CANARY}_bad", f"{CANARY}_total"), (f"{CONTROL}_bad", f"{CONTROL}_total"))
    return tuple(
        Count(name, ("", ""), float(value))
        for of_arm, values in zip(names, summed, strict=True)
        for name, value in zip(of_arm, values, strict=True)
    )


def _counts_by_band(summed: Numbers, has_series: Flags) -> tuple[Count, ...]:
    """Of a flag: by arm, band and outcome, for those arms and bands that ever have events."""
    counts = []
    for arm, (bad, total), ever in zip((CANARY, CONTROL), summed, has_series, strict=True):
        for band, bad_of, total_of, is_there in zip(BANDS, bad, total, ever, strict=True):
            if is_there:
                counts.append(Count(arm_counts.EXPOSED, (arm, band, ERROR), float(bad_of)))
                counts.append(Count(arm_counts.EXPOSED, (arm, band, OK), float(total_of - bad_of)))
    return tuple(counts)


def by_flag(traffic: Traffic, trace: int, alpha: float, warmup_seconds: float) -> Gate:
    """A gate of the exposure counters of one trace that has hours."""
    is_canary = (np.arange(len(BANDS)) < traffic.canary_groups[:, None]).astype(np.float64)
    bad, total = (counts[trace, BEFORE:].astype(np.float64) for counts in (traffic.bad, traffic.total))
    counts = np.stack(
        [np.stack((bad * arm, total * arm), axis=1) for arm in (is_canary, 1 - is_canary)], axis=1
    )  # (ticks, arms, bad and all, bands)
    percentage = BAND_ENDS[int(traffic.canary_groups[0]) - 1]
    setting = setting_of(BY_FLAG, percentage, alpha, warmup_seconds)
    return Gate(BY_FLAG, setting, counts, _past_of(traffic, trace))


def _past_of(traffic: Traffic, trace: int) -> tuple[Past, ...]:
    """The hours before, and the minutes of the last one, by band and outcome; all drawn keys were the control."""
    if traffic.hours_bad is None or traffic.hours_total is None:
        raise ValueError("a gate by flag needs the hours before")
    minutes = _minutes_of(traffic, trace)
    spans = (
        (before.HOURS, 3600.0, traffic.hours_bad[trace], traffic.hours_total[trace]),
        (before.MINUTES, 60.0, minutes[0], minutes[1]),
    )
    past = []
    for name, seconds, bad, total in spans:
        for back, (bad_then, total_then) in enumerate(zip(bad[::-1], total[::-1], strict=True)):
            at = STEP_AT - back * seconds
            for band, bad_of, total_of in zip(BANDS, bad_then, total_then, strict=True):
                past.append(Past(name, (CONTROL, band, ERROR), at, float(bad_of)))
                past.append(Past(name, (CONTROL, band, OK), at, float(total_of - bad_of)))
    return tuple(past)


def _minutes_of(traffic: Traffic, trace: int) -> list[Numbers]:
    """Bad and all of the hour before: (minutes, groups)."""
    return [
        counts[trace, :BEFORE].reshape(BEFORE // _MINUTE, _MINUTE, -1).sum(axis=1)
        for counts in (traffic.bad, traffic.total)
    ]


def past_of_series(traffic: Traffic, trace: int) -> tuple[Past, ...]:
    """The minutes of the last hour, by series of the control."""
    past = []
    for name, counts in zip((before.MINUTES_BAD, before.MINUTES_TOTAL), _minutes_of(traffic, trace), strict=True):
        for back, row in enumerate(counts[::-1]):
            past += [Past(name, (str(series), ""), STEP_AT - 60.0 * back, float(one)) for series, one in enumerate(row)]
    return tuple(past)


def by_selectors(fault: Fault, trace: int, alpha: float, warmup_seconds: float, past: tuple[Past, ...] = ()) -> Gate:
    arms = fault.arms
    counts = np.stack(
        (
            np.stack((arms.canary_bad[trace], arms.canary_total[trace]), axis=1),
            np.stack((arms.control_bad[trace], arms.control_total[trace]), axis=1),
        ),
        axis=1,
    )
    return Gate(BY_SELECTORS, setting_of(BY_SELECTORS, 5.0, alpha, warmup_seconds), counts, past)


@dataclass(frozen=True, slots=True)
class Ended:
    """Seconds after the step, one a trace, infinite if never in the hour. *advanced_at*: when a pass first sufficed to
    leave the step early, before it failed."""

    failed_at: Numbers
    advanced_at: Numbers


def ended(fault: Fault, alpha: float, warmup_seconds: float) -> Ended:
    failed_at, advanced_at = (np.full(fault.arms.traces, np.inf) for _ in range(2))
    for trace in range(fault.arms.traces):
        gate = by_selectors(fault, trace, alpha, warmup_seconds)
        for look in gate.looks(fault.reached[trace], fault.sampled[trace]):
            if look.judgement.verdict is Verdict.FAIL:
                failed_at[trace] = look.at
                break
            if look.judgement.enough:
                advanced_at[trace] = min(advanced_at[trace], look.at)
    return Ended(failed_at, advanced_at)


def caused(healthy: tuple[Fault, Fault], worse: tuple[Fault, Fault], alpha: float, warmup_seconds: float) -> Caused:
    """As ``missing.caused``; and a step that is left early only with the fault is an advance that it caused."""
    (faulty, sound), (faulty_worse, sound_worse) = (
        [ended(fault, alpha, warmup_seconds) for fault in pair] for pair in (healthy, worse)
    )
    rolled_back = np.isfinite(faulty.failed_at) & ~np.isfinite(sound.failed_at)
    let_through = ~np.isfinite(faulty_worse.failed_at) & np.isfinite(sound_worse.failed_at)
    left_early = np.isfinite(faulty_worse.advanced_at) & ~np.isfinite(sound_worse.advanced_at)
    return Caused(float(rolled_back.mean()), float((let_through | left_early).mean()))
