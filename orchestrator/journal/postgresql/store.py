"""The journal, the flag store and the membership on one schema of a PostgreSQL database.

Theory of operation. Calls go to a few connections (see :mod:`.pool`), each call a transaction (see :mod:`.writing`).
Nobody is answered before its COMMIT returned, with ``synchronous_commit`` on: what was answered survives a server that
falls over. Whether it survives the loss of the server's disk is up to its standbys (``synchronous_standby_names``).

Several controllers may have the store open. Who may write to a run is told by the run's epoch, and who acts for it by
leases (see :mod:`.members`); nothing is locked longer than a transaction, and the server ends one that takes longer
than two seconds, or whose controller does not go on with it for so long.
"""

import contextlib
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any, Final

import psycopg

from flags.model import Version
from orchestrator.core.events import Event
from orchestrator.journal import chain
from orchestrator.journal.postgresql import reading, schema, writing
from orchestrator.journal.postgresql.address import Address, parse
from orchestrator.journal.postgresql.faults import as_store_error
from orchestrator.journal.postgresql.freezes import PostgresFreezes, PostgresFreezeStorage
from orchestrator.journal.postgresql.keeping import PostgresKeepingStorage, PostgresKeptReports
from orchestrator.journal.postgresql.line import Line
from orchestrator.journal.postgresql.members import Lease
from orchestrator.journal.postgresql.pool import DEADLINE_SECONDS, Pool
from orchestrator.journal.postgresql.schedules import PostgresSchedules, PostgresScheduleStorage
from orchestrator.journal.postgresql.tokens import PostgresTokens
from orchestrator.journal.readonly import RefusesWrites
from orchestrator.ports import Answer, Batch, FlagRecord, FlagWrite, Member, NewRun, Recorded, RunRow
from stages.values import Json

CONNECTIONS: Final = 8
_READERS: Final = 2
_EVIDENCE: Final = "evidence"  # the key of checkpoints, so that an older one is never written after a newer


class ReadingStore(RefusesWrites):
    """The reading half of ``Journal`` and ``FlagStore``; whatever writes raises StoreError. See ``open_reading``."""

    def __init__(self, address: Address, pool: Pool) -> None:
        self.address = address
        self.name = address.name
        self._pool = pool
        self.freezes = PostgresFreezes(pool)
        self.schedules = PostgresSchedules(pool)
        self.keeping = PostgresKeptReports(pool)

    async def row(self, run: str) -> RunRow | None:
        return await self._pool.do(partial(reading.row, run=run))

    async def rows(self, active: bool | None = None, limit: int = 1000, plan: str | None = None) -> list[RunRow]:
        return await self._pool.do(partial(reading.rows, active=active, limit=limit, plan=plan))

    async def holders(self, claims: Collection[str]) -> dict[str, str]:
        return await self._pool.do(partial(reading.holders, claims=sorted(claims)))

    async def by_phase(self) -> list[tuple[str, int, int]]:
        return await self._pool.do(reading.by_phase)

    async def read(self, run: str, after: int = 0, limit: int | None = None) -> list[Recorded]:
        return await self._pool.do(partial(reading.events, run=run, after=after, limit=limit))

    async def answer(self, run: str, key: str) -> Answer | None:
        return await self._pool.do(partial(reading.answer, run=run, key=key))

    async def evidence(self, run: str) -> str | None:
        return await self._pool.do(partial(reading.evidence, run=run))

    async def get(self, environment: str, key: str) -> FlagRecord | None:
        return await self._pool.do(partial(reading.flag, environment=environment, key=key))

    async def all(self, environment: str | None = None) -> list[FlagRecord]:
        return await self._pool.do(partial(reading.flags, environment=environment))

    async def version(self) -> Version:
        return await self._pool.do(reading.version)

    async def history(self, environment: str, key: str, limit: int = 50) -> list[FlagRecord]:
        """Newest first, the present document included."""
        return await self._pool.do(partial(reading.flag_history, environment=environment, key=key, limit=limit))

    async def owner(self, run: str) -> Member | None:
        return await self._pool.do(partial(reading.owner, run=run))

    async def members(self) -> list[Member]:
        return await self._pool.do(reading.members)

    async def shares(self) -> tuple[dict[str, int], int]:
        return await self._pool.do(reading.shares)

    async def switch(self) -> str | None:
        return await self._pool.do(reading.switch)

    async def close(self) -> None:
        """Lets what is under way finish, within bounds."""
        await self._pool.close()


