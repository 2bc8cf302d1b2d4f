"""People at other terminals: every command reaches a run that somebody else started, and a refused one says why."""

import getpass
import time
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.acceptance.worlds.host import Host, Json, reasons
from tests.support.process import Child, wait_until

pytestmark = pytest.mark.acceptance
REASON = ("--reason", "because of the test")
UNKNOWN = "rollout: there is no run nobody; `rollout list` shows those there are\n"

TWO_STAGES = """\
apiVersion: stagedrollout.io/v1alpha1
kind: StagedRollout
metadata: {name: two-stages}
spec:
  flags: {first: {}, second: {parameters: {limit: 1}}}
  triggers:
    - {name: by hand, by_hand: true, actions: [{disable: first}], then: continue}
  stages:
    - {name: one, kind: monitoring, flag: first, percentages: [100], bake: 100ms, settle: 0s}
    - {name: two, kind: monitoring, flag: second, percentages: [30, 60], bake: 10m, settle: 0s}
  watch: 10m
"""

QUICK = """\
apiVersion: stagedrollout.io/v1alpha1
kind: StagedRollout
metadata: {name: quick}
spec:
  flags: {fast: {}}
  stages:
    - {name: only, kind: monitoring, flag: fast, percentages: [100], bake: 100ms, settle: 0s}
  watch: 100ms
"""

WAITING = """\
apiVersion: stagedrollout.io/v1alpha1
kind: StagedRollout
metadata: {name: waiting}
spec:
  stages:
    - name: asks
      kind: steps
      steps:
        - {name: look, manual: Look at the page}
        - {name: mail, command: [/bin/false], undo: none}
  watch: 0s
"""


def in_second_stage(host: Host, more: str = "") -> tuple[Child, str]:
    child, run = host.started(host.write("two.yaml", TWO_STAGES + more))
    host.wait_for(run, phase="running", stage="two", leg="baking")
    return child, run


def seconds_until(host: Host, run: str, what: str, condition: Any) -> float:
    """Until `rollout status` of another process shows it, measured from now and printed."""
    began = time.monotonic()
    wait_until(lambda: condition(host.json("status", run)), what=f"status to show {what}")
    took = time.monotonic() - began
    print(f"{what}: seen after {took:.2f} s, the process of `rollout status` included")
    return took


# --- the run of another terminal --------------------------------------------------------------------------------------


def test_pause_resume_and_rollback_from_another_terminal_are_seen_in_status(host: Host) -> None:
    child, run = in_second_stage(host, more="  rollback: {after: [{wait: 3s}]}\n")
    assert host.ok("pause", run, *REASON).output == f"pause accepted for {run}\n"
    seconds_until(host, run, "the pause", lambda status: "paused" in reasons(status))
    (hold,) = host.json("status", run)["holds"]
    assert (hold["reason"], hold["detail"]) == ("paused", "because of the test")
    host.ok("resume", run, *REASON)
    seconds_until(host, run, "the resume", lambda status: not status["holds"])
    host.ok("rollback", run, *REASON)
    seconds_until(host, run, "the rollback", lambda status: status["phase"] == "rolling_back")
    assert child.wait() == 3
    status = host.json("status", run)
    assert (status["outcome"], status["percentages"]) == ("rolled_back", {"first": 0.0, "second": 0.0})


def test_advance_takes_the_next_step_without_waiting_for_the_bake_and_ends_the_watch(host: Host) -> None:
    child, run = in_second_stage(host)
    assert host.json("status", run)["percentages"]["second"] == 30
    host.ok("advance", run, *REASON)
    status = host.wait_for(run, leg="baking", step="60%")
    assert status["percentages"]["second"] == 60
    host.ok("advance", run, *REASON)
    host.wait_for(run, phase="watching")
    host.ok("advance", run, *REASON)
    assert child.wait() == 0
    assert host.json("status", run)["outcome"] == "promoted"


def test_stop_ends_the_run_and_leaves_the_world_as_it_is(host: Host) -> None:
    child, run = in_second_stage(host)
    host.ok("stop", run, *REASON)
    assert child.wait() == 4
    assert host.json("status", run)["outcome"] == "stopped"
    assert host.json("flag", "get", "first")["percentage"] == 100
    assert host.json("flag", "get", "second")["percentage"] == 30


def test_a_trigger_is_fired_by_hand_and_its_pin_released(host: Host) -> None:
    _, run = in_second_stage(host)
    assert host.json("flag", "get", "first")["state"] == "enabled"
    host.ok("fire", run, "by hand", *REASON)
    wait_until(lambda: host.json("flag", "get", "first")["state"] == "disabled", what="the trigger's action")
    flag = host.json("flag", "get", "first")
    assert (flag["run"], flag["pinned"]) == (run, True)
    assert host.json("status", run)["pins"][0]["source"] == "trigger by hand"
    assert "behind the run" in host.refused("resume", run, "--flag", "first", "--release", *REASON)
    host.ok("resume", run, "--flag", "first", "--keep", *REASON)
    assert host.json("status", run)["pins"][0]["kept"] is True


