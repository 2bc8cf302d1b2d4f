"""A primary of PostgreSQL and a synchronous standby, of which the one takes the place of the other."""

from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

from tests.support.ports import free_port
from tests.support.postgres import PostgresServer

DATABASE = "rollout"


class Pair:
    """The primary commits nothing without its standby, as long as it has one. `url` names both, always in the same
    order."""

    def __init__(self) -> None:
        self.ports = (free_port(), free_port())
        self.primary = PostgresServer(port=self.ports[0], max_connections="200")
        self.standby: PostgresServer | None = None
        self.old: PostgresServer | None = None
        """What was the primary before the last failover, with its data."""

    def __enter__(self) -> Self:
        self.primary.__enter__()
        self.primary.execute(f"CREATE DATABASE {DATABASE}")
        self.add_standby()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with ExitStack() as stack:
            for server in filter(None, (self.primary, self.standby, self.old)):
                stack.push(server)

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{port}" for port in self.ports)
        dsn = self.primary.dsn(DATABASE).replace(f"127.0.0.1:{self.primary.port}", hosts)
        return f"{dsn}?target_session_attrs=read-write&schema=store"

    @staticmethod
    def ask(server: PostgresServer, query: str) -> list[tuple[Any, ...]]:
        """Of the store as it stands on one of the servers; its tables are ``store.runs`` and so on."""
        return server.execute(query, DATABASE)

    def restart(self) -> None:
        """Immediate shutdown, recovery and start; the standby comes back by itself."""
        self.primary.crash()
        self.primary.start()

    def fail_over(self) -> None:
        """The primary is gone at once, with its connections, and the standby takes its place."""
        assert self.standby is not None, "there is no standby to take over"
        self.primary.crash()
        self.old, self.primary, self.standby = self.primary, self.standby, None
        self.primary.promote()

    def let_the_old_one_return(self, *, waits: bool) -> None:
        """As a primary that knows nothing of the other. *waits*: it still commits nothing without a standby."""
        assert self.old is not None, "none has failed"
        self.old.start()
        if not waits:
            self.old.wait_for_nobody()

    def add_standby(self) -> None:
        """On the port that no server has; what is left of an old primary goes."""
        if self.old is not None:
            self.old.__exit__(None, None, None)
            self.old = None
        port = next(port for port in self.ports if port != self.primary.port)
        self.standby = self.primary.standby(port=port).start()
        self.primary.wait_for_standby()
