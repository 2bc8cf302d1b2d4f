"""A browser: two servers of one store beyond loopback, and the cookies that it keeps of them."""

import re
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlencode

import httpx

from orchestrator.api.app import create_app
from orchestrator.api.credentials import Clocks, Credentials
from orchestrator.journal.memory_tokens import MemoryTokens
from orchestrator.service import Service
from tests.orchestrator.api.fake_service import SECRETS, TOKENS, FakeService

NOTHING_BUILT = Path("/nowhere")
START = 1_772_366_400.0
Json = dict[str, Any]


class Browser:
    """*pages* is where the script of the pages was built."""

    def __init__(self, service: FakeService, scheme: str = "https", pages: Path = NOTHING_BUILT) -> None:
        self.seconds = 0.0
        self.storage = MemoryTokens()
        self.credentials: list[Credentials] = []
        self.clients: dict[int, httpx.AsyncClient] = {}  # made when first asked
        self.cookies = httpx.Cookies()
        self._service, self._scheme, self._pages = service, scheme, pages

    def server(self, number: int) -> httpx.AsyncClient:
        if number not in self.clients:
            self.clients[number] = self._client(self._service, self._scheme)
        return self.clients[number]

    def _client(self, service: FakeService, scheme: str) -> httpx.AsyncClient:
        clocks = Clocks(lambda: START + self.seconds, lambda: self.seconds)
        self.credentials.append(Credentials(TOKENS, self.storage, clocks=clocks))
        app = create_app(cast(Service, service), self.credentials[-1], listen_is_loopback=False, pages=self._pages)
        return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url=f"{scheme}://rollout.example.org")

    async def ask(self, method: str, path: str, server: int = 0, **more: Any) -> httpx.Response:
        client = self.server(server)
        client.cookies = self.cookies
        answer = await client.request(method, path, **more)
        self.cookies = client.cookies
        return answer

    async def send(self, path: str, fields: Json, **more: Any) -> httpx.Response:
        headers = {"Content-Type": "application/x-www-form-urlencoded", **more.pop("headers", {})}
        return await self.ask("POST", path, content=urlencode(fields), headers=headers, **more)

    async def sign_in(self, secret: str, page: str = "/", **more: Any) -> httpx.Response:
        form = await self.ask("GET", page)
        return await self.send("/sign-in", {**fields_of(form.text), "token": secret}, **more)

    async def token(self, role: str = "viewer", **more: Any) -> Json:
        headers = {"Authorization": f"Bearer {SECRETS['admin']}"}
        body = {"name": "kim", "role": role, **more}
        made: Json = (await self.ask("POST", "/api/v1/tokens", json=body, headers=headers)).json()
        return made

    async def close(self) -> None:
        for client in self.clients.values():
            await client.aclose()
        for one in self.credentials:
            await one.close()


def fields_of(page: str) -> dict[str, str]:
    return dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', page))
