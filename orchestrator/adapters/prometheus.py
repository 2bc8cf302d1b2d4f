"""Instant queries to Prometheus, and whatever else answers its HTTP API, as measurements.

Theory of operation. A query is evaluated at a whole second, so that runs that ask the same of the same server at the
same time share one request and its answer. The request is a task of its own: an asker that is cancelled leaves it to
the others, and it ends by itself within the server's timeout. Requests to one server wait for one of a few slots of
that server; nothing is shared between servers, so one that hangs delays only who asks it.

An instant query answers with the time of evaluation, not of the sample, and for five minutes it goes on answering
with the last sample of a series that is no longer written. So for a plain selector ``timestamp(...)`` is asked as well,
and series whose newest sample is older than two scrapes are left out as stale. Within ranges and functions old samples
can't be seen; there staleness shows when the range runs empty.
"""

import asyncio
import json
import math
import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal
from urllib.parse import urlencode, urlsplit
from weakref import WeakValueDictionary

from orchestrator.adapters.http_client import HttpClient, Reply, server_of
from orchestrator.errors import RolloutError
from stages.checks import HttpRequest
from stages.criteria.base import Measurement, MeasurementState, SeriesValue
from stages.plan import Prometheus
from stages.promql import lookback_seconds
from stages.values import Json, format_duration

REQUESTS_PER_SERVER = 8
STALE_AFTER_SCRAPES = 2
LONGEST_GET = 2000  # characters of a query string; longer ones are posted, for proxies cut long URLs
NAMED_SERIES = 3
_QUOTED = r"""'(?:\\.|[^'\\])*' | "(?:\\.|[^"\\])*" | `[^`]*`"""
_PLAIN_SELECTOR = re.compile(
    rf"""\s* ([a-zA-Z_:][a-zA-Z0-9_:]*) \s* (?: \{{ (?: [^"'`{{}}] | {_QUOTED} )* \}} \s* )?""", re.VERBOSE
)

_Key = tuple[str, str, float]  # settings, query, time


@dataclass(frozen=True, slots=True)
class _Question:
    server: Prometheus
    query: str
    at: float
    directory: str | None

    @property
    def name(self) -> str:
        return f"Prometheus at {server_of(self.server.url)}"

    def result(self, state: MeasurementState, detail: str, series: Sequence[SeriesValue] = ()) -> Measurement:
        return Measurement(state, self.at, tuple(series), detail)


class UnusableAnswer(Exception):
    """An answer that is none; the message goes on after the server's name."""


