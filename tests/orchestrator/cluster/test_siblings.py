"""Controllers of one store, driven by the objects of one namespace: one has the lease, and each has its runs."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from orchestrator.cluster import controller, lease
from orchestrator.cluster.controller import ClusterController
from orchestrator.cluster.lease import NAME, Holder
from orchestrator.cluster_port import Kind
from orchestrator.service import Service
from tests.orchestrator.cluster import test_controller as alone
from tests.orchestrator.cluster.test_controller import Town, lint, town

__all__ = ["town"]
in_a_hurry = alone._in_a_hurry
WAITS = {"name": "change", "kind": "steps", "steps": [{"name": "ask", "manual": "go on?"}]}


@pytest.fixture(autouse=True)
def _quick_siblings(monkeypatch: pytest.MonkeyPatch, in_a_hurry: None) -> None:
    monkeypatch.setattr(controller, "SIBLINGS_SECONDS", 0.05)
    monkeypatch.setattr(lease, "RENEW_SECONDS", 0.05)


@asynccontextmanager
async def sibling(town: Town, name: str) -> AsyncIterator[Service]:
    service = await town.house.join(name)
    task = asyncio.create_task(ClusterController(service, town.api, lint, Holder(name, "shared")).run())
    try:
        yield service
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await service.close(0)


def holder(town: Town) -> str:
    body = town.api.stored.get((Kind.LEASE, NAME))
    return str(body["spec"]["holderIdentity"]) if body is not None else ""


async def test_one_starts_the_run_and_the_other_leaves_it_alone(town: Town) -> None:
    async with sibling(town, "a") as a:
        await town.until(lambda: holder(town) == "a")
        async with sibling(town, "b") as b:
            town.apply(spec={"stages": [WAITS]})
            await town.until(lambda: town.api.status("demo").get("run"))
            run = str(town.api.status("demo")["run"])
            assert run in a.in_hand()
            assert b.in_hand() == frozenset()
            assert await town.runs() == [run]


async def test_a_command_object_is_obeyed_by_who_acts_for_the_run_not_by_who_has_the_lease(town: Town) -> None:
    async with sibling(town, "b") as b:
        town.apply(spec={"stages": [WAITS]})
        await town.until(lambda: b.in_hand() and town.api.status("demo").get("run"))
        run = str(town.api.status("demo")["run"])
        async with sibling(town, "a") as a:
            await town.api.patch(Kind.LEASE, NAME, {"spec": {"holderIdentity": "a"}})  # as if it had been faster
            town.ask("hold-it", "pause")
            await town.until(lambda: town.api.body(Kind.COMMAND, "hold-it").get("status"))
            assert town.api.body(Kind.COMMAND, "hold-it")["status"]["accepted"] is True
            assert run in b.in_hand()
            assert "paused" in [hold["reason"] for hold in (await a.status(run))["holds"]]
            await town.until(lambda: "paused" in [hold["reason"] for hold in town.api.status("demo").get("holds", ())])
            assert holder(town) == "a"


async def test_who_takes_a_run_over_obeys_its_commands_and_shows_its_end(town: Town) -> None:
    async with sibling(town, "b") as b:
        async with sibling(town, "a") as a:
            town.apply(spec={"stages": [WAITS]})
            await town.until(lambda: a.in_hand() or b.in_hand())
            await town.until(lambda: town.api.status("demo").get("run"))
            run = str(town.api.status("demo")["run"])
        await town.until(lambda: run in b.in_hand())
        town.ask("enough", "stop")
        await town.until_reason("Stopped")
        assert (await b.status(run))["outcome"] == "stopped"
