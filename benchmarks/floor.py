"""The floor under `scale`: what its runs would cost in Python if nothing were decided, judged or kept.

Three processes, one after the other, each measured by its own processor time: a bare event loop in which every run
sleeps 15 s and wakes up; the same number of questions that the fleet asks, over aiohttp and kept connections; the same
over a bare socket. What `scale` measures of that many runs stands above it.
"""

import asyncio
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from benchmarks._fleet import ASKED, EVERY_SECONDS, SHARED_BY, steady_server
from benchmarks._machine import load, machine, stated, versions
from tests.support.process import ROOT

QUICK, USUAL = 1000, 10_000  # runs
QUICK_SECONDS, USUAL_SECONDS = 3.0, 2.0 * EVERY_SECONDS
CONNECTIONS = 32
Tick = Callable[[int], Awaitable[object]]


def run(quick: bool) -> dict[str, Any]:
    runs, seconds = (QUICK, QUICK_SECONDS) if quick else (USUAL, USUAL_SECONDS)
    questions = math.ceil(runs / SHARED_BY) * len(ASKED)
    with tempfile.TemporaryDirectory(prefix="rollout-floor-") as folder, steady_server(Path(folder)) as url:
        loop = _measured("loop", url, runs, seconds)
        over_aiohttp = _measured("aiohttp", url, questions, seconds)
        over_socket = _measured("socket", url, questions, seconds)
    return {
        "runs": runs,
        "loop_cores": loop["cores"],
        "us_per_wake": loop["us"],
        "questions_per_s": round(questions / EVERY_SECONDS),
        "aiohttp_cores": over_aiohttp["cores"],
        "us_per_question": over_aiohttp["us"],
        "socket_cores": over_socket["cores"],
        "us_per_question_of_a_socket": over_socket["us"],
        "load": load(),
        "machine": machine(),
        "versions": versions("aiohttp"),
    }


def table(result: dict[str, Any]) -> str:
    rows = (
        (f"{result['runs']} tasks that wake up every {EVERY_SECONDS} s", result["loop_cores"], result["us_per_wake"]),
        (
            f"{result['questions_per_s']} questions a second over aiohttp",
            result["aiohttp_cores"],
            result["us_per_question"],
        ),
        ("the same over a socket", result["socket_cores"], result["us_per_question_of_a_socket"]),
    )
    lines = [f"{'':<44}{'cores':>9}{'us each':>9}"]
    lines += [f"{words:<44}{cores:>9.3f}{each:>9}" for words, cores, each in rows]
    lines.append(stated(result))
    return "\n".join(lines)


def _measured(what: str, url: str, sleepers: int, seconds: float) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.floor", what, url, str(sleepers), str(seconds)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


async def _alone(what: str, url: str, sleepers: int, seconds: float) -> dict[str, Any]:
    """So many that wake up every fifteen seconds, evenly spread, and do their part."""
    ticks = 0

    async def sleeper(number: int, tick: Tick | None) -> None:
        nonlocal ticks
        await asyncio.sleep(number / sleepers * EVERY_SECONDS)
        while True:
            if tick is not None:
                await tick(number)
            ticks += 1
            await asyncio.sleep(EVERY_SECONDS)

    async def measured(tick: Tick | None) -> dict[str, Any]:
        tasks = [asyncio.create_task(sleeper(number, tick)) for number in range(sleepers)]
        await asyncio.sleep(1.0)
        before, began, spent = ticks, time.monotonic(), time.process_time()
        await asyncio.sleep(seconds)
        spent, passed, done = time.process_time() - spent, time.monotonic() - began, ticks - before
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return {"cores": round(spent / passed, 4), "us": round(spent / done * 1e6)}

    if what == "loop":
        return await measured(None)
    if what == "socket":
        return await measured(await _over_sockets(url))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CONNECTIONS)) as session:

        async def ask(number: int) -> None:
            async with session.post(f"{url}/api/v1/query", data=_question(number)) as answer:
                json.loads(await answer.read())

        return await measured(ask)


async def _over_sockets(url: str) -> Tick:
    """Asks the least that HTTP allows over kept connections; nothing is checked."""
    host, port = urlsplit(url).hostname, urlsplit(url).port
    free: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
    for _ in range(CONNECTIONS):
        free.put_nowait(await asyncio.open_connection(host, port))

    async def ask(number: int) -> None:
        kept = await free.get()
        reader, writer = kept
        body = "&".join(f"{name}={value}" for name, value in _question(number).items()).encode()
        writer.write(b"POST /api/v1/query HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(head.rpartition(b"Content-Length: ")[2]))
        free.put_nowait(kept)

    return ask


def _question(number: int) -> dict[str, str]:
    return {"query": f"q{number}", "time": f"{time.time():.3f}"}


if __name__ == "__main__":
    kind, address, count, lasting = sys.argv[1:]
    print(json.dumps(asyncio.run(_alone(kind, address, int(count), float(lasting)))))
