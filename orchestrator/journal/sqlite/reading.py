"""What is read from the store, each by one statement and so from one snapshot."""

import json
from collections.abc import Sequence
from typing import Final

import apsw

from flags.model import Version
from orchestrator.journal.rows import event, flag_record, run_row
from orchestrator.ports import Answer, FlagRecord, Recorded, RunRow

ROW: Final = "run, plan, digest, rev, epoch, active, created, summary, kept"
FLAG: Final = 'environment, key, document, "by", reason, at, run, effect'


def row(connection: apsw.Connection, run: str) -> RunRow | None:
    found = connection.execute(f"SELECT {ROW} FROM runs WHERE run = ?", (run,)).fetchone()  # noqa: S608
    return None if found is None else run_row(found)


def rows(connection: apsw.Connection, active: bool | None, limit: int, plan: str | None = None) -> list[RunRow]:
    filters = [f"{name} = :{name}" for name, value in (("active", active), ("plan", plan)) if value is not None]
    where = f"WHERE {' AND '.join(filters)}" if filters else ""
    query = f"SELECT {ROW} FROM runs {where} ORDER BY created DESC, id DESC LIMIT :limit"  # noqa: S608
    values = {"active": active, "plan": plan, "limit": max(limit, 0)}
    return [run_row(found) for found in connection.execute(query, values)]


def holders(connection: apsw.Connection, claims: Sequence[str]) -> dict[str, str]:
    query = (
        "SELECT claim, run FROM claims JOIN runs USING (run) WHERE claim IN (SELECT value FROM json_each(?)) AND active"
    )
    return dict(connection.execute(query, (json.dumps(claims),)))


def by_phase(connection: apsw.Connection) -> list[tuple[str, int, int]]:
    query = "SELECT coalesce(json_extract(summary, '$.phase'), '') AS phase, count(*), sum(rev) FROM runs GROUP BY 1"
    return list(connection.execute(query))


def events(connection: apsw.Connection, run: str, after: int, limit: int | None) -> list[Recorded]:
    query = "SELECT seq, at, data, hash FROM events WHERE run = ? AND seq > ? ORDER BY seq LIMIT ?"
    most = -1 if limit is None else max(limit, 0)
    return [event(run, *found) for found in connection.execute(query, (run, after, most))]


def answer(connection: apsw.Connection, run: str, key: str) -> Answer | None:
    body = connection.execute("SELECT body FROM answers WHERE run = ? AND key = ?", (run, key)).get
    return None if body is None else Answer(key, json.loads(body))


def evidence(connection: apsw.Connection, run: str) -> str | None:
    text: str | None = connection.execute("SELECT text FROM evidence WHERE run = ?", (run,)).get
    return text


def flag(connection: apsw.Connection, environment: str, key: str) -> FlagRecord | None:
    query = f"SELECT {FLAG} FROM flags WHERE environment = ? AND key = ?"  # noqa: S608
    found = connection.execute(query, (environment, key)).fetchone()
    return None if found is None else flag_record(found)


def flags(connection: apsw.Connection, environment: str | None) -> list[FlagRecord]:
    where = "" if environment is None else "WHERE environment = :environment"
    query = f"SELECT {FLAG} FROM flags {where} ORDER BY environment, key"  # noqa: S608
    return [flag_record(found) for found in connection.execute(query, {"environment": environment})]


def flag_history(connection: apsw.Connection, environment: str, key: str, limit: int) -> list[FlagRecord]:
    query = (
        f"SELECT {FLAG} FROM flag_history WHERE environment = ? AND key = ? "  # noqa: S608
        "ORDER BY generation DESC, number DESC LIMIT ?"
    )
    return [flag_record(found) for found in connection.execute(query, (environment, key, max(limit, 0)))]


def version(connection: apsw.Connection) -> Version:
    query = "SELECT value FROM meta WHERE name IN ('flag_number', 'generation') ORDER BY name"
    number, generation = (value for (value,) in connection.execute(query))
    return Version(generation, number)
