"""The real `rollout rehearse`: without a controller, a network or a system of any kind."""

import json
from pathlib import Path

import pytest

from tests.rehearse.plans import SMALL
from tests.support.process import Rollout

pytestmark = pytest.mark.acceptance


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    path = tmp_path / "plan.yaml"
    path.write_text(SMALL)
    return path


def test_a_sound_plan_is_rehearsed_for_a_reader_and_for_a_program(rollout: Rollout, plan: Path) -> None:
    before = sorted(rollout.state.rglob("*"))
    shown = rollout.run("rehearse", plan, "--scenario", "back", "--scenario", "prometheus")
    assert shown.code == 0
    assert "every scenario ends as promised" in shown.output
    assert "A person rolls back" in shown.output
    assert max(map(len, shown.output.splitlines())) <= 100
    assert shown.errors == ""
    assert sorted(rollout.state.rglob("*")) == before
    found = json.loads(rollout.run("rehearse", plan, "--scenario", "gate", "--output", "json").output)
    assert (found["as_promised"], found["forward"]["end"]) == (True, "promoted")
    assert [one["name"] for one in found["scenarios"]] == ["gate"]


def test_the_exit_code_tells_a_broken_promise_from_a_broken_plan(rollout: Rollout, plan: Path) -> None:
    approved = SMALL.replace("percentages", "approval: {any_of: [dba]}, percentages")
    plan.write_text(approved.replace("notify", "x-notify"))
    untold = rollout.run("rehearse", plan, "--scenario", "reject", "--output", "md")
    assert untold.code == 1
    assert "nobody is told: the plan has no notify.channels" in untold.output
    assert untold.output.startswith("# Rehearsal of shop")
    plan.write_text(SMALL.replace("percentages", "percentage"))
    assert rollout.run("rehearse", plan).code == 2


def test_what_was_not_walked_is_no_promise(rollout: Rollout, plan: Path) -> None:
    shown = rollout.run("rehearse", plan, "--scenario", "back", "--most", "1")
    assert shown.code == 1
    assert "every scenario that was walked ends as promised" in shown.output
    assert "cut short: " in shown.output