class PrometheusClient:
    """Measures PromQL. For one event loop; ``close`` ends what is still being asked."""

    def __init__(self, http: HttpClient) -> None:
        self._http = http
        self._slots: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        self._shared: dict[_Key, asyncio.Task[Measurement]] = {}
        self._newest = -math.inf

    async def measure(
        self, query: str, settings: Mapping[str, Json], at: float, directory: str | None = None
    ) -> Measurement:
        """What *query* is at *at*, by a server with these *settings* (of ``stages.plan.Prometheus``, as JSON).

        The measurement's ``at`` is the time of evaluation, the whole second before. Never raises but when cancelled.
        """
        question = _Question(Prometheus.model_validate(settings), query, float(math.floor(at)), directory)
        key = (json.dumps([settings, directory], sort_keys=True), query, question.at)
        self._forget_before(question.at)
        task = self._shared.get(key)
        if task is None:
            task = self._shared[key] = asyncio.create_task(self._ask(question), name=f"query {query[:40]}")
        return await asyncio.shield(task)

    async def close(self) -> None:
        tasks = list(self._shared.values())
        self._shared.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _forget_before(self, at: float) -> None:
        """Answers are kept for the second that they are of."""
        if at > self._newest:
            self._newest = at
            self._shared = {key: task for key, task in self._shared.items() if not task.done()}

    async def _ask(self, question: _Question) -> Measurement:
        timeout_seconds = question.server.timeout
        try:
            async with asyncio.timeout(timeout_seconds), self._slot(question.server.url):
                measured = await self._measured(question)
        except TimeoutError:
            waited = f"{question.name} did not answer within {format_duration(timeout_seconds)}"
            measured = question.result(MeasurementState.ERROR, waited)
        except UnusableAnswer as error:
            measured = question.result(MeasurementState.ERROR, f"{question.name} {error}")
        except (RolloutError, ValueError) as error:  # ValueError: the server's address is none
            measured = question.result(MeasurementState.ERROR, f"Prometheus could not be asked: {error}")
        detail = self._http.secrets.redactor.redact(measured.detail)
        return Measurement(measured.state, measured.at, measured.series, detail, _lookback(question))

    def _slot(self, url: str) -> asyncio.Semaphore:
        slot = self._slots.get(url)
        if slot is None:
            slot = self._slots[url] = asyncio.Semaphore(REQUESTS_PER_SERVER)
        return slot

    async def _measured(self, question: _Question) -> Measurement:
        series = await self._instant(question, question.query)
        if not series:
            return question.result(MeasurementState.MISSING, f"{question.name} has none for {_short(question.query)}")
        try:
            lookback_seconds(question.query)
        except ValueError as error:
            raise UnusableAnswer(f"answers the query, but how far back it looks can't be told: {error}") from error
        if not is_plain_selector(question.query):
            return question.result(MeasurementState.OK, "", series)
        sampled = await self._instant(question, f"timestamp({question.query})")
        return _fresh(question, series, {entry.labels: entry.value for entry in sampled})

    async def _instant(self, question: _Question, query: str) -> list[SeriesValue]:
        request, content = self._request(question, query)
        headers = {"content-type": "application/x-www-form-urlencoded"} if content is not None else {}
        headers |= self._basic(question)
        reply = await self._http.request(request, headers=headers, content=content, directory=question.directory)
        if reply.status != 200:  # its words are shown, and cut: they are cleared of secrets before
            reply = replace(reply, body=self._http.secrets.redactor.redact(reply.text).encode())
        return parse_answer(reply)

    def _request(self, question: _Question, query: str) -> tuple[HttpRequest, bytes | None]:
        server = question.server
        parts = urlsplit(server.url)
        form = urlencode({"query": query, "time": f"{question.at:.0f}", "timeout": f"{server.timeout * 1000:.0f}ms"})
        method: Literal["GET", "POST"] = "GET" if len(form) <= LONGEST_GET else "POST"
        asked = "&".join(filter(None, (parts.query, form if method == "GET" else "")))
        url = parts._replace(path=parts.path.rstrip("/") + "/api/v1/query", query=asked).geturl()
        request = HttpRequest(
            url=url, method=method, headers=server.headers, bearer=server.bearer, timeout=server.timeout
        )
        return request, form.encode() if method == "POST" else None

    def _basic(self, question: _Question) -> dict[str, str]:
        basic = question.server.basic
        if basic is None:
            return {}
        secrets = self._http.secrets
        user, password = (secrets.resolve(part, question.directory) for part in (basic.username, basic.password))
        encoded = b64encode(f"{user}:{password}".encode()).decode()
        secrets.redactor.add(encoded)
        return {"authorization": f"Basic {encoded}"}


def _lookback(question: _Question) -> float:
    try:
        reach_seconds: float = lookback_seconds(question.query)
    except ValueError:
        reach_seconds = 0.0  # the measurement is an error then
    return reach_seconds + STALE_AFTER_SCRAPES * question.server.scrape_interval


def is_plain_selector(query: str) -> bool:
    """Whether *query* is a metric's name, with matchers or without, and nothing else."""
    match = _PLAIN_SELECTOR.fullmatch(query)
    return match is not None and match.group(1).lower() not in ("nan", "inf")


def _fresh(question: _Question, series: Sequence[SeriesValue], sampled: Mapping[str, float]) -> Measurement:
    """OK with all *series*, or STALE with those that are not. *sampled* maps labels to the newest sample's time."""
    longest_seconds = STALE_AFTER_SCRAPES * question.server.scrape_interval
    dated = [SeriesValue(entry.labels, entry.value, sampled.get(entry.labels, -math.inf)) for entry in series]
    stale = [entry for entry in dated if question.at - entry.sampled_at > longest_seconds]
    if not stale:
        return question.result(MeasurementState.OK, "", dated)
    oldest = min(stale, key=lambda entry: entry.sampled_at)
    age = f"{question.at - oldest.sampled_at:.0f}s old" if math.isfinite(oldest.sampled_at) else "of unknown age"
    names = ", ".join(entry.labels or "{}" for entry in stale[:NAMED_SERIES])
    more = f" and {len(stale) - NAMED_SERIES} more" if len(stale) > NAMED_SERIES else ""
    detail = (
        f"the newest sample of {names}{more} is up to {age} at {question.name}, more than two scrapes of "
        f"{format_duration(question.server.scrape_interval)} (scrape_interval, if it is scraped less often)"
    )
    return question.result(MeasurementState.STALE, detail, [entry for entry in dated if entry not in stale])


