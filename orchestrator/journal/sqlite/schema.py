"""Opening the file: is it ours, is it whole, is it of a version we know; and what its tables are.

A connection is opened for writing by the controller alone, for reading by anybody.
"""

import os
from pathlib import Path
from typing import Final

import apsw

from orchestrator.errors import NotFound, StoreError
from orchestrator.failpoints import Point, reach
from orchestrator.journal.sqlite.faults import as_store_error

APPLICATION_ID: Final = 0x526F6C6C  # "Roll": tells `file` and us whose database this is
_CHECKED_BYTES: Final = 32 << 20  # a larger file would take long to check at every start

MIGRATIONS: Final = (
    """
    CREATE TABLE meta (name TEXT PRIMARY KEY, value ANY NOT NULL) STRICT, WITHOUT ROWID;
    INSERT INTO meta VALUES ('created', unixepoch('subsec')), ('flag_number', 0);

    CREATE TABLE runs (
        id      INTEGER PRIMARY KEY,
        run     TEXT    NOT NULL UNIQUE,
        plan    TEXT    NOT NULL,
        digest  TEXT    NOT NULL,
        rev     INTEGER NOT NULL,
        epoch   INTEGER NOT NULL,
        active  INTEGER NOT NULL,
        created REAL    NOT NULL,
        head    TEXT    NOT NULL,
        summary TEXT    NOT NULL
    ) STRICT;
    CREATE INDEX runs_by_age ON runs (created, id);
    CREATE INDEX runs_by_activity ON runs (active, created, id);

    CREATE TABLE events (
        run            TEXT    NOT NULL,
        seq            INTEGER NOT NULL,
        at             REAL    NOT NULL,
        data           TEXT    NOT NULL,
        hash           TEXT    NOT NULL,
        schema_version INTEGER NOT NULL,
        type           TEXT    GENERATED ALWAYS AS (json_extract(data, '$.type')) VIRTUAL,
        "by"           TEXT    GENERATED ALWAYS AS (coalesce(json_extract(data, '$.by'), 'controller')) VIRTUAL,
        reason         TEXT    GENERATED ALWAYS AS (coalesce(json_extract(data, '$.reason'), '')) VIRTUAL,
        PRIMARY KEY (run, seq)
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE claims (claim TEXT PRIMARY KEY, run TEXT NOT NULL, words TEXT NOT NULL) STRICT, WITHOUT ROWID;
    CREATE INDEX claims_by_run ON claims (run);
    CREATE TABLE evidence (run TEXT PRIMARY KEY, text TEXT NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE answers (run TEXT NOT NULL, key TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (run, key))
        STRICT, WITHOUT ROWID;

    CREATE TABLE flags (
        environment TEXT    NOT NULL,
        key         TEXT    NOT NULL,
        generation  INTEGER NOT NULL,
        number      INTEGER NOT NULL,
        document    TEXT    NOT NULL,
        "by"        TEXT    NOT NULL,
        reason      TEXT    NOT NULL,
        at          REAL    NOT NULL,
        run         TEXT,
        effect      TEXT,
        PRIMARY KEY (environment, key)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE flag_history (
        environment TEXT    NOT NULL,
        key         TEXT    NOT NULL,
        generation  INTEGER NOT NULL,
        number      INTEGER NOT NULL,
        document    TEXT    NOT NULL,
        "by"        TEXT    NOT NULL,
        reason      TEXT    NOT NULL,
        at          REAL    NOT NULL,
        run         TEXT,
        effect      TEXT,
        PRIMARY KEY (environment, key, generation, number)
    ) STRICT, WITHOUT ROWID;
    """,
    """
    CREATE TABLE tokens (
        id             TEXT PRIMARY KEY,
        name           TEXT NOT NULL,
        role           TEXT NOT NULL,
        groups         TEXT NOT NULL,
        environment    TEXT,
        sha256         TEXT NOT NULL UNIQUE,
        created        REAL NOT NULL,
        created_by     TEXT NOT NULL,
        expires        REAL,
        revoked        REAL,
        revoked_by     TEXT,
        revoked_reason TEXT
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE audit (
        seq     INTEGER PRIMARY KEY AUTOINCREMENT,
        id      TEXT    NOT NULL UNIQUE,
        at      REAL    NOT NULL,
        what    TEXT    NOT NULL,
        by_whom TEXT    NOT NULL,
        detail  TEXT    NOT NULL,
        refusal INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX audit_refusals ON audit (seq) WHERE refusal;

    CREATE TABLE sessions (sha256 TEXT PRIMARY KEY, identity TEXT NOT NULL, expires REAL NOT NULL)
        STRICT, WITHOUT ROWID;
    CREATE INDEX sessions_by_end ON sessions (expires);
    """,
    """
    CREATE TABLE freezes (
        environment   TEXT    PRIMARY KEY,
        revision      INTEGER NOT NULL,
        by_whom       TEXT    NOT NULL,
        reason        TEXT    NOT NULL,
        at            REAL    NOT NULL,
        until         REAL,
        lifted        REAL,
        lifted_by     TEXT,
        lifted_reason TEXT
    ) STRICT, WITHOUT ROWID;
    """,
    """
    CREATE TABLE schedules (
        name      TEXT    PRIMARY KEY,
        digest    TEXT    NOT NULL,
        document  TEXT    NOT NULL,
        files     TEXT    NOT NULL,
        directory TEXT,
        by_whom   TEXT    NOT NULL,
        at        REAL    NOT NULL,
        is_owners INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE turns (
        schedule TEXT NOT NULL,
        round    TEXT NOT NULL,
        due      REAL NOT NULL,
        by_whom  TEXT NOT NULL,
        claimed  REAL NOT NULL,
        result   TEXT,
        PRIMARY KEY (schedule, round, due)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX turns_by_age ON turns (schedule, due);
    """,
    """
    ALTER TABLE runs ADD COLUMN kept REAL;
    ALTER TABLE runs ADD COLUMN refers_to TEXT;
    UPDATE runs SET refers_to = first.refers_to FROM (
        SELECT run, coalesce(json_extract(data, '$.reverses'), json_extract(data, '$.supersedes')) AS refers_to
        FROM events WHERE seq = 1
    ) AS first
    WHERE runs.run = first.run AND first.refers_to IS NOT NULL;
    CREATE INDEX runs_whole ON runs (created, run) WHERE active = 0 AND kept IS NULL;
    CREATE INDEX runs_by_reference ON runs (refers_to) WHERE refers_to IS NOT NULL;
    CREATE TABLE kept (run TEXT PRIMARY KEY, document BLOB NOT NULL, hashes BLOB NOT NULL) STRICT;
    """,
)
"""In order; number n brings the store to version n. Never changed once released: a change is one more."""

