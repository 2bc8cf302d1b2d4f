"""``slo``: how fast the canary's own series burn the error budget of an objective.

An objective of 99.9 % leaves a budget of 0.1 % bad events; a share of 1.6 % of them burns it 16x too fast. It is too
fast to go on at 14.4x (2 % of a 30 days' budget in an hour), measured over the last hour and over the last five minutes
both: the long window says that it is serious, the short one that it is not over. At 6x over six hours and 30 minutes it
is serious enough to hold. After a step all windows begin with it, since what was before is not the canary's.

These bounds are Google's (The Site Reliability Workbook, chapter 5), made for a service that is watched for weeks.
A canary is minutes old and may have had 60 events, one of which was bad: 16x. So the events must be evidence too. The
criterion fails only where "burns at most 6x" is rejected as well, at the run's error budget, by the sequential test of
``stages.statistics.one_sample`` (which also caps what a short blip may say); and holds only where "burns at most 1x"
is, at 20 to 1. At 14.4x the former takes some 25 bad events and at 50x about 6. A service that may stay is thus failed
with the probability ``alpha`` at most, though the windows are looked at for ever.

Counted should be the canary's own events: among all events of a service a canary's are diluted by its share.
"""

import math
from dataclasses import dataclass, replace

from pydantic import field_validator

from stages.criteria import bins as binned
from stages.criteria.base import Judgement, Measurement, Memory, Setting, Verdict, Wanted
from stages.criteria.bins import Bin
from stages.criteria.counted import (
    LOG_HOLD,
    BadOfTotal,
    Counted,
    counted,
    judge_settling,
    judge_without,
    one_in,
    percent,
    span,
    taken,
)
from stages.criteria.counted_evidence import EXCLUDED, Known, fed, in_step, known_of
from stages.criteria.counting import Interval, counting, settled_at, with_counted_to
from stages.statistics.one_sample import BETTER, Test, at_least, at_most
from stages.values import Share

FAST, SLOW = 14.4, 6.0
FAST_SECONDS = (3600.0, 300.0)
SLOW_SECONDS = (6 * 3600.0, 1800.0)

AGAINST_SLOW = "against_slow"
AGAINST_ANY = "against_any"
TIMES_SLOW = (1.6, FAST / SLOW, 6.0, 20.0)
TIMES_ANY = (2.5, SLOW, FAST, 50.0)
SHAPES = {AGAINST_SLOW: len(TIMES_SLOW), AGAINST_ANY: len(TIMES_ANY), EXCLUDED: len(BETTER)}


def _exactly(share: float) -> str:
    return f"{100 * share:.10g}%"


class SloOf(BadOfTotal):
    """``objective`` is the share of good events that is promised, such as 99.9 %."""

    objective: Share

    @field_validator("objective")
    @classmethod
    def _can_be_missed(cls, value: float) -> float:
        if value >= 1:
            said = f' (is "{value:g}%" meant?)' if 1 < value < 100 else ""
            raise ValueError(f"an objective of {_exactly(value)} leaves no error budget to burn{said}")
        if value <= 0.5:
            raise ValueError(f"the objective is the share of good events, such as 99.9%, not {_exactly(value)}")
        if (1 - value) * FAST >= 1:
            most = f"{1 / (1 - value):.3g}x"
            raise ValueError(
                f"an objective of {_exactly(value)} can't be burnt {FAST}x too fast, for with all events bad it is "
                f"{most}: use ratio, with at_most"
            )
        return value

    @property
    def budget(self) -> float:
        return 1 - self.objective


class Slo(Counted):
    slo: SloOf

    def tests(self, interval: Interval, setting: Setting) -> dict[str, Test]:
        budget, looks, hold = self.slo.budget, self.cap_looks(interval, setting), math.exp(-LOG_HOLD)
        return {
            AGAINST_SLOW: at_most(SLOW * budget, setting.alpha, looks, TIMES_SLOW),
            AGAINST_ANY: at_most(budget, hold, looks, TIMES_ANY),
            EXCLUDED: at_least(SLOW * budget, hold, looks),
        }


def wanted(criterion: Slo, setting: Setting, memory: Memory, at: float) -> Wanted:
    return counting(setting, memory, at, criterion.slo.selectors)


def judge(criterion: Slo, measurement: Measurement, memory: Memory, setting: Setting) -> Judgement:
    """The evidence counts against the run only while the windows burn too fast: less of it is still an e-value."""
    judgement = _judge_look(criterion, measurement, memory, setting)
    known = _known_of(judgement.memory, setting)
    long, excluded, against = _burn(criterion, known, FAST_SECONDS), known.log(EXCLUDED), known.log(AGAINST_SLOW)
    return replace(
        judgement,
        value=long.times[0] if long is not None else None,
        log_evidence=against if long is not None and long.slowest >= FAST else min(against, 0.0),
        log_excluded=excluded,
        enough=judgement.enough and judgement.verdict is Verdict.PASS and excluded >= LOG_HOLD,
    )


