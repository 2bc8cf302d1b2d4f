"""A freeze from outside: it holds what would go forward, survives kill -9, and is over when an approver says so."""

import pytest

from tests.acceptance.worlds.host import Host
from tests.support.process import wait_until

pytestmark = pytest.mark.acceptance

PLAN = """\
apiVersion: stagedrollout.io/v1alpha1
kind: StagedRollout
metadata: {name: search}
spec:
  flags: {search: {}}
  stages:
    - {name: open, kind: monitoring, flag: search, percentages: [50, 100], bake: 10m, settle: 0s}
"""
SERVE = ("serve", "--listen", "127.0.0.1:0")


def test_a_freeze_survives_a_kill_and_what_it_held_goes_on_when_it_is_lifted(host: Host) -> None:
    server = host.rollout.start(*SERVE)
    wait_until(host.controller, what="a controller")
    said = host.ok("freeze", "--environment", "production", "--until", "2h", "--reason", "quarter end")
    assert "no active run stands there now" in said.output
    run = host.detached(host.write("plan.yaml", PLAN))
    host.wait_for(run, phase="checking", hold="window")
    server.kill()  # SIGKILL

    assert [one["reason"] for one in host.json("freeze", "--status")] == ["quarter end"]  # read in the store
    assert "production is frozen" in host.ok("list").errors

    host.rollout.start(*SERVE)
    shown = host.wait_for(run, phase="checking", hold="window")
    (hold,) = shown["holds"]
    assert (hold["item"], hold["detail"].partition(" by ")[0]) == ("freeze:production", "production is frozen")
    assert hold["detail"].endswith(": quarter end")
    assert "`rollout unfreeze`" not in host.refused("unfreeze", "--reason", "of all of them")
    assert host.wait_for(run, hold="window")["percentages"] == {"search": 0.0}

    host.ok("unfreeze", "--environment", "production", "--reason", "all closed")
    host.wait_for(run, holds=[], percentages={"search": 50.0})
    told = {entry["type"]: entry["reason"] for entry in host.json("history", run) if entry["type"].startswith("Hold")}
    assert told == {"HoldSet": "quarter end", "HoldCleared": "all closed"}
    assert [one["what"] for one in host.json("token", "log")][:2] == ["unfrozen", "frozen"]
