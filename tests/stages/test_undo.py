"""The way back of a command gets what was there before, in whichever form it is declared."""

from typing import Any

import pytest

from stages.actions import parse_action
from stages.actions.base import Site
from stages.effects import RunCommand

SITE = Site("production", "deploy")


def undone(undo: Any) -> RunCommand:
    action = parse_action({"command": ["./deploy.sh", "v2"], "observe": ["./version.sh"], "undo": undo})
    back = action.backward(SITE, {"text": "v1"})
    assert isinstance(back, RunCommand)
    return back


@pytest.mark.parametrize("undo", (["./deploy.sh", "{before}"], {"command": ["./deploy.sh", "{before}"]}))
def test_what_observe_printed_is_filled_in(undo: Any) -> None:
    assert undone(undo).argv == ("./deploy.sh", "v1")


def test_a_command_that_is_an_action_may_be_probed_for_it() -> None:
    back = undone({"command": ["./deploy.sh", "{before}"], "probe": ["./is-deployed.sh", "{before}"], "timeout": "1m"})
    assert back.probe == ("./is-deployed.sh", "v1")
    assert back.timeout_seconds == 60
