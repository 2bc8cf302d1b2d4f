"""Counters over an interval, exactly: by how much each rose, from its raw samples.

Theory of operation. ``rate`` and ``increase`` extrapolate to the ends of their window and know nothing of a series
before its first sample, so counts over intervals that follow one another would not add up, and the first errors of a
new version would be lost. So the samples themselves are asked for, ``selector[range]`` at the fixed end of the
interval, reaching back far enough to hold each series' newest sample before the interval: its base. (A sample at the
very begin of the range is in some servers' answers and not in others'; the range is longer than it must be.)

A series without a base has been away for a minute, or is new. What it was within the hour before is asked for then, so
that neither a gap nor an outage makes it count its whole life. If it was not there either, it counts from 0, provided
that the server was watching: that its target (job and instance) has other series that were there, or was scraped
(``up``), or was no target an hour ago, when others were. Else nobody knows how long it has been counting, and it counts
from its first sample.

A series that has ended has contributed what it had. It ends when its process is gone and when a scrape of its target
fails; both leave a mark, after which an instant query no longer finds it. So with the canary's only target out of
reach its total is soon not there at all, which is no zero. Where no series of a selector is fresh, and a last one has
no such mark, samples are late or lost on the way to the server: the look is stale, and counts nothing. The server
forgets a series without a mark after five minutes; then it has ended.

Long intervals are read in pieces, for an hour of thousands of series is more than one answer should hold.
"""

import asyncio
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from orchestrator.adapters.prometheus.answers import Point, RefusedQuery, Series, UnusableAnswer, read_points, short
from orchestrator.adapters.prometheus.api import Answered, Api, Question, Server, instant
from orchestrator.adapters.prometheus.counters import Key, increase, key_of, read_counters
from orchestrator.adapters.prometheus.instant import STALE_AFTER_SCRAPES
from orchestrator.adapters.prometheus.parts import wholes_of
from stages.criteria.base import Count, Counting, MeasurementState
from stages.values import format_duration

BASE_SCRAPES = 2.5
SHORTEST_REACH_SECONDS = 60.0
RANGE_STEP_SECONDS = 30.0  # ranges are multiples of it, so that runs whose intervals differ ask the same
PIECE_SECONDS = 600.0
BEFORE = "1h"
OLD_SPAN, OLD_OFFSET = "10m", "50m"  # the begin of that hour
MOST_BYTES = 16 * 1024 * 1024
SMALLEST_SKEW_SECONDS = 5.0

Target = tuple[str, str]  # job and instance


@dataclass(frozen=True, slots=True)
class Counted:
    state: MeasurementState
    detail: str = ""
    counts: tuple[Count, ...] = ()


@dataclass(frozen=True, slots=True)
class Piece:
    """``(from_, to]`` with the series that were found in it and before it, by name."""

    from_: float
    to: float
    found: Mapping[str, Sequence[Series]]

    def named(self) -> Iterable[tuple[str, Series]]:
        return ((name, one) for name, series in self.found.items() for one in series)

    def has_base(self, series: Series) -> bool:
        return series.times[0] <= self.from_


async def count(api: Api, server: Server, counting: Counting, second: float) -> Counted:
    """What a look of that *second* counts: all of it, or nothing and why. Raises as ``Api.ask`` does."""
    return await _Look(api, server, counting, second).count()


def pieces_of(from_: float, to: float) -> list[tuple[float, float]]:
    number = max(math.ceil((to - from_) / PIECE_SECONDS), 1)
    return list(pairwise([*(from_ + PIECE_SECONDS * index for index in range(number)), to]))


def range_seconds(from_: float, to: float, scrape_seconds: float) -> float:
    reach_seconds = max(BASE_SCRAPES * scrape_seconds, SHORTEST_REACH_SECONDS)
    return math.ceil((to - from_ + reach_seconds) / RANGE_STEP_SECONDS) * RANGE_STEP_SECONDS


