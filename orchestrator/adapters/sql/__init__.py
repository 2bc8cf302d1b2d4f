"""SQL on PostgreSQL and SQLite: files as effects, noted in the database itself, and queries that only read.

Both drivers block, so each call has a thread, with limits of its own inside. Cancelling a call cancels what runs in the
database and waits for the thread, within bounds.
"""

import asyncio
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, TypeVar

from orchestrator.adapters.addresses import Resolver
from orchestrator.adapters.secrets import Secrets
from orchestrator.adapters.sql.health import Reading, measure
from orchestrator.adapters.sql.job import Job, PartlyRun, Standing, Stop, Uncertain
from orchestrator.allowance import ONE_FILE
from orchestrator.core.effect import Effect, EffectState, Outcome
from orchestrator.errors import Permanent, RolloutError, Temporary
from orchestrator.ports import Scene, Seen
from stages.checks import Health
from stages.effects import AnyObservation, ObserveSql, RunSql
from stages.values import TextOrSecret

MAX_ROWS = 1000
THREADS = 32
STOP_SECONDS = 10.0  # for a cancelled statement to be rolled back
OBSERVE_SECONDS = 30.0
_POSTGRES = re.compile(r"postgres(ql)?(\+\w+)?://")

T = TypeVar("T")
Rows = list[tuple[Any, ...]]


def is_postgres(url: str) -> bool:
    return _POSTGRES.match(url) is not None


class Databases:
    """Runs blocking work on databases in threads of its own."""

    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets
        self._resolver = Resolver()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="sql")

    async def url(self, database: TextOrSecret, directory: str | None) -> str:
        """Where it is to be reached, if plans may reach it."""
        url = self._secrets.resolve(database, directory)
        if not _POSTGRES.match(url) and not url.startswith("sqlite:"):
            raise Permanent("a database is given as postgresql://... or sqlite:///FILE; others are not supported")
        allowance = self._secrets.allowance
        if allowance is None or allowance.is_free:
            return url
        from orchestrator.adapters.sql import reach

        if _POSTGRES.match(url):
            return await reach.pinned(url, allowance, self._resolver)
        reach.check_file(url, directory, allowance)
        return url

    async def call(self, work: Callable[[Stop], T], stop_seconds: float = STOP_SECONDS) -> T:
        """Errors come back with secrets taken out."""
        stop, context, allowance = Stop(), copy_context(), self._secrets.allowance
        context.run(ONE_FILE.set, allowance is not None and not allowance.is_free)
        future = asyncio.get_running_loop().run_in_executor(self._threads, context.run, work, stop)
        future.add_done_callback(lambda done: done.cancelled() or done.exception())
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            await asyncio.to_thread(stop.ask)
            await asyncio.wait({future}, timeout=stop_seconds)
            raise
        except (RolloutError, Uncertain) as error:
            error.args = (self._secrets.redactor.redact(str(error)),)
            raise

    def run(self, url: str, directory: str | None, job: Job) -> Callable[[Stop], str]:
        if _POSTGRES.match(url):
            from orchestrator.adapters.sql import postgres

            return lambda stop: postgres.run(url, job, stop)
        from orchestrator.adapters.sql import sqlite

        path = sqlite.path_of(url, directory)
        return lambda stop: sqlite.run(path, job, stop)

    def look(self, url: str, directory: str | None, name: str) -> Callable[[Stop], Standing]:
        if _POSTGRES.match(url):
            from orchestrator.adapters.sql import postgres

            return lambda stop: postgres.look(url, name, stop)
        from orchestrator.adapters.sql import sqlite

        path = sqlite.path_of(url, directory)
        return lambda stop: sqlite.look(path, name, stop)

    def fetch(self, url: str, directory: str | None, query: str, timeout_seconds: float) -> Callable[[Stop], Rows]:
        if _POSTGRES.match(url):
            from orchestrator.adapters.sql import postgres

            return lambda stop: postgres.fetch(url, query, timeout_seconds, MAX_ROWS, stop)
        from orchestrator.adapters.sql import sqlite

        path = sqlite.path_of(url, directory)
        return lambda stop: sqlite.fetch(path, query, timeout_seconds, MAX_ROWS, stop)


