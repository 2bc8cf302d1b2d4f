"""Scheduled checks in the PostgreSQL store. Of several controllers, the one whose claim is written asks."""

from functools import partial
from typing import Final

from orchestrator.journal.postgresql.pool import Pool
from orchestrator.journal.postgresql.reading import each, one
from orchestrator.journal.postgresql.session import Connection
from orchestrator.journal.postgresql.tokens import write_note
from orchestrator.journal.schedule_rows import SCHEDULE, TURN, schedule_of, schedule_values, turn_of, turn_values
from orchestrator.schedule_port import MOST_TURNS, Schedule, Turn
from orchestrator.token_port import Note

_SCHEDULE: Final = ", ".join(SCHEDULE)
_TURN: Final = ", ".join(TURN)
_OF_TURN: Final = "schedule = %s AND round = %s AND due = %s"
_PUT: Final = (
    f"INSERT INTO schedules ({_SCHEDULE}) VALUES ({', '.join(['%s'] * len(SCHEDULE))}) "  # noqa: S608
    f"ON CONFLICT (name) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in SCHEDULE[1:])}"
)
_CLAIM: Final = (
    f"INSERT INTO turns ({_TURN}) VALUES ({', '.join(['%s'] * len(TURN))}) "  # noqa: S608
    "ON CONFLICT (schedule, round, due) DO UPDATE SET by_whom = excluded.by_whom, claimed = excluded.claimed "
    "WHERE turns.result IS NULL AND turns.claimed < %s RETURNING due"
)


class PostgresSchedules:
    """The ``Schedules`` of whoever reads the store."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def schedules(self) -> list[Schedule]:
        return await self._pool.do(_schedules)

    async def turns(self, schedule: str, limit: int = 100) -> list[Turn]:
        return await self._pool.do(partial(_turns, schedule=schedule, limit=limit))

    async def newest_turns(self, schedule: str) -> dict[str, Turn]:
        return await self._pool.do(partial(_newest_turns, schedule=schedule))


class PostgresScheduleStorage(PostgresSchedules):
    """The ``ScheduleStorage`` that all controllers of the store have in common."""

    async def put_schedule(self, schedule: Schedule, note: Note) -> None:
        await self._pool.do(partial(_put, schedule=schedule, note=note), key=("schedule", schedule.name))

    async def drop_schedule(self, name: str, note: Note) -> bool:
        return await self._pool.do(partial(_drop, name=name, note=note), key=("schedule", name))

    async def claim_turn(self, turn: Turn, abandoned_before: float) -> bool:
        work = partial(_claim, turn=turn, abandoned_before=abandoned_before)
        return await self._pool.do(work, key=("turn", turn.schedule))

    async def finish_turn(self, turn: Turn) -> None:
        await self._pool.do(partial(_finish, turn=turn), key=("turn", turn.schedule))


def _schedules(connection: Connection) -> list[Schedule]:
    query = f'SELECT {_SCHEDULE} FROM schedules ORDER BY name COLLATE "C"'  # noqa: S608
    return [schedule_of(found) for found in each(connection, query)]


def _turns(connection: Connection, schedule: str, limit: int) -> list[Turn]:
    query = f'SELECT {_TURN} FROM turns WHERE schedule = %s ORDER BY due DESC, round COLLATE "C" LIMIT %s'  # noqa: S608
    return [turn_of(found) for found in each(connection, query, (schedule, limit))]


def _newest_turns(connection: Connection, schedule: str) -> dict[str, Turn]:
    query = f"SELECT DISTINCT ON (round) {_TURN} FROM turns WHERE schedule = %s ORDER BY round, due DESC"  # noqa: S608
    return {turn.round: turn for turn in map(turn_of, each(connection, query, (schedule,)))}


def _put(connection: Connection, schedule: Schedule, note: Note) -> None:
    with connection.transaction():
        connection.execute(_PUT, schedule_values(schedule))
        write_note(connection, note)


def _drop(connection: Connection, name: str, note: Note) -> bool:
    with connection.transaction():
        if one(connection, "DELETE FROM schedules WHERE name = %s RETURNING name", (name,)) is None:
            return False
        write_note(connection, note)
    return True


def _claim(connection: Connection, turn: Turn, abandoned_before: float) -> bool:
    if one(connection, _CLAIM, (*turn_values(turn), abandoned_before)) is not None:
        return True
    query = f"SELECT {_TURN} FROM turns WHERE {_OF_TURN}"  # noqa: S608
    stood = one(connection, query, (turn.schedule, turn.round, turn.due))
    return stood is not None and turn_of(stood) == turn  # tried again, its answer being lost


def _finish(connection: Connection, turn: Turn) -> None:
    *_, result = turn_values(turn)
    with connection.transaction():
        connection.execute(
            f"UPDATE turns SET result = %s WHERE {_OF_TURN} AND by_whom = %s AND claimed = %s",  # noqa: S608
            (result, turn.schedule, turn.round, turn.due, turn.by, turn.claimed),
        )
        connection.execute(
            "DELETE FROM turns WHERE schedule = %s AND due < "
            "(SELECT due FROM turns WHERE schedule = %s ORDER BY due DESC LIMIT 1 OFFSET %s)",
            (turn.schedule, turn.schedule, MOST_TURNS - 1),
        )