def test_a_stage_alone_is_rolled_back_and_the_run_pauses(host: Host) -> None:
    _, run = in_second_stage(host)
    host.ok("rollback", run, "--stage", "two", *REASON)
    status = host.wait_for(run, hold="paused")
    assert status["phase"] == "running"
    assert (host.json("flag", "get", "first")["percentage"], host.json("flag", "get", "second")["percentage"]) == (
        100,
        0,
    )
    host.ok("resume", run, *REASON)
    host.wait_for(run, phase="watching")


def test_approve_reject_and_resolve_answer_what_waits(host: Host) -> None:
    child, run = host.started(host.write("waiting.yaml", WAITING))
    status = host.wait_for(run, hold="manual")
    (item,) = status["waiting"]
    assert (item["kind"], item["text"]) == ("manual", "Look at the page")
    host.ok("reject", run, *REASON)
    assert "manual" in reasons(host.wait_for(run, hold="manual"))
    host.ok("approve", run, "--item", item["item"], "--reason", "I looked")
    assert child.wait() == 3  # the command fails for good, and the stage's on_fail is rollback
    answers = [entry for entry in host.json("history", run) if entry["type"] == "WaitingAnswered"]
    assert [(entry["data"]["answer"], entry["reason"]) for entry in answers] == [
        ("reject", "because of the test"),
        ("approve", "I looked"),
    ]
    assert {entry["by"] for entry in answers} != {"controller"}


# --- refusals ---------------------------------------------------------------------------------------------------------


def test_an_approval_is_taken_back_while_another_is_missing(host: Host) -> None:
    me = getpass.getuser()
    approval = f"  approval: {{any_of: [{me}, somebody], count: 2, self_approval: true}}\n"
    _, run = host.started(host.write("quick.yaml", QUICK + approval))
    host.wait_for(run, hold="approval")
    host.ok("approve", run, "--reason", "looks good")
    (item,) = host.json("status", run)["waiting"]
    assert [(one["name"], one["comment"]) for one in item["approvals"]] == [(me, "looks good")]
    assert item["missing"] == [f"1 of {me}, somebody"]
    host.ok("withdraw", run, "--reason", "not so good")
    (item,) = host.json("status", run)["waiting"]
    assert (item["approvals"], item["missing"]) == ([], [f"2 of {me}, somebody"])
    assert f"{me} has approved nothing" in host.refused("withdraw", run, *REASON)


def test_a_command_that_makes_no_sense_is_refused_with_the_reason_and_what_would_work(host: Host) -> None:
    child, run = in_second_stage(host)
    said = host.refused("approve", run)
    assert said == f"rollout: nothing of {run} waits for an answer\n"
    assert "is not paused" in host.refused("resume", run, *REASON)
    assert "what waits for a person: nothing" in host.refused("resolve", run, "flag:production/first", *REASON)
    assert "the triggers are by hand" in host.refused("fire", run, "nothing", *REASON)
    assert "the stages are one, two" in host.refused("rollback", run, "--stage", "three", *REASON)
    host.ok("pause", run)
    assert "is paused already" in host.refused("pause", run)
    host.ok("stop", run, *REASON)
    assert child.wait() == 4  # its controller ends with the run; another one answers for it then
    with host.rollout.start("serve", "--listen", "127.0.0.1:0"):
        wait_until(host.controller, what="a controller")
        host.wait_for(run, phase="ended")
        said = host.refused("advance", run, *REASON)
        assert "ended (stopped), and advance makes no sense there; what works: " in said
        assert "rollback" in said


def test_an_unknown_run_is_said_by_every_command(host: Host) -> None:
    in_second_stage(host)
    for command in ("status", "history", "report", "watch", "pause", "ack"):
        assert host.refused(command, "nobody") == UNKNOWN
    assert host.refused("rollback", "nobody", *REASON) == UNKNOWN


def test_a_command_that_moves_something_needs_a_reason(host: Host) -> None:
    _, run = in_second_stage(host)
    for command in ("rollback", "stop", "advance", "resolve"):
        said = host.refused(command, run, code=2)
        assert "--reason TEXT is needed" in said
    assert host.json("status", run)["phase"] == "running"


def test_commands_without_a_controller_say_how_to_get_one(host: Host) -> None:
    said = host.refused("pause", "anything")
    assert "no controller runs: `rollout serve` starts one" in said


# --- what is printed --------------------------------------------------------------------------------------------------

