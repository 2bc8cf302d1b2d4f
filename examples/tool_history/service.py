"""The backend as a process: HTTP with a WebSocket, gRPC's health service, metrics, and a log with levels.

GET  /health /metrics /tools /users/1/preferred-tools /tools/search/statistics /users/1/success-rate/search
POST /messages {"user_id": 1, "text": "..."}     POST /satisfaction {"user_id": 1, "tool": "search", "score": 5}
POST /knobs {"slow_seconds": 0.4}                GET /ws (WebSocket: says back what it is told)
"""

import argparse
import base64
import hashlib
import json
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc

from examples.tool_history.assistant import Assistant, Json, Knobs
from examples.tool_history.metrics import Counting, Metrics
from examples.tool_history.parent import end_with_parent

WEBSOCKET_KEY = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455
SERVING, NOT_SERVING = b"\x08\x01", b"\x08\x02"  # grpc.health.v1.HealthCheckResponse
log = logging.getLogger("assistant")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, assistant: Assistant, metrics: Metrics, *given: Any) -> None:
        self._assistant, self._metrics = assistant, metrics
        super().__init__(*given)

    def do_GET(self) -> None:
        if self.path == "/metrics":
            self._answer(200, self._metrics.text(), "text/plain; version=0.0.4")
        elif self.path == "/ws":
            self._websocket()
        elif self.path == "/health":
            healthy = self._assistant.is_healthy()
            status = {"status": "healthy" if healthy else "unhealthy", "release": self._assistant.release}
            self._say(200 if healthy else 503, status)
        else:
            self._say(*self._asked(self.path.strip("/").split("/")))

    def _asked(self, path: list[str]) -> tuple[int, Any]:
        history = self._assistant.history
        match path:
            case ["tools"]:
                return 200, {"tools": self._assistant.tools}
            case ["users", user, "preferred-tools"] if history is not None:
                return 200, {"tools": [asdict(one) for one in history.get_user_preferred_tools(int(user))]}
            case ["users", user, "success-rate", tool] if history is not None:
                return 200, {"rate": history.get_tool_success_rate(int(user), tool)}
            case ["tools", tool, "statistics"] if history is not None:
                return 200, asdict(history.get_tool_statistics(tool))
            case _:
                pass
        return 404, {"error": f"there is no {self.path}"}

    def do_POST(self) -> None:
        said = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
        try:
            self._say(*self._told(said))
        except Exception as error:  # noqa: BLE001 - a server says that it failed
            self._say(500, {"error": str(error)})

    def _told(self, said: Json) -> tuple[int, Any]:
        history = self._assistant.history
        match self.path:
            case "/messages":
                return 200, self._assistant.answer(said["user_id"], said["text"])
            case "/satisfaction" if history is not None:
                updated = history.update_user_satisfaction(said["user_id"], said["tool"], said["score"])
                return 200, {"updated": updated}
            case "/knobs":
                self._assistant.knobs = Knobs(**said)
                return 200, asdict(self._assistant.knobs)
            case _:
                pass
        return 404, {"error": f"there is no {self.path}"}

    def _say(self, status: int, body: Any) -> None:
        self._answer(status, json.dumps(body).encode(), "application/json")

    def _answer(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _websocket(self) -> None:
        """The handshake, and one short text frame, which is said back."""
        key = self.headers.get("Sec-WebSocket-Key", "").encode()
        if not key or not self._assistant.knobs.websocket:
            self._say(503, {"error": "no WebSocket"})
            return
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        accepted = hashlib.sha1(key + WEBSOCKET_KEY, usedforsecurity=False).digest()
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(accepted).decode())
        self.end_headers()
        length = self.rfile.read(2)[1] & 0x7F
        mask = self.rfile.read(4)
        said = bytes(byte ^ mask[at % 4] for at, byte in enumerate(self.rfile.read(length)))
        self.wfile.write(bytes((0x81, len(said))) + said)
        self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name
        """Requests are counted, not logged."""


def serve_grpc(assistant: Assistant, port: int) -> grpc.Server:
    """grpc.health.v1.Health, whose two messages are short enough to be written by hand."""

    def check(_request: bytes, _context: grpc.ServicerContext) -> bytes:
        return SERVING if assistant.knobs.grpc else NOT_SERVING

    handlers: Json = {"Check": grpc.unary_unary_rpc_method_handler(check)}
    server = grpc.server(ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("grpc.health.v1.Health", handlers),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    return server


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--release", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--grpc-port", type=int, required=True)
    given = parser.parse_args()
    end_with_parent()
    metrics = Metrics()
    logging.basicConfig(level="INFO", format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger().addHandler(Counting(metrics))
    assistant = Assistant(given.release, os.environ["DATABASE_URL"], metrics)
    grpc_server = serve_grpc(assistant, given.grpc_port)
    server = ThreadingHTTPServer(("127.0.0.1", given.port), partial(Handler, assistant, metrics))
    server.daemon_threads = True
    log.info("release %s is up", assistant.release)
    try:
        server.serve_forever()
    finally:
        grpc_server.stop(None)


if __name__ == "__main__":
    main()
