"""Stores on the PostgreSQL of the tests: each test has a schema of its own in one database."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg

from orchestrator.journal.postgresql import PostgresStore
from orchestrator.ports import Member


@dataclass(frozen=True)
class PostgresSchema:
    """``dsn`` is of the database; ``url`` names a store in it."""

    dsn: str
    name: str

    @property
    def url(self) -> str:
        return f"{self.dsn}?schema={self.name}"

    def store(self, name: str = "controller", **options: Any) -> PostgresStore:
        return PostgresStore(self.url, Member(name, f"http://{name}:8040"), **options)

    def execute(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """As an administrator, with the tables of the store in reach."""
        with psycopg.connect(self.dsn, autocommit=True, options=f"-csearch_path={self.name}") as connection:
            cursor = connection.execute(statement.encode(), values or None)
            return cursor.fetchall() if cursor.description else []


@contextmanager
def schema_in(dsn: str, name: str) -> Iterator[PostgresSchema]:
    schema = PostgresSchema(dsn, name)
    try:
        yield schema
    finally:
        schema.execute(f"DROP SCHEMA IF EXISTS {name} CASCADE")
