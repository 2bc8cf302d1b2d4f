from collections.abc import AsyncIterator

import pytest

from tests.orchestrator.house import House


@pytest.fixture
async def house() -> AsyncIterator[House]:
    house = House()
    yield house
    for service in house.services:
        await service.close(0)
