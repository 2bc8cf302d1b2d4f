"""The service as a process: HTTP on loopback, workers, a batch loop.

    python -m examples.demo.service --port 8000 --database documents.db --flags http://127.0.0.1:8040

`POST /documents` takes `{"owner": ..., "text": ...}`, `POST /notifications` what the rollout tells people; there are
`GET /health` and `GET /metrics`. Ends on SIGTERM and SIGINT.
"""

import argparse
import json
import random
import signal
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread

from examples.demo.embedding import Embedding
from examples.demo.features import Features, connect
from examples.demo.metrics import Metrics
from examples.demo.store import Store

WORKERS = 12
TEAMS = [f"team-{number}" for number in range(1, 21)]
BATCH_EVERY_SECONDS = 0.2
BATCH_TEXTS = ["terms of delivery", "price list", "terms of delivery", "opening hours"]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    embedding: Embedding
    metrics: Metrics
    health: Callable[[], dict[str, object]]

    def do_POST(self) -> None:
        """`/documents`, and in place of a team's chat `/notifications`"""
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/notifications":
            self._answer(202, b"{}")
            return
        try:
            body = json.loads(content)
            owner, text = str(body["owner"]), str(body["text"])
        except (ValueError, TypeError, KeyError):
            self._answer(400, b'{"error": "a JSON object with owner and text is expected"}')
            return
        self._answer(self.embedding.receive(owner, text), b"{}")

    def do_GET(self) -> None:
        if self.path == "/metrics":
            self._answer(200, self.metrics.text(), "text/plain; version=0.0.4")
        elif self.path == "/health":
            report = type(self).health()
            self._answer(200 if report["status"] == "healthy" else 503, json.dumps(report).encode())
        else:
            self._answer(404, b'{"error": "there are /documents, /notifications, /health and /metrics"}')

    def _answer(self, status: int, body: bytes, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's name
        """Quiet: what happens is in the metrics."""


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def repeat(action: Callable[[], None], ended: Event, pause_seconds: float = 0.0) -> Thread:
    """A thread that does `action` again and again until `ended`."""

    def loop() -> None:
        while not ended.wait(pause_seconds):
            action()

    thread = Thread(target=loop, daemon=True)
    thread.start()
    return thread


def serve(port: int, database: Path, flags: str) -> None:
    ended = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    store = Store(database)
    metrics = Metrics(store.queued)
    embedding = Embedding(store, Features(connect(flags)), metrics)
    threads = [repeat(lambda: embedding.work(0.5), ended) for _ in range(WORKERS)]
    threads.append(repeat(lambda: embedding.batch(random.choice(TEAMS), BATCH_TEXTS), ended, BATCH_EVERY_SECONDS))

    def health() -> dict[str, object]:
        alive = sum(thread.is_alive() for thread in threads)
        checks = {"database": store.documents() >= 0, "threads": alive}
        return {"status": "healthy" if alive == len(threads) else "unhealthy", "checks": checks}

    Handler.embedding, Handler.metrics, Handler.health = embedding, metrics, health
    with Server(("127.0.0.1", port), Handler) as server:
        Thread(target=server.serve_forever, args=(0.1,), daemon=True).start()
        ended.wait()
        server.shutdown()
    for thread in threads:
        thread.join(2.0)
    store.close()


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m examples.demo.service", description="Turns documents into vectors."
    )
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--database", type=Path, required=True, metavar="FILE")
    parser.add_argument("--flags", required=True, metavar="URL", help="where flags are evaluated (OFREP)")
    given = parser.parse_args()
    serve(given.port, given.database, given.flags)


if __name__ == "__main__":
    main()
