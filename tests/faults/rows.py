"""A store's rows of runs, read beside its controllers: how far each active run has come."""

import contextlib
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol
from urllib.parse import parse_qs, urlsplit

import psycopg

from orchestrator.journal import is_shared


class Rows(Protocol):
    def revisions(self, address: str | None = None) -> dict[str, int]:
        """Of each active run; with an *address*, of those for which the controller there acts."""
        ...


class _Sqlite:
    def __init__(self, path: str) -> None:
        self._path = path

    def revisions(self, address: str | None = None) -> dict[str, int]:
        with contextlib.closing(sqlite3.connect(f"file:{self._path}?mode=ro", uri=True, timeout=10)) as connection:
            return dict(connection.execute("SELECT run, rev FROM runs WHERE active").fetchall())


class _Postgres:
    def __init__(self, connection: "psycopg.Connection[tuple[object, ...]]") -> None:
        self._connection = connection

    def revisions(self, address: str | None = None) -> dict[str, int]:
        query = "SELECT run, rev FROM runs WHERE active"
        if address is not None:
            query += " AND owner IN (SELECT name FROM controllers WHERE address = %s ORDER BY lease_until DESC LIMIT 1)"
        found = self._connection.execute(query.encode(), (address,) if address is not None else None).fetchall()
        return {str(run): int(str(rev)) for run, rev in found}


@contextmanager
def rows_of(store: str) -> Iterator[Rows]:
    if not is_shared(store):
        yield _Sqlite(store.removeprefix("sqlite:///"))
        return
    parts = urlsplit(store)
    schema = parse_qs(parts.query)["schema"][0]
    dsn = parts._replace(query="").geturl()
    with psycopg.connect(dsn, autocommit=True, options=f"-csearch_path={schema}") as connection:
        yield _Postgres(connection)
