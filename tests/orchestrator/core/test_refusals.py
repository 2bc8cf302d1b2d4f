"""A refused command says why, and what would work."""

from collections.abc import Callable
from typing import Any

import pytest

from orchestrator.core.commands import Actor
from orchestrator.errors import Forbidden, Refused
from tests.orchestrator.core.drive import AUTHOR, Drive

STAGE: dict[str, Any] = {"name": "open", "kind": "monitoring", "flag": "beta", "percentages": [5, 50], "bake": "1m"}
PLAN: dict[str, Any] = {
    "flags": {"beta": {}, "gamma": {}},
    "stages": [STAGE, {**STAGE, "name": "wider", "flag": "gamma"}],
    "watch": "10m",
}
ASKS = {**PLAN, "stages": [{**STAGE, "approval": {"any_of": ["ann", "on-call"]}}, PLAN["stages"][1]]}


def baking(drive: Drive) -> Drive:
    drive.run_until(lambda: drive.percentage("beta") == 5)
    return drive


def going_back() -> Drive:
    drive = baking(Drive({**PLAN, "rollback": {"after": [{"wait": "5m"}]}}))
    drive.command("rollback", reason="bad")
    return drive


def test_who_may_not_is_told_to_ask_somebody_who_may() -> None:
    with pytest.raises(Forbidden, match="needs the role approver; olga is operator: ask somebody who has it"):
        baking(Drive(PLAN)).command("advance", Actor("olga"), reason="x")
    drive = Drive(ASKS)
    drive.run_until(lambda: "approval" in drive.holds())
    with pytest.raises(Forbidden, match="somebody else can"):
        drive.command("approve", AUTHOR)


@pytest.mark.parametrize(
    ("made", "command", "fields", "remedy"),
    (
        (lambda: baking(Drive(PLAN)), "resume", {}, "nothing holds it, so it goes on by itself"),
        (lambda: Drive(ASKS), "resume", {}, "it holds .approval.: `rollout explain` says what ends that"),
        (lambda: baking(Drive(PLAN)), "resume", {"pin": "keep", "flag": "x"}, "those that do: none"),
        (lambda: baking(Drive(PLAN)), "rollback", {"stage": "wider"}, "stages that have: open"),
        (lambda: baking(Drive(PLAN)), "rollback", {"stage": "x"}, "the stages are open, wider"),
        (lambda: Drive(ASKS), "advance", {}, "it goes on when the step is done and nothing holds"),
        (lambda: baking(Drive(PLAN)), "fire", {"trigger": "x"}, "the triggers are none"),
        (lambda: baking(Drive(PLAN)), "resolve", {"target": "x"}, "what waits for a person: nothing"),
        (going_back, "rollback", {}, "rollback --with-schema would take the schema back too"),
        (going_back, "rollback", {"with_schema": True}, "everything else is on its way already"),
        (going_back, "advance", {}, "what works: "),
    ),
)  # fmt: skip
def test_what_would_work_is_said(made: Callable[[], Drive], command: str, fields: dict[str, Any], remedy: str) -> None:
    drive = made()
    drive.advance(5)
    with pytest.raises(Refused, match=remedy):
        drive.command(command, reason="because", **fields)
