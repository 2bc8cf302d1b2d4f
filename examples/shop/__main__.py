"""The shop of the tutorial: takes orders, asks flags, tells Prometheus how it went, and brings its own customers.

    python -m examples.shop [--listen HOST:PORT] [--flags URL]

`newCheckout` is a feature that works. `giftWrap` has a mistake: it fails for every order with an odd number.
"""

import argparse
import json
import threading
import time
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from urllib.parse import parse_qs, urlsplit

import httpx
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from flags.client import FlagClient

CUSTOMERS = 200
ORDERS_EACH_SECOND = 40
OK, ERROR = "200", "500"


class Shop:
    """What is behind the requests."""

    def __init__(self, flags: FlagClient) -> None:
        self.registry = CollectorRegistry()
        self._flags = flags
        self._numbers = count(1)
        self._requests = Counter("http_requests", "Answers, by status.", ["code"], registry=self.registry)
        self._seconds = Histogram("http_request_duration_seconds", "Until an answer.", registry=self.registry)
        for code in (OK, ERROR):  # a shop that never failed says so, in place of nothing
            self._requests.labels(code)

    def order(self, customer: str) -> tuple[HTTPStatus, str]:
        with self._seconds.time():
            who, number = {"targetingKey": customer}, next(self._numbers)
            works = not self._flags.is_on("giftWrap", who) or number % 2 == 0
            checkout = "new" if self._flags.is_on("newCheckout", who) else "old"
        self._requests.labels(OK if works else ERROR).inc()
        if not works:
            return HTTPStatus.INTERNAL_SERVER_ERROR, f"no paper left for order {number}\n"
        return HTTPStatus.OK, f"order {number}, by the {checkout} checkout\n"


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], shop: Shop) -> None:
        super().__init__(address, Handler)
        self.shop = shop


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if url.path == "/metrics":
            self._answer(HTTPStatus.OK, generate_latest(self.server.shop.registry))
        elif url.path == "/order":
            status, text = self.server.shop.order(parse_qs(url.query).get("customer", ["somebody"])[0])
            self._answer(status, text.encode())
        else:
            self._answer(HTTPStatus.NOT_FOUND, b"only /order and /metrics are here\n")

    def do_POST(self) -> None:
        """What a run tells its channel is shown here, as a chat would show it."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        print(f"told: {body['title']}", flush=True)
        self._answer(HTTPStatus.OK, b"")

    def _answer(self, status: HTTPStatus, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the name is the base class's)
        """Says nothing: forty lines a second help nobody."""


def be_customers(url: str) -> None:
    """Orders for ever, each by the next customer."""
    with httpx.Client(base_url=url, trust_env=False) as client:
        for number in count():
            with suppress(httpx.HTTPError):  # the shop is ending
                client.get("/order", params={"customer": f"customer-{number % CUSTOMERS}"})
            time.sleep(1 / ORDERS_EACH_SECOND)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m examples.shop")
    parser.add_argument("--listen", metavar="HOST:PORT", default="127.0.0.1:8081")
    parser.add_argument("--flags", metavar="URL", default="http://127.0.0.1:8040", help="the controller")
    arguments = parser.parse_args()
    host, _, port = arguments.listen.rpartition(":")
    server = Server((host, int(port)), Shop(FlagClient(arguments.flags)))
    url = f"http://{host}:{server.server_port}"
    threading.Thread(target=be_customers, args=(url,), daemon=True).start()
    print(f"the shop is at {url}, with {ORDERS_EACH_SECOND} orders a second; Ctrl-C ends it", flush=True)
    with suppress(KeyboardInterrupt), server:
        server.serve_forever()


if __name__ == "__main__":
    main()