@dataclass(frozen=True, slots=True)
class _Look:
    api: Api
    server: Server
    counting: Counting
    second: float

    async def count(self) -> Counted:
        tally = _Tally(self.counting.by, STALE_AFTER_SCRAPES * self.server.scrape_seconds)
        piece: Piece | None = None
        for from_, to in pieces_of(self.counting.from_, self.counting.to):
            piece = await self._read(from_, to)
            tally.add(piece, await _Bases(self, piece).ask())
        assert piece is not None
        unfit = await self._unfit(piece, tally)
        return unfit or Counted(MeasurementState.OK, counts=tally.counts())

    async def _read(self, from_: float, to: float) -> Piece:
        wholes = wholes_of(self.counting.selectors)
        names = list(dict.fromkeys(whole for whole, _ in wholes.values()))
        answers = await asyncio.gather(*(self._series(name, from_, to) for name in names))
        asked = dict(zip(names, answers, strict=True))
        found = {
            name: [one for one in asked[whole] if belongs(one.labels)] for name, (whole, belongs) in wholes.items()
        }
        return Piece(from_, to, found)

    async def _series(self, name: str, from_: float, to: float) -> list[Series]:
        selector = self.counting.selectors[name]
        reach_seconds = range_seconds(from_, to, self.server.scrape_seconds)
        question = instant(f"{selector}[{reach_seconds:.0f}s]", to, read_counters, MOST_BYTES)
        try:
            answered = await self.ask(question)
        except RefusedQuery as error:
            raise UnusableAnswer(f"{error}; it was asked for {name}, the series {short(selector)}") from error
        self._check_clock(answered.ahead_seconds)
        return answered.value

    async def ask(self, question: Question[list[Series]]) -> Answered[list[Series]]:
        return await self.api.ask(self.server, question, self.second)

    async def points(self, query: str, at: float) -> list[Point]:
        return (await self.api.ask(self.server, instant(query, at, read_points, MOST_BYTES), self.second)).value

    def _check_clock(self, ahead_seconds: float | None) -> None:
        """Samples are dated by the server's clock: by another one the interval would be another time."""
        if ahead_seconds is None or abs(ahead_seconds) <= max(self.server.scrape_seconds, SMALLEST_SKEW_SECONDS):
            return
        where = "ahead of" if ahead_seconds > 0 else "behind"
        off = format_duration(round(abs(ahead_seconds)))
        raise UnusableAnswer(
            f"has a clock that is {off} {where} the controller's, so what it counts is of another time; set both right"
        )

    async def _unfit(self, last: Piece, tally: "_Tally") -> Counted | None:
        """Why nothing is counted: no series, or none that is fresh."""
        present = {name: max(one.times[-1] for one in series) for name, series in last.found.items() if series}
        if not present and not tally.counts():
            names = ", ".join(self.counting.selectors)
            selector = short(next(iter(self.counting.selectors.values()), ""))
            return Counted(MeasurementState.MISSING, f"{self.server.name} has no series for {names} ({selector})")
        fresh_from = last.to - STALE_AFTER_SCRAPES * self.server.scrape_seconds
        old = {name: newest for name, newest in present.items() if newest < fresh_from}
        if len(old) == len(present):
            return self._stale(last, old)
        unmarked = await asyncio.gather(*(self.points(self.counting.selectors[name], last.to) for name in old))
        late = {name: old[name] for name, points in zip(old, unmarked, strict=True) if points}
        return self._stale(last, late) if late else None

    def _stale(self, last: Piece, old: Mapping[str, float]) -> Counted:
        if not old:
            words = f"{self.server.name} has had no samples for {format_duration(last.to - last.from_)}"
            return Counted(MeasurementState.STALE, words)
        name = max(old, key=old.__getitem__)
        scrape_seconds = self.server.scrape_seconds
        apart_seconds = _apart_seconds(last.found[name])
        hint = "scrape_interval, if it is scraped less often"
        if apart_seconds > 1.5 * scrape_seconds:
            hint = f"its samples come every {apart_seconds:.0f}s: is that its scrape_interval?"
        detail = (
            f"the newest sample of {name} ({short(self.counting.selectors[name])}) was {last.to - old[name]:.0f}s old "
            f"at {self.server.name}, more than two scrapes of {format_duration(scrape_seconds)} ({hint})"
        )
        return Counted(MeasurementState.STALE, detail)


