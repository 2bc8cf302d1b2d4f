"""What people are asked over all runs, and what a plan would meet that somebody hands in: services in memory."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.allowance import Allowance
from orchestrator.core.commands import Actor, Command
from orchestrator.errors import Refused
from orchestrator.service import Service
from orchestrator.submission import Submission
from stages.problems import InvalidPlan
from tests.orchestrator.house import ANN, OPEN, House, eventually, submission
from tests.support.process import DEADLINE_SECONDS

KIM, EVE = Actor("kim", "approver", ("sre",)), Actor("eve", "viewer")


def asks(name: str, timeout: str | None = None, by: str = "sre") -> Submission:
    """A plan of a flag of its own that waits for an approval before it begins."""
    approval: dict[str, Any] = {"any_of": [by]} | ({"timeout": timeout} if timeout else {})
    stage = {**OPEN, "flag": name}
    return submission(name=name, digest=name, flags={name: {}}, stages=[stage], approval=approval)


async def asked_of(service: Service, actor: Actor, count: int) -> list[dict[str, Any]]:
    """What waits, once it is so much."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while True:
            found = await service.approvals(actor)
            if len(found) >= count:
                return found
            await asyncio.sleep(0.01)


async def test_what_waits_is_told_over_all_runs_with_what_is_due_first_before_the_rest(house: House) -> None:
    service = await house.move_in()
    for plan in (asks("whenever"), asks("later", "4h"), asks("soon", "1h")):
        await service.start(plan, ANN)
    running, _ = await service.start(submission(), ANN)
    await eventually(service, running, leg="baking")
    found = await asked_of(service, KIM, 3)
    assert [one["plan"] for one in found] == ["soon", "later", "whenever"]
    assert [one["by"] for one in found] == [["sre"]] * 3
    assert [[answer["command"] for answer in one["answers"]] for one in found] == [["approve", "reject"]] * 3
    assert all(answer["refused"] is None for one in found for answer in one["answers"])


async def test_who_may_not_answer_is_told_why_or_is_offered_nothing(house: House) -> None:
    service = await house.move_in()
    await service.start(asks("change", by="dba"), ANN)
    (for_kim,) = await asked_of(service, KIM, 1)
    assert [bool(answer["refused"]) for answer in for_kim["answers"]] == [True, True]
    assert "dba" in for_kim["answers"][0]["refused"]
    (for_eve,) = await service.approvals(EVE)
    assert for_eve["answers"] == []


async def test_who_answers_after_somebody_else_is_told_what_that_one_said(house: House) -> None:
    service = await house.move_in()
    run, _ = await service.start(asks("change"), ANN)
    (asked,) = await asked_of(service, KIM, 1)
    yes, no = (Command.model_validate({**_sent(one), "reason": "seen"}) for one in asked["answers"])
    await service.command(run, yes, KIM)
    with pytest.raises(Refused, match=r"approval:plan was approved already, by kim"):
        await service.command(run, no, Actor("lou", "approver", ("sre",)))


def _sent(offer: dict[str, Any]) -> dict[str, Any]:
    """The offer as it is sent, without what is said of it."""
    return {name: value for name, value in offer.items() if name in Command.model_fields}


async def test_a_run_that_ended_still_asks_whether_it_was_a_success(house: House) -> None:
    service = await house.move_in()
    stage = {**OPEN, "percentages": [100], "bake": "0s"}
    success = [{"name": "liked", "manual": "Do people like it?", "by": ["sre"]}]
    spec: dict[str, Any] = {"stages": [stage], "watch": "0s", "success": success}
    run, _ = await service.start(submission(**spec), ANN)
    (asked,) = await asked_of(service, KIM, 1)
    assert (asked["run"], asked["outcome"], asked["text"]) == (run, "promoted", "Do people like it?")


async def test_a_plan_that_is_handed_in_is_held_to_what_its_author_may_name(house: House) -> None:
    service = await house.move_in()
    gate = {"health": {"criteria": [{"name": "errors", "query": "errors", "fail": "> 1"}]}}
    plan = submission(prometheus={"url": "http://10.0.0.1:9090"}, gates=gate, stages=[{**OPEN, "gate": "health"}])
    found = await service.foresee(plan)
    assert any("errors" in one.where for one in found)
    service.world = replace(service.world, allowance=Allowance(hosts=("prometheus.example",)))
    with pytest.raises(InvalidPlan, match=r"may not call 10\.0\.0\.1"):
        await service.foresee(plan)
