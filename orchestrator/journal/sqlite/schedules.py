"""Scheduled checks in the SQLite store."""

from functools import partial
from typing import Final

import apsw

from orchestrator.journal.schedule_rows import SCHEDULE, TURN, schedule_of, schedule_values, turn_of, turn_values
from orchestrator.journal.sqlite.lanes import Lane
from orchestrator.journal.sqlite.tokens import write_note
from orchestrator.schedule_port import MOST_TURNS, Schedule, Turn
from orchestrator.token_port import Note

_SCHEDULE: Final = ", ".join(SCHEDULE)
_TURN: Final = ", ".join(TURN)
_OF_TURN: Final = "schedule = ? AND round = ? AND due = ?"


class SqliteSchedules:
    """The ``Schedules`` of whoever reads the store."""

    def __init__(self, reads: Lane, reader: apsw.Connection) -> None:
        self._reads, self._reader = reads, reader

    async def schedules(self) -> list[Schedule]:
        return await self._reads.do(partial(_schedules, self._reader))

    async def turns(self, schedule: str, limit: int = 100) -> list[Turn]:
        return await self._reads.do(partial(_turns, self._reader, schedule, limit))

    async def newest_turns(self, schedule: str) -> dict[str, Turn]:
        return await self._reads.do(partial(_newest_turns, self._reader, schedule))


class SqliteScheduleStorage(SqliteSchedules):
    """The ``ScheduleStorage`` of the one controller that has the store."""

    def __init__(self, reads: Lane, reader: apsw.Connection, writes: Lane, writer: apsw.Connection) -> None:
        super().__init__(reads, reader)
        self._writes, self._writer = writes, writer

    async def put_schedule(self, schedule: Schedule, note: Note) -> None:
        await self._writes.do(partial(_put, self._writer, schedule, note))

    async def drop_schedule(self, name: str, note: Note) -> bool:
        return await self._writes.do(partial(_drop, self._writer, name, note))

    async def claim_turn(self, turn: Turn, abandoned_before: float) -> bool:
        return await self._writes.do(partial(_claim, self._writer, turn, abandoned_before))

    async def finish_turn(self, turn: Turn) -> None:
        await self._writes.do(partial(_finish, self._writer, turn))


def _schedules(connection: apsw.Connection) -> list[Schedule]:
    query = f"SELECT {_SCHEDULE} FROM schedules ORDER BY name"  # noqa: S608
    return [schedule_of(found) for found in connection.execute(query)]


def _turns(connection: apsw.Connection, schedule: str, limit: int) -> list[Turn]:
    query = f"SELECT {_TURN} FROM turns WHERE schedule = ? ORDER BY due DESC, round LIMIT ?"  # noqa: S608
    return [turn_of(found) for found in connection.execute(query, (schedule, limit))]


def _newest_turns(connection: apsw.Connection, schedule: str) -> dict[str, Turn]:
    query = (
        f"SELECT {_TURN} FROM turns AS one WHERE schedule = ?1 AND due = "  # noqa: S608
        "(SELECT max(due) FROM turns WHERE schedule = ?1 AND round = one.round)"
    )
    return {turn.round: turn for turn in map(turn_of, connection.execute(query, (schedule,)))}


def _put(connection: apsw.Connection, schedule: Schedule, note: Note) -> None:
    places = ",".join("?" * len(SCHEDULE))
    query = f"INSERT OR REPLACE INTO schedules ({_SCHEDULE}) VALUES ({places})"  # noqa: S608
    connection.execute(query, schedule_values(schedule))
    write_note(connection, note)


def _drop(connection: apsw.Connection, name: str, note: Note) -> bool:
    if connection.execute("DELETE FROM schedules WHERE name = ? RETURNING name", (name,)).fetchone() is None:
        return False
    write_note(connection, note)
    return True


def _claim(connection: apsw.Connection, turn: Turn, abandoned_before: float) -> bool:
    query = f"SELECT {_TURN} FROM turns WHERE {_OF_TURN}"  # noqa: S608
    row = connection.execute(query, (turn.schedule, turn.round, turn.due)).fetchone()
    known = turn_of(row) if row is not None else None
    if known is not None and (known.result is not None or known.claimed >= abandoned_before):
        return known == turn
    places = ",".join("?" * len(TURN))
    connection.execute(f"INSERT OR REPLACE INTO turns ({_TURN}) VALUES ({places})", turn_values(turn))  # noqa: S608
    return True


def _finish(connection: apsw.Connection, turn: Turn) -> None:
    *_, result = turn_values(turn)
    connection.execute(
        f"UPDATE turns SET result = ? WHERE {_OF_TURN} AND by_whom = ? AND claimed = ?",  # noqa: S608
        (result, turn.schedule, turn.round, turn.due, turn.by, turn.claimed),
    )
    connection.execute(
        "DELETE FROM turns WHERE schedule = ?1 AND due < "
        "(SELECT due FROM turns WHERE schedule = ?1 ORDER BY due DESC LIMIT 1 OFFSET ?2)",
        (turn.schedule, MOST_TURNS - 1),
    )
