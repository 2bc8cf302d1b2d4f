"""What the services of the examples answer requests with."""

from http.server import BaseHTTPRequestHandler


class Answering(BaseHTTPRequestHandler):
    def _send(self, status: int, content: bytes, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's name
        """Quiet: a log is for what the service does."""
