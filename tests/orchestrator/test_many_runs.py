"""A store may have more runs than a list of them shows: what is asked of all of them is asked of the oldest too."""

import asyncio
from typing import Any

import pytest
import pytest_asyncio

from orchestrator.core.events import RunStarted
from orchestrator.core.fold import program_of
from orchestrator.ports import Batch, NewRun
from orchestrator.reading import Kill
from orchestrator.service import Service
from tests.orchestrator.house import ANN, House, eventually, submission
from tests.support.process import DEADLINE_SECONDS

MORE_THAN_A_LIST_HAS = 1001
NEWER: dict[str, Any] = {"settled": True, "owner": "others", "flags": {"production": ["theirs"]}, "phase": "ended"}


@pytest.fixture
def asked() -> Any:
    manual = {"name": "backup", "manual": "Is there a backup?", "by": ["sre"]}
    return submission(owner="payments", checks=[manual])


@pytest_asyncio.fixture
async def service(house: House, asked: Any) -> Service:
    """With one run, which waits for a person, behind a thousand that are newer and over."""
    service = await house.move_in()
    run, _ = await service.start(asked, ANN)
    await eventually(service, run, phase="checking")
    for number in range(MORE_THAN_A_LIST_HAS):
        await _ended_run(house, f"newer-{number}")
    return service


async def test_the_name_of_its_plan_means_an_old_run_too(service: Service) -> None:
    assert (await service.resolve_name("change")).startswith("change-")


async def test_what_an_old_run_asks_a_person_is_among_what_waits(service: Service) -> None:
    assert [one["plan"] for one in await _asked_of_ann(service)] == ["change"]


async def test_an_owners_kill_switch_holds_the_flags_of_old_runs_too(service: Service) -> None:
    killed = await service.disable_all(Kill(owner="payments", reason="fire"), ANN)
    assert killed["flags"] == ["beta"]


async def test_a_plan_is_attached_to_its_old_run(service: Service, house: House, asked: Any) -> None:
    (run,) = service.in_hand()
    assert await service.start(asked, ANN) == (run, False)


async def _asked_of_ann(service: Service) -> list[dict[str, Any]]:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while True:
            if waiting := await service.approvals(ANN):
                return waiting
            await asyncio.sleep(0.05)


async def _ended_run(house: House, name: str) -> None:
    (document,) = submission(name, name, name).documents
    started = RunStarted(by="ann", run=name, plan=name, digest=name, documents=(document,))
    new, at = NewRun(name, name, name, program_of(started).claims()), house.clock.now()
    await house.store.start(new, 1, at, [started], NEWER)
    await house.store.append(Batch(name, 1, 1, at, [], NEWER, active=False, release=True))
