"""``change``: after the step against before it, where no concurrent control exists.

Of a query, the values over the ``window`` before the change are asked for once, and what they were is remembered: their
mean, and how much means of blocks vary (``stages.statistics.baseline``). Other sources have no past that could be
asked, so the looks that were made before the change are their baseline. The mean of the looks since the step is held
against the upper bound of what the baseline lets expect, with ``max_increase`` on top of it; likewise the newest
quarter of a window, for what rises late; and the newest looks, so that a spike that is over is over.

Before and after differ by more than the change: by the time of day, by everything else that happened. So a breach only
holds, unless the plan says that it ``fails``; then it is pending for ``for``. An increase is worse, a decrease never.
How often the hour after an hour of baseline is held though nothing was changed, with a ``max_increase`` of 0: white
noise, averages of 5 minutes and what wanders within minutes (AR(1) of 2.5) below 1 %, but 8 % of what wanders within 25
minutes, 13 % within 83, and 29 % of a daily wave ten times as high as the noise on it. It is ``max_increase`` that has
to cover such wandering.

What is added is ``max_increase`` of the bound's size, so that a negative level (a headroom of -20) may rise by as much
as a positive one. Of a level that was 0 all the time an increase in per cent can't be told; a rise from it holds.
"""

import math
from dataclasses import dataclass, replace
from typing import Self, assert_never

from pydantic import field_validator, model_validator

from stages.checks import HttpRequest, Source
from stages.criteria.base import (
    NOTHING_WANTED,
    Criterion,
    History,
    Judgement,
    Measurement,
    MeasurementState,
    Memory,
    Setting,
    Verdict,
    Wanted,
)
from stages.criteria.counted import USUAL_FOR_SECONDS, percent, settling, span
from stages.criteria.counting import begins_at, settled_at
from stages.criteria.levels import BLOCKS, MOST_SERIES, Level, Levels, usable
from stages.criteria.unmeasured import because, judge_unmeasured, span_since
from stages.promql import InvalidQuery, lookback_seconds
from stages.statistics.baseline import Moments, upper, upper_together
from stages.values import Duration, Part, Share, Words, format_duration

SOURCES = ("query", "sql", "http", "command")
POINTS = 200  # of history
SHORTEST_WINDOW_SECONDS = 60.0
FEWEST_STRETCHES = 5  # as long as a query looks back, that a window must hold to tell how its values vary
LARGEST_INCREASE = 10.0
NEWEST_LOOKS = 4
LATE_PART = 4  # of the window is looked at by itself: what rises late would be hidden by what was before

_UNUSED = ("query", "sql", "http", "command", "script", "health", "file", "env", "no_answer")
_BELONGS = {"database": ("sql",), "source": ("query", "sql"), "dir": ("command",), "vars": ("command",)}


class ChangeOf(Part):
    """What is measured, and ``window``, the span before the change that serves as the baseline."""

    query: str | None = None
    sql: str | None = None
    http: HttpRequest | None = None
    command: Words | None = None
    window: Duration
    max_increase: Share
    fails: bool = False

    @field_validator("window")
    @classmethod
    def _long_enough(cls, value: float) -> float:
        if value < SHORTEST_WINDOW_SECONDS:
            least = format_duration(SHORTEST_WINDOW_SECONDS)
            raise ValueError(f"a window of at least {least} is expected, not {format_duration(value)}")
        return value

    @field_validator("max_increase")
    @classmethod
    def _some_increase(cls, value: float) -> float:
        if value < 0:
            raise ValueError("max_increase is 0 or more: a decrease is never worse here")
        if value > LARGEST_INCREASE:
            raise ValueError(f'max_increase is at most {percent(LARGEST_INCREASE)} (is "{value:g}%" meant?)')
        return value

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        given = [name for name in SOURCES if getattr(self, name) is not None]
        if len(given) != 1:
            found = " and ".join(given) or "none"
            raise ValueError(f"a change measures exactly one of {', '.join(SOURCES)}; found {found}")
        if self.query is not None:
            self._check_query(self.query)
        return self

    @field_validator("query")
    @classmethod
    def _some_promql(cls, value: str | None) -> str | None:
        try:
            back_seconds = lookback_seconds(value or "0")
        except InvalidQuery as error:
            raise ValueError(f"the query is not PromQL: {error}") from None
        if math.isinf(back_seconds):
            raise ValueError("the query is fixed to a time with @, so it never sees anything of the change")
        return value

    def _check_query(self, query: str) -> None:
        back_seconds = lookback_seconds(query)
        if self.window < FEWEST_STRETCHES * back_seconds:
            least = format_duration(FEWEST_STRETCHES * back_seconds)
            raise ValueError(
                f"a window of at least {least} is expected, {FEWEST_STRETCHES} times as long as the query looks back: "
                "a shorter one does not show how the values vary by themselves"
            )

    @property
    def kind(self) -> str:
        return next(name for name in SOURCES if getattr(self, name) is not None)