def _apart_seconds(series: Sequence[Series]) -> float:
    """How far apart samples usually are; 0 if that can't be told."""
    spans = [(one.times[-1] - one.times[0]) / (len(one.times) - 1) for one in series if len(one.times) > 1]
    return sorted(spans)[len(spans) // 2] if spans else 0.0


# --- what a series was before -----------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Bases:
    """Finds what those series of a piece counted before it that have no sample there. They are few, and mostly none."""

    look: _Look
    piece: Piece
    known: dict[tuple[str, Key], float] = field(default_factory=dict)

    async def ask(self) -> Mapping[tuple[str, Key], float]:
        """By name and labels; a series that is not in it counts from 0."""
        strange = [(name, one) for name, one in self.piece.named() if self._is_strange(one)]
        if strange:
            await self._ask_before({name for name, _ in strange})
            strange = [(name, one) for name, one in strange if (name, key_of(one.labels)) not in self.known]
        if strange:
            await self._ask_targets(strange)
        return self.known

    def _is_strange(self, series: Series) -> bool:
        """Whether it matters what it was before: one that begins with 0 has risen by nothing until then."""
        return not self.piece.has_base(series) and series.values[0] != 0

    async def _ask_before(self, names: Iterable[str]) -> None:
        wanted = sorted(names)
        queries = [f"last_over_time({self.look.counting.selectors[name]}[{BEFORE}])" for name in wanted]
        answers = await asyncio.gather(*(self.look.points(query, self.piece.from_) for query in queries))
        for name, points in zip(wanted, answers, strict=True):
            values = {key_of(point.labels): point.value for point in points if math.isfinite(point.value)}
            for one in self.piece.found[name]:
                value = values.get(key_of(one.labels), values.get(_without_name(one)))
                if value is not None:
                    self.known[name, key_of(one.labels)] = value

    async def _ask_targets(self, strange: Sequence[tuple[str, Series]]) -> None:
        """Of targets that nothing is known of, whether they were scraped."""
        seen = {_target(one) for name, one in self.piece.named() if self._was_there(name, one)}
        strangers = [(name, one) for name, one in strange if _target(one) not in seen]
        if not strangers:
            return
        jobs = {job for job, _ in map(_target, (one for _, one in strangers)) if job}
        scraped, old = await self._targets(jobs)
        alive = {job for job, _ in scraped}
        for name, one in strangers:
            target = _target(one)
            is_new = target not in old and (bool(seen) or target[0] in alive)
            if not (target in scraped or is_new):
                self.known[name, key_of(one.labels)] = one.values[0]

    def _was_there(self, name: str, series: Series) -> bool:
        return self.piece.has_base(series) or (name, key_of(series.labels)) in self.known

    async def _targets(self, jobs: Iterable[str]) -> tuple[set[Target], set[Target]]:
        """Targets of *jobs* that answered a scrape within the hour before, and those that were targets at its begin."""
        names = "|".join(map(re.escape, sorted(jobs)))
        if not names:
            return set(), set()
        up = f"up{{job=~{json.dumps(names, ensure_ascii=False)}}}"
        queries = (
            f"max by (job, instance) (max_over_time({up}[{BEFORE}])) > 0",
            f"max by (job, instance) (last_over_time({up}[{OLD_SPAN}] offset {OLD_OFFSET}))",
        )
        scraped, old = await asyncio.gather(*(self.look.points(query, self.piece.from_) for query in queries))
        return {_target(one) for one in scraped}, {_target(one) for one in old}


def _target(found: Series | Point) -> Target:
    return found.labels.get("job", ""), found.labels.get("instance", "")


def _without_name(series: Series) -> Key:
    return key_of({name: value for name, value in series.labels.items() if name != "__name__"})


# --- sums -------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Tally:
    """Adds up pieces by name and labels."""

    by: tuple[str, ...]
    stale_seconds: float
    rises: dict[tuple[str, tuple[str, ...]], list[float]] = field(default_factory=dict)
    series: dict[tuple[str, tuple[str, ...]], int] = field(default_factory=dict)

    def add(self, piece: Piece, bases: Mapping[tuple[str, Key], float]) -> None:
        groups: dict[tuple[str, tuple[str, ...]], list[float]] = {}
        for name, one in piece.named():
            if one.times[-1] <= piece.from_ and one.times[-1] < piece.to - self.stale_seconds:
                continue  # it ended before
            before = 0.0
            if bases and not piece.has_base(one):
                before = bases.get((name, key_of(one.labels)), 0.0)
            group = name, tuple(one.labels.get(label, "") for label in self.by)
            groups.setdefault(group, []).append(increase(one, piece.from_, piece.to, before))
        for group, rises in groups.items():
            self.rises.setdefault(group, []).extend(rises)
            self.series[group] = max(self.series.get(group, 0), len(rises))

    def counts(self) -> tuple[Count, ...]:
        """*series* of each is how many there were at once."""
        return tuple(
            Count(name, labels, math.fsum(rises), self.series[name, labels])
            for (name, labels), rises in sorted(self.rises.items())
        )