def _known_of(memory: Memory, setting: Setting) -> Known:
    """Windows do not reach back before the step has settled."""
    known = known_of(memory, setting, SHAPES)
    return replace(known, bins=binned.after(known.bins, settled_at(setting)))


def _judge_look(criterion: Slo, measurement: Measurement, memory: Memory, setting: Setting) -> Judgement:
    known, at = _known_of(memory, setting), measurement.at
    looked = taken(criterion, measurement, memory, setting)
    if isinstance(looked, Judgement):
        return looked
    if looked is None:
        return judge_without(criterion, known, at, memory, setting) or _judge_burn(criterion, known, memory, setting)
    interval, events = looked
    if interval.is_warmup:
        return judge_settling(criterion, looked, with_counted_to(memory, interval, known.to_json()), setting)
    tests = criterion.tests(interval, setting)
    known = in_step(known, interval, setting)
    known = fed(known, interval, events, tests, SLOW * criterion.slo.budget, binned.LONGEST_WINDOW_SECONDS)
    memory = with_counted_to(memory, interval, known.to_json())
    silent = judge_without(criterion, known, at, memory, setting) if events.total <= 0 else None
    is_unseen = events.total > 0 and events.bad_series == 0
    return silent or _judge_burn(criterion, known, memory, setting, is_unseen)


# --- how fast it burns ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Burn:
    """How many *times* too fast the budget is burnt over two windows, the long one first."""

    windows: tuple[Bin, Bin]
    times: tuple[float, float]

    @property
    def slowest(self) -> float:
        return min(self.times)

    def in_words(self, objective: float) -> str:
        (long, short), (times, recently) = self.windows, self.times
        fast = f"{times:.3g}x too fast" if times > 1 else f"at {times:.3g}x"
        lately = f" (and {recently:.3g}x over {span(short.to - short.from_)})" if long != short else ""
        return (
            f"the error budget burns {fast} over {span(long.to - long.from_)}{lately}: "
            f"{counted(long.bad)} of {counted(long.total)} events were bad, "
            f"the objective {_exactly(objective)} allows {percent(1 - objective)}"
        )


def _burn(criterion: Slo, known: Known, seconds: tuple[float, float]) -> _Burn | None:
    """None if there were no events in one of the windows."""
    long, short = known.window(seconds[0]), known.window(seconds[1])
    if long is None or short is None:
        return None
    budget = criterion.slo.budget
    return _Burn((long, short), (long.share / budget, short.share / budget))


def _judge_burn(criterion: Slo, known: Known, memory: Memory, setting: Setting, is_unseen: bool = False) -> Judgement:
    """*is_unseen*: there is no series of bad events, which may be a mistake of the plan."""
    fast, slow = _burn(criterion, known, FAST_SECONDS), _burn(criterion, known, SLOW_SECONDS)
    if fast is None or slow is None:
        words = f"{criterion.name}: no events over {span(FAST_SECONDS[1])}, as is usual here"
        return Judgement(Verdict.PASS, words, memory)
    against, against_any = known.log(AGAINST_SLOW), known.log(AGAINST_ANY)
    words = f"{criterion.name}: {fast.in_words(criterion.slo.objective)}"
    if fast.slowest >= FAST and against >= LOG_HOLD:
        words += f"; {FAST}x is too much, and the chance of this at {SLOW:g}x is below {one_in(against)}"
        if against >= -math.log(setting.alpha):
            return Judgement(Verdict.FAIL, words, memory)
        words += f", which holds (it fails at 1 in {math.ceil(1 / setting.alpha):,})"
        return Judgement(Verdict.INCONCLUSIVE, words, memory)
    if slow.slowest >= SLOW and against_any >= LOG_HOLD:
        chance = f"the chance of this at 1x is below {one_in(against_any)}"
        held = f"{criterion.name}: {slow.in_words(criterion.slo.objective)}"
        return Judgement(Verdict.INCONCLUSIVE, f"{held}; {SLOW:g}x holds, and {chance}", memory)
    if slow.slowest >= SLOW or fast.slowest >= FAST:
        return Judgement(Verdict.PASS, f"{words}; so few bad events are within chance so far", memory)
    words += "; there is no series of bad events, which counts as none" if is_unseen else ""
    return Judgement(Verdict.PASS, words, memory)
