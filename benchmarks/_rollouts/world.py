"""What all rollouts share: a real Prometheus, a real `rollout serve`, and ports that stay the same.

Everything lives in one folder and listens on loopback. A slot is a port for a service: Prometheus reads all of them
every second from the beginning, and one service after the other takes a slot. Every process is ended by `stop`; where
there is `setpriv` (util-linux) it is also killed if this process is.
"""

import json
import os
import shutil
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from examples.demo.processes import Processes, free_ports
from examples.demo.world import find_prometheus

READY_SECONDS = 30.0
ANSWER_SECONDS = 10.0
SCRAPE_SECONDS = 1
ROLLOUT = Path(sys.executable).with_name("rollout")
_SETPRIV = shutil.which("setpriv")
DIES_WITH_US: tuple[str, ...] = (_SETPRIV, "--pdeathsig", "KILL", "--") if _SETPRIV else ()


class World:
    """`start` it, run rollouts against it, `stop` it."""

    def __init__(self, folder: Path, slots: int) -> None:
        self.folder = folder
        self._held = [_held_port() for _ in range(slots)]
        self.slots: Sequence[int] = [held.getsockname()[1] for held in self._held]
        prometheus, controller = free_ports(2)
        self.prometheus_url = f"http://127.0.0.1:{prometheus}"
        self.controller_url = f"http://127.0.0.1:{controller}"
        self._environment = _environment(folder)
        self._all: list[Processes] = []
        self._token = ""

    def start(self) -> None:
        own = self.processes(self.folder)
        own.start("prometheus", [*DIES_WITH_US, *self._prometheus(find_prometheus())])
        listen = self.controller_url.removeprefix("http://")
        own.start("controller", [*DIES_WITH_US, ROLLOUT, "serve", "--listen", listen])
        note = self.folder / "state" / "controller.json"
        _wait("controller", note.exists, own)
        self._token = json.loads(note.read_text())["token"]
        _wait("prometheus", lambda: get(f"{self.prometheus_url}/-/ready") is not None, own)

    def stop(self) -> None:
        for processes in reversed(self._all):
            processes.stop()
        for held in self._held:
            held.close()

    def processes(self, folder: Path) -> Processes:
        """For processes whose output goes to `folder`, and which `stop` ends too."""
        folder.mkdir(parents=True, exist_ok=True)
        made = Processes(folder, self._environment)
        self._all.append(made)
        return made

    def ask(self, path: str) -> Any:
        """What the controller answers to a GET, or None if it does not answer now."""
        return get(self.controller_url + path, {"Authorization": f"Bearer {self._token}"})

    def crashes(self, run: str) -> int:
        """How often the controller's log says that a run crashed."""
        words = f"event=run.crashed run={run} "
        with self._all[0].log("controller").open() as log:
            return sum(words in line for line in log)

    def measure(self, query: str, at: float) -> dict[tuple[str, ...], float]:
        """An instant query to Prometheus: values by the values of the labels, in order of their names."""
        answer = get(f"{self.prometheus_url}/api/v1/query?{urlencode({'query': query, 'time': at})}")
        if answer is None:
            raise RuntimeError("Prometheus does not answer")
        series = answer["data"]["result"]
        return {tuple(value for _, value in sorted(one["metric"].items())): float(one["value"][1]) for one in series}

    def _prometheus(self, binary: Path) -> list[str | Path]:
        interval = f"{SCRAPE_SECONDS}s"
        targets = [f"127.0.0.1:{port}" for port in self.slots]
        configuration = {
            "global": {"scrape_interval": interval, "scrape_timeout": interval},
            "scrape_configs": [{"job_name": "service", "static_configs": [{"targets": targets}]}],
        }
        file = self.folder / "prometheus.yml"
        file.write_text(json.dumps(configuration))  # JSON is YAML
        return [
            binary,
            f"--config.file={file}",
            f"--storage.tsdb.path={self.folder / 'prometheus'}",
            f"--web.listen-address={self.prometheus_url.removeprefix('http://')}",
            "--log.level=warn",
        ]


def get(url: str, headers: Mapping[str, str] | None = None) -> Any:
    """JSON (or text, if it is none) that an address of loopback answers with 200; None if it does not."""
    parts = urlsplit(url)
    connection = HTTPConnection(parts.hostname or "", parts.port, timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", f"{parts.path}?{parts.query}", headers=dict(headers or {}))
        answer = connection.getresponse()
        text = answer.read().decode()
    except (OSError, HTTPException):
        return None
    finally:
        connection.close()
    if answer.status != 200:
        return None
    return json.loads(text) if text.startswith(("{", "[")) else text


def _held_port() -> socket.socket:
    """A port that is kept for whoever binds it with SO_REUSEPORT too: this socket never listens."""
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    held.bind(("127.0.0.1", 0))
    return held


def _environment(folder: Path) -> dict[str, str]:
    """The caller's, without settings of `rollout`: a controller of the user's has no part in this."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ROLLOUT_")}
    own = {"ROLLOUT_STATE_DIR": str(folder / "state"), "PROMETHEUS_DISABLE_CREATED_SERIES": "true"}
    return kept | own | {"NO_COLOR": "1", "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}


def _wait(name: str, ready: Callable[[], bool], processes: Processes) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while not ready():
        if time.monotonic() > deadline:
            said = processes.log(name).read_text()[-2000:]
            raise RuntimeError(f"the {name} was not ready within {READY_SECONDS:g} s. It said:\n{said}")
        time.sleep(0.1)
