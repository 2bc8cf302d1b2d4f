"""What the tests of SQL share: effects, and a database of either kind with eyes of its own."""

import contextlib
from pathlib import Path
from typing import Any

import apsw
import psycopg

from orchestrator.core.effect import Effect
from orchestrator.ports import Scene
from stages.actions.sql import checksum
from stages.effects import RunSql, TargetKind

CREATE = "CREATE TABLE metrics (id int);\nINSERT INTO metrics VALUES (1);\n"
DROP = "DROP TABLE metrics;\n"


def effect(
    url: str,
    sql: str = CREATE,
    *,
    direction: str = "up",
    of: str | None = None,
    name: str = "sql/001.sql",
    **limits: float,
) -> Effect:
    """Runs *sql*; *of* is the up file's text, if *sql* is not it."""
    operation = RunSql.model_validate(
        {"database": url, "name": name, "sql": sql, "checksum": checksum(of or sql), "direction": direction, **limits}
    )
    return Effect(
        id=f"{name}-{direction}",
        target=f"schema:production/{name}",
        target_kind=TargetKind.SCHEMA,
        label=name,
        operation=operation,
        environment="production",
    )


class Database:
    """*url* as a plan gives it, and a look at what is in there."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.folder = folder
        self.scene = Scene("r1", "production", directory=str(folder))

    @property
    def is_postgres(self) -> bool:
        return self.url.startswith("postgresql:")

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        if self.is_postgres:
            with psycopg.connect(self.url, autocommit=True) as connection:
                cursor = connection.execute(query.encode())
                return cursor.fetchall() if cursor.description else []
        with contextlib.closing(apsw.Connection(str(self.folder / self.url.removeprefix("sqlite:///")))) as file:
            return list(file.execute(query))

    def tables(self) -> set[str]:
        query = (
            "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'"
            if self.is_postgres
            else "SELECT name FROM sqlite_schema WHERE type = 'table'"
        )
        return {row[0] for row in self.rows(query)}
