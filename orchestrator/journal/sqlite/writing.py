"""What is written to the store. Each function runs inside a savepoint of the writer: it may raise at any point, and
nothing of it stays then.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import apsw

from flags.model import Version
from orchestrator.core.events import SCHEMA_VERSION
from orchestrator.failpoints import Point, reach
from orchestrator.journal import chain, rules
from orchestrator.ports import Batch, FlagRecord, FlagWrite, NewRun, Recorded


def start(
    connection: apsw.Connection, new: NewRun, epoch: int, at: float, events: Sequence[chain.Encoded], summary: str
) -> list[Recorded]:
    if _one(connection, "SELECT 1 FROM runs WHERE run = ?", (new.run,)):
        raise rules.name_taken(new.run)
    _claim(connection, new)
    records, head = _insert(connection, new.run, 0, chain.GENESIS, at, events)
    connection.execute(
        "INSERT INTO runs (run, plan, digest, rev, epoch, active, created, head, summary, refers_to) "
        "VALUES (?,?,?,?,?,1,?,?,?,?)",
        (new.run, new.plan, new.digest, len(records), epoch, float(at), head, summary, new.refers_to),
    )
    reach(Point.START_WRITTEN)
    return records


def append(connection: apsw.Connection, batch: Batch, events: Sequence[chain.Encoded], summary: str) -> list[Recorded]:
    found = _one(connection, "SELECT rev, epoch, head, kept, active FROM runs WHERE run = ?", (batch.run,))
    if found is None:
        raise rules.no_run(batch.run)
    rev, epoch, head, kept, was_active = found
    rules.check_place(batch, rev, epoch)
    rules.check_whole(batch.run, kept)
    _remember_answer(connection, batch)
    for write in batch.flags:
        write_flag(connection, write, batch.at)
    records, head = _insert(connection, batch.run, batch.after, head, batch.at, events)
    connection.execute(
        "UPDATE runs SET rev = ?, head = ?, summary = ? WHERE run = ?", (rev + len(records), head, summary, batch.run)
    )
    if batch.active != bool(was_active):  # apart, since three indexes have to follow it, whether it is another or not
        connection.execute("UPDATE runs SET active = ? WHERE run = ?", (batch.active, batch.run))
    if batch.release:
        connection.execute("DELETE FROM claims WHERE run = ?", (batch.run,))
    reach(Point.APPEND_WRITTEN)
    return records


def take(connection: apsw.Connection, run: str) -> int:
    found = _one(connection, "UPDATE runs SET epoch = epoch + 1 WHERE run = ? RETURNING epoch", (run,))
    if found is None:
        raise rules.no_run(run)
    epoch: int = found[0]
    reach(Point.TAKE_WRITTEN)
    return epoch


def save_evidence(connection: apsw.Connection, seen: Mapping[str, tuple[int, str]]) -> None:
    """Epoch and text by run. It is one statement: at each, this thread gives the interpreter away, and where the event
    loop has much to do it gets it back late; whatever is to be committed next waits with it."""
    if not seen:
        return
    rows = ", ".join(["(?,?,?)"] * len(seen))
    connection.execute(
        f"WITH seen (run, epoch, text) AS (VALUES {rows}) "  # noqa: S608
        "INSERT INTO evidence (run, text) SELECT run, seen.text FROM seen JOIN runs USING (run, epoch) WHERE true "
        "ON CONFLICT (run) DO UPDATE SET text = excluded.text",
        tuple(value for run, (epoch, text) in seen.items() for value in (run, epoch, text)),
        can_cache=False,  # there are as many as there are numbers of runs
    )
    reach(Point.EVIDENCE_WRITTEN)


def write_flag(connection: apsw.Connection, write: FlagWrite, at: float) -> FlagRecord:
    place = (write.document.environment, write.document.key)
    if write.epoch is not None and (run := _one(connection, "SELECT epoch FROM runs WHERE run = ?", (write.run,))):
        rules.check_epoch(write, run[0])
    stored = _one(connection, "SELECT generation, number FROM flags WHERE environment = ? AND key = ?", place)
    rules.check_version(write, None if stored is None else Version(*stored))
    record = rules.numbered(write, _next_version(connection), at)
    version, document = record.document.version, chain.canonical(record.document.to_json())
    who = (record.by, record.reason, record.at, record.run, record.effect)
    values = (*place, version.generation, version.number, document, *who)
    connection.execute("INSERT OR REPLACE INTO flags VALUES (?,?,?,?,?,?,?,?,?,?)", values)
    connection.execute("INSERT INTO flag_history VALUES (?,?,?,?,?,?,?,?,?,?)", values)
    reach(Point.FLAG_WRITTEN)
    return record


def new_generation(connection: apsw.Connection) -> int:
    found = _one(connection, "UPDATE meta SET value = value + 1 WHERE name = 'generation' RETURNING value")
    assert found is not None
    generation: int = found[0]
    return generation


def _next_version(connection: apsw.Connection) -> Version:
    found = _one(
        connection,
        "UPDATE meta SET value = value + 1 WHERE name = 'flag_number' "
        "RETURNING (SELECT value FROM meta WHERE name = 'generation'), value",
    )
    assert found is not None
    return Version(*found)


def _claim(connection: apsw.Connection, new: NewRun) -> None:
    if new.inherits_from is not None:
        if _one(connection, "SELECT 1 FROM runs WHERE run = ?", (new.inherits_from,)) is None:
            raise rules.no_run(new.inherits_from)
        connection.execute("UPDATE claims SET run = ? WHERE run = ?", (new.run, new.inherits_from))
    for claim, words in sorted(new.claims.items()):
        query = "SELECT run, words FROM claims JOIN runs USING (run) WHERE claim = ? AND active"
        held = _one(connection, query, (claim,))  # what was inherited a moment ago has no row of its own yet
        if held is not None:
            raise rules.busy(claim, words=held[1], holder=held[0])
        connection.execute("INSERT OR REPLACE INTO claims (claim, run, words) VALUES (?,?,?)", (claim, new.run, words))


def _remember_answer(connection: apsw.Connection, batch: Batch) -> None:
    if batch.answer is None:
        return
    if _one(connection, "SELECT 1 FROM answers WHERE run = ? AND key = ?", (batch.run, batch.answer.key)):
        raise rules.already_answered(batch.run, batch.answer.key)
    values = (batch.run, batch.answer.key, chain.canonical(dict(batch.answer.body)))
    connection.execute("INSERT INTO answers (run, key, body) VALUES (?,?,?)", values)


def _insert(
    connection: apsw.Connection, run: str, after: int, head: str, at: float, events: Sequence[chain.Encoded]
) -> tuple[list[Recorded], str]:
    """The records, and the hash of the newest (*head* if there are none)."""
    extended = list(chain.extend(run, after, head, at, events))
    connection.executemany(
        "INSERT INTO events (run, seq, at, data, hash, schema_version) VALUES (?,?,?,?,?,?)",
        [(run, record.seq, record.at, data, record.hash, SCHEMA_VERSION) for record, data in extended],
    )
    records = [record for record, _ in extended]
    return records, records[-1].hash if records else head


def _one(connection: apsw.Connection, query: str, values: tuple[Any, ...] = ()) -> tuple[Any, ...] | None:
    found: tuple[Any, ...] | None = connection.execute(query, values).fetchone()
    return found
