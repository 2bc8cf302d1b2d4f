"""``latency``: the share of slow events, by the edges of a histogram's buckets, against a concurrent control.

The engine of ``compare`` (``stages.statistics.two_arms``), a bad event being one that took longer than an edge of the
histogram's buckets. Tested is at the edges that lie nearest the control's own 50th, 90th and 99th per cent in the hour
before the change, or, where nothing was counted then, in its first looks; the evidence is the mean over these edges.
Nothing is interpolated. At an edge that half of the events pass nothing can be told apart, so the lowest one lies
where a little less than half of them are slower.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from flags.exposure_names import ARM, CANARY, CONTROL, SECONDS, selector
from stages.criteria.arms import OfArms, is_everybody
from stages.criteria.base import (
    NOTHING_WANTED,
    History,
    Judgement,
    Measurement,
    MeasurementState,
    Memory,
    Past,
    Setting,
    Verdict,
    Wanted,
)
from stages.criteria.comparing import Window
from stages.criteria.counted import (
    LOG_HOLD,
    Counted,
    counted,
    judge_nonsense,
    judge_uncounted,
    one_in,
    percent,
    settling,
)
from stages.criteria.counting import (
    Events,
    Interval,
    begins_at,
    counting,
    interval_of,
    is_settling,
    number,
    remembered,
    with_counted_to,
)
from stages.criteria.evidence import PLAIN, Arm, Evidence, Terms, evidence_of, fed, in_step, logs_of, nothing_yet
from stages.criteria.selectors import CounterSelector, of_arm, with_suffix
from stages.criteria.unmeasured import judge_unmeasured
from stages.statistics.dispersion import Spread
from stages.values import Json

LE = "le"
BUCKETS = "buckets"
QUANTILES = (0.5, 0.9, 0.99)
MOST_SLOW = 0.45  # of the control's events at an edge
FEWEST_EVENTS = 100.0  # of the control, to choose edges by
_HOUR = 3600.0

Rises = dict[float, float]
"""Events by the upper edge of their bucket, cumulated as the histogram has them."""


class LatencyOf(OfArms):
    """``histogram`` is a series selector of a classic histogram, without its ``_bucket``."""

    counters: ClassVar[tuple[str, ...]] = ("histogram",)

    histogram: CounterSelector | None = None

    @model_validator(mode="after")
    def _named(self) -> Self:
        if self.histogram is not None:
            with_suffix(self.histogram, "_bucket")
        return self


class Latency(Counted):
    latency: LatencyOf = Field(default_factory=LatencyOf)

    def subject(self, stage_flag: str | None) -> str | None:
        return None if self.latency.histogram is not None else self.latency.flag or stage_flag

    @property
    def terms(self) -> Terms:
        return Terms(self.latency.max_increase, self.for_seconds)


@dataclass(frozen=True, slots=True)
class _Known:
    """*edges* in seconds, and for each of them what the *step* had so far, a bad event being a slow one.
    *seen*: the control's events by bucket, until the edges are chosen. *asked*: that history was asked for."""

    evidence: Evidence
    edges: tuple[float, ...] = ()
    step: tuple[Window, ...] = ()
    seen: Mapping[float, float] = field(default_factory=dict)
    asked: bool = False

    @classmethod
    def of(cls, memory: Memory, setting: Setting) -> Self:
        extra = remembered(memory)
        same = extra.get("flag") == setting.flag
        edges = _numbers(extra.get("edges")) if same else ()
        evidence = evidence_of(extra if same else {}, setting, (len(edges),))
        rows = extra.get("step") if same and evidence.step == begins_at(setting) else None
        step = tuple(map(Window.from_json, rows)) if isinstance(rows, list) else ()
        seen = {float(le): number(value) or 0.0 for le, value in (extra.get("seen") or {}).items()} if same else {}
        return cls(evidence, edges, step if len(step) == len(edges) else (), seen, same and bool(extra.get("asked")))

    def to_json(self, setting: Setting) -> dict[str, Json]:
        return {
            "flag": setting.flag,
            "edges": list(self.edges),
            "evidence": self.evidence.to_json(),
            "step": [window.to_json() for window in self.step],
            "seen": {repr(le): value for le, value in self.seen.items()},
            "asked": self.asked,
        }

    @property
    def logs(self) -> tuple[float, float]:
        """Logarithms of the evidence against the release and against its being worse by half: means over edges."""
        if not self.edges:
            return 0.0, 0.0
        against, excluded = logs_of(self.evidence)
        return _log_mean(against), _log_mean(excluded)

    def with_edges(self, control: Mapping[float, float]) -> "_Known":
        edges = chosen_edges(control)
        return replace(self, edges=edges, seen={}, evidence=nothing_yet((len(edges),))) if edges else self

    def fed(self, terms: Terms, arms: Mapping[str, Rises], interval: Interval, setting: Setting) -> "_Known":
        evidence = in_step(self.evidence, setting, interval)
        canary, control = (_arm(arms[arm], self.edges) for arm in (CANARY, CONTROL))
        tests = terms.tests(setting, interval)
        evidence = fed(evidence, (canary, control), interval, tests, Spread.begin((len(self.edges),)), PLAIN)
        before = self.step or (Window(),) * len(self.edges)
        added = zip(before, canary.bad, canary.total, control.bad, control.total, strict=True)
        step = tuple(window.plus(Events(b, n), Events(k, m), interval.seconds) for window, b, n, k, m in added)
        return replace(self, evidence=evidence, step=step)


