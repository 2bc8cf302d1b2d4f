"""Requests to servers of the Prometheus HTTP API: each question once, a few at a time, and none for ever.

Theory of operation. Askers of the same server that want the same at the same second share one request and its answer,
read once. The request is a task of its own: an asker that is cancelled leaves it to the others, and it ends by itself
within the server's timeout. Requests to one server wait in its line (``line.py``); nothing is shared between servers,
so one that hangs delays only who asks it.

An answer's ``Date`` tells how far the server's clock is off, which no sample tells: times of samples are the server's.

VictoriaMetrics evaluates what is asked for now half a minute earlier, moves the times of ranges to multiples of the
step, and repeats an old value for the last half minute, unless it is told not to. Not everybody may be told that, for
some servers refuse parameters that they do not know. So a server whose answers are signed as its are is told from then
on, and is asked once more where it was not.
"""

import asyncio
import json
import time
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any, Generic, Literal, TypeVar
from urllib.parse import urlencode, urlsplit
from weakref import WeakValueDictionary

from orchestrator.adapters.http_client import HttpClient, Reply, server_of
from orchestrator.adapters.prometheus.answers import UnusableAnswer
from orchestrator.adapters.prometheus.line import Line, until
from orchestrator.adapters.prometheus.once import OncePerSecond
from orchestrator.adapters.tls import credentials_of
from stages.checks import HttpRequest
from stages.lean import dataclass
from stages.plan import Prometheus
from stages.values import Json, format_duration

REQUESTS_PER_SERVER = 8
MOST_KNOWN = 20_000  # settings whose server is known without reading them: each run has its own
MOST_SERVERS = 1_000  # that are remembered to answer for another time than was asked for
LONGEST_GET = 2000  # characters of a query string; longer ones are posted, for proxies cut long URLs
USUAL_BYTES = 1024 * 1024
EXACTLY = (("nocache", "1"), ("latency_offset", "1ms"))  # VictoriaMetrics: at the very times that were asked for
SIGNATURE, SIGNED_BYTES = b'"seriesFetched"', 200  # in statistics at the end of an answer; raw samples are without
READ_ASIDE_BYTES = 256 * 1024  # reading more takes long; but for the JSON in it, nobody else has to wait

_KEYS = json.JSONEncoder(sort_keys=True)

T = TypeVar("T")
Form = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Server:
    """A server with its settings; *directory* is what their files are relative to, *key* tells it from others."""

    settings: Prometheus
    directory: str | None
    key: str

    @staticmethod
    def of(settings: Mapping[str, Json], directory: str | None) -> "Server":
        """*settings* are those of ``stages.plan.Prometheus``, as JSON; a plan's own, which nobody changes."""
        known = _known.get(id(settings))
        if known is not None and known[0] is settings and known[1].directory == directory:
            return known[1]
        server = _server_of(_KEYS.encode([settings, directory]))
        if len(_known) >= MOST_KNOWN:
            _known.clear()
        _known[id(settings)] = settings, server
        return server

    @property
    def name(self) -> str:
        return f"Prometheus at {server_of(self.settings.url)}"

    @property
    def scrape_seconds(self) -> float:
        return self.settings.scrape_interval


_known: dict[int, tuple[Mapping[str, Json], Server]] = {}  # by the settings' identity, which lasts while they are here


@lru_cache(MOST_SERVERS)
def _server_of(key: str) -> Server:
    settings, directory = json.loads(key)
    return Server(Prometheus.model_validate(settings), directory, key)


@dataclass(frozen=True, slots=True)
class Question(Generic[T]):
    """One request: *form* is sent to *endpoint*, and *read* makes something of the reply or raises
    ``UnusableAnswer``."""

    endpoint: Literal["query", "query_range"]
    form: Form
    read: Callable[[Reply], T]
    most_bytes: int = USUAL_BYTES

    @property
    def title(self) -> str:
        return dict(self.form)["query"][:40]


@dataclass(frozen=True, slots=True)
class Answered(Generic[T]):
    """*ahead_seconds*: how far the server's clock is ahead of ours, to a second or two; None if it did not tell."""

    value: T
    ahead_seconds: float | None = None


def instant(query: str, at: float, read: Callable[[Reply], T], most_bytes: int = USUAL_BYTES) -> Question[T]:
    """*query* evaluated at one time."""
    return Question("query", (("query", query), ("time", seconds_text(at))), read, most_bytes)


def seconds_text(at: float) -> str:
    return f"{at:.3f}".rstrip("0").rstrip(".")


@dataclass(slots=True)
class _Shared:
    """A request under way. *begun* is set when it is sent, or when there is no more to wait for."""

    begun: asyncio.Event
    task: "asyncio.Task[Answered[Any]]"


