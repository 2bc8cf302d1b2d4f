"""What is noted in PostgreSQL itself: the files that are applied, and how far one that runs in steps has come."""

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import sql

from orchestrator.adapters.sql.connection import Connection, one
from orchestrator.adapters.sql.job import PROGRESS, TABLE, Job, Progress, Standing
from orchestrator.errors import Permanent

_COLUMNS = (
    "CREATE TABLE IF NOT EXISTS {} (name text PRIMARY KEY, checksum text NOT NULL, effect text NOT NULL,"
    " run text NOT NULL, applied_at timestamptz NOT NULL)"
)
_PROGRESS_COLUMNS = (
    "CREATE TABLE IF NOT EXISTS {} (name text PRIMARY KEY, direction text NOT NULL, digest text NOT NULL,"
    " done int NOT NULL, begun boolean NOT NULL, effect text NOT NULL, run text NOT NULL,"
    " moved_at timestamptz NOT NULL)"
)


@dataclass(frozen=True, slots=True)
class History:
    """Both tables, named with their schema: a file may set another search path. The lock of migrators is held by
    whoever writes.
    """

    connection: Connection
    applied: sql.Identifier
    partly: sql.Identifier

    @classmethod
    def of(cls, connection: Connection) -> "History":
        schema = one(connection.execute("SELECT current_schema()"))
        if schema is None:
            raise Permanent(f"the database user's search_path names no schema that exists, so {TABLE} has no place")
        return cls(connection, sql.Identifier(schema, TABLE), sql.Identifier(schema, PROGRESS))

    def _exists(self, table: sql.Identifier) -> bool:
        name = table.as_string(self.connection)
        return bool(one(self.connection.execute("SELECT to_regclass(%s) IS NOT NULL", (name,))))

    def standing(self, name: str) -> Standing:
        """How a file stands, in as few words as an observation needs."""
        progress = self.progress(name)
        return Standing(self.checksum(name), progress.statements if progress is not None else 0)

    def checksum(self, name: str) -> str | None:
        if not self._exists(self.applied):
            return None
        query = sql.SQL("SELECT checksum FROM {} WHERE name = %s").format(self.applied)
        found = one(self.connection.execute(query, (name,)))
        return None if found is None else str(found)

    def in_order(self, names: Sequence[str]) -> list[str]:
        """Those of *names* that are applied, in the order in which they were."""
        if not names or not self._exists(self.applied):
            return []
        query = sql.SQL("SELECT name FROM {} WHERE name = ANY(%s) ORDER BY applied_at, array_position(%s, name)")
        rows = self.connection.execute(query.format(self.applied), (list(names), list(names))).fetchall()
        return [str(row[0]) for row in rows]

    def note(self, job: Job) -> None:
        """In a transaction: the file is applied, or taken back, and no longer under way."""
        # a file may have set a role; that ends with the transaction
        self.connection.execute("SET LOCAL ROLE NONE")
        if self._exists(self.partly):
            forget = sql.SQL("DELETE FROM {} WHERE name = %s").format(self.partly)
            self.connection.execute(forget, (job.name,))
        if job.operation.direction == "down":
            if self._exists(self.applied):
                remove = sql.SQL("DELETE FROM {} WHERE name = %s").format(self.applied)
                self.connection.execute(remove, (job.name,))
            return
        if not self._exists(self.applied):
            self.connection.execute(sql.SQL(_COLUMNS).format(self.applied))
        insert = sql.SQL(
            "INSERT INTO {} (name, checksum, effect, run, applied_at) VALUES (%s, %s, %s, %s, clock_timestamp())"
        )
        values = (job.name, job.operation.checksum, job.effect, job.run)
        self.connection.execute(insert.format(self.applied), values)

    def progress(self, name: str) -> Progress | None:
        if not self._exists(self.partly):
            return None
        query = sql.SQL("SELECT direction, digest, done, begun FROM {} WHERE name = %s").format(self.partly)
        row = self.connection.execute(query, (name,)).fetchone()
        return Progress(*row) if row is not None else None

    def note_progress(self, job: Job, progress: Progress) -> None:
        """In a transaction."""
        self.connection.execute("SET LOCAL ROLE NONE")
        if not self._exists(self.partly):
            self.connection.execute(sql.SQL(_PROGRESS_COLUMNS).format(self.partly))
        upsert = sql.SQL(
            "INSERT INTO {} VALUES (%s, %s, %s, %s, %s, %s, %s, clock_timestamp()) ON CONFLICT (name) DO UPDATE SET"
            " direction = excluded.direction, digest = excluded.digest, done = excluded.done, begun = excluded.begun,"
            " effect = excluded.effect, run = excluded.run, moved_at = excluded.moved_at"
        )
        row = (job.name, progress.direction, progress.digest, progress.done, progress.begun, job.effect, job.run)
        self.connection.execute(upsert.format(self.partly), row)

    def forget_progress(self, job: Job) -> None:
        """In a transaction."""
        self.connection.execute("SET LOCAL ROLE NONE")
        if self._exists(self.partly):
            self.connection.execute(sql.SQL("DELETE FROM {} WHERE name = %s").format(self.partly), (job.name,))
