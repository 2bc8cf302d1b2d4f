"""What a look says of two arms, once they are counted: the verdict of ``compare``, and its words.

In this order: an outage of the canary, which needs no test; a change that settles; evidence that fails; what keeps the
arms from being compared; evidence that holds; and else a pass.
"""

import math
from dataclasses import replace

from stages.criteria import before as earlier
from stages.criteria.arm_counts import ArmCounts
from stages.criteria.base import Criterion, Judgement, Memory, Setting, Verdict
from stages.criteria.comparing import OUTAGE_SECONDS, SAID_FROM, Known, Window
from stages.criteria.counted import LOG_HOLD, MOST_EXPECTED_IN_QUIET, counted, one_in, percent, settling, span
from stages.criteria.counting import Interval, begins_at, is_settling, with_counted_to
from stages.criteria.evidence import Terms
from stages.criteria.unmeasured import judge_unmeasured, span_since
from stages.statistics import share
from stages.statistics.two_arms import INCIDENT
from stages.values import format_duration

INCIDENT_EVENTS = 20.0  # of the control in one look
LATE_SECONDS = 60.0


def judge_counts(
    criterion: Criterion, terms: Terms, looked: tuple[Known, ArmCounts, Interval], memory: Memory, setting: Setting
) -> Judgement:
    """After one more interval was counted. *looked*: what was known before it, and what it counted."""
    known, counts, interval = looked
    known = known.with_bands(counts).with_outage(counts, interval, memory.failing_since is not None)
    known = known.fed(terms, counts, interval, setting)
    pending = span_since(memory.failing_since, interval.to) if known.outage.total > 0 else None
    memory = replace(with_counted_to(memory, interval, known.to_json(setting)), failing_since=pending)
    if known.is_outage:
        return _judge_outage(criterion, known.outage, memory)
    if interval.is_warmup:
        return judge_settling(criterion, known, memory, setting, interval.to)
    failed = _judge_failed(criterion, known, memory, setting)
    return (
        failed
        or _judge_uncomparable(criterion, known, counts, memory, setting)
        or judge_evidence(criterion, known, memory, setting)
    )


def judge_nothing_new(criterion: Criterion, known: Known, memory: Memory, setting: Setting, at: float) -> Judgement:
    """A look that is too early to count anything more than the one before."""
    if is_settling(setting, at):
        words = f"{criterion.name}: {settling(setting, at)}"
        return Judgement(Verdict.PASS, words, memory, enough=False, settling=True)
    return _judge_failed(criterion, known, memory, setting) or judge_evidence(criterion, known, memory, setting)


def judge_without_control(criterion: Criterion, known: Known, memory: Memory, setting: Setting) -> Judgement:
    """Everybody has the change: nobody is left to compare with, and what was seen on the way stands."""
    seen = f"; on the way it was {_numbers(known.shown)}" if known.shown.total > 0 else ""
    words = f"{criterion.name}: everybody has it, so there is no control any more{seen}"
    if known.logs[0] >= LOG_HOLD:
        return _judge_failed(criterion, known, memory, setting) or judge_evidence(criterion, known, memory, setting)
    return Judgement(Verdict.PASS, words, memory)


def judge_settling(criterion: Criterion, known: Known, memory: Memory, setting: Setting, at: float) -> Judgement:
    numbers = f"{_numbers(known.step)}; " if known.step.total > 0 else ""
    words = f"{criterion.name}: {numbers}{settling(setting, at + setting.scrape_seconds)}"
    return Judgement(Verdict.PASS, words, memory, enough=False, settling=True)


def judge_evidence(criterion: Criterion, known: Known, memory: Memory, setting: Setting) -> Judgement:
    """Of what has not failed."""
    against, excluded = known.logs
    window = known.shown
    if against >= LOG_HOLD:
        bar = f"it fails at 1 in {math.ceil(1 / setting.alpha):,}"
        words = f"{criterion.name}: {_numbers(window)}; {_chance(known)}, which holds ({bar})"
        return Judgement(Verdict.INCONCLUSIVE, words, memory)
    if window.total <= 0:
        return Judgement(Verdict.PASS, f"{criterion.name}: nothing was counted yet", memory, enough=False)
    said = f"{criterion.name}: {_numbers(window)}"
    if excluded >= LOG_HOLD:
        said += f"; worse by half is excluded, 1 in {math.floor(math.exp(min(excluded, 14.0))):,}"
    elif against >= SAID_FROM:
        said += (
            f"; the evidence against it is {math.exp(against):.1f} to 1 so far, and holds at {math.exp(LOG_HOLD):.0f}"
        )
    elif window.ratio is not None and window.ratio > 1:
        said += "; that much is within chance so far"
    return Judgement(Verdict.PASS, said, memory)


def _judge_failed(criterion: Criterion, known: Known, memory: Memory, setting: Setting) -> Judgement | None:
    if known.logs[0] < -math.log(setting.alpha):
        return None
    return Judgement(Verdict.FAIL, f"{criterion.name}: {_numbers(known.shown)}; {_chance(known)}", memory)


