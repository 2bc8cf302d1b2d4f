"""What is shown of a StagedRollout, and what does not go together on the command line. (Commands that speak to a
cluster are tried on a real one.)"""

from typing import Any

import pytest

from orchestrator.cli.cluster import shown, status_text
from tests.orchestrator.cli.conftest import Cli

METADATA = {"name": "search", "namespace": "shop", "generation": 1, "creationTimestamp": "2026-03-01T12:00:00Z"}
READY = {"type": "Ready", "status": "False", "reason": "Running", "message": "running production open 50% (baking)"}
STATUS: dict[str, Any] = {
    "observedGeneration": 1,
    "run": "search-1a2b3c",
    "digest": "0123456789abcdef",
    "phase": "running",
    "leg": "baking",
    "environment": "production",
    "stage": "open",
    "step": "50%",
    "percentages": {"beta": 50},
    "gate": {"name": "health", "verdict": "pass", "sentence": "errors: errors is 0.5, < 1 holds"},
    "holds": [{"reason": "paused", "by": "bob", "detail": "lunch", "since": "2026-03-01T12:05:00Z"}],
    "waiting": [{"item": "plan", "kind": "approval", "by": ["developers"]}],
    "next": {"what": "go on when nothing holds any more"},
    "started": "2026-03-01T12:00:00Z",
    "conditions": [READY],
}


def test_a_run_is_shown_as_a_controller_shows_it() -> None:
    found = shown({"metadata": METADATA, "status": STATUS})
    assert status_text(found).splitlines() == [
        "search-1a2b3c  running, production open 50% (baking)",
        "  holds       paused since 2026-03-01 12:05:00 UTC by bob: lunch",
        "  ends        when somebody resumes: rollout resume search-1a2b3c --reason TEXT --context NAME",
        "  next        go on when nothing holds any more",
        "  gate        health: pass",
        "              pass  errors: errors is 0.5, < 1 holds",
        "  waits       plan (approval) from developers: ",
        "  flags       beta 50 %",
        "  plan        search (digest 0123456789ab), started 2026-03-01 12:00:00 UTC",
        "  object      shop/search",
        "  Running: running production open 50% (baking)",
    ]
    assert found["is_current"]


def test_an_object_without_a_run_says_why_there_is_none() -> None:
    refused = {**READY, "reason": "InvalidPlan", "message": "spec.stages: at least one"}
    found = shown({"metadata": METADATA, "status": {"observedGeneration": 1, "conditions": [refused]}})
    assert (found["run"], found["phase"], found["reason"]) == (None, None, "InvalidPlan")
    assert status_text(found) == "shop/search  has no run\n  InvalidPlan: spec.stages: at least one"


def test_one_that_nobody_has_looked_at_says_so() -> None:
    assert status_text(shown({"metadata": METADATA})) == "shop/search  has no run\n  not looked at yet"


def test_while_no_controller_drives_the_namespace_a_run_holds_for_that() -> None:
    found = shown({"metadata": METADATA, "status": STATUS}, is_driven=False)
    assert [hold["reason"] for hold in found["holds"]] == ["paused", "no_controller"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    (
        (("status", "x", "--namespace", "shop"), "--namespace belongs to --context NAME"),
        (("pause", "x", "--context", "c", "--server", "http://x"), "--server is a controller and --context a cluster"),
        (("serve", "--namespace", "shop"), "--namespace belongs to --in-cluster"),
        (("start", "plan.yaml", "--context", "c", "--supersede", "x"), "--supersede is of no use with --context"),
    ),
)
def test_options_that_do_not_go_together_are_refused(cli: Cli, words: tuple[str, ...], sentence: str) -> None:
    said = cli(*words)
    assert said.code == 2
    assert sentence in said.err


def test_a_context_that_nobody_knows_is_named_with_those_that_there_are(
    cli: Cli, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    contexts = '[{"name": "prod", "context": {"cluster": "c", "user": "u"}}]'
    config = tmp_path / "kubeconfig"
    config.write_text(f'{{"apiVersion": "v1", "kind": "Config", "contexts": {contexts}, "current-context": "prod"}}')
    monkeypatch.setenv("KUBECONFIG", str(config))
    said = cli("status", "search", "--context", "staging")
    assert said.code == 1
    assert "has no context staging; it has prod" in said.err
