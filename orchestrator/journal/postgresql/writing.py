"""What is written to the store. Each call is one transaction: it may raise at any point, and nothing of it stays then.

Theory of operation. A run's row is locked before anything else of the run is read or written, and the store's own row
before flags are: so of two that race, one comes second and sees what the first did. Locks are taken in one order (runs,
the store's row, everything else); two that deadlock nevertheless are told apart by the server, and the pool tries the
loser again.

*Doubts.* A connection may break while a commit is under way, and then nobody knows whether it took place. What would
prove it is remembered just before the commit, and forgotten when the commit returned. Who comes with the very same call
again (the pool at once, a runner a while later) waits for the old transaction at the lock, finds the proof, and gets
the answer that was lost; or it is written now. Without that, a batch that was written would be refused for being there.
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Final

from flags.model import Version
from orchestrator.core.events import SCHEMA_VERSION
from orchestrator.errors import Conflict
from orchestrator.failpoints import Point, reach
from orchestrator.journal import chain, rules
from orchestrator.journal.postgresql.reading import answer, each, one
from orchestrator.journal.postgresql.session import Connection
from orchestrator.ports import Answer, Batch, FlagRecord, FlagWrite, NewRun, Recorded

Extended = Sequence[tuple[Recorded, str]]
"""Events in their places, each with its JSON."""


_FLAG: Final = ("environment", "key", "generation", "number", "document", '"by"', "reason", "at", "run", "effect")
_PLACES: Final = f"({', '.join(_FLAG)}) VALUES ({', '.join(['%s'] * len(_FLAG))})"
_OVER: Final = ", ".join(f"{column} = excluded.{column}" for column in _FLAG[2:])


class Writer:
    """*owner* is the controller that runs started here belong to. Calls of one run or flag come one after the other."""

    def __init__(self, owner: str) -> None:
        self._owner = owner
        self._doubts: dict[Hashable, tuple[object, Any]] = {}  # what a commit may have written: for whom, and what

    def start(
        self, connection: Connection, new: NewRun, epoch: int, at: float, text: tuple[Extended, str, bool]
    ) -> list[Recorded]:
        """*text* is the events, the summary's JSON, and whether the run is unsettled."""
        extended, summary, unsettled = text
        records = [record for record, _ in extended]
        head = records[-1].hash if records else chain.GENESIS
        with connection.transaction():
            doubted = self._doubts.get(new.run)
            place = (new.run, new.plan, new.digest, len(records), epoch, unsettled, float(at), head, summary)
            found = one(
                connection,
                "INSERT INTO runs (run, plan, digest, rev, epoch, active, unsettled, created, head, summary, owner, "
                "refers_to) VALUES (%s, %s, %s, %s, %s, true, %s, %s, %s, %s, %s, %s) "
                "ON CONFLICT (run) DO NOTHING RETURNING run",
                (*place, self._owner, new.refers_to),
            )
            if found is None:
                if doubted is not None and doubted[0] is new and _has(connection, records):
                    return records
                raise rules.name_taken(new.run)
            _claim_targets(connection, new)
            _insert(connection, extended)
            self._doubts[new.run] = (new, records)
            reach(Point.START_WRITTEN)
        del self._doubts[new.run]
        reach(Point.START_COMMITTED)
        return records

    def append(
        self, connection: Connection, batch: Batch, events: Sequence[chain.Encoded], text: tuple[str, bool]
    ) -> list[Recorded]:
        """*text* is the summary's JSON, and whether the run is unsettled."""
        with connection.transaction():
            query = "SELECT rev, epoch, head, kept FROM runs WHERE run = %s FOR UPDATE"
            found = one(connection, query, (batch.run,))
            if found is None:
                raise rules.no_run(batch.run)
            doubted = self._doubts.get(batch.run)
            if doubted is not None and doubted[0] is batch and _was_written(connection, batch, doubted[1]):
                written: list[Recorded] = doubted[1]
                return written
            rev, epoch, head, kept = found
            rules.check_place(batch, rev, epoch)
            rules.check_whole(batch.run, kept)
            _remember_answer(connection, batch)
            _write_flags(connection, batch.flags, batch.at)
            extended = list(chain.extend(batch.run, batch.after, head, batch.at, events))
            records = [record for record, _ in extended]
            _insert(connection, extended)
            _move(connection, batch, records[-1] if records else None, text)
            if batch.release:
                connection.execute("DELETE FROM claims WHERE run = %s", (batch.run,))
            self._doubts[batch.run] = (batch, records)
            reach(Point.APPEND_WRITTEN)
        del self._doubts[batch.run]
        reach(Point.APPEND_COMMITTED)
        return records

    def take(self, connection: Connection, run: str) -> int:
        query = "UPDATE runs SET epoch = epoch + 1 WHERE run = %s AND owner = %s RETURNING epoch"
        with connection.transaction():
            found = one(connection, query, (run, self._owner))
            reach(Point.TAKE_WRITTEN)
        if found is not None:
            reach(Point.TAKE_COMMITTED)
            return int(found[0])
        if one(connection, "SELECT 1 FROM runs WHERE run = %s", (run,)) is None:
            raise rules.no_run(run)
        raise rules.not_claimed(run, self._owner)

    def write_flag(self, connection: Connection, write: FlagWrite, at: float) -> FlagRecord:
        place = (write.document.environment, write.document.key)
        with connection.transaction():
            if write.run is not None:  # locked before the row of the store is, as by those who append
                connection.execute("SELECT 1 FROM runs WHERE run = %s FOR SHARE", (write.run,))
            doubted = self._doubts.get(place)
            _lock_store(connection)
            if doubted is not None and doubted[0] is write and _is_in_history(connection, doubted[1]):
                before: FlagRecord = doubted[1]
                return before
            (record,) = _write_flags(connection, (write,), at)
            self._doubts[place] = (write, record)
            reach(Point.FLAG_WRITTEN)
        del self._doubts[place]
        reach(Point.FLAG_COMMITTED)
        return record