class Api:
    """For one event loop; ``close`` ends what is still being asked. *now* is our wall clock."""

    def __init__(self, http: HttpClient, now: Callable[[], float] = time.time) -> None:
        self.http = http
        self._now = now
        self._reader = HttpClient(http.secrets, keep=True)
        self._lines: WeakValueDictionary[str, Line] = WeakValueDictionary()
        self._shared = OncePerSecond[_Shared](lambda one: one.task.done())
        self._told_exactly: set[str] = set()  # addresses of servers

    async def ask(self, server: Server, question: Question[T], second: float) -> Answered[T]:
        """The answer to *question* by a look of that *second*. Raises ``UnusableAnswer``, ``RolloutError``, and
        ``ValueError`` if the server's address is none."""
        shared = self._shared.get((server.key, question), second, lambda: self._begin(server, question))
        await until(shared.begun)
        return await asyncio.shield(shared.task)

    def _begin(self, server: Server, question: Question[Any]) -> _Shared:
        begun = asyncio.Event()
        task = asyncio.create_task(self._answered(server, question, begun), name=f"query {question.title}")
        task.add_done_callback(noticed)
        task.add_done_callback(lambda _: begun.set())
        return _Shared(begun, task)

    async def close(self) -> None:
        await end([one.task for one in self._shared.take_all()])
        await self._reader.close()

    async def _answered(self, server: Server, question: Question[T], begun: asyncio.Event) -> Answered[T]:
        line, limit_seconds = self._line(server.settings.url), server.settings.timeout
        try:
            async with line.place(limit_seconds), asyncio.timeout(limit_seconds):
                begun.set()
                reply = await self._asked(server, question)
        except TimeoutError:
            raise too_late(server) from None
        line.moved()
        ahead_seconds = self._ahead(reply)
        if reply.status != 200:  # its words are shown, and cut: they are cleared of secrets before
            reply = replace(reply, body=self.http.secrets.redactor.redact(reply.text).encode())
        if len(reply.body) > READ_ASIDE_BYTES:
            return Answered(await asyncio.to_thread(question.read, reply), ahead_seconds)
        return Answered(question.read(reply), ahead_seconds)

    def _line(self, url: str) -> Line:
        line = self._lines.get(url)
        if line is None:
            line = self._lines[url] = Line(REQUESTS_PER_SERVER)
        return line

    async def _asked(self, server: Server, question: Question[Any]) -> Reply:
        """Once more where the server turns out to answer for another time than was asked for."""
        url = server.settings.url
        if url not in self._told_exactly:
            reply = await self._sent(server, question)
            if SIGNATURE not in reply.body[-SIGNED_BYTES:]:
                return reply
            if len(self._told_exactly) >= MOST_SERVERS:  # each is asked once more than it had to be, no worse
                self._told_exactly.clear()
            self._told_exactly.add(url)
        return await self._sent(server, question, EXACTLY)

    async def _sent(self, server: Server, question: Question[Any], more: Form = ()) -> Reply:
        request, content = _request(server.settings, question, more)
        headers = {"content-type": "application/x-www-form-urlencoded"} if content is not None else {}
        headers |= self._basic(server)
        tls = server.settings.tls
        return await self._reader.request(
            request,
            headers=headers,
            content=content,
            max_bytes=question.most_bytes,
            directory=server.directory,
            tls=credentials_of(tls, self.http.secrets, server.directory) if tls is not None else None,
        )

    def _basic(self, server: Server) -> dict[str, str]:
        basic = server.settings.basic
        if basic is None:
            return {}
        secrets = self.http.secrets
        user, password = (secrets.resolve(part, server.directory) for part in (basic.username, basic.password))
        encoded = b64encode(f"{user}:{password}".encode()).decode()
        secrets.redactor.add(encoded)
        return {"authorization": f"Basic {encoded}"}

    def _ahead(self, reply: Reply) -> float | None:
        """None also of an answer out of a cache on the way: its date is old."""
        if "age" in reply.headers:
            return None
        try:
            date = parsedate_to_datetime(reply.headers.get("date", ""))
        except ValueError:
            return None
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - self._now()


def too_late(server: Server) -> UnusableAnswer:
    return UnusableAnswer(f"did not answer within {format_duration(server.settings.timeout)}")


def noticed(task: asyncio.Task[Any]) -> None:
    """An error that no asker is left to hear is no error of the loop's."""
    if not task.cancelled():
        task.exception()


async def end(tasks: Sequence[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _request(settings: Prometheus, question: Question[Any], more: Form) -> tuple[HttpRequest, bytes | None]:
    parts = urlsplit(settings.url)
    form = urlencode([*question.form, ("timeout", f"{settings.timeout * 1000:.0f}ms"), *more])
    method: Literal["GET", "POST"] = "GET" if len(form) <= LONGEST_GET else "POST"
    asked = "&".join(filter(None, (parts.query, form if method == "GET" else "")))
    url = parts._replace(path=f"{parts.path.rstrip('/')}/api/v1/{question.endpoint}", query=asked).geturl()
    request = HttpRequest(
        url=url, method=method, headers=settings.headers, bearer=settings.bearer, timeout=settings.timeout
    )
    return request, form.encode() if method == "POST" else None
