"""The backend's PostgreSQL: patterns of tenants, standards of engagements, and what LLMs were asked."""

import queue
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import psycopg

POOL_SIZE = 5
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Tenant:
    client: str
    engagement: str


@dataclass(frozen=True, slots=True)
class Usage:
    """One question to an LLM, with what it took."""

    agent: str
    seconds: float
    dollars: float


class Storage(Protocol):
    def save_patterns(self, tenant: Tenant, pattern_type: str, assets: Sequence[str]) -> None: ...
    def save_standards(self, engagement: str, names: Sequence[str]) -> None: ...
    def track(self, usages: Sequence[Usage]) -> None: ...


class Database:
    """Keeps connections open, and opens them again when the server has closed them."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._idle: queue.LifoQueue[psycopg.Connection | None] = queue.LifoQueue()
        for _ in range(POOL_SIZE):
            self._idle.put(None)

    @property
    def in_use(self) -> int:
        return POOL_SIZE - self._idle.qsize()

    def answers(self) -> bool:
        try:
            return self._do(lambda connection: connection.execute("SELECT 1").fetchone()) is not None
        except psycopg.Error:
            return False

    def save_patterns(self, tenant: Tenant, pattern_type: str, assets: Sequence[str]) -> None:
        self._do(
            lambda connection: connection.execute(
                "INSERT INTO migration.agent_discovered_patterns"
                " (client_account_id, engagement_id, asset, pattern_type)"
                " SELECT %s, %s, asset, %s::migration.patterntype FROM unnest(%s::text[]) AS asset"
                " ON CONFLICT (client_account_id, engagement_id, asset, pattern_type) DO NOTHING",
                (tenant.client, tenant.engagement, pattern_type, list(assets)),
            )
        )

    def save_standards(self, engagement: str, names: Sequence[str]) -> None:
        self._do(
            lambda connection: connection.execute(
                "INSERT INTO migration.engagement_architecture_standards"
                " (engagement_id, requirement_type, standard_name)"
                " SELECT %s, 'compliance', name FROM unnest(%s::text[]) AS name"
                " ON CONFLICT (engagement_id, requirement_type, standard_name) DO NOTHING",
                (engagement, list(names)),
            )
        )

    def track(self, usages: Sequence[Usage]) -> None:
        rows = [(one.agent, one.seconds, one.dollars) for one in usages]
        self._do(
            lambda connection: connection.cursor().executemany(
                "INSERT INTO migration.llm_usage_logs (agent, seconds, dollars) VALUES (%s, %s, %s)", rows
            )
        )

    def costs(self) -> dict[str, float]:
        """Calls and dollars of the last day."""
        row = self._do(
            lambda connection: connection.execute(
                "SELECT count(*), coalesce(sum(dollars), 0) FROM migration.llm_usage_logs"
                " WHERE created_at > now() - interval '1 day'"
            ).fetchone()
        )
        return {"calls": row[0], "dollars": round(row[1], 4)} if row else {}

    def patterns(self, tenant: Tenant) -> int:
        row = self._do(
            lambda connection: connection.execute(
                "SELECT count(*) FROM migration.agent_discovered_patterns"
                " WHERE client_account_id = %s AND engagement_id = %s",
                (tenant.client, tenant.engagement),
            ).fetchone()
        )
        return int(row[0]) if row else 0

    def forget(self, tenant: Tenant) -> None:
        """What was found and saved for a tenant."""
        self._do(
            lambda connection: connection.execute(
                "DELETE FROM migration.agent_discovered_patterns WHERE client_account_id = %s AND engagement_id = %s",
                (tenant.client, tenant.engagement),
            )
        )
        self._do(
            lambda connection: connection.execute(
                "DELETE FROM migration.engagement_architecture_standards WHERE engagement_id = %s",
                (tenant.engagement,),
            )
        )

    def _do(self, work: Callable[[psycopg.Connection], T]) -> T:
        kept = self._idle.get()
        try:
            if kept is not None:
                try:
                    return work(kept)
                except psycopg.OperationalError:  # the server closed it meanwhile
                    kept.close()
                    kept = None
            kept = psycopg.connect(self._dsn, autocommit=True, connect_timeout=3)
            return work(kept)
        finally:
            self._idle.put(kept)
