"""What the time before a step tells of a flag's keys, and of a control's processes.

Asked for once, at the first look at a percentage, and kept as a few numbers:

- a day by the hour and the flag's bands: what share the keys below the percentage had of the bad events and of all
  (``stages.statistics.cohort``, ``.share``). Hours in which somebody had the flag already, in a rollout before this
  one, are left out;
- the last hour in short intervals, likewise: in what bunches bad events come (``.dispersion``);
- of arms by selectors, the last hour by process of the control: how much its processes differ; and in short intervals,
  in what bunches their bad events come.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flags.exposure_names import ARM, BAND, BAND_ENDS, BANDS, CANARY, CONTROL, ERROR, OUTCOME, selector
from stages.criteria.base import History, Past, Setting
from stages.criteria.counting import number
from stages.criteria.evidence import PLAIN, Keys
from stages.statistics import cohort, share
from stages.statistics.dispersion import Spread, of_history
from stages.values import Json

Numbers = NDArray[np.float64]

HOURS, MINUTES, BAD, TOTAL = "hours", "minutes", "bad", "total"
MINUTES_BAD, MINUTES_TOTAL = "minutes_bad", "minutes_total"
PROCESS = ("pod", "instance")
LABELS = (ARM, BAND, OUTCOME)
HISTORY_HOURS = 24
AHEAD_HOURS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)
_HOUR = 3600.0
_SMALL = 0.001  # a canary's share of an hour's requests that is none
_EXCLUDED_CHANCE = 0.025  # of the bound for the evidence that a canary is not worse by half
_PROCESS_SIGMAS = 2.33
_ENDS = np.array(BAND_ENDS)
_WIDTHS = np.diff(_ENDS, prepend=0.0)
WIDTH_OF = dict(zip(BANDS, _WIDTHS.tolist(), strict=True))
"""In per cent of all keys, by the band."""
_MOST_EVENTS = 1e300  # of which requests are none: they are drawn with replacement, as it were


# --- what is asked ----------------------------------------------------------------------------------------------------


def subject_of(setting: Setting) -> list[Json]:
    """What a summary is about: with another one it is asked for anew."""
    return [setting.flag, setting.percentage, math.floor(setting.before)]


def flag_histories(setting: Setting) -> tuple[History, ...]:
    assert setting.flag is not None
    series = selector(setting.flag, (CANARY, CONTROL))
    to, short = float(math.floor(setting.before)), _short_seconds(setting)
    return (
        _history(HOURS, series, (to - (HISTORY_HOURS - 1) * _HOUR, to), _HOUR, LABELS),
        _history(MINUTES, series, (to - _HOUR + short, to), short, LABELS),
    )


def process_histories(bad: str, total: str, setting: Setting) -> tuple[History, ...]:
    """*bad* and *total* are selectors of the control."""
    to, short = float(math.floor(setting.before)), _short_seconds(setting)
    of_hour = (_history(name, series, (to, to), _HOUR, PROCESS) for name, series in ((BAD, bad), (TOTAL, total)))
    span = to - _HOUR + short, to
    named = ((MINUTES_BAD, bad), (MINUTES_TOTAL, total))
    return (*of_hour, *(_history(name, series, span, short, PROCESS) for name, series in named))


def _history(name: str, series: str, span: tuple[float, float], step_seconds: float, by: tuple[str, ...]) -> History:
    expression = f"sum by ({', '.join(by)}) (increase({series}[{step_seconds:.0f}s]))"
    return History(name, expression, *span, step_seconds, by)


def _short_seconds(setting: Setting) -> float:
    """Long enough for several scrapes, without which ``increase`` says nothing."""
    return max(60.0, 60.0 * math.ceil(4 * setting.scrape_seconds / 60.0))


# --- what is kept of it -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Table:
    """Events by time and band: shape (times, bands). *canary*: those that had the flag, of shape (times,)."""

    bad: Numbers
    total: Numbers
    canary: Numbers

    def sums(self, below: int) -> tuple[Numbers, Numbers, Numbers, Numbers]:
        """Bad and all of the first bands, then bad and all of all."""
        return self.bad[:, :below].sum(1), self.total[:, :below].sum(1), self.bad.sum(1), self.total.sum(1)


def flag_summary(past: Sequence[Past], setting: Setting) -> dict[str, Json]:
    hours, minutes = _table(past, HOURS), _table(past, MINUTES)
    spread = of_history(minutes.bad, minutes.total)
    requests = of_history(minutes.total, np.full_like(minutes.total, _MOST_EVENTS))
    without = hours.canary <= _SMALL * hours.total.sum(1)
    known = _Table(hours.bad * without[:, None], hours.total * without[:, None], hours.canary)
    kept = {"subject": subject_of(setting), "spread": spread.to_json()}
    below = int((setting.percentage >= _ENDS).sum()) if setting.percentage is not None else 0
    if below and _ENDS[below - 1] >= cohort.LEAST_COVERED * (setting.percentage or 0.0) and below < len(BANDS):
        kept |= _cohort(known, below, spread, setting) | _shares(known, below, requests)
    return kept


def _cohort(hours: _Table, below: int, spread: Spread, setting: Setting) -> dict[str, Json]:
    found = cohort.shares_of_bad(cohort.Hours(*hours.sums(below)), spread.phi)
    if not found.usable:
        return {}
    percentage = setting.percentage or 0.0
    spreads = cohort.spread_of_groups(cohort.Bands(hours.bad.sum(0), hours.total.sum(0), _WIDTHS), spread.phi)
    outlook = cohort.partly(found, float(_ENDS[below - 1] / percentage), spreads, percentage)
    lower, _ = outlook.bounds(_EXCLUDED_CHANCE, AHEAD_HOURS)
    _, upper = outlook.bounds(setting.alpha / 2, AHEAD_HOURS)
    return {"lower": lower.tolist(), "upper": upper.tolist()}


def _shares(hours: _Table, below: int, requests: Spread) -> dict[str, Json]:
    _, total, _, total_all = hours.sums(below)
    ranges = [share.range_of(total, total_all, ahead, requests.phi) for ahead in AHEAD_HOURS]
    lower, upper = ([float(getattr(one, name)) for one in ranges] for name in ("lower", "upper"))
    if not np.isfinite(lower).all():
        return {}
    noise, phi = float(ranges[0].noise), float(ranges[0].dispersion)
    return {"share": {"lower": lower, "upper": upper, "noise": noise, "dispersion": phi}}


def process_summary(past: Sequence[Past], setting: Setting) -> dict[str, Json]:
    """How the control's processes differ, as the chi-square of their bad events, what of it is luck for independent
    events (its degrees of freedom), and how much a variance between processes adds to it (DerSimonian and Laird)."""
    bad, total = ({one.labels: one.value for one in past if one.name == name} for name in (BAD, TOTAL))
    events = np.array([count for count in total.values() if math.isfinite(count) and count > 0])
    seen = np.array([bad.get(labels, 0.0) for labels, count in total.items() if math.isfinite(count) and count > 0])
    kept: dict[str, Json] = {"subject": subject_of(setting), "spread": _spread_of_processes(past).to_json()}
    if len(events) < 2 or not 0 < seen.sum() <= events.sum():
        return kept
    expected = events * seen.sum() / events.sum()
    weight = expected.sum() - np.square(expected).sum() / expected.sum()
    chi = (np.square(seen - expected) / expected).sum()
    return {**kept, "processes": [float(chi), float(len(events) - 1), float(weight)]}


def _spread_of_processes(past: Sequence[Past]) -> Spread:
    known = [one for one in past if one.name in (MINUTES_BAD, MINUTES_TOTAL) and math.isfinite(one.value)]
    times = {at: index for index, at in enumerate(sorted({one.at for one in known}))}
    processes = {labels: index for index, labels in enumerate(sorted({one.labels for one in known}))}
    events = {name: np.zeros((len(times), len(processes))) for name in (MINUTES_BAD, MINUTES_TOTAL)}
    for one in known:
        events[one.name][times[one.at], processes[one.labels]] += one.value
    return of_history(events[MINUTES_BAD], events[MINUTES_TOTAL])


def _table(past: Iterable[Past], name: str) -> _Table:
    values = [one for one in past if one.name == name and one.labels[1] in BANDS and math.isfinite(one.value)]
    times = {at: index for index, at in enumerate(sorted({one.at for one in values}))}
    bands = {band: index for index, band in enumerate(BANDS)}
    shape = (len(times), len(BANDS))
    table = _Table(np.zeros(shape), np.zeros(shape), np.zeros(len(times)))
    for one in values:
        arm, band, outcome = one.labels
        index = times[one.at], bands[band]
        table.total[index] += one.value
        table.bad[index] += one.value if outcome == ERROR else 0.0
        table.canary[index[0]] += one.value if arm == CANARY else 0.0
    return table


# --- what it says at a look -------------------------------------------------------------------------------------------


def is_known(summary: Mapping[str, Any], setting: Setting) -> bool:
    return bool(summary.get("subject") == subject_of(setting))


def spread_before(summary: Mapping[str, Any], shape: tuple[int, ...] = ()) -> Spread:
    return Spread.from_json(summary.get("spread"), shape)


def keys_of(summary: Mapping[str, Any], groups: "Groups", setting: Setting, at: float) -> Keys:
    """From the cohort's hours, or else from how groups of the control's keys differ; PLAIN if no keys have bands."""
    lower, upper = (_at(summary.get(name), setting, at) for name in ("lower", "upper"))
    if lower is not None and upper is not None:
        return Keys(math.exp(upper), math.exp(lower), math.log(2))
    if not groups.bands:
        return PLAIN
    widths = np.array([WIDTH_OF[band] for band in groups.bands])
    bad, total = np.array(list(groups.bands.values())).T
    spreads = cohort.spread_of_groups(cohort.Bands(bad, total, widths), groups.phi)
    outlook = cohort.like_other_groups(spreads, groups.percentage, float(widths.sum()))
    against, excluded = outlook.upper(np.array([setting.alpha / 2, _EXCLUDED_CHANCE]), 0.0)
    return Keys(
        math.exp(against), math.exp(-excluded), math.log(2)
    )  # its means are 0: what is below is as what is above


@dataclass(frozen=True, slots=True)
class Groups:
    """Bad and all events by those *bands* that are all control, against a canary of *percentage*."""

    bands: Mapping[str, tuple[float, float]]
    percentage: float
    phi: float


def range_at(summary: Mapping[str, Any], setting: Setting, at: float) -> share.Range | None:
    found = summary.get("share")
    if not isinstance(found, dict):
        return None
    lower, upper = (_at(found.get(name), setting, at) for name in ("lower", "upper"))
    noise, dispersion = number(found.get("noise")), number(found.get("dispersion"))
    if lower is None or upper is None or noise is None or dispersion is None:
        return None
    return share.Range(*(np.asarray(value) for value in (lower, upper, noise, dispersion)))


def widened_by(summary: Mapping[str, Any], phi: float, canaries: int, controls: int) -> float:
    """How much more may be tolerated since so many processes of either arm differ by luck."""
    found = summary.get("processes")
    known = [number(value) for value in found] if isinstance(found, list) else []
    if len(known) != 3 or None in known or not canaries or not controls:
        return 1.0
    chi, freedom, weight = (value or 0.0 for value in known)
    between = max(chi - phi * freedom, 0.0) / weight if weight > 0 else 0.0
    return math.exp(_PROCESS_SIGMAS * math.sqrt(between * (1 / canaries + 1 / controls)))


def _at(values: Any, setting: Setting, at: float) -> float | None:
    """One of a table by ``AHEAD_HOURS``, at the hour in whose middle *at* is."""
    known = [number(value) for value in values] if isinstance(values, list) else []
    if len(known) != len(AHEAD_HOURS) or None in known:
        return None
    ahead = (at - setting.before) / _HOUR + 0.5
    return float(np.interp(ahead, AHEAD_HOURS, [value or 0.0 for value in known]))
