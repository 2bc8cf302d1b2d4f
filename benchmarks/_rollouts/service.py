"""A small service with one flag: HTTP over asyncio, requests that fail at random, and `/metrics`.

    python -m benchmarks._rollouts.service --port 8000 --flags http://127.0.0.1:8040 --flag x --errors 0.05 --factor 2

`GET /work?KEY` does a few milliseconds of work for the targeting key KEY, inside an exposure of the flag. It fails with
the probability `--errors`, or that times `--factor` where the flag is on, each request for itself. The header `X-Flag`
of an answer says whether it was. The service ends on SIGTERM, and by itself after `--most-seconds`.
"""

import argparse
import asyncio
import contextlib
import random
import signal
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, generate_latest

from flags.client import FlagClient
from flags.exposure import Exposure

WORK_SECONDS = 0.004
READY_SECONDS = 20.0
MOST_BYTES = 16_384  # of a request


class Unlucky(Exception):
    """A request that was meant to fail."""


@dataclass(frozen=True, slots=True)
class Chances:
    """How likely a request fails: *errors* without the flag, *factor* times that with it."""

    errors: float
    factor: float

    def of(self, on: bool) -> float:
        return self.errors * (self.factor if on else 1.0)


class Service:
    def __init__(self, flag: str, client: FlagClient, chances: Chances, dice: random.Random) -> None:
        self._flag = flag
        self._registry = CollectorRegistry()
        self._exposure = Exposure(client, registry=self._registry)
        self._chances = chances
        self._dice = dice

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, kept for as many requests as the client likes."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(await self._answer(head.split(b" ", 2)[1].decode("latin-1")))
                await writer.drain()
        writer.close()

    async def _answer(self, path: str) -> bytes:
        what, _, key = path.partition("?")
        match what:
            case "/work":
                return await self._work(key)
            case "/metrics":
                return _response(200, generate_latest(self._registry), "text/plain; version=0.0.4; charset=utf-8")
            case _:
                return _response(404, b"")

    async def _work(self, key: str) -> bytes:
        block = self._exposure.exposure(self._flag, {"targetingKey": key})
        try:
            async with block:
                await asyncio.sleep(self._dice.expovariate(1.0 / WORK_SECONDS))
                if self._dice.random() < self._chances.of(block.on):
                    raise Unlucky
        except Unlucky:
            return _response(500, b"", flag=block.on)
        return _response(200, b"", flag=block.on)


def _response(status: int, body: bytes, kind: str = "text/plain", *, flag: bool | None = None) -> bytes:
    told = "" if flag is None else f"X-Flag: {'on' if flag else 'off'}\r\n"
    head = f"HTTP/1.1 {status} \r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{told}\r\n"
    return head.encode() + body


async def serve(service: Service, port: int, most_seconds: float) -> None:
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    server = await asyncio.start_server(service.talk, "127.0.0.1", port, limit=MOST_BYTES, reuse_port=True)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(ended.wait(), most_seconds)
    server.close()  # connections end with the process


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks._rollouts.service", description="A service to roll out")
    parser.add_argument(
        "--port", type=int, required=True, help="of loopback; may be kept free by a socket that is bound"
    )
    parser.add_argument("--flags", required=True, help="the address that serves the flags")
    parser.add_argument("--flag", required=True)
    parser.add_argument("--errors", type=float, required=True)
    parser.add_argument("--factor", type=float, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--most-seconds", type=float, required=True)
    given = parser.parse_args()
    with FlagClient(given.flags) as client:
        if not client.wait_until_ready(READY_SECONDS):
            raise SystemExit(f"no flags from {given.flags}: {client.status().last_error}")
        service = Service(given.flag, client, Chances(given.errors, given.factor), random.Random(given.seed))
        asyncio.run(serve(service, given.port, given.most_seconds))


if __name__ == "__main__":
    main()