def _short(text: str, longest: int = 160) -> str:
    line = " ".join(text.split())
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


def parse_answer(reply: Reply) -> list[SeriesValue]:
    """The series of a vector or scalar. Raises ``UnusableAnswer`` for everything else that a server may say."""
    if reply.status != 200:
        raise UnusableAnswer(_refusal(reply))
    try:
        answer = reply.json()
    except (ValueError, RecursionError) as error:
        raise UnusableAnswer("answered with something that is not JSON") from error
    if not isinstance(answer, dict) or answer.get("status") not in ("success", "error"):
        raise UnusableAnswer("answered with JSON that is not of its API; is the URL right?")
    if answer["status"] == "error":
        raise UnusableAnswer(f"refuses the query: {_error_of(answer)}")
    if answer.get("warnings"):
        raise UnusableAnswer(
            f"warns, so its answer is not relied on: {_short('; '.join(map(str, answer['warnings'])))}"
        )
    if answer.get("isPartial") or answer.get("partial"):
        raise UnusableAnswer("answered with a part of the data only")
    try:
        return _series(answer["data"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UnusableAnswer("answered with a result that can't be read") from error


def _series(data: Mapping[str, Any]) -> list[SeriesValue]:
    match data["resultType"]:
        case "scalar":
            return [_sample("", data["result"])]
        case "vector":
            return [_sample(_labels(entry["metric"]), _plain(entry)) for entry in data["result"]]
        case "matrix" | "string" as kind:
            raise UnusableAnswer(f"answered with a {kind}, where one number a series is expected")
        case kind:
            raise UnusableAnswer(f"answered with a result of an unknown kind, {kind!r}")


def _plain(entry: Mapping[str, Any]) -> Any:
    if "histogram" in entry and "value" not in entry:
        raise UnusableAnswer("answered with a histogram, where one number a series is expected (histogram_quantile?)")
    return entry["value"]


def _sample(labels: str, sample: Any) -> SeriesValue:
    time, value = sample
    if not isinstance(value, str) or isinstance(time, bool) or not isinstance(time, int | float):
        raise TypeError("a sample is a time and a text")
    return SeriesValue(labels, float(value), float(time))


def _labels(metric: Mapping[str, Any]) -> str:
    """``{a="b",c="d"}`` without the metric's own name; nothing if there are no others."""
    shown = [
        f"{name}={json.dumps(str(value), ensure_ascii=False)}"
        for name, value in sorted(metric.items())
        if name != "__name__"
    ]
    return "{" + ",".join(shown) + "}" if shown else ""


def _refusal(reply: Reply) -> str:
    said = _said(reply)
    match reply.status:
        case 401 | 403:
            return f"does not let us in ({reply.status}){said}; see bearer, basic and headers of its settings"
        case 404:
            return f"has no API there (404){said}; is the URL right?"
        case 429:
            return f"is asked too much (429){said}"
        case status if status >= 500:
            return f"is failing ({status}){said}"
        case status if status >= 400:
            return f"refuses the query ({status}){said}"
        case status:
            return f"answered with status {status}{f': {reply.note}' if reply.note else said}"


def _said(reply: Reply) -> str:
    """The server's own words: its API's error, else the begin of its text."""
    try:
        answer = reply.json()
    except (ValueError, RecursionError):
        text = _short(reply.text[:1000])
        return f": {text}" if text else ""
    return f": {_error_of(answer)}" if isinstance(answer, dict) and "error" in answer else ""


def _error_of(answer: Mapping[str, Any]) -> str:
    kind = str(answer.get("errorType") or "error")
    return _short(f"{kind}: {answer.get('error') or 'no reason is given'}", 400)
