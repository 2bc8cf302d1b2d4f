"""What is read from the store, each by one statement and so from one snapshot."""

import json
from collections.abc import Callable
from typing import Any, Final, TypeVar

import apsw

from flags.errors import FlagError
from flags.model import FlagDocument, Version
from orchestrator.core.events import from_json
from orchestrator.errors import StoreError
from orchestrator.ports import Answer, FlagRecord, Recorded, RunRow

T = TypeVar("T")

ROW: Final = "run, plan, digest, rev, epoch, active, created, summary"
FLAG: Final = 'document, "by", reason, at, run, effect'


def row(connection: apsw.Connection, run: str) -> RunRow | None:
    found = connection.execute(f"SELECT {ROW} FROM runs WHERE run = ?", (run,)).fetchone()  # noqa: S608
    return None if found is None else _row(found)


def rows(connection: apsw.Connection, active: bool | None, limit: int) -> list[RunRow]:
    where = "" if active is None else "WHERE active = :active"
    query = f"SELECT {ROW} FROM runs {where} ORDER BY created DESC, id DESC LIMIT :limit"  # noqa: S608
    return [_row(found) for found in connection.execute(query, {"active": active, "limit": max(limit, 0)})]


def events(connection: apsw.Connection, run: str, after: int, limit: int | None) -> list[Recorded]:
    query = "SELECT seq, at, data, hash FROM events WHERE run = ? AND seq > ? ORDER BY seq LIMIT ?"
    most = -1 if limit is None else max(limit, 0)
    return [_event(run, *found) for found in connection.execute(query, (run, after, most))]


def answer(connection: apsw.Connection, run: str, key: str) -> Answer | None:
    body = connection.execute("SELECT body FROM answers WHERE run = ? AND key = ?", (run, key)).get
    return None if body is None else Answer(key, json.loads(body))


def evidence(connection: apsw.Connection, run: str) -> str | None:
    text: str | None = connection.execute("SELECT text FROM evidence WHERE run = ?", (run,)).get
    return text


def flag(connection: apsw.Connection, environment: str, key: str) -> FlagRecord | None:
    query = f"SELECT {FLAG} FROM flags WHERE environment = ? AND key = ?"  # noqa: S608
    found = connection.execute(query, (environment, key)).fetchone()
    return None if found is None else _flag(found)


def flags(connection: apsw.Connection, environment: str | None) -> list[FlagRecord]:
    where = "" if environment is None else "WHERE environment = :environment"
    query = f"SELECT {FLAG} FROM flags {where} ORDER BY environment, key"  # noqa: S608
    return [_flag(found) for found in connection.execute(query, {"environment": environment})]


def flag_history(connection: apsw.Connection, environment: str, key: str, limit: int) -> list[FlagRecord]:
    query = (
        f"SELECT {FLAG} FROM flag_history WHERE environment = ? AND key = ? "  # noqa: S608
        "ORDER BY generation DESC, number DESC LIMIT ?"
    )
    return [_flag(found) for found in connection.execute(query, (environment, key, max(limit, 0)))]


def version(connection: apsw.Connection) -> Version:
    query = "SELECT value FROM meta WHERE name IN ('flag_number', 'generation') ORDER BY name"
    number, generation = (value for (value,) in connection.execute(query))
    return Version(generation, number)


def _row(found: tuple[Any, ...]) -> RunRow:
    run, plan, digest, rev, epoch, active, created, summary = found
    return RunRow(run, plan, digest, rev, epoch, bool(active), created, json.loads(summary))


def _event(run: str, seq: int, at: float, data: str, digest: str) -> Recorded:
    return Recorded(run, seq, at, _parsed(from_json, data, f"Event {seq} of run {run!r}"), digest)


def _flag(found: tuple[Any, ...]) -> FlagRecord:
    document, by, reason, at, run, effect = found
    return FlagRecord(_parsed(FlagDocument.from_json, document, "A flag document"), by, reason, at, run, effect)


def _parsed(parse: Callable[[Any], T], text: str, what: str) -> T:
    try:
        return parse(json.loads(text))
    except (ValueError, FlagError) as problem:
        reason = " ".join(str(problem).split())[:300]
        raise StoreError(
            f"{what} can't be read ({reason}): it was written by a newer version of this program, or changed by hand."
        ) from None
