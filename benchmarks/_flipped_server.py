"""Answers every instant query as a healthy Prometheus does, but badly once a service is flipped.

    python -m benchmarks._flipped_server

It says its address on standard output. A query names its service by the label `service`. `GET /flip?service=NAME`
flips it and `GET /mend?service=NAME` makes it healthy again; `GET /told?service=NAME` tells when it was flipped, and
when the first bad answer left. Moments are those of the monotonic clock, which all processes of a machine share.
`GET /asked` is that of `_steady_server`.
"""

import asyncio
import json
import re
import time
from urllib.parse import parse_qs, urlsplit

from benchmarks._steady_server import Server, answer

BAD = "0.5"
ONLINE = "vector(1)"  # what a peer asks to see whether anybody is there
_SERVICE = re.compile(r'service="([^"]*)"')


class FlippedServer(Server):
    def __init__(self) -> None:
        super().__init__()
        self._flipped_at: dict[str, float] = {}
        self._bad_at: dict[str, float] = {}

    def answer(self, target: str, body: str) -> str:
        parts = urlsplit(target)
        form = {name: values[0] for name, values in parse_qs(body or parts.query).items()}
        if parts.path in {"/flip", "/mend", "/told"}:
            return self._told(parts.path[1:], form["service"])
        query = form.get("query", "")
        if query == ONLINE:
            return answer(query, form.get("time", "0"), "1")
        healthy = super().answer(target, body)
        named = _SERVICE.search(query)
        if named is None or named[1] not in self._flipped_at:
            return healthy
        self._bad_at.setdefault(named[1], time.monotonic())
        return answer(query, form.get("time", "0"), BAD)

    def _told(self, what: str, service: str) -> str:
        if what == "flip":
            self._flipped_at.setdefault(service, time.monotonic())
        elif what == "mend":
            self._flipped_at.pop(service, None)
            self._bad_at.pop(service, None)
        return json.dumps({"flipped_at": self._flipped_at.get(service), "bad_at": self._bad_at.get(service)})


async def main() -> None:
    server = await asyncio.start_server(FlippedServer().serve, "127.0.0.1", 0, backlog=512)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
