from collections.abc import AsyncIterator

import httpx
import pytest

from flags import FlagDocument, FlagState
from tests.orchestrator.api.browser import Browser
from tests.orchestrator.api.fake_service import FakeService, app_of, client_of
from tests.orchestrator.scheduled import NIGHTLY


@pytest.fixture
def service() -> FakeService:
    """One run, one document of scheduled checks, and four flags, one of them in another environment."""
    service = FakeService()
    service.add(entries=3)
    service.kept.add(NIGHTLY)
    service.put(FlagDocument("new-api", percentage=30, parameters={"rate": 5}))
    service.put(FlagDocument("team/share", variants={"on": 10.0, "off": 0.0}, percentage=100))
    service.put(FlagDocument("old", state=FlagState.DISABLED))
    service.put(FlagDocument("new-api", environment="staging", percentage=100))
    return service


@pytest.fixture
async def admin(service: FakeService) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(app_of(service), "admin") as client:
        yield client


@pytest.fixture
async def stranger(service: FakeService) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody on this machine without a token."""
    async with client_of(app_of(service)) as client:
        yield client


@pytest.fixture
async def browser(service: FakeService) -> AsyncIterator[Browser]:
    made = Browser(service)
    yield made
    await made.close()