class Change(Criterion):
    change: ChangeOf

    @model_validator(mode="after")
    def _measures_its_change(self) -> Self:
        for name in _UNUSED:
            if name in self.model_fields_set:
                hint = f"write it as change.{name}" if name in SOURCES else "a change measures its own source"
                raise ValueError(f"{name} would be ignored here: {hint}")
        for name, owners in _BELONGS.items():
            if name in self.model_fields_set and self.change.kind not in owners:
                raise ValueError(f"{name} belongs to {' and '.join(owners)}, not to {self.change.kind}")
        return self

    @property
    def for_seconds(self) -> float:
        return USUAL_FOR_SECONDS if self.for_ is None else self.for_

    @property
    def asked(self) -> Source:
        change = self.change
        return Source(
            query=change.query,
            sql=change.sql,
            http=change.http,
            command=change.command,
            database=self.database,
            source=self.source,
            dir=self.dir,
            vars=self.vars,
            timeout=self.timeout,
        )


def wanted(criterion: Change, setting: Setting, memory: Memory, _at: float) -> Wanted:
    """The past of a query, once it is known by which labels its series are told apart."""
    query, levels = criterion.change.query, Levels.of(memory)
    if query is None or not levels.lacks_history(setting):
        return NOTHING_WANTED
    window = criterion.change.window
    to = float(math.floor(setting.before))
    step_seconds = max(setting.every_seconds, window / POINTS)
    return Wanted(history=(History("before", query, to - window, to, step_seconds, levels.names or ()),))


def judge(criterion: Change, measurement: Measurement, memory: Memory, setting: Setting) -> Judgement:
    memory = _of_this_step(memory, setting)
    if measurement.state is not MeasurementState.OK:
        return _judge_unmeasured(criterion, measurement, memory)
    values = usable(measurement)
    if not measurement.series:
        return _judge_unmeasured(criterion, replace(measurement, state=MeasurementState.MISSING), memory)
    if not values:
        return judge_unmeasured(criterion, f"{criterion.name} is not a finite number", False, measurement.at, memory)
    if len(values) > MOST_SERIES:
        words = f"{criterion.name} has {len(values)} series, more than {MOST_SERIES} can be told apart: aggregate them"
        return judge_unmeasured(criterion, words, False, measurement.at, memory)
    levels = _with_look(criterion, measurement, memory, setting)
    memory = replace(memory, extra=levels.to_json(), missing_since=None)
    if measurement.at - measurement.lookback_seconds < settled_at(setting):
        return _judge_too_soon(criterion, measurement, replace(memory, failing_since=None, missed_looks=0), setting)
    return _judge_levels(criterion, measurement, {key: levels.series[key] for key in values}, memory, setting)


def _of_this_step(memory: Memory, setting: Setting) -> Memory:
    """A breach that was pending before the step is another's."""
    if memory.failing_since is None or memory.failing_since > begins_at(setting):
        return memory
    return replace(memory, failing_since=None, missed_looks=0)


def _with_look(criterion: Change, measurement: Measurement, memory: Memory, setting: Setting) -> Levels:
    levels, window = Levels.of(memory), criterion.change.window
    if criterion.change.query is None:
        return levels.with_look(usable(measurement), measurement, setting, window).with_looks_before(setting, window)
    if levels.lacks_history(setting):
        block_seconds = max(window / BLOCKS, measurement.lookback_seconds)
        levels = levels.with_history(measurement.past, setting, block_seconds)
    return levels.with_look(usable(measurement), measurement, setting, window)


