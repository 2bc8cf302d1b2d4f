"""The service's SQLite database: documents, and what the migrations of a plan add to it."""

import hashlib
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

SCHEMA = "CREATE TABLE IF NOT EXISTS documents (id INTEGER PRIMARY KEY, owner TEXT NOT NULL, vector TEXT NOT NULL)"


@dataclass(frozen=True, slots=True)
class Job:
    owner: str
    text: str


class MissingTable(Exception):
    """A flag asked for a table that no migration has made yet."""


class Store:
    """One connection, one statement at a time. SQLite itself keeps migrations and the service apart."""

    def __init__(self, file: Path) -> None:
        self._connection = sqlite3.connect(file, timeout=10, isolation_level=None, check_same_thread=False)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.execute(SCHEMA)
        self._lock = Lock()

    def keep(self, owner: str, vector: str) -> None:
        self._run("INSERT INTO documents (owner, vector) VALUES (?, ?)", owner, vector)

    def documents(self) -> int:
        return int(self._run("SELECT count(*) FROM documents")[0][0])

    def measure(self, owner: str, seconds: float) -> None:
        self._run("INSERT INTO embedding_metrics (owner, seconds) VALUES (?, ?)", owner, seconds)

    def enqueue(self, job: Job) -> None:
        self._run("INSERT INTO embedding_queue (owner, text) VALUES (?, ?)", job.owner, job.text)

    def take(self) -> Job | None:
        """The oldest job, taken out of the queue."""
        oldest = "SELECT min(id) FROM embedding_queue"
        try:
            rows = self._run(f"DELETE FROM embedding_queue WHERE id = ({oldest}) RETURNING owner, text")  # noqa: S608
        except MissingTable:
            return None
        return Job(*rows[0]) if rows else None

    def queued(self) -> int:
        try:
            return int(self._run("SELECT count(*) FROM embedding_queue")[0][0])
        except MissingTable:
            return 0

    def remember(self, text: str) -> None:
        self._run("INSERT OR IGNORE INTO embedding_fingerprints (fingerprint) VALUES (?)", fingerprint(text))

    def knows(self, text: str) -> bool:
        return bool(self._run("SELECT 1 FROM embedding_fingerprints WHERE fingerprint = ?", fingerprint(text)))

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def _run(self, sql: str, *values: object) -> list[tuple[str, ...]]:
        with self._lock:
            try:
                return self._connection.execute(sql, values).fetchall()
            except sqlite3.OperationalError as error:
                if "no such table" in str(error):
                    raise MissingTable(str(error)) from error
                raise


def fingerprint(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
