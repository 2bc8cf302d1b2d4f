"""``compare``: the canary's bad events against those of a concurrent control.

Not the two shares are compared as they happen to come out, but the evidence that the canary is worse than tolerated
(``stages.statistics.two_arms``): it fails when that is enough, and holds at an evidence of 20 to 1. Of a flag, what
matters is also which keys it drew: what share of the bad events the same keys had before the step is allowed for
(``stages.criteria.before``). One thing needs no test, and is looked at even while a change settles: more than half of
at least 30 of the canary's events bad, for 30 seconds, and twice what the control has.

What cannot be compared holds: an arm without events, an incident in which most goes wrong in both, requests of the
canary that do not arrive, keys that should have the flag and do not.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar, Self, assert_never

from pydantic import Field, model_validator

from flags.exposure_names import CANARY, CONTROL
from stages.criteria import arm_counts
from stages.criteria import before as earlier
from stages.criteria.arm_counts import Absent, ArmCounts, Nonsense
from stages.criteria.arms import OfArms, is_everybody
from stages.criteria.base import (
    NOTHING_WANTED,
    Judgement,
    Measurement,
    MeasurementState,
    Memory,
    Setting,
    Verdict,
    Wanted,
)
from stages.criteria.compared import judge_counts, judge_nothing_new, judge_without_control
from stages.criteria.comparing import Known
from stages.criteria.counted import LOG_HOLD, Counted, judge_nonsense, judge_uncounted
from stages.criteria.counting import begins_at, counting, interval_of
from stages.criteria.evidence import Terms
from stages.criteria.selectors import CounterSelector
from stages.values import Json


class CompareOf(OfArms):
    """``bad`` and ``total`` are series selectors of counters, to which ``arms`` adds its matchers."""

    counters: ClassVar[tuple[str, ...]] = ("bad", "total")

    bad: CounterSelector | None = None
    total: CounterSelector | None = None

    @model_validator(mode="after")
    def _two_selectors(self) -> Self:
        if self.bad is not None and self.bad == self.total:
            raise ValueError("bad and total are the same selector: bad selects the events that went wrong")
        return self

    @property
    def selectors(self) -> dict[str, str] | None:
        """Of both arms, by the name that they are counted under; None if a flag brings them."""
        if self.bad is None or self.total is None or self.arms is None:
            return None
        return arm_counts.arm_selectors(self.bad, self.total, {CANARY: self.arms.canary, CONTROL: self.arms.control})


class Compare(Counted):
    compare: CompareOf = Field(default_factory=CompareOf)

    def subject(self, stage_flag: str | None) -> str | None:
        return None if self.compare.bad is not None else self.compare.flag or stage_flag

    @property
    def terms(self) -> Terms:
        return Terms(self.compare.max_increase, self.for_seconds)


# --- a look -----------------------------------------------------------------------------------------------------------


def wanted(criterion: Compare, setting: Setting, memory: Memory, at: float) -> Wanted:
    selectors, by = _counters(criterion, setting)
    if not selectors or is_everybody(setting):
        return NOTHING_WANTED
    asked = counting(setting, memory, at, selectors, by)
    if asked.counting is None or Known.of(memory, setting).summary:
        return asked
    if setting.flag is not None:
        return replace(asked, history=earlier.flag_histories(setting))
    control = selectors[f"{CONTROL}_bad"], selectors[f"{CONTROL}_total"]
    return replace(asked, history=earlier.process_histories(*control, setting))


def judge(criterion: Compare, measurement: Measurement, memory: Memory, setting: Setting) -> Judgement:
    judgement = _judge_look(criterion, measurement, _of_this_step(memory, setting), setting)
    known = Known.of(judgement.memory, setting)
    against, excluded = known.logs
    enough = judgement.verdict is Verdict.PASS and judgement.enough and excluded >= LOG_HOLD
    value = known.shown.ratio
    return replace(judgement, value=value, log_evidence=against, log_excluded=excluded, enough=enough)


def _counters(criterion: Compare, setting: Setting) -> tuple[Mapping[str, str], tuple[str, ...]]:
    selectors = criterion.compare.selectors
    if selectors is not None:
        return selectors, earlier.PROCESS
    return (arm_counts.exposure_selectors(setting.flag) if setting.flag is not None else {}), earlier.LABELS


def _of_this_step(memory: Memory, setting: Setting) -> Memory:
    """An outage that began before the step is another's."""
    if memory.failing_since is None or memory.failing_since >= begins_at(setting):
        return memory
    return replace(memory, failing_since=None, missed_looks=0)


def _judge_look(criterion: Compare, measurement: Measurement, memory: Memory, setting: Setting) -> Judgement:
    selectors, _ = _counters(criterion, setting)
    if not selectors:
        return judge_nonsense(criterion, "there is no flag whose arms could be compared", measurement.at, memory)
    if measurement.state is not MeasurementState.OK:
        return judge_uncounted(criterion, measurement, memory, setting)
    known = Known.of(memory, setting)
    if is_everybody(setting):
        return judge_without_control(criterion, known, memory, setting)
    interval = interval_of(setting, memory, measurement.at)
    if interval is None:
        return judge_nothing_new(criterion, known, memory, setting, measurement.at)
    match _read(measurement, selectors, setting):
        case Absent(words=words):
            missing = replace(measurement, state=MeasurementState.MISSING, detail=words)
            return judge_uncounted(criterion, missing, memory, setting)
        case Nonsense(words=words):
            return judge_nonsense(criterion, words, measurement.at, memory)
        case ArmCounts() as counts:
            known = known if known.summary else replace(known, summary=_summary(measurement, setting))
            return judge_counts(criterion, criterion.terms, (known, counts, interval), memory, setting)
        case read:
            assert_never(read)


def _read(measurement: Measurement, selectors: Mapping[str, str], setting: Setting) -> ArmCounts | Absent | Nonsense:
    if setting.flag is not None:
        return arm_counts.of_flag(measurement, setting.flag, setting.percentage)
    return arm_counts.of_arms(measurement, selectors)


def _summary(measurement: Measurement, setting: Setting) -> dict[str, Json]:
    kept = earlier.flag_summary if setting.flag is not None else earlier.process_summary
    return kept(measurement.past, setting)