class SqlPerformer:
    """``run_sql`` and ``observe_sql``. It always looks at the file's row first, so it may be repeated at will."""

    def __init__(self, secrets: Secrets) -> None:
        self._databases = Databases(secrets)

    async def perform(self, effect: Effect, scene: Scene, resumed: bool) -> Outcome:
        operation = effect.operation
        assert isinstance(operation, RunSql), f"{operation.op} is not for the SQL adapter"
        job = Job(operation, effect.id, scene.run)
        try:
            url = await self._databases.url(operation.database, scene.directory)
            detail = await self._databases.call(self._databases.run(url, scene.directory, job))
        except Uncertain as problem:
            return Outcome(state=EffectState.UNKNOWN, detail=str(problem))
        except Temporary as problem:
            return Outcome(state=EffectState.TEMPORARY, detail=str(problem))
        except PartlyRun as problem:
            standing = Standing(statements=problem.statements)
            return Outcome(state=EffectState.REFUSED, detail=str(problem), observed=_value(standing))
        except RolloutError as problem:
            return Outcome(state=EffectState.REFUSED, detail=str(problem))
        applied = operation.checksum if operation.direction == "up" else None
        return Outcome(state=EffectState.DONE, detail=detail, observed=_value(Standing(applied)))

    async def observe(self, observation: AnyObservation, scene: Scene) -> Seen:
        assert isinstance(observation, ObserveSql), f"{observation.op} is not for the SQL adapter"
        url = await self._databases.url(observation.database, scene.directory)
        look = self._databases.look(url, scene.directory, observation.name)
        try:
            async with asyncio.timeout(OBSERVE_SECONDS):
                return Seen(value=_value(await self._databases.call(look, stop_seconds=1.0)))
        except TimeoutError:
            raise Temporary(f"the database did not say within {OBSERVE_SECONDS:g} s what is applied") from None


def _value(standing: Standing) -> dict[str, Any]:
    partly = {"statements": standing.statements} if standing.statements else {}
    return {"applied": standing.checksum is not None, "checksum": standing.checksum, **partly}


class SqlReader:
    """Queries that only read: the database is told so, and refuses anything else."""

    def __init__(self, secrets: Secrets) -> None:
        self._databases = Databases(secrets)

    async def fetch(
        self, database: TextOrSecret, sql: str, timeout_seconds: float, directory: str | None = None
    ) -> Rows:
        """At most ``MAX_ROWS`` rows of one statement: so many means that many or more.

        *directory* is what a relative SQLite file, or a secret's file, is relative to. Raises ``Temporary`` or
        ``Permanent``.
        """
        url = await self._databases.url(database, directory)
        return await self._bounded(self._databases.fetch(url, directory, sql, timeout_seconds), timeout_seconds)

    async def health(
        self, database: TextOrSecret, health: Health, timeout_seconds: float, directory: str | None = None
    ) -> list[Reading]:
        """The worst readings. Raises ``Temporary`` or ``Permanent``, which is also what SQLite gets."""
        url = await self._databases.url(database, directory)
        if not is_postgres(url):
            raise Permanent(f"{health} is PostgreSQL's to tell: SQLite has no sessions, locks or standbys to look at")

        def work(stop: Stop) -> list[Reading]:
            return measure(health, lambda query: self._databases.fetch(url, directory, query, timeout_seconds)(stop))

        return await self._bounded(work, timeout_seconds)

    async def _bounded(self, work: Callable[[Stop], T], timeout_seconds: float) -> T:
        try:
            async with asyncio.timeout(timeout_seconds + 1.0):  # the database's own limit comes first and says more
                return await self._databases.call(work, stop_seconds=1.0)
        except TimeoutError:
            raise Temporary(f"the database did not answer within {timeout_seconds:g} s") from None
