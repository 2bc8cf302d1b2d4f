"""Load of an open loop: requests come when they come, at random moments, however slow the answers are.

    python -m benchmarks._rollouts.load --port 8000 --rate 200 --keys 4000 --notes load.jsonl --most-seconds 600

Each request carries a targeting key of a pool, of which some are busier than others. Connections are kept and used
again; there are at most `MOST_CONNECTIONS`, and a request that finds none free is missed, as is one that this process
could not send within a second of its moment. For each second one line of JSON goes to `--notes`: what became of the
requests, by what the service said of the flag. It ends on SIGTERM, and by itself after `--most-seconds`.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import random
import signal
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

MOST_CONNECTIONS = 48
LATE_SECONDS = 1.0
ANSWER_SECONDS = 5.0
UNEQUAL = 1.0  # standard deviation of the logarithm of a key's activity


class Load:
    """Sends to a port of loopback; `tally` has what became of it since the last note was taken."""

    def __init__(self, port: int, keys: int, dice: random.Random) -> None:
        self._port = port
        self._dice = dice
        self._keys: Sequence[str] = [f"user-{dice.getrandbits(48):012x}" for _ in range(keys)]
        self._weights = list(itertools.accumulate(dice.lognormvariate(0.0, UNEQUAL) for _ in self._keys))
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._under_way: set[asyncio.Task[None]] = set()
        self._tally: Counter[str] = Counter()

    async def run(self, rate: float, ended: asyncio.Event) -> None:
        due = time.monotonic()
        while not ended.is_set():
            due += self._dice.expovariate(rate)
            early_seconds = due - time.monotonic()
            await asyncio.sleep(max(early_seconds, 0.0))  # always: answers must be read, too
            self._fire(late_seconds=-early_seconds)

    def take_tally(self) -> dict[str, int]:
        taken, self._tally = self._tally, Counter()
        return dict(taken)

    def _fire(self, late_seconds: float) -> None:
        if late_seconds > LATE_SECONDS or len(self._under_way) >= MOST_CONNECTIONS:
            self._tally["missed"] += 1
            return
        (key,) = self._dice.choices(self._keys, cum_weights=self._weights)
        task = asyncio.get_running_loop().create_task(self._request(key))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _request(self, key: str) -> None:
        connection = None
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                connection = self._idle.pop() if self._idle else await asyncio.open_connection("127.0.0.1", self._port)
                became = await _ask(*connection, key)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, ValueError):
            self._tally["broken"] += 1
            if connection is not None:
                connection[1].close()
            return
        self._tally[became] += 1
        self._idle.append(connection)


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, key: str) -> str:
    """`on`, `on_errors`, `off` or `off_errors`: what the service said."""
    writer.write(f"GET /work?{key} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    if b"\r\nX-Flag: on\r\n" in head:
        arm = "on"
    elif b"\r\nX-Flag: off\r\n" in head:
        arm = "off"
    else:
        raise ValueError("an answer that is none")
    return f"{arm}_errors" if head.startswith(b"HTTP/1.1 500 ") else arm


async def note(load: Load, path: Path, ended: asyncio.Event) -> None:
    """One line a second, of the second that ended at `at`."""
    with path.open("w", buffering=1) as notes:
        while not ended.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), 1.0 - time.time() % 1.0)
            notes.write(json.dumps({"at": time.time(), **load.take_tally()}) + "\n")


async def send(load: Load, rate: float, notes: Path, most_seconds: float) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    loop.call_later(most_seconds, ended.set)
    await asyncio.gather(load.run(rate, ended), note(load, notes, ended))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks._rollouts.load", description="Load of an open loop")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True, help="requests a second")
    parser.add_argument("--keys", type=int, required=True, help="how many targeting keys there are")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--notes", type=Path, required=True)
    parser.add_argument("--most-seconds", type=float, required=True)
    given = parser.parse_args()
    load = Load(given.port, given.keys, random.Random(given.seed))
    asyncio.run(send(load, given.rate, given.notes, given.most_seconds))


if __name__ == "__main__":
    main()
