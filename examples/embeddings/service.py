"""A service that computes embeddings of documents that come in all the time.

    python -m examples.embeddings.service --port 8080 --namespace embeddings --kubeconfig FILE

DATABASE_URL is its database, FLAGS_URL and FLAGS_TOKEN the flags. There are GET /health/embedding-system, /mode,
/settings and /metrics, PUT /settings, and PUT /knobs for what goes wrong on purpose.
"""

import argparse
import json
import os
import signal
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
from prometheus_client import generate_latest

from examples.answering import Answering
from examples.embeddings.pods import Namespace
from examples.embeddings.work import Settings, Work
from flags.client import FlagClient

LOOK_SECONDS = 0.25


class Handler(Answering, BaseHTTPRequestHandler):
    work: Work
    settings: Settings

    def do_GET(self) -> None:
        match self.path:
            case "/metrics":
                self._send(200, generate_latest(self.work.registry), "text/plain; version=0.0.4")
            case "/health/embedding-system":
                self._health()
            case "/mode":
                self._tell(200, {"processing": self.work.mode()})
            case "/settings":
                self._tell(200, self.settings.values)
            case _:
                self._tell(404, {"error": f"there is no {self.path}"})

    def do_PUT(self) -> None:
        given = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or "{}")
        match self.path:
            case "/settings":
                self.settings.values.update(given)
                self._tell(200, self.settings.values)
            case "/knobs":
                self.settings.knobs = given
                self._tell(200, given)
            case _:
                self._tell(404, {"error": f"there is no {self.path}"})

    def _health(self) -> None:
        checks = self.work.checks()
        is_well = all(checks.values())
        told = {
            "status": "healthy" if is_well else "unhealthy",
            "timestamp": datetime.now(UTC).isoformat(),
            "checks": checks,
            "versions": self.work.pods.versions,
            "workers": self.work.pods.workers,
        }
        self._tell(200 if is_well else 503, told)

    def _tell(self, status: int, told: object) -> None:
        self._send(status, json.dumps(told).encode())


def follow(namespace: Namespace, work: Work, ended: threading.Event) -> None:
    """As many workers as there are pods, until it ends."""
    parent = os.getppid()
    while not ended.wait(LOOK_SECONDS) and os.getppid() == parent:  # it ends with who started it
        try:
            work.staff(namespace.look())
        except httpx.HTTPError:
            continue  # those that work go on


def serve(port: int, kubeconfig: Path, namespace: str) -> None:
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    with (
        FlagClient(os.environ["FLAGS_URL"], token=os.environ["FLAGS_TOKEN"]) as flags,
        Namespace(kubeconfig, namespace) as pods,
        ThreadingHTTPServer(("127.0.0.1", port), Handler) as server,
    ):
        Handler.settings = settings = Settings()
        Handler.work = work = Work(os.environ["DATABASE_URL"], flags, settings)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        threading.Thread(target=work.take, args=(ended,), daemon=True).start()
        follow(pods, work, ended)
        ended.set()
        server.shutdown()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m examples.embeddings.service", description="Computes embeddings.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--kubeconfig", type=Path, required=True, metavar="FILE")
    parser.add_argument("--namespace", required=True)
    given = parser.parse_args()
    serve(given.port, given.kubeconfig, given.namespace)


if __name__ == "__main__":
    main()