def _judge_unmeasured(criterion: Change, measurement: Measurement, memory: Memory) -> Judgement:
    name, why, at = criterion.name, because(measurement), measurement.at
    match measurement.state:
        case MeasurementState.MISSING | MeasurementState.OK:
            if criterion.empty != "inconclusive":
                kept = replace(memory, failing_since=None, missed_looks=0, missing_since=None)
                words = f"{name} has no series{why}; the plan counts that as a pass"
                return Judgement(Verdict.PASS, words, kept)
            return judge_unmeasured(criterion, f"{name} has no series{why}", True, at, memory)
        case MeasurementState.STALE:
            return judge_unmeasured(criterion, f"{name} is stale{why}", True, at, memory)
        case MeasurementState.ERROR:
            return judge_unmeasured(criterion, f"{name} could not be measured{why}", True, at, memory)
        case MeasurementState.INSUFFICIENT:
            return judge_unmeasured(criterion, f"{name} has nothing to judge yet{why}", False, at, memory)
        case _:
            assert_never(measurement.state)


def _judge_too_soon(criterion: Change, measurement: Measurement, memory: Memory, setting: Setting) -> Judgement:
    """A pass that counts for nothing: the core knows how far a look reaches back, too."""
    if measurement.at < settled_at(setting):
        return Judgement(
            Verdict.PASS, f"{criterion.name}: {settling(setting, measurement.at)}", memory, enough=False, settling=True
        )
    left = math.ceil(settled_at(setting) + measurement.lookback_seconds - measurement.at)
    words = f"{criterion.name}: what is measured reaches back before the step for another {format_duration(left)}"
    return Judgement(Verdict.PASS, words, memory, enough=False, settling=True)


# --- before and after -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Mean:
    """Of looks since the step, and the most that the baseline lets expect of it."""

    moments: Moments
    limit: float

    @property
    def is_above(self) -> bool:
        """By more than rounding."""
        return self.moments.mean > self.limit + 1e-9 * abs(self.limit)


@dataclass(frozen=True, slots=True)
class _Compared:
    """One series: the mean of *before*, of so many values, and of *after*, with the words for when that is."""

    key: str
    before: float
    values_before: int
    after: _Mean
    when: str
    newest: _Mean

    @property
    def is_above(self) -> bool:
        return self.after.is_above and self.newest.is_above

    @property
    def was_nothing(self) -> bool:
        """Whether it was 0 all the time, so that an increase has no size in per cent."""
        return self.before == 0 and self.after.limit == 0

    @property
    def excess(self) -> float:
        """How far above the limit, in sizes of the level before."""
        return (self.after.moments.mean - self.after.limit) / (abs(self.before) or 1.0)

    @property
    def times(self) -> float:
        mean = self.after.moments.mean
        return mean / self.before if self.before > 0 else mean


def _compared(criterion: Change, key: str, level: Level, setting: Setting) -> _Compared | None:
    """None without a baseline, or if there are too few values to tell how they vary."""
    window = criterion.change.window
    newest_seconds = max(criterion.for_seconds, NEWEST_LOOKS * setting.every_seconds)
    spans = (window, window / LATE_PART, newest_seconds)
    whole, late, newest = (_mean(criterion, level, level.since_step(setting, seconds)) for seconds in spans)
    if whole is None or late is None or newest is None:
        return None
    if level.known is not None:
        before, values = float(level.known.mean), level.known.values
    else:
        assert level.few is not None
        before, values = level.few.mean, round(level.few.count)
    since, lately = "since the step", f"over the newest {span(window / LATE_PART)}"
    pairs = [_Compared(key, before, values, after, when, newest) for after, when in ((whole, since), (late, lately))]
    return max(pairs, key=lambda one: (one.is_above, one.is_above and one.excess))


def _mean(criterion: Change, level: Level, after: Moments | None) -> _Mean | None:
    bound = _bound(level, after) if after is not None else None
    if after is None or bound is None:
        return None
    return _Mean(after, bound + criterion.change.max_increase * abs(bound))


def _bound(level: Level, after: Moments) -> float | None:
    if level.known is not None:
        return float(upper(level.known, after.count))
    return upper_together(level.few, after) if level.few is not None and level.is_of_looks else None


