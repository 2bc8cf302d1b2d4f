"""What a proxy says of who asks is believed of those that the server was told of, and of nobody else."""

from typing import cast

import httpx
import pytest

from orchestrator.api.app import create_app
from orchestrator.api.credentials import Credentials
from orchestrator.api.server import bind, serving, url_of
from orchestrator.journal.memory_tokens import MemoryTokens
from orchestrator.service import Service
from tests.orchestrator.api.fake_service import TOKENS, FakeService

SAID = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https", "Authorization": "Bearer guess"}


@pytest.mark.parametrize(
    ("proxies", "peer", "is_secure"),
    (
        ((), "127.0.0.1", False),
        (("127.0.0.1/32",), "203.0.113.9", True),
        (("127.0.0.0/8",), "203.0.113.9", True),
        (("192.0.2.1/32",), "127.0.0.1", False),
    ),
)
async def test_a_proxy_is_believed_only_if_it_is_one_of_ours(
    proxies: tuple[str, ...], peer: str, is_secure: bool
) -> None:
    storage = MemoryTokens()
    credentials = Credentials(TOKENS, storage)
    app = create_app(cast(Service, FakeService()), credentials, listen_is_loopback=True)
    bound = bind("127.0.0.1", 0)
    async with serving(app, bound, None, proxies), httpx.AsyncClient(base_url=url_of(bound), trust_env=False) as client:
        assert (await client.get("/api/v1/runs", headers=SAID)).status_code == 401
        form = await client.get("/sign-in", headers={"X-Forwarded-Proto": "https"})
    await credentials.close()
    (note,) = await storage.notes()
    assert note.detail["peer"] == peer
    assert ("Secure" in form.headers["Set-Cookie"]) == is_secure
