"""What is read from the store, each by one statement and so from one snapshot."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from flags.model import Version
from orchestrator.journal.postgresql.session import Connection
from orchestrator.journal.rows import event, flag_record, run_row
from orchestrator.ports import Answer, FlagRecord, Member, Recorded, RunRow

Values = Sequence[Any] | Mapping[str, Any]

ROW: Final = "run, plan, digest, rev, epoch, active, created, summary, kept"
FLAG: Final = 'environment, key, document, "by", reason, at, run, effect'
_PAGE: Final = 500  # events; a journal as a whole might take longer than a statement may


def one(connection: Connection, query: str, values: Values = ()) -> tuple[Any, ...] | None:
    return connection.execute(query.encode(), values).fetchone()


def each(connection: Connection, query: str, values: Values = ()) -> list[tuple[Any, ...]]:
    return connection.execute(query.encode(), values).fetchall()


def row(connection: Connection, run: str) -> RunRow | None:
    found = one(connection, f"SELECT {ROW} FROM runs WHERE run = %s", (run,))  # noqa: S608
    return None if found is None else run_row(found)


def rows(connection: Connection, active: bool | None, limit: int, plan: str | None = None) -> list[RunRow]:
    filters = [f"{name} = %({name})s" for name, value in (("active", active), ("plan", plan)) if value is not None]
    where = f"WHERE {' AND '.join(filters)}" if filters else ""
    query = f"SELECT {ROW} FROM runs {where} ORDER BY created DESC, id DESC LIMIT %(limit)s"  # noqa: S608
    return [
        run_row(found) for found in each(connection, query, {"active": active, "plan": plan, "limit": max(limit, 0)})
    ]


def holders(connection: Connection, claims: Sequence[str]) -> dict[str, str]:
    query = "SELECT claim, run FROM claims JOIN runs USING (run) WHERE claim = ANY(%s) AND active"
    return dict(each(connection, query, (list(claims),)))


def by_phase(connection: Connection) -> list[tuple[str, int, int]]:
    query = "SELECT coalesce(summary::json ->> 'phase', ''), count(*), sum(rev)::bigint FROM runs GROUP BY 1"
    return list(each(connection, query))


def events(connection: Connection, run: str, after: int, limit: int | None) -> list[Recorded]:
    """In several statements if there are many: events are only ever added."""
    query = "SELECT seq, at, data, hash FROM events WHERE run = %s AND seq > %s ORDER BY seq LIMIT %s"
    records: list[Recorded] = []
    while True:
        most = _PAGE if limit is None else min(_PAGE, max(limit - len(records), 0))
        page = [event(run, *found) for found in each(connection, query, (run, after, most))] if most else []
        records += page
        if len(page) < _PAGE:
            return records
        after = page[-1].seq


def answer(connection: Connection, run: str, key: str) -> Answer | None:
    found = one(connection, "SELECT body FROM answers WHERE run = %s AND key = %s", (run, key))
    return None if found is None else Answer(key, json.loads(found[0]))


def evidence(connection: Connection, run: str) -> str | None:
    found = one(connection, "SELECT text FROM evidence WHERE run = %s", (run,))
    return None if found is None else str(found[0])


def flag(connection: Connection, environment: str, key: str) -> FlagRecord | None:
    query = f"SELECT {FLAG} FROM flags WHERE environment = %s AND key = %s"  # noqa: S608
    found = one(connection, query, (environment, key))
    return None if found is None else flag_record(found)


def flags(connection: Connection, environment: str | None) -> list[FlagRecord]:
    where = "" if environment is None else "WHERE environment = %(environment)s"
    query = f'SELECT {FLAG} FROM flags {where} ORDER BY environment COLLATE "C", key COLLATE "C"'  # noqa: S608
    return [flag_record(found) for found in each(connection, query, {"environment": environment})]


def flag_history(connection: Connection, environment: str, key: str, limit: int) -> list[FlagRecord]:
    query = (
        f"SELECT {FLAG} FROM flag_history WHERE environment = %s AND key = %s "  # noqa: S608
        "ORDER BY generation DESC, number DESC LIMIT %s"
    )
    return [flag_record(found) for found in each(connection, query, (environment, key, max(limit, 0)))]


def version(connection: Connection) -> Version:
    found = one(connection, "SELECT generation, flag_number FROM store")
    assert found is not None
    return Version(*found)


def switch(connection: Connection) -> str | None:
    found = one(connection, "SELECT kill_switch FROM store")
    assert found is not None
    return None if found[0] is None else str(found[0])


def owner(connection: Connection, run: str) -> Member | None:
    query = (
        "SELECT name, address FROM runs JOIN controllers ON name = owner "
        "WHERE run = %s AND lease_until > clock_timestamp()"
    )
    found = one(connection, query, (run,))
    return None if found is None else Member(*found)


def shares(connection: Connection) -> tuple[dict[str, int], int]:
    query = (
        "WITH living AS (SELECT name FROM controllers WHERE lease_until > clock_timestamp()), "
        "wanted AS (SELECT run, owner FROM runs WHERE active OR unsettled) "
        "SELECT name, count(run) FROM living FULL JOIN wanted ON owner = name GROUP BY name"
    )
    counts: dict[str | None, int] = dict(each(connection, query))
    free = counts.pop(None, 0)
    return {name: count for name, count in counts.items() if name is not None}, free


def members(connection: Connection) -> list[Member]:
    query = 'SELECT name, address FROM controllers WHERE lease_until > clock_timestamp() ORDER BY name COLLATE "C"'
    return [Member(*found) for found in each(connection, query)]
