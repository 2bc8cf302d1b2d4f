"""Answers every instant query as a healthy Prometheus does, with one series, and notes when each was asked.

    python -m benchmarks._steady_server

It says its address on standard output. `GET /asked` tells what was asked since the last `GET /asked`: how often, how
many different questions, when the last of these was asked first, and how long it took, in milliseconds and 99 times of
100 at most, since a question had been asked before. `GET /first` lists what was asked first since then, up to a bound:
each question, the second as of which it was asked, and when it was asked for that second first. It costs little, and no
more the longer it is there, so that it can stand beside what is measured.
"""

import asyncio
import json
import time
from urllib.parse import parse_qs, urlsplit

from orchestrator.adapters.prometheus import instant

ANSWER = '{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[%s,"%s"]}%s]}}'
SAMPLED = ',{"metric":{"%s":"at"},"value":[%s,"%s"]}'
DATED = instant.dated("x").split("x")[1]  # from here on a query asks when what it is for was sampled, which is now
HEALTHY = "0.01"
MOST_FIRST = 100_000  # three times what 10,000 runs ask as they are taken up


def answer(query: str, at: str, value: str) -> str:
    return ANSWER % (at, value, SAMPLED % (instant.SAMPLED, at, at) if DATED in query else "")


class Server:
    def __init__(self) -> None:
        self.newest: dict[str, float] = {}  # when each question was asked last: a gap may begin before what is told
        self.forget()

    def forget(self) -> None:
        self.asked: set[str] = set()
        self.gaps: list[float] = []
        self.first: dict[tuple[str, str], float] = {}  # question, and as of when: when it was asked first
        self.last_new, self.count = 0.0, 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                lines = head.decode("latin-1").split("\r\n")
                length = next((int(line[15:]) for line in lines if line.lower().startswith("content-length:")), 0)
                body = await reader.readexactly(length) if length else b""
                content = self.answer(lines[0].split(" ")[1], body.decode()).encode()
                writer.write(
                    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(content)
                )
                writer.write(content)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    def answer(self, target: str, body: str) -> str:
        parts = urlsplit(target)
        if parts.path == "/asked":
            return json.dumps(self.told())
        if parts.path == "/first":
            return json.dumps([[*asked, when] for asked, when in self.first.items()])
        form = parse_qs(body or parts.query)
        asked = form.get("query", [""])[0]
        query = asked.partition(DATED)[0]
        self.count += 1
        now = time.time()
        if query in self.newest:
            self.gaps.append(now - self.newest[query])
        if query not in self.asked:
            self.asked.add(query)
            self.last_new = now
        self.newest[query] = now
        at = form.get("time", ["0"])[0]
        if len(self.first) < MOST_FIRST:
            self.first.setdefault((query, at), now)
        return answer(asked, at, HEALTHY)

    def told(self) -> dict[str, float]:
        ordered = sorted(self.gaps)
        p99 = ordered[min(round(0.99 * len(ordered)), len(ordered) - 1)] if ordered else 0.0
        told = {"count": self.count, "different": len(self.asked), "last_new": self.last_new, "gap_p99_ms": p99 * 1000}
        self.forget()
        return told


async def main() -> None:
    server = await asyncio.start_server(Server().serve, "127.0.0.1", 0, backlog=512)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
