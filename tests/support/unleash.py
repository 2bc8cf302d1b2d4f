"""A real Unleash for tests: npm's `unleash-server`, of the versions in `unleash/package-lock.json`, on PostgreSQL.

The packages are installed once into the user's cache folder. There is one server for all tests that need one, with the
environments `development` and `production`, and each test makes features of its own.
"""

import contextlib
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from tests.support.ports import free_port
from tests.support.process import ROOT, Child, wait_until

LOCK = Path(__file__).resolve().parent / "unleash"
PROVIDER = ROOT / ".ci" / "provide" / "node"
OLDEST_NODE = 22
START_SECONDS = 60.0
PERSON = "ann"
Json = dict[str, Any]


class Unavailable(Exception):
    """No Unleash can be had here; the message says why."""


def provided() -> tuple[Path, Path]:
    """A Node.js that is new enough, and the `node_modules` with `unleash-server`."""
    command: list[str | Path] = [sys.executable, PROVIDER, "--oldest", str(OLDEST_NODE), "--modules", LOCK]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Unavailable((done.stderr.strip().splitlines() or ["no Node.js"])[-1])
    modules, binary = done.stdout.strip().splitlines()[-2:]
    return Path(binary), Path(modules)


# --- the server -------------------------------------------------------------------------------------------------------


class Unleash:
    """One server on loopback. `token` may do everything; `ann` is a person who works in its pages.

    ``stop``, ``freeze`` and ``start`` keep port and data.
    """

    def __init__(self, dsn: str, folder: Path, modules: Path, binary: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.token = f"*:*.{secrets.token_hex(16)}"
        self.client_token = f"*:development.{secrets.token_hex(16)}"
        self._password = secrets.token_hex(16)
        self._names = count(1)
        server = modules / "unleash-server" / "dist" / "server.js"
        self._child = Child([binary, server], folder, environment={**_clean(), **self._settings(dsn)})
        self._http = httpx.Client(base_url=self.url, trust_env=False, timeout=20.0)
        self._person = httpx.Client(base_url=self.url, trust_env=False, timeout=20.0)

    def _settings(self, dsn: str) -> dict[str, str]:
        return {
            "DATABASE_URL": dsn,
            "DATABASE_SSL": "false",
            "HTTP_HOST": "127.0.0.1",
            "HTTP_PORT": str(self.port),
            "INIT_ADMIN_API_TOKENS": self.token,
            "INIT_BACKEND_API_TOKENS": self.client_token,
            "UNLEASH_DEFAULT_ADMIN_USERNAME": PERSON,
            "UNLEASH_DEFAULT_ADMIN_PASSWORD": self._password,
            "SESSION_DB": "true",
            "CHECK_VERSION": "false",
            "SEND_TELEMETRY": "false",
            "LOG_LEVEL": "warn",
            "NODE_ENV": "production",
        }

    def start(self) -> Self:
        self._child.start()
        wait_until(self._ready, what="Unleash to be healthy", deadline_seconds=START_SECONDS)
        return self

    def freeze(self) -> None:
        """It hangs: takes connections and never answers."""
        self._child.freeze()

    def thaw(self) -> None:
        self._child.thaw()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()
        self._person.close()
        self._child.kill()

    def _ready(self) -> bool:
        assert self._child.running, f"Unleash ended with code {self._child.exit_code}:\n{self._child.errors}"
        with contextlib.suppress(httpx.TransportError):
            return self._http.get("/health").is_success
        return False

    # --- what tests do to it --------------------------------------------------------------------------------------

    def ask(self, method: str, path: str, body: Any = None, *, person: bool = False) -> Any:
        """An answer of the admin API, which must be a good one."""
        if person:
            self._sign_in()
        client, headers = (self._person, {}) if person else (self._http, {"authorization": self.token})
        try:
            answer = client.request(method, f"/api/admin{path}", json=body, headers=headers)
        except httpx.TransportError as error:
            ended = f"its exit code is {self._child.exit_code}, and it said:\n{self._child.errors}{self._child.output}"
            raise AssertionError(f"Unleash does not answer ({error}); {ended}") from error
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def _sign_in(self) -> None:
        if not self._person.cookies:
            known = {"username": PERSON, "password": self._password}
            assert self._person.post("/auth/simple/login", json=known).is_success

    def segment(self) -> int:
        """A new segment; its number."""
        constraint = {"contextName": "appName", "operator": "IN", "values": ["a"]}
        body = {"name": f"segment-{next(self._names)}", "constraints": [constraint]}
        made: Json = self.ask("POST", "/segments", body)
        return int(made["id"])

    def unused(self) -> "Feature":
        """A feature that is not there yet, with a name of its own. None is ever deleted: this server ends when a new
        feature is deleted before it has noted its life cycle.
        """
        return Feature(self, f"batchOptimization-{next(self._names)}")


class Feature:
    """One feature of the project `default`, as its owners see it; as `person` it is ann who changes it."""

    def __init__(self, server: Unleash, name: str) -> None:
        self.server = server
        self.name = name

    def create(self) -> None:
        self.server.ask("POST", "/projects/default/features", {"name": self.name, "type": "release"})

    def strategy(self, rollout: int = 0, environment: str = "production", **more: Any) -> str:
        """Adds a gradual rollout, or what *more* says; its id."""
        parameters = {"rollout": str(rollout), "stickiness": "default", "groupId": self.name}
        body = {"name": "flexibleRollout", "parameters": parameters, "constraints": [], **more}
        made: Json = self.server.ask("POST", f"{self._path(environment)}/strategies", body)
        return str(made["id"])

    def switch(self, on: bool) -> None:
        self.server.ask("POST", f"{self._path()}/{'on' if on else 'off'}")

    def roll(self, rollout: int) -> None:
        """A person sets the percentage of the feature's first strategy."""
        change = [{"op": "replace", "path": "/parameters/rollout", "value": str(rollout)}]
        path = f"{self._path()}/strategies/{self.stands()['strategies'][0]['id']}"
        self.server.ask("PATCH", path, change, person=True)

    def remove(self, strategy: str) -> None:
        """A person removes a strategy."""
        self.server.ask("DELETE", f"{self._path()}/strategies/{strategy}", person=True)

    def stands(self, environment: str = "production") -> Json:
        """`enabled` and `strategies`, whole, as they are now."""
        found: Json = self.server.ask("GET", f"/projects/default/features/{self.name}")
        (here,) = (one for one in found["environments"] if one["name"] == environment)
        return {"enabled": here["enabled"], "strategies": here["strategies"]}

    @property
    def rollout(self) -> int:
        """Of the first strategy; 0 without one."""
        strategies = self.stands()["strategies"]
        return int(strategies[0]["parameters"]["rollout"]) if strategies else 0

    @property
    def changes(self) -> int:
        """How many changes of the feature its log knows."""
        found: Json = self.server.ask("GET", f"/search/events?feature=IS:{self.name}&limit=1")
        return int(found["total"])

    def _path(self, environment: str = "production") -> str:
        return f"/projects/default/features/{self.name}/environments/{environment}"


def _clean() -> dict[str, str]:
    return {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TZ") if name in os.environ}


@contextlib.contextmanager
def unleash_on(dsn: str, folder: Path) -> Iterator[Unleash]:
    """Raises ``Unavailable`` where it can't be had."""
    binary, modules = provided()
    with Unleash(dsn, folder, modules, binary) as server:
        yield server
