"""How long it takes until 1,000 clients of OFREP that follow its event stream know of a change, or of a kill.

The server is the real `rollout serve` in a process of its own. A client is two connections, as the providers for
browsers have them: one listens, and when it is told to, it asks for all flags over the other with the ETag of its
newest answer. Its time ends when the answer has the new value. All clients live in one process, on the second of two
cores.

Ordinary changes are spread on purpose, by about a millisecond for each client, so that they do not ask all at once; a
kill is told to everybody at once. So the two are told apart.
"""

import asyncio
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks._flag_server import (
    DEADLINE_SECONDS,
    FLAG,
    Server,
    lateness_in,
    more_files,
    percentile,
    served,
)
from benchmarks._machine import load, machine, stated, versions

EVENTS = b"GET /ofrep/v1/events?environment=production HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n"
CONTEXT = b'{"context":{"targetingKey":"user-1"}}'
TOLD = b"refetchEvaluation"
SPARE_FILES = 300
OPENED_AT_ONCE = 50


class Client:
    """What it was answered last, and since when (monotonic)."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._tag = b""
        self.value: bool | None = None
        self.at = 0.0

    async def open(self) -> None:
        self._events, writer = await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(EVENTS)
        self._listening = writer  # kept, or the connection would be closed with it
        self._answers, self._asking = await asyncio.open_connection("127.0.0.1", self._port)
        await self._ask()

    async def follow(self) -> None:
        tail = b""
        while received := await self._events.read(4096):
            tail += received
            if TOLD in tail:
                tail = b""
                await self._ask()
            tail = tail[-len(TOLD) :]

    async def _ask(self) -> None:
        head = b"POST /ofrep/v1/evaluate/flags HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        known = b"If-None-Match: %s\r\n" % self._tag if self._tag else b""
        self._asking.write(head + known + b"Content-Length: %d\r\n\r\n" % len(CONTEXT) + CONTEXT)
        status, headers = await self._head()
        body = await self._answers.readexactly(int(headers.get(b"content-length", b"0"))) if status == 200 else b""
        if status == 200:
            self._tag = headers[b"etag"]
            (flag,) = (one for one in json.loads(body)["flags"] if one["key"] == FLAG)
            if flag["value"] is not self.value:
                self.value, self.at = flag["value"], time.monotonic()
        elif status != 304:
            raise RuntimeError(f"a client was answered {status}")

    async def _head(self) -> tuple[int, dict[bytes, bytes]]:
        first, *lines = (await self._answers.readuntil(b"\r\n\r\n")).split(b"\r\n")
        pairs = (line.partition(b": ") for line in lines if line)
        return int(first.split()[1]), {name.lower(): value for name, _, value in pairs}


def run(quick: bool) -> dict[str, Any]:
    wanted, rounds = (100, 2) if quick else (1000, 6)
    clients = min(wanted, (more_files(2 * wanted + SPARE_FILES) - SPARE_FILES) // 2)
    with tempfile.TemporaryDirectory(prefix="bench-ofrep-") as folder, served(Path(folder)) as server:
        server.put(0.0)
        changes, kills = asyncio.run(_measured(server, clients, rounds))
        rss_mb = server.rss_mb()
        server.stop()
        lateness = server.lateness()
    return {
        "clients": clients,
        "rounds": rounds,
        "change": _seconds(changes),
        "kill": _seconds(kills),
        "lateness_ms": {
            "change": lateness_in(lateness, [span for span, _ in changes]),
            "kill": lateness_in(lateness, [span for span, _ in kills]),
        },
        "rss_mb": round(rss_mb),
        "machine": machine(),
        "load": load()[0],
        "versions": versions("uvicorn"),
    }


Round = tuple[tuple[float, float], Sequence[float]]


async def _measured(server: Server, count: int, rounds: int) -> tuple[list[Round], list[Round]]:
    clients = [Client(server.port) for _ in range(count)]
    for first in range(0, count, OPENED_AT_ONCE):
        await asyncio.gather(*(client.open() for client in clients[first : first + OPENED_AT_ONCE]))
    following = [asyncio.create_task(client.follow()) for client in clients]
    await asyncio.sleep(1.0)  # until all are told where they stand
    changes: list[Round] = []
    kills: list[Round] = []
    for number in range(rounds):
        on = number % 2 == 0
        changes.append(await _everywhere(clients, on, lambda on=on: server.put(100.0 if on else 0.0)))  # type: ignore[misc]
    await _everywhere(clients, True, lambda: server.put(100.0))
    for _ in range(rounds):
        kills.append(await _everywhere(clients, False, server.kill))
        await _everywhere(clients, True, server.lift)
    for task in following:
        task.cancel()
    await asyncio.gather(*following, return_exceptions=True)
    return changes, kills


async def _everywhere(clients: Sequence[Client], value: bool, change: Callable[[], None]) -> Round:
    """From when to when (monotonic), and the seconds until each client had the new answer."""
    began = time.monotonic()
    await asyncio.to_thread(change)
    async with asyncio.timeout(DEADLINE_SECONDS):
        while any(client.value is not value for client in clients):  # noqa: ASYNC110 - a thousand events would cost more
            await asyncio.sleep(0.02)
    moments = [client.at for client in clients]
    await asyncio.sleep(0.3)
    return (began, max(moments)), [moment - began for moment in moments]


def _seconds(rounds: Sequence[Round]) -> dict[str, float]:
    seconds = sorted(second for _, every in rounds for second in every)
    return {
        "p50_s": round(percentile(seconds, 0.5), 3),
        "p99_s": round(percentile(seconds, 0.99), 3),
        "last_s": round(seconds[-1], 3),
    }


def table(result: dict[str, Any]) -> str:
    lines = [
        f"OFREP: seconds until {result['clients']:,} clients that follow its event stream have asked again, and know",
        stated(result),
        "",
        f"{'':<28}{'p50':>9}{'p99':>9}{'last':>9}{'loop late, ms: p99':>22}{'most':>9}",
    ]
    for name, words in (("change", "a change, which is spread"), ("kill", "the kill switch")):
        found, late = result[name], result["lateness_ms"][name]
        times = f"{found['p50_s']:>9.3f}{found['p99_s']:>9.3f}{found['last_s']:>9.3f}"
        lines.append(f"{words:<28}{times}{late['p99']:>22.1f}{late['most']:>9.1f}")
    return "\n".join([*lines, "", f"memory of the server: {result['rss_mb']} MB"])
