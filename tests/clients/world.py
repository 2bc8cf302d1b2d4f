"""The real application on uvicorn with flags of every type, and clients of it that run in Node.js."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from flags import FlagDocument, FlagState
from orchestrator.api.app import create_app
from orchestrator.api.limits import RateLimit
from orchestrator.api.server import bind, serving, url_of
from orchestrator.api.tokens import Token, TokenStore
from orchestrator.app import Controller, Settings, build
from orchestrator.ports import FlagWrite

DEADLINE_SECONDS = 30.0
ADMIN, READER = "secret-of-the-admin", "secret-of-a-reader"
TOKENS = TokenStore([Token.of(ADMIN, "admin", "admin"), Token.of(READER, "shop", "viewer")])
FLAGS = (
    FlagDocument("new-api", percentage=30, parameters={"rate": 5, "strict": True, "limits": {"low": 1}}),
    FlagDocument("team/share", variants={"on": 10.0, "off": 2.5}, percentage=100),
    FlagDocument("size", variants={"on": 10, "off": 0}, percentage=0),
    FlagDocument("color", variants={"on": "blue", "off": ""}, targets={"team": ("core",)}),
    FlagDocument("theme", variants={"on": {"dark": [True, None, 1.5]}, "off": {}}, percentage=100),
    FlagDocument("old", state=FlagState.DISABLED, percentage=100),
    FlagDocument("🚀 take off", variants={"on": "found", "off": "x"}, percentage=100),
    FlagDocument("new-api", environment="staging", percentage=100),
)


@dataclass
class World:
    """``headers`` are what a client beyond this machine must send, as the providers take them."""

    controller: Controller
    url: str
    http: httpx.AsyncClient

    headers = (("Authorization", f"Bearer {READER}"),)

    async def change(self, key: str, percentage: float) -> None:
        change = {"percentage": percentage, "reason": "a test"}
        (await self.http.patch(f"/api/v1/flags/{key}", json=change)).raise_for_status()

    async def kill(self) -> None:
        (await self.http.post("/feature-flags/disable-all", json={"reason": "a test"})).raise_for_status()


@asynccontextmanager
async def running(
    folder: Path, *, loopback: bool = True, rate_limit: RateLimit | None = None, port: int = 0
) -> AsyncIterator[World]:
    """The flags are written once into *folder*, which a second server may go on with."""
    controller = await build(Settings(f"sqlite:///{folder}/rollout.db", folder))
    try:
        if not await controller.service.board.all():
            for document in FLAGS:
                await controller.service.board.write(FlagWrite(document, None, "a test", "a test"), 0.0)
        app = create_app(controller.service, TOKENS, loopback, rate_limit=rate_limit)
        bound = bind("127.0.0.1", port)
        url, admin = url_of(bound), {"Authorization": f"Bearer {ADMIN}"}
        async with (
            serving(app, bound),
            httpx.AsyncClient(base_url=url, headers=admin, timeout=DEADLINE_SECONDS, trust_env=False) as http,
        ):
            yield World(controller, url, http)
    finally:
        await controller.close()


class Refused(Exception):
    """The client's own error: its name, code and message."""

    def __init__(self, error: dict[str, Any]) -> None:
        self.name, self.code, self.message = error["name"], error["code"], error["message"]
        super().__init__(f"{self.name}: {self.message}")


class Node:
    """A script in Node.js that is asked by lines and tells its events by lines (see ``lines.js``)."""

    def __init__(self, binary: Path, modules: Path, script: Path) -> None:
        self.kind = script.stem
        self._command = (binary, script)
        self._environment = {"NODE_PATH": str(modules)}
        self._asked = 0
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def __aenter__(self) -> Self:
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(
            *self._command, stdin=pipe, stdout=pipe, env=self._environment, limit=2**24
        )
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        await self._reading
        self._process._transport.close()  # type: ignore[attr-defined]  # asyncio leaves that to its garbage collector

    async def ask(self, command: str, **given: Any) -> Any:
        """The answer; ``Refused`` with the error that the client raised."""
        self._asked += 1
        answer = self._answers[self._asked] = asyncio.get_running_loop().create_future()
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"id": self._asked, "command": command, **given}).encode() + b"\n")
        async with asyncio.timeout(DEADLINE_SECONDS):
            await self._process.stdin.drain()
            return await answer

    async def start(self, world: World, **options: Any) -> None:
        await self.ask("start", **({"url": world.url, "headers": []} | options))

    async def evaluate(self, kind: str, key: str, otherwise: Any, context: dict[str, Any] | None = None) -> Any:
        """The details. The provider for browsers has one context, which becomes this one."""
        if self.kind == "web" and context is not None:
            await self.ask("context", context=context)
        return await self.ask("evaluate", type=kind, key=key, otherwise=otherwise, context=context or {})

    async def told(self, event: str, **fields: Any) -> dict[str, Any]:
        """The next event of this kind, and with these fields; those before it are passed over."""
        wanted = {"event": event} | fields
        async with asyncio.timeout(DEADLINE_SECONDS):
            while True:
                found = await self._events.get()
                if wanted.items() <= found.items():
                    return found

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            said = json.loads(line)
            if "event" in said:
                self._events.put_nowait(said)
                continue
            answer = self._answers.pop(said["id"])
            if answer.done():
                continue
            if "error" in said:
                answer.set_exception(Refused(said["error"]))
            else:
                answer.set_result(said["result"])
