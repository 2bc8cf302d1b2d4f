"""What a look counted in the two arms of ``compare``: by a flag's exposure counters, or by selectors of counters."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from flags.exposure_names import ARM, BAND_ENDS, BANDS, CANARY, CONTROL, ERROR, EXPOSURES, selector
from stages.criteria.base import Count, Measurement
from stages.criteria.before import LABELS
from stages.criteria.counting import Events, events_of
from stages.criteria.selectors import of_arm

EXPOSED = "exposures"
_END_OF = dict(zip(BANDS, BAND_ENDS, strict=True))


@dataclass(frozen=True, slots=True)
class Absent:
    """A series that must be there is not; *words* say which."""

    words: str


@dataclass(frozen=True, slots=True)
class Nonsense:
    """Counts that cannot be; *words* say which."""

    words: str


@dataclass(frozen=True, slots=True)
class ArmCounts:
    """*control_bands*: bad and all events by those bands in which nobody has the flag. Of the bands wholly below the
    percentage: *cohort*, what was drawn of them, and *late*, what of that is in the control. *canaries* and *controls*:
    how many processes counted, 0 if that is not known."""

    canary: Events
    control: Events
    control_bands: Mapping[str, Events] = field(default_factory=dict)
    cohort: float = 0.0
    late: float = 0.0
    canaries: int = 0
    controls: int = 0

    @property
    def both(self) -> float:
        return self.canary.total + self.control.total


def exposure_selectors(flag: str) -> dict[str, str]:
    return {EXPOSED: selector(flag, (CANARY, CONTROL))}


def arm_selectors(bad: str, total: str, arms: Mapping[str, str]) -> dict[str, str]:
    """*arms*: matchers by the name of the arm."""
    parts = {"bad": bad, "total": total}
    return {f"{arm}_{part}": of_arm(series, added) for arm, added in arms.items() for part, series in parts.items()}


# --- of a flag --------------------------------------------------------------------------------------------------------


def of_flag(measurement: Measurement, flag: str, percentage: float | None) -> ArmCounts | Absent | Nonsense:
    counts = [one for one in measurement.counts if one.name == EXPOSED and len(one.labels) == len(LABELS)]
    if not counts:
        return Absent(f"{EXPOSURES} has no series of the flag {flag} with a drawn key; does the application count it?")
    if wrong := _nonsense(counts):
        return wrong
    present = {one.labels[0] for one in counts}
    if CANARY not in present:
        return Absent(f'no requests reached the canary: no series of the flag {flag} has {ARM}="{CANARY}"')
    if CONTROL not in present:
        return Absent(f'there is no control: no series of the flag {flag} has {ARM}="{CONTROL}"')
    by_band = _by_band(counts)
    below = [band for band in BANDS if percentage is not None and _END_OF[band] <= percentage]
    late = math.fsum(by_band[CONTROL][band].total for band in below if band in by_band[CONTROL])
    return ArmCounts(
        canary=_summed(by_band[CANARY].values()),
        control=_summed(by_band[CONTROL].values()),
        control_bands=_without_flag(by_band, percentage or 0.0),
        cohort=late + math.fsum(by_band[CANARY][band].total for band in below if band in by_band[CANARY]),
        late=late,
    )


def _nonsense(counts: Iterable[Count]) -> Nonsense | None:
    for one in counts:
        labels = ", ".join(f'{label}="{value}"' for label, value in zip(LABELS, one.labels, strict=True))
        if not math.isfinite(one.value):
            return Nonsense(f"the counters of {{{labels}}} rose by {one.value}, which is no number of events")
        if one.value < 0:
            return Nonsense(f"the counters of {{{labels}}} fell by {-one.value:,.4g}: counters only rise")
    return None


def _by_band(counts: Iterable[Count]) -> dict[str, dict[str, Events]]:
    """Bad and all events by arm and band."""
    bad: dict[tuple[str, str], float] = defaultdict(float)
    total: dict[tuple[str, str], float] = defaultdict(float)
    for one in counts:
        arm, band, outcome = one.labels
        total[arm, band] += one.value
        bad[arm, band] += one.value if outcome == ERROR else 0.0
    found: dict[str, dict[str, Events]] = {CANARY: {}, CONTROL: {}}
    for (arm, band), value in total.items():
        if arm in found:
            found[arm][band] = Events(bad[arm, band], value)
    return found


def _without_flag(by_band: Mapping[str, Mapping[str, Events]], percentage: float) -> dict[str, Events]:
    """Those of the control's bands in which nobody has the flag."""
    begins = dict(zip(BANDS, (0.0, *BAND_ENDS), strict=False))
    return {
        band: events
        for band, events in by_band[CONTROL].items()
        if begins.get(band, -1.0) >= percentage and (band not in by_band[CANARY] or by_band[CANARY][band].total <= 0)
    }


def _summed(events: Iterable[Events]) -> Events:
    kept = list(events)
    return Events(math.fsum(one.bad for one in kept), math.fsum(one.total for one in kept))


# --- of selectors -----------------------------------------------------------------------------------------------------


def of_arms(measurement: Measurement, selectors: Mapping[str, str]) -> ArmCounts | Absent | Nonsense:
    """*selectors* as :func:`arm_selectors` gives them."""
    found: dict[str, Events] = {}
    for arm in (CANARY, CONTROL):
        events = events_of(measurement, f"{arm}_bad", f"{arm}_total")
        if isinstance(events, str):
            return Nonsense(events)
        if events is not None:
            found[arm] = events
    missing = [arm for arm in (CANARY, CONTROL) if arm not in found]
    if missing:
        which = "neither arm has" if len(missing) == 2 else f"the {missing[0]} has no series:"
        wanting = " and ".join(selectors[f"{arm}_total"] for arm in missing)
        return Absent(f"{which} {'series: ' if len(missing) == 2 else ''}{wanting} finds nothing")
    processes = (_processes(measurement.counts, f"{arm}_total") for arm in (CANARY, CONTROL))
    canaries, controls = processes
    return ArmCounts(found[CANARY], found[CONTROL], canaries=canaries, controls=controls)


def _processes(counts: Iterable[Count], name: str) -> int:
    """By pod, or else by instance; 0 if series have neither."""
    known = {one.labels[0] or one.labels[1] for one in counts if one.name == name and len(one.labels) == 2}
    return len(known - {""})