def durable_answer(connection: Connection, run: str, key: str) -> Answer | None:
    """As it is read, once it is as safe as when it was first given: of a primary that fell over or was cut off while a
    commit waited for its standby, everybody sees what is not safe yet. The lock is a write, which waits for it."""
    with connection.transaction():
        one(connection, "SELECT 1 FROM answers WHERE run = %s AND key = %s FOR SHARE", (run, key))
        return answer(connection, run, key)


def save_evidence(connection: Connection, seen: Mapping[str, tuple[int, str]]) -> None:
    """Epoch and text by run. They may be lost, so nobody waits until they are on the disk."""
    runs = sorted(seen)
    epochs, texts = [seen[run][0] for run in runs], [seen[run][1] for run in runs]
    with connection.transaction():
        connection.execute("SET LOCAL synchronous_commit = off")
        connection.execute(
            "INSERT INTO evidence (run, text) SELECT run, new.text FROM runs "
            "JOIN unnest(%s::text[], %s::bigint[], %s::text[]) AS new (run, epoch, text) USING (run, epoch) "
            "ORDER BY run FOR SHARE OF runs ON CONFLICT (run) DO UPDATE SET text = excluded.text",
            (runs, epochs, texts),
        )
        reach(Point.EVIDENCE_WRITTEN)
    reach(Point.EVIDENCE_COMMITTED)


def put_switch(connection: Connection, text: str, before: str | None) -> bool:
    query = "UPDATE store SET kill_switch = %s WHERE kill_switch IS NOT DISTINCT FROM %s RETURNING one"
    return one(connection, query, (text, before)) is not None


def new_generation(connection: Connection) -> int:
    found = one(connection, "UPDATE store SET generation = generation + 1 RETURNING generation")
    assert found is not None
    return int(found[0])


# --- runs -------------------------------------------------------------------------------------------------------------


def _insert(connection: Connection, extended: Extended) -> None:
    """One statement, and not many in a pipeline: a server that waits in the middle of a pipeline counts as busy, and
    ends neither the statement nor the transaction of a controller that was frozen there, however long that takes."""
    rows = [(one.run, one.seq, one.at, data, one.hash) for one, data in extended]
    runs, seqs, times, texts, hashes = (list(column) for column in zip(*rows, strict=True)) if rows else ([],) * 5
    connection.execute(
        "INSERT INTO events (run, seq, at, data, hash, schema_version) SELECT run, seq, at, data, hash, %s FROM "
        "unnest(%s::text[], %s::bigint[], %s::double precision[], %s::text[], %s::text[]) "
        "AS new (run, seq, at, data, hash)",
        (SCHEMA_VERSION, runs, seqs, times, texts, hashes),
    )


def _move(connection: Connection, batch: Batch, newest: Recorded | None, text: tuple[str, bool]) -> None:
    """Without a newest event the run stays where it is, and only says something else of itself."""
    summary, unsettled = text
    place = (newest.seq, newest.hash) if newest is not None else (None, None)
    cursor = connection.execute(
        "UPDATE runs SET rev = coalesce(%s, rev), head = coalesce(%s, head), summary = %s, active = %s, unsettled = %s "
        "WHERE run = %s AND rev = %s AND epoch = %s",
        (*place, summary, batch.active, unsettled, batch.run, batch.after, batch.epoch),
    )
    if cursor.rowcount != 1:
        raise Conflict(f"Run {batch.run!r} was changed while it was written; read again.")


