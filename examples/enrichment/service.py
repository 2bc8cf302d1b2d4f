"""The backend of one environment: HTTP on a socket that it is handed, and users whose assets are enriched meanwhile.

Started by `examples.enrichment.compose`, which restarts it without a pause. There are

    GET /health, /metrics, /settings, /finops/llm-costs
    GET /api/v1/master-flows/FLOW/patterns, /last-enrichment
    PUT /settings                                     {"batch_size": 5}, kept over restarts
    POST /api/v1/master-flows/FLOW/trigger-enrichment {"assets": 100}
    DELETE /api/v1/master-flows/FLOW/enrichment-results

of which those under `/api` want the headers X-Client-Account-ID and X-Engagement-ID.
"""

import argparse
import json
import logging
import os
import re
import signal
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest

from examples.answering import Answering
from examples.enrichment.database import POOL_SIZE, Database, Tenant
from examples.enrichment.pipeline import (
    Knobs,
    Metrics,
    MultiModelService,
    Pipeline,
    TenantMemoryManager,
    resident_bytes,
)
from examples.enrichment.release import commit_of, load

USERS = Tenant("users", "their-own")
USERS_EVERY_SECONDS = 0.2
MEMORY_LIMIT_BYTES = 160 << 20
FLOW = re.compile(r"/api/v1/master-flows/([^/]+)/([a-z-]+)")
Answer = tuple[int, object]


class Backend:
    """*site* is the environment's folder: its checkout of the repository, settings, knobs and log."""

    def __init__(self, site: Path, name: str, dsn: str) -> None:
        self._site, self._name = site, name
        checkout = site / "repository"
        self.release = load(checkout / "backend", commit_of(checkout))
        self.database = Database(dsn)
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.metrics = Metrics(self.registry)
        self.pipeline = Pipeline(
            self.release,
            MultiModelService(self.database, self.metrics),
            TenantMemoryManager(self.database, self.metrics),
            self.metrics,
            lambda: Knobs.read(site / "knobs.json"),
            lambda: int(self.settings()["batch_size"]),
        )
        self._last: dict[tuple[Tenant, str], dict[str, float]] = {}
        self._ballast = b""

    def serve_users(self, ended: threading.Event) -> None:
        """New assets come all the time; only a release that runs by itself looks at them."""
        if not self.release.runs_by_itself:
            return
        self.metrics.begin(self.release)
        number = 0
        while not ended.wait(USERS_EVERY_SECONDS):
            number = (number + 1) % 20
            try:
                self.pipeline.enrich(USERS, [f"asset-{number}-{one}" for one in range(self.pipeline.batch_size())])
            except Exception:
                logging.getLogger("backend").exception("an enrichment ended early")

    # --- what is answered ---------------------------------------------------------------------------------------------

    def health(self) -> Answer:
        parts = (self.pipeline.pool, self.pipeline.memory, self.pipeline.llm)
        is_well = self.database.answers()
        return 200 if is_well else 503, {
            "status": "healthy" if is_well else "unhealthy",
            "environment": self._name,
            "commit": self.release.commit,
            "agents": len(self.release.agents),
            "parts": [type(part).__name__ for part in parts],
        }

    def settings(self) -> dict[str, Any]:
        file = self._site / "settings.json"
        changed = json.loads(file.read_text()) if file.exists() else {}
        return {"batch_size": self.release.batch_size, **changed}

    def set(self, wanted: dict[str, Any]) -> Answer:
        if set(wanted) != {"batch_size"} or not 1 <= int(wanted["batch_size"]) <= 50:
            return 400, {"error": "batch_size, from 1 to 50, is expected"}
        if wanted["batch_size"] == self.release.batch_size:
            (self._site / "settings.json").unlink(missing_ok=True)
        else:
            write(self._site / "settings.json", json.dumps(wanted))
        return 200, self.settings()

    def measured(self) -> bytes:
        wanted = Knobs.read(self._site / "knobs.json").ballast_megabytes << 20
        if len(self._ballast) != wanted:
            self._ballast = b"\1" * wanted
        self.metrics.memory.set(resident_bytes() / MEMORY_LIMIT_BYTES)
        self.metrics.pool.set(self.database.in_use / POOL_SIZE)
        return generate_latest(self.registry)

    def trigger(self, tenant: Tenant, flow: str, body: dict[str, Any]) -> Answer:
        assets = [f"{flow}-{number}" for number in range(int(body.get("assets", 1)))]
        told = self._last[tenant, flow] = self.pipeline.enrich(tenant, assets)
        return 200, {"flow": flow, **told}

    def last(self, tenant: Tenant, flow: str, _body: dict[str, Any]) -> Answer:
        """What was told of the enrichment that was asked for last."""
        told = self._last.get((tenant, flow))
        return (200, told) if told is not None else (404, {"error": f"nobody has triggered {flow} yet"})

    def patterns(self, tenant: Tenant, flow: str, _body: dict[str, Any]) -> Answer:
        return 200, {"flow": flow, "patterns": self.database.patterns(tenant)}

    def forget(self, tenant: Tenant, flow: str, _body: dict[str, Any]) -> Answer:
        self.database.forget(tenant)
        return 200, {"flow": flow, "patterns": 0}


