"""What ``compare`` remembers from look to look, in one mapping of numbers and lists."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np

from stages.criteria import before as earlier
from stages.criteria.arm_counts import ArmCounts
from stages.criteria.base import Memory, Setting
from stages.criteria.counting import Events, Interval, begins_at, number, remembered
from stages.criteria.evidence import PLAIN, Arm, Evidence, Keys, Terms, evidence_of, fed, in_step, logs_of, nothing_yet
from stages.statistics import share
from stages.statistics.two_arms import WORSE
from stages.values import Json

OUTAGE_SHARE = 0.5
OUTAGE_EVENTS = 30.0
OUTAGE_SECONDS = 30.0
SAID_FROM = math.log(2.0)  # evidence below that is what chance brings every other time
OUTAGE_TIMES = 2.0  # as bad as the control is an outage of the canary
_SHOWN_FROM = WORSE[3]  # the alternative by which the window of a sentence is found


@dataclass(frozen=True, slots=True)
class Window:
    """Bad and all events of canary and control, counted in so many *seconds*."""

    bad: float = 0.0
    total: float = 0.0
    control_bad: float = 0.0
    control_total: float = 0.0
    seconds: float = 0.0

    def plus(self, canary: Events, control: Events, seconds: float) -> "Window":
        return Window(
            self.bad + float(canary.bad),
            self.total + float(canary.total),
            self.control_bad + float(control.bad),
            self.control_total + float(control.total),
            self.seconds + seconds,
        )

    @property
    def ratio(self) -> float | None:
        """Of the shares of bad events; None while the control has none, or the canary no events."""
        if self.control_bad <= 0 or self.total <= 0:
            return None
        return (self.bad / self.total) / (self.control_bad / self.control_total)

    def to_json(self) -> Json:
        return [self.bad, self.total, self.control_bad, self.control_total, self.seconds]

    @classmethod
    def from_json(cls, value: Any) -> Self:
        numbers = [number(one) for one in value] if isinstance(value, list) and len(value) == 5 else [None]
        return cls(*(one for one in numbers if one is not None)) if None not in numbers else cls()


@dataclass(frozen=True, slots=True)
class Known:
    """*step*: all evidence of this step. *lately*: since the evidence last began to rise, and *rising* how far it has
    (the sum of a likelihood's logarithms, never below 0: Page's CUSUM). *outage*: looks in a row of which most is bad.
    *drawn* and *cohort*: requests of this step, of all drawn keys and of those below the percentage. *late_seconds*:
    for how long keys below the percentage have been asked without the flag. *bands*: see ``before.Groups``.
    *eventful_to*: the end of the newest interval of this step in which the canary had events.
    """

    evidence: Evidence
    keys: Keys = PLAIN
    summary: Mapping[str, Any] = field(default_factory=dict)
    step: Window = Window()
    lately: Window = Window()
    rising: float = 0.0
    outage: Window = Window()
    drawn: float = 0.0
    cohort: float = 0.0
    late_seconds: float = 0.0
    bands: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    eventful_to: float | None = None

    @classmethod
    def of(cls, memory: Memory, setting: Setting) -> Self:
        """What still holds of it: a person may have dropped the evidence, and a step begins its own sums."""
        extra = remembered(memory)
        summary = extra.get("before")
        evidence = evidence_of(extra, setting) if extra.get("flag") == setting.flag else nothing_yet()
        known = cls(
            evidence,
            keys=_keys_from(extra.get("keys")),
            summary=summary if isinstance(summary, dict) and earlier.is_known(summary, setting) else {},
            outage=Window.from_json(extra.get("outage")),
            bands=_bands_from(extra.get("bands")) if extra.get("flag") == setting.flag else {},
        )
        if evidence.step != begins_at(setting):
            return known
        drawn, cohort, late, rising = (number(extra.get(name)) or 0.0 for name in ("drawn", "cohort", "late", "rising"))
        return replace(
            known,
            step=Window.from_json(extra.get("step")),
            lately=Window.from_json(extra.get("lately")),
            rising=rising,
            drawn=drawn,
            cohort=cohort,
            late_seconds=late,
            eventful_to=number(extra.get("eventful_to")),
        )

    def to_json(self, setting: Setting) -> dict[str, Json]:
        return {
            "flag": setting.flag,
            "evidence": self.evidence.to_json(),
            "keys": [self.keys.against, self.keys.excluded, self.keys.log_cost],
            "before": dict(self.summary),
            "step": self.step.to_json(),
            "lately": self.lately.to_json(),
            "rising": self.rising,
            "outage": self.outage.to_json(),
            "drawn": self.drawn,
            "cohort": self.cohort,
            "late": self.late_seconds,
            "bands": {band: list(events) for band, events in self.bands.items()},
            "eventful_to": self.eventful_to,
        }

    @property
    def logs(self) -> tuple[float, float]:
        """Logarithms of the evidence against the release, and against its being worse by half."""
        against, excluded = logs_of(self.evidence)
        return float(against) - (self.keys.log_cost if self.evidence.began is not None else 0.0), float(excluded)

    @property
    def shown(self) -> Window:
        """The span of which a sentence tells: the step, or since the evidence began to rise if there is some."""
        is_rising = self.rising > 0 and self.lately.total > 0 and self.logs[0] >= SAID_FROM
        return self.lately if is_rising else self.step

    def fed(self, terms: Terms, counts: ArmCounts, interval: Interval, setting: Setting) -> "Known":
        """After one more interval."""
        before = earlier.spread_before(self.summary)
        evidence = in_step(self.evidence, setting, interval)
        phi = float(evidence.spread.joined(before).phi)
        groups = earlier.Groups(self.bands, _percentage(counts, setting), phi)
        keys = earlier.keys_of(self.summary, groups, setting, interval.to)
        widened = earlier.widened_by(self.summary, phi, counts.canaries, counts.controls)
        terms = replace(terms, widened=widened)
        arms = _arm(counts.canary), _arm(counts.control)
        known = replace(
            self,
            evidence=fed(evidence, arms, interval, terms.tests(setting, interval), before, keys),
            keys=keys,
            step=self.step.plus(counts.canary, counts.control, interval.seconds),
            drawn=self.drawn + counts.both,
            cohort=self.cohort + counts.cohort,
            eventful_to=interval.to if counts.canary.total > 0 else self.eventful_to,
        )
        if interval.is_warmup:
            return known
        tolerated = (1 + terms.max_increase) * widened * keys.against
        return known.with_late(counts, interval).with_rise(counts, interval, tolerated)

    def with_late(self, counts: ArmCounts, interval: Interval) -> "Known":
        is_late = share.is_late(counts.late, counts.cohort) if counts.cohort > 0 else self.late_seconds > 0
        return replace(self, late_seconds=self.late_seconds + interval.seconds if is_late else 0.0)

    def with_rise(self, counts: ArmCounts, interval: Interval, tolerated: float) -> "Known":
        """Follows where a canary that is worse would have begun to be."""
        bad, bad_both = counts.canary.bad, counts.canary.bad + counts.control.bad
        if counts.control.total <= 0 or counts.canary.total <= 0:
            return self
        odds = tolerated * counts.canary.total / counts.control.total
        step = bad * math.log(_SHOWN_FROM) - bad_both * math.log1p((_SHOWN_FROM - 1) * odds / (1 + odds))
        rising = max(self.rising + step, 0.0)
        return replace(
            self,
            rising=rising,
            lately=self.lately.plus(counts.canary, counts.control, interval.seconds) if rising > 0 else Window(),
        )

    def with_bands(self, counts: ArmCounts) -> "Known":
        """Events of groups of the control's keys; a change that settles is no matter to them."""
        added = {
            band: (self.bands.get(band, (0.0, 0.0))[0] + events.bad, self.bands.get(band, (0.0, 0.0))[1] + events.total)
            for band, events in counts.control_bands.items()
        }
        return replace(self, bands=added)

    def with_outage(self, counts: ArmCounts, interval: Interval, is_pending: bool) -> "Known":
        """Seconds are weighed by the share that was bad, so a look in which it began counts for its part. A look
        without events says nothing of it."""
        before = self.outage if is_pending else Window()
        canary = counts.canary
        if canary.total <= 0:
            return replace(self, outage=before)
        if canary.bad <= OUTAGE_SHARE * canary.total:
            return replace(self, outage=Window())
        return replace(self, outage=before.plus(canary, counts.control, interval.seconds * canary.bad / canary.total))

    @property
    def is_outage(self) -> bool:
        """Whether most of what the canary does goes wrong, and less than half as much in the control."""
        one = self.outage
        if one.total < OUTAGE_EVENTS or one.control_total <= 0:
            return False
        return one.bad / one.total >= OUTAGE_TIMES * one.control_bad / one.control_total


def _arm(events: Events) -> Arm:
    return Arm(np.asarray(events.bad, np.float64), np.asarray(events.total, np.float64))


def _percentage(counts: ArmCounts, setting: Setting) -> float:
    """Of the keys that are the canary; where the plan does not know it, about that of the requests."""
    return setting.percentage or min(max(100 * counts.canary.total / max(counts.both, 1.0), 0.1), 99.9)


def _keys_from(value: Any) -> Keys:
    numbers = [number(one) for one in value] if isinstance(value, list) and len(value) == 3 else [None]
    return Keys(*(one for one in numbers if one is not None)) if None not in numbers else PLAIN


def _bands_from(value: Any) -> dict[str, tuple[float, float]]:
    if not isinstance(value, dict):
        return {}
    pairs = {band: [number(one) for one in pair] for band, pair in value.items() if isinstance(pair, list)}
    return {
        band: (pair[0], pair[1])
        for band, pair in pairs.items()
        if len(pair) == 2 and pair[0] is not None and pair[1] is not None and band in earlier.WIDTH_OF
    }