def _judge_levels(
    criterion: Change, measurement: Measurement, levels: dict[str, Level], memory: Memory, setting: Setting
) -> Judgement:
    """The series that is farthest above its limit decides and is named. What can't be compared keeps from passing."""
    compared = {key: _compared(criterion, key, level, setting) for key, level in levels.items()}
    found = [one for one in compared.values() if one is not None]
    worst = max(found, key=lambda one: (one.is_above, one.excess), default=None)
    if worst is None or (not worst.is_above and (len(found) < len(measurement.series))):
        lacking = {key: level for key, level in levels.items() if compared[key] is None}
        words = f"{criterion.name}: {_why_nothing(criterion, lacking, setting)}"
        return judge_unmeasured(criterion, words, False, measurement.at, memory)
    words = f"{criterion.name}{_where(worst, levels)}: {_in_words(criterion, worst)}"
    kept = replace(memory, failing_since=None, missed_looks=0)
    if not worst.is_above:
        is_enough = worst.after.moments.count >= NEWEST_LOOKS
        return Judgement(Verdict.PASS, words, kept, worst.times, worst.key, enough=is_enough)
    if not criterion.change.fails or worst.was_nothing:
        return Judgement(Verdict.INCONCLUSIVE, f"{words}; {_why_held(worst)}", kept, worst.times, worst.key)
    return _pending(criterion, measurement.at, Judgement(Verdict.FAIL, words, memory, worst.times, worst.key))


def _pending(criterion: Change, at: float, breach: Judgement) -> Judgement:
    since = span_since(breach.memory.failing_since, at)
    breach = replace(breach, memory=replace(breach.memory, failing_since=since, missed_looks=0))
    lasted = format_duration(round(at - since))
    if at - since >= criterion.for_seconds:
        told = f"{breach.sentence}, for {lasted}" if criterion.for_seconds else breach.sentence
        return replace(breach, sentence=told)
    waiting = f"{breach.sentence}; pending {lasted} of {format_duration(criterion.for_seconds)}"
    return replace(breach, verdict=Verdict.INCONCLUSIVE, sentence=waiting)


def _why_held(worst: _Compared) -> str:
    if worst.was_nothing:
        return "of nothing an increase in per cent can't be told, so this holds: a threshold says how much is too much"
    return "before and after differ by more than this change, so it holds and does not fail"


def _why_nothing(criterion: Change, lacking: dict[str, Level], setting: Setting) -> str:
    """Why these series could not be compared; none of them: because they are no numbers."""
    ago = span(criterion.change.window)
    named = f" at {next(iter(lacking))}" if any(lacking) else ""
    if not lacking:
        return "one of its series is not a finite number"
    if criterion.change.query is None:
        if all(one.few is None and one.known is None for one in lacking.values()):
            return f"no look was made before the change, so there is nothing to compare with{named}"
        return f"there are too few looks yet to tell how the values vary by themselves{named}"
    if any(one.before != setting.before for one in lacking.values()):
        return f"the {ago} before the change are being asked for{named}"
    if any(one.few is not None for one in lacking.values()):
        return f"there are too few values in the {ago} before the change to compare with{named}"
    hint = "; if its series come and go, aggregate them" if named else ""
    return f"there are no values in the {ago} before the change to compare with{named}{hint}"


def _in_words(criterion: Change, one: _Compared) -> str:
    after, change = one.after.moments, criterion.change
    looks = f"mean of {after.count:.0f} looks" if after.count > 1 else "one look"
    ago = f"the {format_duration(change.window)}" if change.query else f"{one.values_before} looks"
    most = f"{one.after.limit:.4g} is to be expected ({percent(change.max_increase)} included)"
    words = f"{after.mean:.4g} {one.when} ({looks})"
    if not one.is_above:
        return f"{words}, {one.before:.4g} in {ago} before; up to {most}"
    times = f"{one.times:.3g} times the {one.before:.4g} of" if one.before > 0 else f"{one.before:.4g} in"
    return f"{words}, {times} {ago} before, where at most {most}"


def _where(one: _Compared, levels: dict[str, Level]) -> str:
    return (f" at {one.key}" if one.key else "") + (f" (worst of {len(levels)} series)" if len(levels) > 1 else "")
