"""A tiny exporter whose series the test sets, in process or by HTTP.

    with MetricsApp() as app:
        app.set("errors_total", 3, handler="/pay")        # or: PUT /series {"name": ..., "labels": {...}, "value": 3}
        ... Prometheus scrapes app.address ...

Values may be NaN and Inf ("NaN", "+Inf", "-Inf" as JSON strings). `python -m tests.support.metrics_app [PORT]` runs
it alone.
"""

import json
import math
import sys
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

Series = tuple[str, tuple[tuple[str, str], ...]]


class MetricsApp:
    """Serves /metrics on loopback while it is entered. Safe to change from any thread."""

    def __init__(self, port: int = 0) -> None:
        self._values: dict[Series, float] = {}
        self._broken: HTTPStatus | None = None
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", port), _Handler)
        self._server.app = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def address(self) -> str:
        """`127.0.0.1:PORT`, as a scrape target."""
        return f"127.0.0.1:{self._server.server_port}"

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    def set(self, name: str, value: float, **labels: str) -> None:
        with self._lock:
            self._values[_series(name, labels)] = float(value)

    def add(self, name: str, increase: float, **labels: str) -> None:
        """Raises a counter; it begins at 0."""
        with self._lock:
            series = _series(name, labels)
            self._values[series] = self._values.get(series, 0.0) + increase

    def remove(self, name: str, **labels: str) -> None:
        """Makes a series vanish, as that of an ended process does; no error if there is none."""
        with self._lock:
            self._values.pop(_series(name, labels), None)

    def clear(self) -> None:
        with self._lock:
            self._values.clear()

    def answer_scrapes_with(self, status: HTTPStatus | None) -> None:
        """Makes every scrape fail with this status; None mends it."""
        self._broken = status

    def scrape(self) -> tuple[HTTPStatus, str]:
        """Status and body that /metrics answers now."""
        if self._broken is not None:
            return self._broken, "broken by the test\n"
        with self._lock:
            lines = [f"{name}{_braces(labels)} {_number(value)}" for (name, labels), value in self._values.items()]
        return HTTPStatus.OK, "".join(f"{line}\n" for line in sorted(lines))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def wait(self) -> None:
        """Until somebody interrupts."""
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # a scraper keeps its connection open; its thread ends with it
    app: MetricsApp


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        if self.path != "/metrics":
            return self._answer(HTTPStatus.NOT_FOUND, "only /metrics and /series are here\n")
        return self._answer(*self.server.app.scrape())

    def do_PUT(self) -> None:
        body = self._body()
        self.server.app.set(body["name"], float(body["value"]), **body.get("labels", {}))
        self._answer(HTTPStatus.NO_CONTENT, "")

    def do_DELETE(self) -> None:
        body = self._body()
        self.server.app.remove(body["name"], **body.get("labels", {}))
        self._answer(HTTPStatus.NO_CONTENT, "")

    def _body(self) -> dict[str, Any]:
        length = int(self.headers.get("Content-Length", 0))
        body: dict[str, Any] = json.loads(self.rfile.read(length))
        return body

    def _answer(self, status: HTTPStatus, text: str) -> None:
        content = text.encode()
        self.send_response(status)
        if status is not HTTPStatus.NO_CONTENT:
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the name is the base class's)
        """Says nothing: a scrape every 100 ms would bury what tests print."""


def _series(name: str, labels: dict[str, str]) -> Series:
    return name, tuple(sorted(labels.items()))


def _braces(labels: tuple[tuple[str, str], ...]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in labels) + "}"


def _number(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return repr(value)


def main() -> None:
    with MetricsApp(int(sys.argv[1]) if len(sys.argv) > 1 else 0) as app:
        print(app.url, flush=True)
        app.wait()


if __name__ == "__main__":
    main()
