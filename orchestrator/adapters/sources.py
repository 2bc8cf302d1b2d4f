"""Reads any source of a plan (command, script, http, sql, query, file, env) into the one form of an answer, ``Found``.

Checks and measurements stand on it. A source that could not be asked raises ``CannotTell`` or an error of ours; one
that answered badly (exit code, HTTP status) is ``failed``, which a check counts as no and a measurement as an error.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from orchestrator.adapters.expectations import CannotTell, Found, Number, brief, value_at
from orchestrator.adapters.http_client import HttpClient, Reply, server_of
from orchestrator.adapters.process import CommandRunner
from orchestrator.adapters.prometheus import PrometheusClient
from orchestrator.adapters.sql.health import Reading
from orchestrator.errors import Permanent
from orchestrator.ports import Clock, Scene
from orchestrator.redaction import Redactor
from stages.checks import Health, HttpRequest, Source
from stages.criteria.base import Measurement, MeasurementState, Wanted
from stages.values import Json, TextOrSecret, format_duration

SQL_TIMEOUT_SECONDS = 30.0
FILE_TIMEOUT_SECONDS = 10.0
LONGEST_FILE_BYTES = 16 * 1024 * 1024


class SqlReader(Protocol):
    async def fetch(
        self, database: TextOrSecret, sql: str, timeout_seconds: float, directory: str | None = None
    ) -> Sequence[Sequence[Any]]:
        """The rows of one statement, read only and within the time. Raises ``Temporary`` or ``Permanent``.

        *directory* is what a file that *database* names is relative to.
        """
        ...

    async def health(
        self, database: TextOrSecret, health: Health, timeout_seconds: float, directory: str | None = None
    ) -> Sequence[Reading]:
        """The worst readings of what a database says of itself; none if there is nothing to measure."""
        ...


@dataclass(frozen=True, slots=True)
class SourceReader:
    """Asks sources once. Everything that waits has a bound of its own."""

    http: HttpClient
    prometheus: PrometheusClient
    runner: CommandRunner
    sql: SqlReader
    clock: Clock

    async def read(self, source: Source, scene: Scene) -> Found:
        """Raises ``CannotTell``, ``Temporary`` or ``Permanent`` if it can't be asked."""
        return replace(await self._read(source, scene), redact=self.http.secrets.redactor.redact)

    async def _read(self, source: Source, scene: Scene) -> Found:
        match source.kind:
            case "command" | "script":
                return await self._command(source, scene)
            case "http":
                return await self._http(source, scene)
            case "sql":
                return await self._sql(source, scene)
            case "health":
                return await self._health(source, scene)
            case "query":
                return query_found(await self.measure_query(source, scene, self.clock.now()))
            case "file":
                return await self._file(source, scene)
            case "env":
                return self._env(source)
            case kind:
                raise CannotTell(f"{kind or 'nothing'} can't be asked by the controller")

    async def measure_query(self, source: Source, scene: Scene, at: float) -> Measurement:
        """A query as it was measured, by the server that it names or the environment's own."""
        assert source.query is not None
        return await self.prometheus.measure(source.query, _prometheus(source, scene), at, scene.directory)

    async def look(self, wanted: Wanted, source: Source, scene: Scene, at: float) -> Measurement:
        """What is *wanted*, of the same server as a query of *source*."""
        return await self.prometheus.look(wanted, _prometheus(source, scene), at, scene.directory)

    async def _command(self, source: Source, scene: Scene) -> Found:
        timeout_seconds = source.timeout or scene.command_timeout_seconds
        argv = source.command or ()
        done = await self.runner.run(argv, scene, source.dir, source.vars, timeout_seconds, script=source.script)
        last_line = (done.stderr.strip() or done.stdout.strip()).rpartition("\n")[2]
        if done.timed_out:
            said = f": {brief(last_line)}" if last_line else ""
            raise CannotTell(f"the {source.kind} took longer than {format_duration(timeout_seconds)}{said}")
        return Found(
            "the output",
            text=done.stdout,
            exit_code=done.exit_code,
            duration_seconds=done.duration_seconds,
            failed=f"the {source.kind} ended with exit code {done.exit_code}" if done.exit_code else "",
            note=brief(last_line),
        )

    async def _http(self, source: Source, scene: Scene) -> Found:
        assert source.http is not None
        request = source.http
        if source.timeout is not None:
            request = request.model_copy(update={"timeout": min(source.timeout, request.timeout)})
        began = self.clock.monotonic()
        reply = await self.http.request(request, directory=scene.directory)
        took_seconds = self.clock.monotonic() - began
        failed = _status(request, reply, self.http.secrets.redactor)
        text = reply.text
        if request.value is not None and not failed:
            text = _value_text(reply, request.value)
        return Found("the answer", text=text, duration_seconds=took_seconds, failed=failed)

    async def _sql(self, source: Source, scene: Scene) -> Found:
        assert source.sql is not None
        database = _database(source, scene)
        timeout_seconds = source.timeout or SQL_TIMEOUT_SECONDS
        rows = await self.sql.fetch(database, source.sql, timeout_seconds, scene.directory)
        text = "\n".join("\t".join(map(_cell, row)) for row in rows)
        single = rows[0][0] if len(rows) == 1 and len(rows[0]) == 1 else True
        return Found("the result", text=text, rows=len(rows), verdict=bool(rows) and bool(single))

    async def _health(self, source: Source, scene: Scene) -> Found:
        assert source.health is not None
        timeout_seconds = source.timeout or SQL_TIMEOUT_SECONDS
        readings = await self.sql.health(_database(source, scene), source.health, timeout_seconds, scene.directory)
        if not readings:
            return Found(f"{source.health} (no standby is connected)", text="", rows=0, verdict=False)
        numbers = tuple(Number(reading.value, reading.labels) for reading in readings)
        text = "\n".join(f"{number.labels} {number.value:g}".strip() for number in numbers)
        return Found(
            f"{source.health}", text=text, numbers=numbers, verdict=all(not number.value for number in numbers)
        )

    async def _file(self, source: Source, scene: Scene) -> Found:
        assert source.file is not None
        path = self.http.secrets.allowed_path(source.file, scene.directory)
        if scene.directory is None and not path.is_absolute():
            raise CannotTell(f"{source.file} is relative to the plan's folder, which is not known here")
        try:
            async with asyncio.timeout(source.timeout or FILE_TIMEOUT_SECONDS):
                return await asyncio.to_thread(_look_at, path, source.file, self.clock.now())
        except TimeoutError:
            raise CannotTell(f"{source.file} could not be read in time") from None

    def _env(self, source: Source) -> Found:
        assert source.env is not None
        value = self.http.secrets.environment_variable(source.env)
        if value is None:
            return Found(f"the variable {source.env}", text="", failed=f"{source.env} is not set", shown=False)
        return Found(f"the variable {source.env}", text=value, shown=False)


