"""The past of a Prometheus, in large pieces: for backtests, which may wait and must get everything.

Theory of operation. It asks as live looks do, through the same client, and reads counters by the same arithmetic: raw
samples (``selector[5m]`` at one time gives those of five minutes), for a range query repeats a sample for up to five
minutes and hides where there is none. What a series was before its first sample there is asked for as a live look
would, up to an hour back; a series that was not there then is new, and counts whole, if its target was watched.

How many series will answer is not known beforehand. So the first piece is small, and the next ones are as long as an
answer of ``MOST_SAMPLES`` takes. A piece that is too large for the server is halved. One that is not answered, or not
with all of the data, is asked for again, a few times with longer and longer pauses: a server that is restarted
meanwhile costs no backtest.
"""

import asyncio
import json
import math
import re
from bisect import bisect_right
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import count
from typing import TypeVar

import numpy as np

from orchestrator.adapters.http_client import HttpClient, Reply, TooLarge
from orchestrator.adapters.prometheus import STALE_AFTER_SCRAPES, UnusableAnswer, is_plain_selector
from orchestrator.adapters.prometheus.answers import PartialAnswer, Point, Series, read_points, read_series, short
from orchestrator.adapters.prometheus.api import Api, Question, Server, instant, seconds_text
from orchestrator.adapters.prometheus.counters import Key, key_of, read_counters, risen
from orchestrator.errors import Permanent, Temporary
from orchestrator.ports import PastSeries
from stages.values import Json, format_duration

MOST_SAMPLES = 400_000  # of one answer: about 10 MB of JSON, and ten times as much while it is read
MOST_BYTES = 64 * 1024 * 1024
MOST_POINTS = 10_000  # of one series: the server refuses more than 11,000
FIRST_POINTS = 200
FEWEST_POINTS = 4
PAUSES_SECONDS = (1.0, 2.0, 4.0, 8.0, 16.0)
SHORTEST_TIMEOUT_SECONDS = 30.0  # what a gate waits for one value is too short for hours of them
REACH_SCRAPES = 2.5
SHORTEST_REACH_SECONDS = 60.0
BEFORE = "1h"
OLD_SPAN, OLD_OFFSET = "10m", "50m"  # the begin of that hour
RETRIED = (408, 429)  # and 5xx
TOO_MUCH = ("timed out in", "too many samples", "search.maxSamplesPerQuery", "err-mimir-max-")  # as servers say it

T = TypeVar("T")
Target = tuple[str, str]  # job and instance


class _Refused(UnusableAnswer):
    """It will not become another answer."""


class _TooMuch(UnusableAnswer):
    """For less it might be one."""


