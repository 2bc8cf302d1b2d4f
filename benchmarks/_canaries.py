"""What benchmarks need of any controller of canaries on an API server, beside which they measure."""

import json
import os
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

import httpx

from tests.support.cluster import Cluster

TICKS = os.sysconf("SC_CLK_TCK")
REQUESTS_A_SECOND = 1000  # that a controller may send to the API server; by default it is a tenth and less
AT_ONCE = 25  # objects that one kubectl makes


class Canaries(Protocol):
    """Names are those of applications, which the queries have as label `service`."""

    @property
    def every_seconds(self) -> int:
        """How often it looks."""

    def make(self, names: Sequence[str]) -> None:
        """Applications with one version each, at rest."""

    def release(self, names: Sequence[str]) -> None:
        """A new version of each."""

    def wait_until_shared(self, names: Sequence[str]) -> None:
        """Until each canary has a share, so that the next look asks the server."""

    def wait_until_zero(self, name: str) -> float:
        """The monotonic moment at which it was seen, in the API server, to have no share any more."""


@contextmanager
def watched(cluster: Cluster, path: str, note: Callable[[dict[str, Any], float], None]) -> Iterator[None]:
    """*note* gets every object below *path*, now and when it changes, with the monotonic moment; in a thread."""
    ended = threading.Event()
    headers = {"Authorization": f"Bearer {cluster.token('admin')}"}
    trust = ssl.create_default_context(cafile=str(cluster.authority))
    # a watch may be silent for as long as it likes
    with httpx.Client(verify=trust, headers=headers, trust_env=False, timeout=None) as client:  # noqa: S113

        def follow() -> None:
            # one that ends is begun again: all is told anew then
            while not ended.is_set():
                with suppress(httpx.HTTPError), client.stream("GET", cluster.url + path, params={"watch": "1"}) as said:
                    for line in said.iter_lines():
                        note(json.loads(line)["object"], time.monotonic())

        thread = threading.Thread(target=follow, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()


def portions(names: Sequence[str]) -> Iterator[Sequence[str]]:
    for first in range(0, len(names), AT_ONCE):
        yield names[first : first + AT_ONCE]


def deployment_of(namespace: str, name: str, version: int) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"selector": {"matchLabels": {"app": name}}, "template": pods_of(name, version)},
    }


def pods_of(name: str, version: int) -> dict[str, Any]:
    container = {"name": "app", "image": f"{name}:{version}", "ports": [{"containerPort": 8000}]}
    return {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container]}}


def processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def memory_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(one for one in lines if one.startswith("VmRSS")).split()[1]) * 1024 / 1e6