class PostgresStore(ReadingStore):
    """``Journal``, ``FlagStore`` and ``Membership`` of one of the controllers of a store.

    Makes the store if there is none. Raises UsageError for a URL that can't be read, and StoreError.
    """

    def __init__(self, url: str, me: Member, deadline_seconds: float = DEADLINE_SECONDS) -> None:
        address = parse(url)
        line = Line(address)
        schema.prepare(address, line.connect)
        line.when_newer = partial(schema.note_origin, address=address)
        super().__init__(address, Pool(address, line.connect, CONNECTIONS, deadline_seconds))
        self.me = me
        self._writer = writing.Writer(me.name)
        self._lease = Lease(me)
        self.tokens = PostgresTokens(self._pool)
        self.freezes: PostgresFreezeStorage = PostgresFreezeStorage(self._pool)
        self.schedules: PostgresScheduleStorage = PostgresScheduleStorage(self._pool)
        self.keeping: PostgresKeepingStorage = PostgresKeepingStorage(self._pool)

    async def start(
        self, new: NewRun, epoch: int, at: float, events: Sequence[Event], summary: Mapping[str, Json]
    ) -> list[Recorded]:
        encoded = [chain.encode(event) for event in events]
        extended = list(chain.extend(new.run, 0, chain.GENESIS, at, encoded))
        text = (extended, *_summarised(summary))
        return await self._pool.do(partial(self._writer.start, new=new, epoch=epoch, at=at, text=text), key=new.run)

    async def append(self, batch: Batch) -> list[Recorded]:
        encoded = [chain.encode(event) for event in batch.events]
        text = _summarised(batch.summary)
        return await self._pool.do(partial(self._writer.append, batch=batch, events=encoded, text=text), key=batch.run)

    async def answer(self, run: str, key: str) -> Answer | None:
        return await self._pool.do(partial(writing.durable_answer, run=run, key=key))

    async def take(self, run: str) -> int:
        return await self._pool.do(partial(self._writer.take, run=run), key=run)

    async def save_evidence(self, seen: Mapping[str, tuple[int, str]]) -> None:
        await self._pool.do(partial(writing.save_evidence, seen=seen), key=_EVIDENCE)

    async def write(self, write: FlagWrite, at: float) -> FlagRecord:
        place = (write.document.environment, write.document.key)
        return await self._pool.do(partial(self._writer.write_flag, write=write, at=at), key=place)

    async def new_generation(self) -> int:
        """To be called when the store was restored: versions given out from now on are above all earlier ones."""
        return await self._pool.do(writing.new_generation)

    async def renew(self, lease_seconds: float) -> None:
        await self._pool.do(partial(self._lease.renew, lease_seconds=lease_seconds), key=self._lease)

    async def claim(self, most: int, *, only_lapsed: bool = False) -> list[str]:
        return await self._pool.do(partial(self._lease.claim, most=most, only_lapsed=only_lapsed), key=self._lease)

    async def release(self, runs: Sequence[str]) -> None:
        await self._pool.do(partial(self._lease.release, runs=runs), key=self._lease)

    async def put_switch(self, text: str, before: str | None) -> bool:
        return await self._pool.do(partial(writing.put_switch, text=text, before=before))

    async def leave(self) -> None:
        await self._pool.do(self._lease.leave, key=self._lease)


def open_reading(url: str) -> ReadingStore:
    """For commands that only look, with or without controllers beside them. Raises NotFound if there is no store."""
    address = parse(url)
    line = Line(address, reading=True)
    try:
        with contextlib.closing(line.connect()) as connection:
            schema.check_readable(connection, address)
    except psycopg.Error as problem:
        raise as_store_error(problem, address) from problem
    return ReadingStore(address, Pool(address, line.connect, _READERS))


def _summarised(summary: Mapping[str, Any]) -> tuple[str, bool]:
    """Its JSON, and whether there is something left to do for a run that has ended."""
    return chain.canonical(dict(summary)), not summary.get("settled", True)