class PrometheusArchive:
    """Implements ``Archive``, by one request at a time; *tell* hears of those that have to be repeated."""

    def __init__(
        self,
        http: HttpClient,
        settings: Mapping[str, Json],
        directory: str | None = None,
        tell: Callable[[str], None] = lambda _: None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """*settings* are those of ``stages.plan.Prometheus``, as JSON; files in them are relative to *directory*."""
        patience_seconds = max(Server.of(settings, directory).settings.timeout, SHORTEST_TIMEOUT_SECONDS)
        self._server = Server.of({**settings, "timeout": format_duration(patience_seconds)}, directory)
        self._api, self._asked = Api(http), count()
        self._redact, self._tell, self._sleep = http.secrets.redactor.redact, tell, sleep
        self._points_of: dict[str, int] = {}  # of an expression: how many points of each series an answer may hold

    async def close(self) -> None:
        await self._api.close()

    async def rises(self, selector: str, from_: float, to: float) -> list[PastSeries]:
        """See ``Archive``. The bounds are whole seconds."""

        def question(begin: float, end: float) -> Question[list[Series]]:
            return instant(f"{selector}[{end - begin:.0f}s]", end, _read(read_counters), MOST_BYTES)

        scrape_seconds = self._server.scrape_seconds
        found: dict[Key, _Raw] = {}
        at = from_ - math.ceil(max(REACH_SCRAPES * scrape_seconds, SHORTEST_REACH_SECONDS))
        while at < to:
            until, series = await self._piece(selector, (at, to), scrape_seconds, question)
            for one in series:
                found.setdefault(key_of(one.labels), _Raw(one.labels)).add(one, at)
            at = until
        bases = await self._bases(selector, from_, list(found.values()))
        risen = [one.risen(from_, bases.get(key, 0.0)) for key, one in found.items()]
        return [one for one in risen if len(one.times)]

    async def values(self, expression: str, from_: float, to: float, step_seconds: float) -> list[PastSeries]:
        """See ``Archive``."""
        found = await self._range(expression, from_, to, step_seconds)
        if found and is_plain_selector(expression):
            sampled = await self._range(f"timestamp({expression})", from_, to, step_seconds)
            found = _fresh(found, sampled, STALE_AFTER_SCRAPES * self._server.scrape_seconds)
        return [_on_grid(one, from_, step_seconds) for one in found]

    async def _range(self, expression: str, from_: float, to: float, step_seconds: float) -> list[PastSeries]:
        def question(begin: float, end: float) -> Question[list[Series]]:
            span = (("start", begin), ("end", end), ("step", step_seconds))
            form = (("query", expression), *((name, seconds_text(value)) for name, value in span))
            return Question("query_range", form, _read(read_series), MOST_BYTES)

        found: dict[Key, _Raw] = {}
        at = from_
        while at <= to:
            until, series = await self._piece(expression, (at, to), step_seconds, question)
            for one in series:
                found.setdefault(key_of(one.labels), _Raw(one.labels)).add(one, -math.inf)
            at = until + step_seconds
        return [PastSeries(one.labels, np.array(one.times), np.array(one.values)) for one in found.values()]

    # --- asking -------------------------------------------------------------------------------------------------------

    async def _piece(
        self,
        what: str,
        span: tuple[float, float],
        step_seconds: float,
        question: Callable[[float, float], Question[list[Series]]],
    ) -> tuple[float, list[Series]]:
        """As much of *span*, from its begin on, as one answer may hold: where that ends, and the series."""
        at, to = span
        points = self._points_of.get(what, FIRST_POINTS)
        while True:  # ends: points are halved
            steps = max(math.floor(points * step_seconds / math.ceil(step_seconds)), 1)
            until = min(at + steps * math.ceil(step_seconds), to)
            try:
                series = await self._answer(what, question(at, until))
            except _TooMuch as error:
                if points <= FEWEST_POINTS:
                    raise Permanent(self._said(f"{error}, be it ever so short a time ({short(what)})")) from None
                points = self._points_of[what] = max(points // 2, FEWEST_POINTS)
                continue
            fitting = MOST_SAMPLES // max(len(series), 1)
            self._points_of[what] = max(min(fitting, MOST_POINTS, 4 * points), FEWEST_POINTS)
            return until, series

    async def _answer(self, what: str, question: Question[T]) -> T:
        """Asked again while the server is away. Raises ``_TooMuch``, ``Temporary`` and ``Permanent``."""
        for pause_seconds in (*PAUSES_SECONDS, None):
            try:
                return (await self._api.ask(self._server, question, next(self._asked))).value
            except _TooMuch:
                raise
            except (TooLarge, _Refused, Permanent) as error:
                if isinstance(error, TooLarge):
                    raise _TooMuch(str(error)) from None
                raise Permanent(self._said(f"{error} ({short(what)})")) from None
            except (UnusableAnswer, Temporary) as error:
                if pause_seconds is None:
                    tried = f"{len(PAUSES_SECONDS) + 1} times in {sum(PAUSES_SECONDS):.0f} s"
                    remedy = "a backtest changes nothing, so run it again when Prometheus answers"
                    raise Temporary(self._said(f"{error}, {tried}; {remedy}")) from None
                self._tell(self._said(f"{error}; asking again in {pause_seconds:g} s"))
                await self._sleep(pause_seconds)
        raise AssertionError(what)

    def _said(self, words: str) -> str:
        return self._redact(words if words.startswith("http") else f"{self._server.name} {words}")

    # --- what series were before --------------------------------------------------------------------------------------

    async def _bases(self, selector: str, from_: float, found: Sequence["_Raw"]) -> dict[Key, float]:
        """Of series without a sample before *from_*, what they were then; new ones are not in it.

        The rules are those of a live look (``orchestrator.adapters.prometheus.counting``).
        """
        strange = [one for one in found if one.times and one.times[0] > from_ and one.values[0] != 0]
        if not strange:
            return {}
        before = {
            key_of(one.labels): one.value for one in await self._points(f"last_over_time({selector}[{BEFORE}])", from_)
        }
        bases = {key_of(one.labels): before[key_of(one.labels)] for one in strange if key_of(one.labels) in before}
        left = [one for one in strange if key_of(one.labels) not in bases]
        watched = {_target(one.labels) for one in found if one.times[0] <= from_ or key_of(one.labels) in bases}
        unknown = [one for one in left if _target(one.labels) not in watched]
        if not unknown:
            return bases
        scraped, old = await self._targets(sorted({_target(one.labels)[0] for one in unknown} - {""}), from_)
        alive = {job for job, _ in scraped}
        for one in unknown:
            target = _target(one.labels)
            is_new = target not in old and (bool(watched) or target[0] in alive)
            if target not in scraped and not is_new:
                bases[key_of(one.labels)] = one.values[0]
        return bases

    async def _targets(self, jobs: Sequence[str], at: float) -> tuple[set[Target], set[Target]]:
        """Targets of *jobs* that answered a scrape within the hour before, and those that were there at its begin."""
        if not jobs:
            return set(), set()
        up = f"up{{job=~{json.dumps('|'.join(map(re.escape, jobs)), ensure_ascii=False)}}}"
        scraped = await self._points(f"max by (job, instance) (max_over_time({up}[{BEFORE}])) > 0", at)
        old = await self._points(f"max by (job, instance) (last_over_time({up}[{OLD_SPAN}] offset {OLD_OFFSET}))", at)
        return {_target(one.labels) for one in scraped}, {_target(one.labels) for one in old}

    async def _points(self, query: str, at: float) -> list[Point]:
        try:
            return await self._answer(query, instant(query, at, _read(read_points), MOST_BYTES))
        except _TooMuch as error:
            raise Permanent(self._said(f"{error} ({short(query)})")) from None


def _read(read: Callable[[Reply], T]) -> Callable[[Reply], T]:
    """*read*, telling what would be answered by another try, or for less, from what would not."""

    def told_apart(reply: Reply) -> T:
        try:
            return read(reply)
        except PartialAnswer:
            raise
        except UnusableAnswer as error:
            said = str(error)
            if reply.status == 413 or (reply.status != 200 and any(words in reply.text for words in TOO_MUCH)):
                raise _TooMuch(said) from None
            if reply.status in RETRIED or reply.status >= 500:
                raise
            raise _Refused(said) from None

    return told_apart


class _Raw:
    """The samples of one series, piece by piece."""

    def __init__(self, labels: Mapping[str, str]) -> None:
        self.labels = labels
        self.times: list[float] = []
        self.values: list[float] = []

    def add(self, piece: Series, after: float) -> None:
        """Servers differ in whether a range has the sample at its very begin."""
        first = bisect_right(piece.times, after)
        self.times += piece.times[first:]
        self.values += piece.values[first:]

    def risen(self, from_: float, before: float) -> PastSeries:
        """By how much it rose at each sample after *from_*. *before*: what it was then, unless a sample tells."""
        first = bisect_right(self.times, from_)
        values = self.values[first - 1 :] if first else [before, *self.values]
        rises = np.diff(np.array(values))
        for index in np.flatnonzero(rises < 0).tolist():
            rises[index] = risen(values[index : index + 2])
        return PastSeries(self.labels, np.array(self.times[first:]), rises)


def _target(labels: Mapping[str, str]) -> Target:
    return labels.get("job", ""), labels.get("instance", "")


def _fresh(found: Sequence[PastSeries], sampled: Sequence[PastSeries], longest_seconds: float) -> list[PastSeries]:
    """Without what was older than that: for five minutes a selector goes on answering with the last sample."""
    newest = {
        key_of(_unnamed(one.labels)): dict(zip(one.times.tolist(), one.values.tolist(), strict=True)) for one in sampled
    }
    kept = []
    for one in found:
        times = newest.get(key_of(_unnamed(one.labels)), {})
        fresh = np.array([at - times.get(at, -math.inf) <= longest_seconds for at in one.times.tolist()], bool)
        if fresh.any():
            kept.append(PastSeries(one.labels, one.times[fresh], one.values[fresh]))
    return kept


def _on_grid(series: PastSeries, from_: float, step_seconds: float) -> PastSeries:
    """At the times that were asked for: a frontend of Thanos moves all of them back to multiples of the step."""
    places = np.ceil((series.times - from_) / step_seconds - 1e-6)
    return PastSeries(series.labels, from_ + places * step_seconds, series.values)


def _unnamed(labels: Mapping[str, str]) -> Mapping[str, str]:
    return {name: value for name, value in labels.items() if name != "__name__"}
