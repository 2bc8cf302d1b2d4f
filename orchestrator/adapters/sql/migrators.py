"""The lock of migrators, for one that brings a connection of its own: Alembic.

A session of ours holds the same advisory lock that a file of SQL holds, so in one database one of all migrators runs at
a time. SQLite needs none: it lets one writer in.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from orchestrator.adapters.secrets import Secrets
from orchestrator.adapters.sql import Databases, is_postgres
from orchestrator.adapters.sql.job import Stop
from orchestrator.errors import Permanent, Temporary
from stages.values import TextOrSecret

if TYPE_CHECKING:
    from orchestrator.adapters.sql.connection import Connection


class MigratorLock:
    def __init__(self, secrets: Secrets) -> None:
        self._databases = Databases(secrets)
        self._secrets = secrets

    @asynccontextmanager
    async def held(
        self, database: TextOrSecret | None, directory: str | None, name: str, seconds: float
    ) -> AsyncIterator[None]:
        """*name* is for sentences: who wants it. Asked for so many *seconds*; raises ``Temporary`` if it is not to be
        had. Without a database, or in another than PostgreSQL, there is nothing to hold.
        """
        if database is None or not is_postgres(self._secrets.resolve(database, directory)):
            yield
            return
        url = await self._databases.url(database, directory)
        from orchestrator.adapters.sql import postgres

        def take(stop: Stop) -> "Connection":
            return postgres.hold_migrators(url, name, seconds, stop)

        try:
            connection = await self._databases.call(take)
        except Permanent as error:
            raise Temporary(f"{name} needs the lock of migrators in its database first: {error}") from error
        try:
            yield
        finally:
            await self._databases.call(lambda _: connection.close())