def _log_mean(logarithms: NDArray[np.float64]) -> float:
    return float(np.logaddexp.reduce(logarithms)) - math.log(len(logarithms))


# --- a look -----------------------------------------------------------------------------------------------------------


def wanted(criterion: Latency, setting: Setting, memory: Memory, at: float) -> Wanted:
    selectors, by = _counters(criterion, setting)
    if not selectors or is_everybody(setting):
        return NOTHING_WANTED
    asked = counting(setting, memory, at, selectors, by)
    known = _Known.of(memory, setting)
    if asked.counting is None or known.asked or known.edges:
        return asked
    return replace(asked, history=(_history(criterion, setting),))


def judge(criterion: Latency, measurement: Measurement, memory: Memory, setting: Setting) -> Judgement:
    judgement = _judge_look(criterion, measurement, memory, setting)
    known = _Known.of(judgement.memory, setting)
    against, excluded = known.logs
    enough = judgement.verdict is Verdict.PASS and judgement.enough and excluded >= LOG_HOLD
    worst = _worst(known)
    value = known.step[worst].ratio if worst is not None else None
    return replace(judgement, value=value, log_evidence=against, log_excluded=excluded, enough=enough)


def _judge_look(criterion: Latency, measurement: Measurement, memory: Memory, setting: Setting) -> Judgement:
    selectors, _ = _counters(criterion, setting)
    at, known = measurement.at, _Known.of(memory, setting)
    if not selectors:
        return judge_nonsense(criterion, "there is no flag whose arms could be compared", at, memory)
    if measurement.state is not MeasurementState.OK:
        return judge_uncounted(criterion, measurement, memory, setting)
    interval = None if is_everybody(setting) else interval_of(setting, memory, at)
    if interval is None:
        return _judge_evidence(criterion, known, memory, setting, at)
    arms = _read(measurement, setting)
    if isinstance(arms, str):
        return judge_nonsense(criterion, arms, at, memory)
    missing = [arm for arm in (CANARY, CONTROL) if not arms[arm]]
    if missing:
        series = next(iter(selectors.values()))
        detail = f"no buckets of the {' and of the '.join(missing)}: does {series} find a histogram?"
        return judge_uncounted(
            criterion, replace(measurement, state=MeasurementState.MISSING, detail=detail), memory, setting
        )
    known = _with_control(replace(known, asked=True), arms[CONTROL], measurement.past)
    if known.edges:
        known = known.fed(criterion.terms, arms, interval, setting)
    memory = with_counted_to(memory, interval, known.to_json(setting))
    if arms[CANARY][math.inf] <= 0 and not is_settling(setting, at) and not (known.step and known.step[0].total > 0):
        return judge_unmeasured(criterion, f"{criterion.name}: no requests reached the canary", False, at, memory)
    return _judge_evidence(criterion, known, memory, setting, at)


def _judge_evidence(criterion: Latency, known: _Known, memory: Memory, setting: Setting, at: float) -> Judgement:
    against, excluded = known.logs
    worst = _worst(known)
    if against < LOG_HOLD and is_everybody(setting):
        words = f"{criterion.name}: everybody has it, so there is no control any more"
        return Judgement(Verdict.PASS, words, memory)
    if is_settling(setting, at):
        numbers = f"{_words(known, worst)}; " if worst is not None else ""
        words = f"{criterion.name}: {numbers}{settling(setting, at)}"
        return Judgement(Verdict.PASS, words, memory, enough=False, settling=True)
    if worst is None:
        said = f"{criterion.name} has too few events of the control yet to choose edges by"
        return judge_unmeasured(criterion, said, False, at, memory)
    words = f"{criterion.name}: {_words(known, worst)}"
    if against < LOG_HOLD:
        words += "; worse by half is excluded" if excluded >= LOG_HOLD else ""
        return Judgement(Verdict.PASS, words, memory)
    words += f"; the chance of this on a healthy release is below {one_in(against)}"
    if against >= -math.log(setting.alpha):
        return Judgement(Verdict.FAIL, words, memory)
    words += f", which holds (it fails at 1 in {math.ceil(1 / setting.alpha):,})"
    return Judgement(Verdict.INCONCLUSIVE, words, memory)


# --- counters ---------------------------------------------------------------------------------------------------------