def _prometheus(source: Source, scene: Scene) -> Mapping[str, Json]:
    settings = scene.prometheus.get(source.source or "")
    if settings is None:
        raise CannotTell(
            f"the plan has no source {source.source} with a prometheus"
            if source.source
            else "the plan names no prometheus to ask"
        )
    return settings if source.timeout is None else {**settings, "timeout": format_duration(source.timeout)}


def _database(source: Source, scene: Scene) -> TextOrSecret:
    database = source.database or scene.databases.get(source.source or "") or scene.database
    if database is None:
        raise CannotTell("the plan names no database to ask")
    return database


def query_found(measured: Measurement) -> Found:
    """The answer to a query, also if it is that there are no series."""
    if measured.state not in (MeasurementState.OK, MeasurementState.MISSING):
        raise CannotTell(measured.detail)
    numbers = tuple(Number(entry.value, entry.labels) for entry in measured.series)
    text = "\n".join(f"{number.labels} {number.value:g}".strip() for number in numbers)
    verdict = bool(numbers) and all(number.value != 0 for number in numbers)
    return Found("the query", text=text, numbers=numbers, rows=len(numbers), verdict=verdict)


def _status(request: HttpRequest, reply: Reply, redactor: Redactor) -> str:
    """In what the status is not the expected one; empty if it is."""
    if reply.status in request.statuses:
        return ""
    wanted = "2xx" if request.status is None else " or ".join(map(str, request.statuses))
    said = reply.note or brief(redactor.redact(reply.text[:10_000]))
    return (
        f"{server_of(request.url)} answered with status {reply.status}, expected {wanted}{f': {said}' if said else ''}"
    )


def _value_text(reply: Reply, path: str) -> str:
    try:
        value: Json = value_at(reply.json(), path)
    except (ValueError, RecursionError) as error:
        raise CannotTell(f"the answer is not JSON, so there is no {path} in it") from error
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _cell(value: Any) -> str:
    if value is None:
        return "NULL"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _look_at(path: Path, name: str, now: float) -> Found:
    what = f"the file {name}"
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return Found(what, text="", failed=f"the file {name} does not exist", shown=False)
    except OSError as error:
        raise Permanent(f"the file {name} can't be looked at: {error.strerror}") from error
    text = _content(path, name) if path.is_file() and status.st_size <= LONGEST_FILE_BYTES else None
    return Found(what, text=text, shown=False, size_bytes=status.st_size, age_seconds=max(now - status.st_mtime, 0.0))


def _content(path: Path, name: str) -> str:
    try:
        with path.open("rb") as file:
            return file.read(LONGEST_FILE_BYTES).decode("utf-8", errors="replace")
    except OSError as error:
        raise Permanent(f"the file {name} can't be read: {error.strerror}") from error
