"""A server whose every request is an effect that somebody would notice: it counts, by Idempotency-Key where it may."""

import threading
import time
from collections import Counter
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self


class CountingServer:
    """Carries a request out once for each path and key, however often it comes; *arrivals* counts every one.

    `slow_seconds` is how long it takes to answer after it has carried a request out, so that a client can be killed
    between the effect and its answer.
    """

    def __init__(self, slow_seconds: float = 0.0) -> None:
        self.slow_seconds = slow_seconds
        self.arrivals: Counter[str] = Counter()
        self._keys: dict[str, set[str]] = {}
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.owner = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def carried_out(self, path: str) -> int:
        with self._lock:
            return len(self._keys.get(path, ()))

    def take(self, path: str, key: str) -> None:
        with self._lock:
            self.arrivals[path] += 1
            self._keys.setdefault(path, set()).add(key)
        time.sleep(self.slow_seconds)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    owner: CountingServer


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.owner.take(self.path, self.headers.get("Idempotency-Key", f"none-{time.monotonic_ns()}"))
        try:
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Length", "0")
            self.end_headers()
        except ConnectionError:
            return  # the client was killed meanwhile

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the name is the base class's)
        """Says nothing."""
