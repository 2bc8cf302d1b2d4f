"""The evidence of a comparison from look to look: what ``compare`` and ``latency`` remember of their two arms.

Evidence against the release is carried over steps, and a step is a place where worse may have begun. Evidence that the
canary is not worse by half is started anew with each: a step is left early for what was seen of itself. A person who
drops the evidence, another subject or another shape begins all of it anew.

What came while a change settled (the warm-up) counts as a single look when it is over, and takes the evidence a third
of the way at most, less if ``for`` is longer than the warm-up: a spike of a restart fails nothing, and a release that
is bad from the start is found sooner by what it has shown already.

All numbers have the shape of what is tested at once: none for errors, one axis for the edges of latency.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.criteria.base import Setting
from stages.criteria.counting import Interval, begins_at, look_seconds, number
from stages.statistics.dispersion import Spread
from stages.statistics.onsets import Started, stepped
from stages.statistics.two_arms import (
    EXCLUDED,
    Counts,
    Test,
    against_worse_by_half,
    begin,
    cap_looks,
    from_json,
    log_evidence,
    look,
)
from stages.values import Json

Numbers = NDArray[np.float64]
WARMUP_LOOKS = 3.0  # which, each as bad as the warm-up may be, would fail a release
_AGAINST, _EXCLUDED = Test(1.0, 1.0, 0.0), against_worse_by_half(0.0)  # for how they weigh what they have


@dataclass(frozen=True, slots=True)
class Terms:
    """What the canary is held to. *widened*: how much more is tolerated because its processes are few and differ."""

    max_increase: float
    for_seconds: float
    widened: float = 1.0

    def tests(self, setting: Setting, interval: Interval) -> tuple[Test, Test]:
        """Against the release, and against its being worse by half. A look after a gap counts as one look."""
        looks = cap_looks(self.for_seconds, look_seconds(interval, setting))
        if interval.is_warmup:
            looks = WARMUP_LOOKS * max(self.for_seconds / setting.warmup_seconds, 1.0)
        against = Test((1 + self.max_increase) * self.widened, setting.alpha, looks)
        return against, replace(against_worse_by_half(looks), tolerated=EXCLUDED / self.widened)


@dataclass(frozen=True, slots=True)
class Arm:
    """*bad* of *total* events, in the shape of what is tested."""

    bad: Numbers
    total: Numbers

    def plus(self, other: "Arm") -> "Arm":
        return Arm(self.bad + other.bad, self.total + other.total)


Arms = tuple[Arm, Arm]
"""Canary and control."""


@dataclass(frozen=True, slots=True)
class Keys:
    """What the canary's odds are multiplied with, for which keys it has: for the test against it, and for it."""

    against: float = 1.0
    excluded: float = 1.0
    log_cost: float = 0.0


PLAIN = Keys()


@dataclass(frozen=True, slots=True)
class Evidence:
    """*settling*: what the warm-up of this step has had so far. *began*: the begin of the first interval that was
    evidence, None before. *step*: when that came into force which the newest interval was about, and *step_began* the
    begin of the first interval of it."""

    against: Started
    excluded: Started
    spread: Spread
    settling: Arms
    began: float | None = None
    step: float | None = None
    step_began: float = 0.0

    def to_json(self) -> dict[str, Json]:
        return {
            "against": self.against.to_json(),
            "excluded": self.excluded.to_json(),
            "spread": self.spread.to_json(),
            "settling": [[arm.bad.tolist(), arm.total.tolist()] for arm in self.settling],
            "began": self.began,
            "step": self.step,
            "step_began": self.step_began,
        }


def nothing_yet(shape: tuple[int, ...] = ()) -> Evidence:
    return Evidence(begin(shape), begin(shape), Spread.begin(shape), _no_events(shape))


def evidence_of(extra: Mapping[str, Any], setting: Setting, shape: tuple[int, ...] = ()) -> Evidence:
    """What is remembered and still holds."""
    value = extra.get("evidence")
    value = value if isinstance(value, dict) else {}
    began, step_began = number(value.get("began")), number(value.get("step_began"))
    if began is None or step_began is None or began < setting.evidence_from:
        return nothing_yet(shape)
    against, excluded = (from_json(value.get(name), shape) for name in ("against", "excluded"))
    spread = Spread.from_json(value.get("spread"), shape)
    settling = _arms_from(value.get("settling"), shape)
    return Evidence(against, excluded, spread, settling, began, number(value.get("step")), step_began)


def _no_events(shape: tuple[int, ...]) -> Arms:
    none = Arm(np.zeros(shape), np.zeros(shape))
    return none, none


def _arms_from(value: Any, shape: tuple[int, ...]) -> Arms:
    try:
        events = np.array(value, np.float64)
    except (TypeError, ValueError):
        return _no_events(shape)
    if events.shape != (2, 2, *shape) or not (np.isfinite(events) & (events >= 0)).all():
        return _no_events(shape)
    return Arm(*events[0]), Arm(*events[1])


def logs_of(evidence: Evidence) -> tuple[Numbers, Numbers]:
    """Natural logarithms of the evidence against the release, and against its being worse by half."""
    return log_evidence(_AGAINST, evidence.against), log_evidence(_EXCLUDED, evidence.excluded)


def in_step(evidence: Evidence, setting: Setting, interval: Interval) -> Evidence:
    """Before an interval is fed that may be the first of its step."""
    step = begins_at(setting)
    if evidence.step == step:
        return evidence
    shape = evidence.against.onsets.shape
    began = interval.from_ if evidence.began is None else evidence.began
    return Evidence(
        against=stepped(evidence.against),
        excluded=begin(shape),
        spread=evidence.spread.gap(),  # the arms have other shares now
        settling=_no_events(shape),
        began=began,
        step=step,
        step_began=interval.from_,
    )


def fed(
    evidence: Evidence, arms: Arms, interval: Interval, tests: tuple[Test, Test], before: Spread, keys: Keys
) -> Evidence:
    """After one more interval of canary and control. *before*: the dispersion that was seen before the step."""
    if not interval.is_warmup:
        spread = evidence.spread.learn(
            *(np.stack([getattr(arm, name) for arm in arms], axis=-1) for name in ("bad", "total"))
        )
        return replace(_looked(evidence, arms, interval, tests, before, keys), spread=spread)
    settling = evidence.settling[0].plus(arms[0]), evidence.settling[1].plus(arms[1])
    evidence = replace(evidence, settling=settling)
    return _looked(evidence, settling, interval, tests, before, keys) if interval.ends_warmup else evidence


def _looked(
    evidence: Evidence, arms: Arms, interval: Interval, tests: tuple[Test, Test], before: Spread, keys: Keys
) -> Evidence:
    canary, control = arms
    from_seconds = interval.from_ - evidence.step_began
    with np.errstate(divide="ignore", invalid="ignore"):  # an arm without events: such a look does not speak
        odds = canary.total / control.total
    counts = Counts(
        bad=canary.bad,
        total=canary.total,
        bad_both=canary.bad + control.bad,
        total_both=canary.total + control.total,
        dispersion=evidence.spread.joined(before).phi,
    )
    return replace(
        evidence,
        against=look(tests[0], evidence.against, replace(counts, odds=odds * keys.against), from_seconds),
        excluded=look(tests[1], evidence.excluded, replace(counts, odds=odds * keys.excluded), from_seconds),
    )