STATUS = {
    *("run", "plan", "digest", "phase", "leg", "outcome", "environment", "stage", "step", "percentages"),
    *("holds", "gate", "next", "started", "ended", "waiting", "exceptions"),
}
FLAG = {
    *("key", "environment", "state", "killed", "percentage", "targets", "parameters", "variants", "default_variant"),
    *("version", "run", "pinned"),
}
LISTED = {"run", "plan", "digest", "phase", "outcome", "environment", "stage", "step", "started", "ended"}


def from_yaml(text: str) -> Any:
    return YAML(typ="safe", pure=True).load(text)


def test_reading_commands_print_the_json_that_scripts_rely_on_and_the_same_as_yaml(host: Host) -> None:
    _, run = in_second_stage(host)
    host.ok("pause", run, *REASON)
    status = host.json("status", run)
    assert set(status) >= STATUS
    assert (status["run"], status["plan"], status["stage"], status["outcome"]) == (run, "two-stages", "two", None)
    assert set(status["holds"][0]) >= {"reason", "since", "by", "detail"}
    assert set(status["next"]) >= {"what", "at"}
    history = host.json("history", run)
    assert [entry["seq"] for entry in history] == list(range(1, len(history) + 1))
    assert all(set(entry) >= {"seq", "time", "type", "by", "reason", "data"} for entry in history)
    (listed,) = host.json("list")
    assert set(listed) >= LISTED
    flag = host.json("flag", "get", "second")
    assert set(flag) >= FLAG
    assert (flag["key"], flag["percentage"], flag["run"], flag["parameters"]) == ("second", 30, run, {"limit": 1})
    assert from_yaml(host.ok("flag", "get", "second", "--output", "yaml").output) == flag
    assert from_yaml(host.ok("list", "--output", "yaml").output) == [listed]
    assert set(from_yaml(host.ok("status", run, "--output", "yaml").output)) == set(status)
    assert from_yaml(host.ok("history", run, "--output", "yaml").output)[: len(history)] == history


# --- the same plan, another plan, a corrected plan --------------------------------------------------------------------


def test_starting_the_same_plan_again_attaches_to_its_run(host: Host) -> None:
    child, run = in_second_stage(host)
    again = host.start(host.folder / "two.yaml")
    assert host.name_from(again) == run
    assert "is under way already" in again.errors
    host.ok("stop", run, *REASON)
    assert (child.wait(), again.wait()) == (4, 4)
    assert len(host.json("list")) == 1


def test_whoever_watches_learns_of_an_end_with_which_the_controller_ended_too(host: Host) -> None:
    child, run = in_second_stage(host)
    watching = host.start(host.folder / "two.yaml")
    assert host.name_from(watching) == run
    watching.freeze()  # so that it can't see the end in time
    host.ok("stop", run, *REASON)
    assert child.wait() == 4
    watching.thaw()
    assert watching.wait() == 4, watching.errors
    assert "stopped" in watching.output


def other_plan(host: Host, percentage: int = 80) -> Path:
    text = TWO_STAGES.replace("two-stages", "another").replace("[30, 60]", f"[{percentage}]")
    return host.write("other.yaml", text)


def test_another_plan_over_a_flag_of_an_active_run_is_refused_naming_run_and_target(host: Host) -> None:
    _, run = in_second_stage(host)
    said = host.refused("start", other_plan(host), "--detach")
    assert run in said
    assert "first" in said or "second" in said
    assert [one["run"] for one in host.json("list")] == [run]
    assert host.json("flag", "get", "second")["percentage"] == 30


def test_a_corrected_plan_supersedes_the_run_and_rolls_back_to_what_was_before_both(host: Host) -> None:
    child, run = in_second_stage(host)
    second = host.start(other_plan(host), "--supersede", run)
    other = host.name_from(second)
    assert child.wait() == 4
    host.wait_for(other, stage="two", leg="baking")
    assert host.json("flag", "get", "second")["percentage"] == 80
    host.ok("rollback", other, *REASON)
    assert second.wait() == 3
    assert {flag["key"]: flag["percentage"] for flag in host.json("flag", "list")} == {"first": 0, "second": 0}


def test_a_rollback_of_a_promoted_run_is_a_reverse_run_that_takes_everything_back(host: Host) -> None:
    child, run = host.started(host.write("quick.yaml", QUICK))
    assert child.wait() == 0
    assert host.json("flag", "get", "fast")["percentage"] == 100
    with host.rollout.start("serve", "--listen", "127.0.0.1:0"):
        wait_until(host.controller, what="a controller")
        answer: Json = host.json("rollback", run, *REASON)
        reverse = answer["run_started"]
        assert reverse != run
        assert host.run("watch", reverse).code == 3
        assert host.json("flag", "get", "fast")["percentage"] == 0
        outcomes = {one["run"]: one["outcome"] for one in host.json("list")}
    assert outcomes == {run: "promoted", reverse: "rolled_back"}
