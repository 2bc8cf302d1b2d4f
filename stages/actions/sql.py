"""``{sql: FILE, down: FILE}``: run one SQL file, noted as applied in the database; taken back by its down file."""

import hashlib

from pydantic import field_validator

from stages.actions.base import Action, Site, declared_undo
from stages.effects import ObserveSql, Operation, RunSql, Target, TargetKind
from stages.values import Duration, Json, TextOrSecret


def checksum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def sql_file(value: str | None) -> str | None:
    """Raises ValueError for what is no path of one."""
    if value is not None and (not value.strip() or "\n" in value or " " in value.strip()):
        raise ValueError("the path of a SQL file is expected, relative to the plan")
    return value


class SqlAction(Action):
    sql: str
    down: str | None = None
    database: TextOrSecret | None = None
    lock_timeout: Duration = 2.0
    statement_timeout: Duration = 300.0

    @field_validator("sql", "down")
    @classmethod
    def _a_file(cls, value: str | None) -> str | None:
        return sql_file(value)

    @property
    def has_undo(self) -> bool:
        return self.down is not None or self.undo is not None

    def describe(self) -> str:
        return f"run {self.sql}"

    def target(self, site: Site) -> Target:
        database = self.database or site.database
        return Target(
            f"schema:{site.environment}/{self.sql}",
            TargetKind.SCHEMA,
            f"{self.sql} in {site.environment}",
            claim=f"database:{site.environment}/{database}",
        )

    def observation(self, site: Site) -> ObserveSql:
        text = site.files[self.sql]
        return ObserveSql(database=self._database(site), name=self.sql, checksum=checksum(text))

    def is_done(self, site: Site, current: Json) -> bool:
        """A file that was applied with other contents is not: running it is refused, with the remedy."""
        wanted = checksum(site.files[self.sql])
        return _is_applied(current) and isinstance(current, dict) and current.get("checksum", wanted) == wanted

    def forward(self, site: Site, current: Json) -> Operation:
        return self._run(site, self.sql, "up")

    def backward(self, site: Site, before: Json) -> Operation | None:
        if _is_applied(before) or self.down is None:
            return declared_undo(self, site, before)
        return self._run(site, self.down, "down")

    def _run(self, site: Site, path: str, direction: str) -> RunSql:
        return RunSql.model_validate(
            {
                "database": self._database(site),
                "name": self.sql,
                "sql": site.files[path],
                "checksum": checksum(site.files[self.sql]),
                "direction": direction,
                "after": _files_until(self.sql, site.sql_order) if direction == "up" else (),
                "before": _files_until(self.sql, site.sql_order[::-1]) if direction == "up" else (),
                "lock_timeout_seconds": self.lock_timeout,
                "statement_timeout_seconds": self.statement_timeout,
            }
        )

    def _database(self, site: Site) -> TextOrSecret:
        database = self.database or site.database
        assert database is not None, "a plan without a database for its SQL is refused when it is read"
        return database


def _is_applied(seen: Json) -> bool:
    return isinstance(seen, dict) and bool(seen.get("applied"))


def _files_until(file: str, order: tuple[str, ...]) -> tuple[str, ...]:
    return order[: order.index(file)] if file in order else ()
