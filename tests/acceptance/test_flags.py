"""Flags as people, programs and OpenFeature clients meet them, against the controller inside `rollout start`."""

from collections.abc import Callable, Iterator

import pytest
from openfeature import api
from openfeature.client import OpenFeatureClient
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext
from openfeature.flag_evaluation import Reason

from tests.acceptance.worlds.host import Host, Json, reasons
from tests.support.process import wait_until

pytestmark = pytest.mark.acceptance
REASON = ("--reason", "because of the test")
SOMEBODY = EvaluationContext("somebody")

PLAN = """\
apiVersion: stagedrollout.io/v1alpha1
kind: StagedRollout
metadata: {name: flagged}
spec:
  flags: {raised: {targets: {team: [testers]}, parameters: {limit: 3}}, later: {}}
  stages:
    - {name: one, kind: monitoring, flag: raised, percentages: [100], bake: 10m, settle: 0s}
    - {name: two, kind: monitoring, flag: later, percentages: [50], bake: 10m, settle: 0s}
  watch: 10m
"""


@pytest.fixture
def run(host: Host) -> str:
    """A run that has raised its first flag to 100 % and bakes."""
    _, run = host.started(host.write("plan.yaml", PLAN))
    host.wait_for(run, leg="baking")
    return run


@pytest.fixture
def serving(host: Host) -> Iterator[None]:
    """A controller without runs."""
    with host.rollout.start("serve", "--listen", "127.0.0.1:0"):
        wait_until(host.controller, what="a controller")
        yield


Connect = Callable[[], OpenFeatureClient]


@pytest.fixture
def connect(host: Host) -> Iterator[Connect]:
    """Gives a client of the real OpenFeature SDK that asks the controller which runs now."""
    providers = []

    def make() -> OpenFeatureClient:
        found = host.controller()
        assert found is not None
        providers.append(OFREPProvider(found["url"]))
        api.set_provider(providers[-1], "rollout-tests")
        return api.get_client("rollout-tests")

    yield make
    api.clear_providers()
    for provider in providers:
        provider.session.close()


# --- looking and setting ----------------------------------------------------------------------------------------------


def test_a_flag_that_is_set_is_listed_got_and_evaluated(host: Host, serving: None) -> None:
    assert host.json("flag", "list") == []
    changed: Json = host.json(
        *("flag", "set", "new", "--percentage", "0", "--state", "enabled", "--target", "team=a,b"),
        *("--parameter", "limit=5", "--parameter", "mode=fast", *REASON),
    )
    assert (changed["percentage"], changed["targets"]) == (0, {"team": ["a", "b"]})
    flag = host.json("flag", "get", "new")
    assert flag["parameters"] == {"limit": 5, "mode": "fast"}
    assert [one["key"] for one in host.json("flag", "list")] == ["new"]
    somebody = host.json("flag", "evaluate", "new", "--targeting-key", "somebody")
    assert (somebody["value"], somebody["key"]) == (False, "new")
    targeted = host.json("flag", "evaluate", "new", "--targeting-key", "somebody", "--context", "team=b")
    assert (targeted["value"], targeted["reason"]) == (True, "TARGETING_MATCH")
    assert "new" in host.ok("flag", "list").output


def test_versions_only_rise_and_each_environment_has_flags_of_its_own(host: Host, serving: None) -> None:
    first = host.json("flag", "set", "new", "--percentage", "10", *REASON)
    second = host.json("flag", "set", "new", "--percentage", "5", *REASON)
    assert second["version"] > first["version"]
    host.ok("flag", "--environment", "staging", "set", "new", "--percentage", "70", *REASON)
    assert host.json("flag", "--environment", "staging", "get", "new")["percentage"] == 70
    assert host.json("flag", "get", "new")["percentage"] == 5


def test_a_value_that_no_flag_can_have_is_refused(host: Host, serving: None) -> None:
    assert "0 to 100" in host.refused("flag", "set", "new", "--percentage", "101", *REASON, code=2)
    assert "nothing to set" in host.refused("flag", "set", "new", *REASON, code=2)
    assert "--reason" in host.refused("flag", "set", "new", "--percentage", "1", code=2)
    assert "there is no flag nowhere" in host.refused("flag", "get", "nowhere")
    assert host.json("flag", "list") == []


def test_flags_can_be_read_while_no_controller_runs_but_not_set(host: Host, serving: None) -> None:
    host.ok("flag", "set", "kept", "--percentage", "100", "--state", "enabled", *REASON)
    host.rollout.kill_all()
    assert host.controller() is None
    assert host.json("flag", "get", "kept")["percentage"] == 100
    assert host.json("flag", "evaluate", "kept", "--targeting-key", "x")["value"] is True
    assert "no controller runs" in host.refused("flag", "set", "kept", "--percentage", "1", *REASON)


