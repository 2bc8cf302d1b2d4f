"""Answers as a Prometheus does, to selectors of counters: every series has a sample every 15 s and rises evenly.

    python -m benchmarks._look_server SERIES

It says its address on standard output, and ends with the process that started it.
"""

import json
import re
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

SCRAPE_SECONDS = 15
RANGE = re.compile(r"(?P<metric>\w+).*\[(?P<seconds>\d+)s\]", re.DOTALL)
BANDS = ("5", "10", "25", "50", "100")
EDGES = ("0.05", "0.1", "0.25", "0.5", "+Inf")


def labels_of(metric: str, series: int) -> Iterator[tuple[dict[str, str], float]]:
    """Labels of each series, and its events a second."""
    for index in range(series):
        named = {"__name__": metric, "instance": f"app-{index // 10}:8000", "job": "shop"}
        if metric.startswith("rollout_exposures"):
            band = BANDS[index // 2 % len(BANDS)]
            outcome = ("ok", "error")[index % 2]
            arm = "canary" if band == "5" else "control"
            yield {**named, "arm": arm, "band": band, "outcome": outcome}, 4.0 if outcome == "ok" else 0.1
        elif metric.endswith("_bucket"):
            edge = index % len(EDGES)
            yield {**named, "arm": ("canary", "control")[index // 5 % 2], "le": EDGES[edge]}, 1.0 + edge
        else:
            yield {**named, "pod": f"app-{index}"}, 4.0


def answer(query: str, at: float, series: int) -> dict[str, Any]:
    found = RANGE.search(query)
    if found is None:
        return {"resultType": "vector", "result": []}
    first = int((at - int(found["seconds"])) // SCRAPE_SECONDS + 1) * SCRAPE_SECONDS
    times = range(first, int(at) + 1, SCRAPE_SECONDS)
    share = 0.02 if "code=" in query else 1.0
    rows = [
        {"metric": labels, "values": [[time, str(round(time % 10_000_000 * rate * share))] for time in times]}
        for labels, rate in labels_of(found["metric"], series)
    ]
    return {"resultType": "matrix", "result": rows}


class Handler(BaseHTTPRequestHandler):
    series = 0
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        form = parse_qs(parts.query)
        data = {"resultType": "matrix", "result": []}
        if parts.path.endswith("/query"):
            data = answer(form["query"][0], float(form["time"][0]), self.series)
        body = json.dumps({"status": "success", "data": data}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def date_time_string(self, timestamp: float | None = None) -> str:
        """None that could be compared: the looks run ahead of the clock."""
        return ""

    def log_message(self, *_: object) -> None:
        return


def main() -> None:
    Handler.series = int(sys.argv[1])
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