def _remember_answer(connection: Connection, batch: Batch) -> None:
    if batch.answer is None:
        return
    values = (batch.run, batch.answer.key, chain.canonical(dict(batch.answer.body)))
    query = "INSERT INTO answers (run, key, body) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING RETURNING key"
    if one(connection, query, values) is None:
        raise rules.already_answered(batch.run, batch.answer.key)


def _claim_targets(connection: Connection, new: NewRun) -> None:
    """First the rows are there and locked, then it is looked whose they are: so nobody is overlooked who comes at the
    same moment."""
    if new.inherits_from is not None:
        query = "SELECT 1 FROM runs WHERE run = %s FOR UPDATE"
        if one(connection, query, (new.inherits_from,)) is None:
            raise rules.no_run(new.inherits_from)
        connection.execute("UPDATE claims SET run = %s WHERE run = %s", (new.run, new.inherits_from))
    claims = sorted(new.claims)
    connection.execute(
        "INSERT INTO claims (claim, run, words) SELECT claim, %s, words FROM unnest(%s::text[], %s::text[]) "
        "AS wanted (claim, words) ON CONFLICT (claim) DO UPDATE SET words = claims.words",
        (new.run, claims, [new.claims[claim] for claim in claims]),
    )
    held = each(
        connection,
        "SELECT claim, run, words, active FROM claims JOIN runs USING (run) "
        "WHERE claim = ANY(%s) AND run <> %s ORDER BY claim",
        (claims, new.run),
    )
    for claim, holder, words, active in held:
        if active:
            raise rules.busy(claim, words, holder)
    connection.execute(
        "UPDATE claims SET run = %s, words = wanted.words FROM unnest(%s::text[], %s::text[]) AS wanted (claim, words) "
        "WHERE claims.claim = wanted.claim",
        (new.run, claims, [new.claims[claim] for claim in claims]),
    )


def _was_written(connection: Connection, batch: Batch, records: Sequence[Recorded]) -> bool:
    if records:
        return _has(connection, records)
    query = "SELECT 1 FROM answers WHERE run = %s AND key = %s"
    return batch.answer is not None and one(connection, query, (batch.run, batch.answer.key)) is not None


def _has(connection: Connection, records: Sequence[Recorded]) -> bool:
    """By the newest hash, which stands for all."""
    query = "SELECT 1 FROM events WHERE run = %s AND seq = %s AND hash = %s"
    return bool(records) and one(connection, query, (records[-1].run, records[-1].seq, records[-1].hash)) is not None


# --- flags ------------------------------------------------------------------------------------------------------------


def _lock_store(connection: Connection) -> Version:
    """The newest version that was given out. Who writes flags comes one after the other, so versions rise with time."""
    found = one(connection, "SELECT generation, flag_number FROM store FOR UPDATE")
    assert found is not None
    return Version(*found)


def _write_flags(connection: Connection, writes: Sequence[FlagWrite], at: float) -> list[FlagRecord]:
    if not writes:
        return []
    given = _lock_store(connection)
    records: list[FlagRecord] = []
    for number, write in enumerate(writes, given.number + 1):
        _check(connection, write)
        records.append(rules.numbered(write, Version(given.generation, number), at))
        _store_flag(connection, records[-1])
    connection.execute("UPDATE store SET flag_number = %s", (given.number + len(writes),))
    return records


def _check(connection: Connection, write: FlagWrite) -> None:
    place = (write.document.environment, write.document.key)
    stored = one(connection, "SELECT generation, number FROM flags WHERE environment = %s AND key = %s", place)
    rules.check_version(write, None if stored is None else Version(*stored))
    if write.epoch is not None:
        found = one(connection, "SELECT epoch FROM runs WHERE run = %s", (write.run,))
        if found is not None:
            rules.check_epoch(write, found[0])


def _store_flag(connection: Connection, record: FlagRecord) -> None:
    values = _values(record)
    connection.execute(
        f"INSERT INTO flags {_PLACES} ON CONFLICT (environment, key) DO UPDATE SET {_OVER}".encode(), values
    )
    connection.execute(f"INSERT INTO flag_history {_PLACES}".encode(), values)


def _values(record: FlagRecord) -> tuple[Any, ...]:
    document, version = record.document, record.document.version
    who = (record.by, record.reason, record.at, record.run, record.effect)
    text = chain.canonical(document.to_json())
    return (document.environment, document.key, version.generation, version.number, text, *who)


def _is_in_history(connection: Connection, record: FlagRecord) -> bool:
    query = (
        "SELECT 1 FROM flag_history WHERE environment = %s AND key = %s AND generation = %s AND number = %s "
        'AND document = %s AND "by" = %s AND reason = %s AND at = %s'
    )
    return one(connection, query, _values(record)[:8]) is not None