def _counters(criterion: Latency, setting: Setting) -> tuple[dict[str, str], tuple[str, ...]]:
    latency = criterion.latency
    if latency.histogram is not None and latency.arms is not None:
        buckets = with_suffix(latency.histogram, "_bucket")
        arms = {CANARY: latency.arms.canary, CONTROL: latency.arms.control}
        return {arm: of_arm(buckets, matchers) for arm, matchers in arms.items()}, (LE,)
    if setting.flag is None:
        return {}, ()
    return {BUCKETS: with_suffix(selector(setting.flag, (CANARY, CONTROL), metric=SECONDS), "_bucket")}, (ARM, LE)


def _history(criterion: Latency, setting: Setting) -> History:
    """The control's buckets in the hour before the change."""
    selectors, _ = _counters(criterion, setting)
    control = selectors.get(CONTROL)
    if control is None:
        assert setting.flag is not None
        control = with_suffix(selector(setting.flag, (CONTROL,), metric=SECONDS), "_bucket")
    to = float(math.floor(setting.before))
    return History(CONTROL, f"sum by ({LE}) (increase({control}[{_HOUR:.0f}s]))", to, to, _HOUR, (LE,))


def _read(measurement: Measurement, setting: Setting) -> dict[str, Rises] | str:
    """Rises by arm; a sentence's end for what is no histogram."""
    arms: dict[str, Rises] = {CANARY: {}, CONTROL: {}}
    for one in measurement.counts:
        arm, le = (one.labels[0], one.labels[1]) if setting.flag is not None else (one.name, one.labels[0])
        edge = _edge(le)
        if edge is None:
            return f"a bucket has the edge {le!r}, which is no number: a classic histogram with le is expected"
        if not math.isfinite(one.value) or one.value < 0:
            return f"the bucket {le} of the {arm} rose by {one.value}, which is no number of events"
        if arm in arms:
            arms[arm][edge] = arms[arm].get(edge, 0.0) + one.value
    for arm, rises in arms.items():
        if rises and (math.inf not in rises or len(rises) < 2):
            return f'the histogram of the {arm} has no bucket below le="+Inf", or not that one (is it a native one?)'
    return arms


def _edge(le: str) -> float | None:
    try:
        edge = float(le)
    except ValueError:
        return None
    return None if math.isnan(edge) else edge


def _with_control(known: _Known, control: Rises, past: Sequence[Past]) -> _Known:
    """The edges are chosen once: by the hour before, else by what the control has shown so far."""
    if known.edges:
        return known
    before = {edge: one.value for one in past if one.name == CONTROL and (edge := _edge(one.labels[0])) is not None}
    chosen = known.with_edges(before)
    if chosen.edges:
        return chosen
    seen = {le: known.seen.get(le, 0.0) + value for le, value in control.items()}
    return replace(known, seen=seen).with_edges(seen)


def chosen_edges(control: Mapping[float, float]) -> tuple[float, ...]:
    """The edges nearest the quantiles of *control*'s events, cumulated by edge; none if there are too few events."""
    total = control.get(math.inf, 0.0)
    if total < FEWEST_EVENTS:
        return ()
    slow = {edge: 1 - value / total for edge, value in control.items() if math.isfinite(edge)}
    usable = {edge: share for edge, share in slow.items() if 0 < share <= MOST_SLOW}
    if not usable:
        return ()
    nearest = (min(usable, key=lambda edge: abs(math.log(usable[edge] / (1 - quantile)))) for quantile in QUANTILES)
    return tuple(sorted(set(nearest)))


def _arm(rises: Rises, edges: Sequence[float]) -> Arm:
    total = rises[math.inf]
    slow = [max(total - rises.get(edge, total), 0.0) for edge in edges]
    return Arm(np.array(slow), np.full(len(edges), total))


# --- words ------------------------------------------------------------------------------------------------------------


def _worst(known: _Known) -> int | None:
    """The edge at which most speaks against the release; None before anything was compared."""
    if not known.step or all(window.total <= 0 for window in known.step):
        return None
    return int(np.argmax(logs_of(known.evidence)[0]))


def _words(known: _Known, index: int) -> str:
    window, edge = known.step[index], known.edges[index]
    shown = f"{edge:g} s" if edge >= 1 else f"{1000 * edge:g} ms"
    canary = percent(window.bad / window.total) if window.total > 0 else "none"
    control = percent(window.control_bad / window.control_total) if window.control_total > 0 else "none"
    numbers = (
        f"{counted(window.bad)} of {counted(window.total)} against {counted(window.control_bad)} of "
        f"{counted(window.control_total)}"
    )
    return f"slower than {shown}: {canary} against the control's {control} ({numbers})"


def _numbers(value: Any) -> tuple[float, ...]:
    found = [number(one) for one in value] if isinstance(value, list) else []
    return tuple(one for one in found if one is not None) if None not in found else ()