def _judge_outage(criterion: Criterion, outage: Window, memory: Memory) -> Judgement:
    of_control = percent(outage.control_bad / outage.control_total)
    numbers = (
        f"{criterion.name}: {counted(outage.bad)} of the canary's last {counted(outage.total)} went wrong, "
        f"{percent(outage.bad / outage.total)}, and {of_control} of the control's"
    )
    if outage.seconds >= OUTAGE_SECONDS:
        lasted = format_duration(math.floor(outage.seconds))
        return Judgement(Verdict.FAIL, f"{numbers}, for {lasted}: an outage, which needs no test", memory)
    pending = f"pending {format_duration(math.floor(outage.seconds))} of {format_duration(OUTAGE_SECONDS)}"
    return Judgement(Verdict.INCONCLUSIVE, f"{numbers}: an outage; {pending}", memory)


# --- what keeps the arms from being compared --------------------------------------------------------------------------


def _judge_uncomparable(
    criterion: Criterion, known: Known, counts: ArmCounts, memory: Memory, setting: Setting
) -> Judgement | None:
    return (
        _judge_incident(criterion, counts, memory)
        or _judge_late(criterion, known, memory)
        or _judge_share(criterion, known, memory, setting)
        or _judge_silence(criterion, known, counts, memory, setting)
    )


def _judge_incident(criterion: Criterion, counts: ArmCounts, memory: Memory) -> Judgement | None:
    control = counts.control
    if control.bad < INCIDENT_EVENTS or control.bad <= INCIDENT * control.total:
        return None
    words = (
        f"{criterion.name}: {counted(control.bad)} of the control's last {counted(control.total)} went wrong, "
        f"{percent(control.bad / control.total)}: an incident in both arms, so neither is judged"
    )
    return Judgement(Verdict.INCONCLUSIVE, words, memory)


def _judge_late(criterion: Criterion, known: Known, memory: Memory) -> Judgement | None:
    if known.late_seconds < LATE_SECONDS:
        return None
    words = (
        f"{criterion.name}: keys below the percentage are still served without the flag, "
        f"{span(known.late_seconds)} after the change settled: some process does not know of it"
    )
    return Judgement(Verdict.INCONCLUSIVE, words, memory, mismatch=True)


def _judge_share(criterion: Criterion, known: Known, memory: Memory, setting: Setting) -> Judgement | None:
    """Requests that vanish, or come twice, leave what is left without meaning."""
    counted_to = begins_at(setting) + known.step.seconds
    expected = earlier.range_at(known.summary, setting, counted_to)
    if expected is None or not share.differs(expected, known.cohort, known.drawn, known.step.seconds):
        return None
    low, high = (1 / (1 + math.exp(-float(bound))) for bound in (expected.lower, expected.upper))
    words = (
        f"{criterion.name}: the keys below the percentage make {percent(known.cohort / known.drawn)} of all requests "
        f"({counted(known.cohort)} of {counted(known.drawn)}); before, they made {percent(low)} to {percent(high)}"
    )
    return Judgement(Verdict.INCONCLUSIVE, words, memory, mismatch=True)


def _judge_silence(
    criterion: Criterion, known: Known, counts: ArmCounts, memory: Memory, setting: Setting
) -> Judgement | None:
    """An arm without events, for longer than chance explains by the rate at which they came before."""
    if counts.canary.total > 0 and counts.control.total > 0:
        return None
    if counts.control.total <= 0 and counts.canary.total > 0:
        said = f"{criterion.name}: no requests reached the control, so there is nothing to compare with"
        return judge_unmeasured(criterion, said, False, begins_at(setting) + known.step.seconds, memory)
    if not _is_silent(known):
        return None
    said = f"{criterion.name}: no requests reached the canary"
    if counts.control.total > 0:
        said += f", and {counted(counts.control.total)} the control"
    return judge_unmeasured(criterion, said, False, begins_at(setting) + known.step.seconds, memory)


def _is_silent(known: Known) -> bool:
    if known.eventful_to is None or known.step.total <= 0 or known.evidence.step is None:
        return True
    counted_seconds = known.step.seconds
    newest = known.evidence.step_began + counted_seconds
    quiet_seconds = newest - known.eventful_to
    eventful_seconds = counted_seconds - quiet_seconds
    return eventful_seconds <= 0 or quiet_seconds * known.step.total / eventful_seconds > MOST_EXPECTED_IN_QUIET


# --- words ------------------------------------------------------------------------------------------------------------


def _numbers(window: Window) -> str:
    """``2.4x the control's: 61 of 1,530 (3.99%) against 512 of 30,410 (1.68%)``."""
    canary = f"{counted(window.bad)} of {counted(window.total)}"
    canary += f" ({percent(window.bad / window.total)})" if window.total > 0 else ""
    control = f"{counted(window.control_bad)} of {counted(window.control_total)}"
    control += f" ({percent(window.control_bad / window.control_total)})" if window.control_total > 0 else ""
    times = f"{window.ratio:.3g}x the control's: " if window.ratio is not None else ""
    return f"{times}{canary} against {control}"


def _chance(known: Known) -> str:
    """Up to what size is allowed for goes into the evidence, so the chance is that of a release that is no worse."""
    allowed = "" if known.keys.against <= 1 else f" (its keys had up to {known.keys.against:.2g}x their share before)"
    return f"the chance of this on a healthy release is below {one_in(known.logs[0])}{allowed}"