VERSION: Final = len(MIGRATIONS)


def open_writing(path: Path, busy_seconds: float) -> apsw.Connection:
    """Makes the store if there is none, and brings an older one up to date. The caller holds the lock."""
    made = not path.exists()
    try:
        flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
        connection = _connect(path, flags, busy_seconds)
        try:
            _prepare(connection, path)
        except BaseException:
            connection.close()
            raise
    except apsw.Error as problem:
        raise as_store_error(problem, path) from problem
    if made:
        _sync_folder(path)
    return connection


def open_for_reading(path: Path, busy_seconds: float) -> apsw.Connection:
    """Never changes the store. Raises NotFound if there is none."""
    if not path.exists():
        raise NotFound(f"There is no store {path}; it is made when the first run starts.")
    try:
        connection = _connect(path, apsw.SQLITE_OPEN_READONLY, busy_seconds)
        try:
            version = _version(connection, path)
        except BaseException:
            connection.close()
            raise
    except apsw.Error as problem:
        raise as_store_error(problem, path) from problem
    if version < VERSION:
        connection.close()
        raise StoreError(
            f"The store {path} is of an older version ({version}): start the controller once, it upgrades it."
        )
    return connection


def _connect(path: Path, flags: int, busy_seconds: float) -> apsw.Connection:
    connection = apsw.Connection(str(path), flags=flags)
    connection.set_busy_timeout(round(busy_seconds * 1000))
    return connection


def _prepare(connection: apsw.Connection, path: Path) -> None:
    version = _version(connection, path)
    if version and path.stat().st_size <= _CHECKED_BYTES:
        _check(connection, path)
    _make_durable(connection, path)
    for number, script in enumerate(MIGRATIONS[version:], version + 1):
        _migrate(connection, number, script)


def _version(connection: apsw.Connection, path: Path) -> int:
    """0 for an empty file. StoreError if it is somebody else's, or newer than this program."""
    if not connection.execute("SELECT count(*) FROM sqlite_schema").get:
        return 0
    if connection.pragma("application_id") != APPLICATION_ID:
        raise StoreError(f"{path} is a database of another program: give the store a file of its own.")
    version: int = connection.execute("SELECT value FROM meta WHERE name = 'schema_version'").get
    if version > VERSION:
        raise StoreError(
            f"The store {path} was written by a newer version of this program ({version}, this one knows {VERSION}): "
            "upgrade it, or use another store."
        )
    return version


def _check(connection: apsw.Connection, path: Path) -> None:
    found = connection.execute("PRAGMA quick_check(1)").get
    if found != "ok":
        raise as_store_error(apsw.CorruptError(str(found).splitlines()[-1]), path)


def _make_durable(connection: apsw.Connection, path: Path) -> None:
    if connection.pragma("journal_mode", "wal") != "wal":
        raise StoreError(f"The store {path} is on a file system that can't share memory: put it on a local disk.")
    connection.pragma("synchronous", "FULL")
    connection.pragma("fullfsync", 1)  # where a plain fsync does not reach the disk (macOS)
    connection.pragma("checkpoint_fullfsync", 1)
    connection.pragma("wal_autocheckpoint", 4000)  # pages; runs that write often are folded in once for many writes
    connection.pragma("journal_size_limit", 64 << 20)
    connection.pragma("cache_size", -(32 << 10))  # KiB


def _migrate(connection: apsw.Connection, number: int, script: str) -> None:
    from orchestrator.journal.rules import FIRST_GENERATION  # which brings along more than whoever reads needs

    connection.execute("BEGIN EXCLUSIVE")
    try:
        connection.execute(script)
        connection.execute(
            "INSERT INTO meta VALUES ('schema_version', ?1) ON CONFLICT DO UPDATE SET value = ?1", (number,)
        )
        connection.execute("INSERT OR IGNORE INTO meta VALUES ('generation', ?)", (FIRST_GENERATION,))
        connection.pragma("application_id", APPLICATION_ID)
        reach(Point.STORE_UPGRADING)
        connection.execute("COMMIT")
        reach(Point.STORE_UPGRADED)
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _sync_folder(path: Path) -> None:
    """The file's name is durable only with its folder."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