# --- somebody else's edit ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("decision", "percentage"), (("--keep", 20), ("--release", 100)))
def test_a_flag_that_somebody_sets_holds_its_run_until_that_is_kept_or_released(
    host: Host, run: str, decision: str, percentage: float
) -> None:
    changed = host.ok("flag", "set", "raised", "--percentage", "20", *REASON)
    assert f"run {run} uses this flag and holds until `rollout resume` with --keep or --release" in changed.errors
    status = host.wait_for(run, hold="changed_elsewhere")
    assert status["stage"] == "one"
    assert host.json("flag", "get", "raised")["percentage"] == 20
    assert "--keep" in host.refused("resume", run, *REASON)
    host.ok("resume", run, decision, *REASON)
    wait_until(lambda: "changed_elsewhere" not in host.holds(run), what="the hold to end")
    wait_until(lambda: host.json("flag", "get", "raised")["percentage"] == percentage, what=f"{percentage} %")
    host.ok("rollback", run, *REASON)
    host.wait_for_end(run, "rolled_back")
    assert host.json("flag", "get", "raised")["percentage"] == 0


# --- the kill switch --------------------------------------------------------------------------------------------------


def test_the_kill_switch_reaches_an_openfeature_client_and_holds_the_run_until_it_is_lifted(
    host: Host, run: str, connect: Connect
) -> None:
    client = connect()
    details = client.get_boolean_details("raised", False, SOMEBODY)
    assert (details.value, details.variant, details.flag_metadata) == (True, "on", {"limit": 3})

    host.ok("flag", "disable-all", *REASON)
    killed = client.get_boolean_details("raised", True, SOMEBODY)
    assert (killed.value, killed.reason) == (False, Reason.DISABLED)
    flag = host.json("flag", "get", "raised")
    assert (flag["killed"], flag["percentage"]) == (True, 100)
    host.wait_for(run, hold="killed")

    said = host.refused("flag", "lift", *REASON, code=2)
    assert "production/raised returns to 100 %" in said
    assert "--yes" in said
    assert not client.get_boolean_value("raised", True, SOMEBODY)
    host.ok("flag", "lift", "--yes", *REASON)
    assert client.get_boolean_value("raised", False, SOMEBODY)
    wait_until(lambda: "killed" not in host.holds(run), what="the run to go on")


def test_the_kill_switch_of_one_environment_leaves_the_others(host: Host, serving: None) -> None:
    for environment in ("production", "staging"):
        values = ("--percentage", "100", "--state", "enabled")
        host.ok("flag", "--environment", environment, "set", "new", *values, *REASON)
    host.ok("flag", "--environment", "staging", "disable-all", *REASON)
    assert host.json("flag", "--environment", "staging", "get", "new")["killed"] is True
    assert host.json("flag", "get", "new")["killed"] is False


def test_the_kill_switch_of_one_run_leaves_other_flags_with_and_without_a_controller(host: Host, run: str) -> None:
    host.ok("flag", "set", "elsewhere", "--percentage", "100", "--state", "enabled", *REASON)
    said = host.ok("flag", "disable-all", "--run", run, *REASON).output
    assert "raised of environment production answers its off variant" in said
    host.wait_for(run, hold="killed")
    assert host.json("flag", "get", "elsewhere")["killed"] is False
    host.ok("flag", "lift", "--environment", "production", "--yes", *REASON)
    host.rollout.kill_all()
    host.ok("flag", "disable-all", "--run", run, *REASON)
    assert host.json("flag", "get", "raised")["killed"] is True
    assert host.json("flag", "get", "elsewhere")["killed"] is False


def test_the_kill_switch_survives_a_kill_of_the_controller(host: Host, run: str, connect: Connect) -> None:
    host.ok("flag", "disable-all", *REASON)
    host.rollout.kill_all()
    assert host.json("flag", "get", "raised")["killed"] is True
    host.start(host.folder / "plan.yaml")
    host.wait_for(run, hold="killed")
    assert not connect().get_boolean_value("raised", True, SOMEBODY)


def test_a_rollback_changes_only_what_lies_beneath_the_kill_switch(host: Host, run: str) -> None:
    host.ok("flag", "disable-all", *REASON)
    host.wait_for(run, hold="killed")
    host.ok("rollback", run, *REASON)
    host.wait_for_end(run, "rolled_back")
    flag = host.json("flag", "get", "raised")
    assert (flag["killed"], flag["percentage"]) == (True, 0)
    assert reasons(host.json("status", run)) == set()


def test_a_flags_history_and_those_that_could_go_are_told_with_and_without_a_controller(
    host: Host, serving: None
) -> None:
    for percentage in ("50", "100"):
        host.ok("flag", "set", "done", "--percentage", percentage, "--state", "enabled", "--reason", f"to {percentage}")
    for _ in ("with", "without"):
        history = host.json("flag", "history", "done")
        assert [(one["reason"], one["changed"].get("percentage")) for one in history] == [
            ("to 100", 100),
            ("to 50", 50),
        ]
        assert [one["key"] for one in host.json("flag", "list", "--full-for", "0s")] == ["done"]
        assert host.json("flag", "list", "--full-for", "1d") == []
        host.rollout.kill_all()