class Handler(Answering, BaseHTTPRequestHandler):
    backend: Backend
    timeout = 5.0  # who connects and says nothing holds up no restart

    def do_GET(self) -> None:
        backend = self.backend
        plain: dict[str, Callable[[], Answer]] = {
            "/health": backend.health,
            "/settings": lambda: (200, backend.settings()),
            "/finops/llm-costs": lambda: (200, backend.database.costs()),
        }
        if self.path == "/metrics":
            self._send(200, backend.measured(), "text/plain; version=0.0.4")
        elif self.path in plain:
            self._answer(plain[self.path])
        else:
            self._flow({"patterns": backend.patterns, "last-enrichment": backend.last})

    def do_POST(self) -> None:
        self._flow({"trigger-enrichment": self.backend.trigger})

    def do_DELETE(self) -> None:
        self._flow({"enrichment-results": self.backend.forget})

    def do_PUT(self) -> None:
        body = self._body()
        self._answer(lambda: self.backend.set(body) if self.path == "/settings" else (404, {}))

    def _flow(self, known: dict[str, Callable[[Tenant, str, dict[str, Any]], Answer]]) -> None:
        body, found = self._body(), FLOW.fullmatch(self.path)
        client, engagement = (self.headers.get(name) for name in ("X-Client-Account-ID", "X-Engagement-ID"))
        if found is None or found[2] not in known:
            self._answer(lambda: (404, {"error": f"there is no {self.path}"}))
        elif not client or not engagement:
            self._answer(lambda: (400, {"error": "X-Client-Account-ID and X-Engagement-ID say whose flow it is"}))
        else:
            self._answer(lambda: known[found[2]](Tenant(client, engagement), found[1], body))

    def _body(self) -> dict[str, Any]:
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        read = json.loads(content or b"{}")
        return read if isinstance(read, dict) else {}

    def _answer(self, ask: Callable[[], Answer]) -> None:
        try:
            status, told = ask()
        except Exception as error:
            logging.getLogger("backend").exception("%s %s", self.command, self.path)
            status, told = 500, {"error": str(error)}
        self._send(status, json.dumps(told).encode())


class Server(ThreadingHTTPServer):
    """Ends when whoever is being served has an answer; who is still to be taken is left to the next process."""

    daemon_threads = False


def write(file: Path, text: str) -> None:
    """Whole, or not at all."""
    draft = file.with_suffix(".draft")
    draft.write_text(text)
    draft.replace(file)


def serve(site: Path, name: str, listening: socket.socket) -> None:
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    logging.basicConfig(
        filename=site / "backend.log", level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s"
    )
    backend = Backend(site, name, os.environ["DATABASE_URL"])
    Handler.backend = backend
    with Server(listening.getsockname(), Handler, bind_and_activate=False) as server:
        server.socket.close()
        server.socket = listening
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        logging.getLogger("backend").info("started, at %s", backend.release.commit)
        write(site / "ready", f"{os.getpid()} {backend.release.commit}\n")
        users = threading.Thread(target=backend.serve_users, args=(ended,), daemon=True)
        users.start()
        parent = os.getppid()
        while os.getppid() == parent and not ended.wait(0.5):
            pass  # once its parent is gone, nobody could end it
        server.shutdown()
        ended.set()
        users.join(3.0)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m examples.enrichment.service", description="The backend.")
    parser.add_argument("--site", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--name", required=True, help="the environment's")
    parser.add_argument("--socket", type=int, required=True, metavar="NUMBER", help="a listening socket, handed down")
    given = parser.parse_args()
    serve(given.site, given.name, socket.socket(fileno=given.socket))


if __name__ == "__main__":
    main()
