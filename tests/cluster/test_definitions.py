"""The custom resource definitions on a real API server: it takes what `rollout validate` takes, and refuses what that
refuses, with words that help.
"""

import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from ruamel.yaml import YAML

from orchestrator.crd.limits import MOST
from tests.stages.plans import EXAMPLE, SMALL, changed, with_lines, with_step
from tests.support.api import api_of, bare_namespace
from tests.support.cluster import Cluster
from tests.support.manifests import command, create, install_definitions, rollout, try_create
from tests.support.process import ROOT, wait_until

EVENTUALLY_SECONDS = 60.0
WAIT = {"name": "go", "kind": "steps", "steps": [{"wait": "1m"}]}


@pytest.fixture(scope="module")
def cluster(control_plane: Cluster) -> Cluster:
    install_definitions(control_plane)
    return control_plane


@pytest.fixture(scope="module")
def trial(cluster: Cluster) -> Iterator[str]:
    """A namespace in which nothing is kept."""
    with bare_namespace(cluster) as name:
        yield name


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    with bare_namespace(cluster) as name:
        yield name


@cache
def parsed(text: str) -> Any:
    return YAML(typ="safe", pure=True).load(text)


def as_object(text: str, author: str = "admin") -> dict[str, Any]:
    """A plan as it goes to the API server, with who writes it."""
    plan: dict[str, Any] = json.loads(json.dumps(parsed(text), default=str))
    plan["metadata"]["annotations"] = {"stagedrollout.io/created-by": author}
    return plan


def dry_run(cluster: Cluster, namespace: str, text: str) -> str:
    """What the API server says against it; empty if nothing."""
    return try_create(cluster, namespace, as_object(text)).errors


def test_kubectl_apply_takes_a_plan_and_shows_what_is_wrong_with_another(cluster: Cluster, trial: str) -> None:
    arguments = ("apply", "--dry-run=server", "--validate=strict", "--namespace", trial, "--filename", "-")
    assert "created (server dry run)" in cluster.kubectl(*arguments, given=json.dumps(as_object(SMALL)))
    refused = cluster.try_kubectl(*arguments, given=json.dumps(as_object(changed("percentages:", "percentges:"))))
    assert 'unknown field "spec.stages[0].percentges"' in refused.errors
    refused = cluster.try_kubectl(*arguments, given=json.dumps(as_object(changed("bake: 10m", "bake: 10"))))
    assert "bake of beta: a duration needs a unit" in refused.errors


# --- plans ------------------------------------------------------------------------------------------------------------


def plans_of_the_docs() -> list[Any]:
    """Every whole plan that is shown to users."""
    found = []
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for index, block in enumerate(re.findall(r"```yaml\n(.*?)```", path.read_text(), re.DOTALL)):
            if block.startswith("apiVersion: stagedrollout.io") and "\nkind: StagedRollout\n" in block:
                found.append(pytest.param(block, id=f"{path.name}-{index}"))
    for path in sorted((ROOT / "examples").glob("*/*.yaml")):
        document = YAML(typ="safe").load(path)
        if document.get("kind") == "StagedRollout" and _fits(document["spec"]):
            found.append(pytest.param(path.read_text(), id=f"{path.parent.name}-{path.name}"))
    return found


def _fits(spec: dict[str, Any]) -> bool:
    """An application on a desktop asks more before it begins than a definition has room for, and is in no cluster."""
    return len(spec.get("checks", ())) <= MOST["checks"]


def test_there_are_plans_to_try() -> None:
    assert len(plans_of_the_docs()) >= 5


@pytest.mark.parametrize("text", (*plans_of_the_docs(), pytest.param(EXAMPLE, id="the-language")))
def test_every_plan_that_is_shown_is_taken(cluster: Cluster, trial: str, text: str) -> None:
    assert dry_run(cluster, trial, text) == ""


VALID = (
    SMALL,
    with_step("{command: [x], undo: {command: [y]}}"),
    with_step(
        "{command: [x], target: a, observe: [b], undo: [c, '{before}'], verify: [{sql: SELECT 1, expect: {rows: 1}}]}"
    ),
    with_step("{scale: deployment/a, replicas: 2}"),
    with_step("{image: deployment/a, to: 'b:c', container: d}"),
    with_step("{manual: look, by: [qa], optional: true}"),
    with_lines("triggers: [{name: t, query: up, fail: '< 1', action: rollback, ask: {question: really}}]"),
    with_lines("triggers: [{name: t, by_hand: true, actions: [{disable: beta}, {set: {beta: {percentage: 1}}}]}]"),
    with_lines(
        "window: {allow: [{days: [mon], from: '09:00', to: '24:00'}], deny: [{from: '2026-12-20', to: '2027-01-03'}]}"
    ),
    with_lines(
        "watch: [{name: long, from: 24h, to: 48h, gate: health, checks: [{query: up}], every: 6h, on_fail: pause}]"
    ),
    with_lines(
        "environments: [{name: staging, values: {A: 1, B: x, C: true}, percentages: [100], bake: 10m, sign_off: none}]"
    ),
    with_lines(
        "rollback: {ask: [{question: restore, by: [a], actions: [{command: [x], undo: none, verify: [{query: up}]}]}]}"
    ),
    with_lines("notify: {channels: {a: {webhook: {url: {env: URL}}}}}"),
    with_lines(
        "flag_systems: {a: {flagd: {file: a.json}}, b: {flagd: {config_map: '${B}', key: b.json}}, "
        "c: {flagd: {feature_flag: c, kubernetes: {namespace: c}}}}"
    ),
    changed("bake: 10m", "bake: {min: 10m, max: 2h}"),
    changed("gate: health", "gate: [health]"),
    changed('fail: "> 5"', 'pass: "< ${LIMIT}", fail: "> 5"'),
    changed("for: 1m}", "for: 1m, on_missing: {rollback_after: 10m}}"),
    changed(
        '{name: errors, query: "rate(errors[5m])", fail: "> 5", for: 1m}', "{name: a, compare: {max_increase: 5%}}"
    ),
    changed(
        '{name: errors, query: "rate(errors[5m])", fail: "> 5", for: 1m}',
        "{name: a, standard: http-errors, selector: '{job=\"shop\"}', at_most: 0.02}",
    ),
    changed(
        "kind: monitoring, flag: beta, percentages: [5, 50, 100]",
        "kind: queue, flag: beta, percentages: [5], workload: deployment/w, replicas: {start: 2, min: 2, max: 8}",
    ),
    changed(
        "kind: monitoring, flag: beta, percentages: [5, 50, 100]",
        "kind: monitoring, flag: beta, steps: [{percentage: 5}, {percentage: 100, approval: {any_of: [a]}}]",
    ),
    changed(
        "kind: monitoring, flag: beta, percentages: [5, 50, 100]",
        "kind: migration, on_rollback: {ask: drop it, by: [a]}, migrations: [{up: a.sql}, {command: [m], probe: [p]}]",
    ),
    changed(
        "kind: monitoring, flag: beta, percentages: [5, 50, 100]",
        "kind: version, workload: deployment/a, canary: deployment/b, image: 'c:d', percentages: [10, 100]",
    ),
)


@pytest.mark.parametrize("text", VALID)
def test_what_validate_takes_the_api_server_takes(cluster: Cluster, trial: str, text: str) -> None:
    assert dry_run(cluster, trial, text) == ""


ONE_SOURCE = "a check has exactly one of command, script, http, sql, health, query, file, env and manual"
ONE_ACTION = "an action has exactly one of flag, scale, image, apply, restart, job, sql"
REFUSED = (
    # --- names of fields and of plans
    (changed("percentages:", "percentges:"), 'unknown field "spec.stages[0].percentges"'),
    (with_lines("on_fire: run"), 'unknown field "spec.on_fire"'),
    (changed("name: small", "name: Small Plan"), "metadata.name"),
    (SMALL[: SMALL.index("  stages:")], "spec.stages: Required value"),
    # --- values
    (changed("kind: monitoring", "kind: monitorng"), "spec.stages[0].kind: Unsupported value"),
    (changed("bake: 10m", "bake: 10"), "bake of beta: a duration needs a unit"),
    (changed("bake: 10m", "bake: 10x"), "spec.stages[0].bake"),
    (changed("bake: 10m", "bake: {min: 10m}"), "spec.stages[0].bake.max: Required value"),
    (changed("bake: 10m", "bake: 10m, settle: 30"), "spec.stages[0].settle"),
    (with_lines("watch: 10"), "watch: a duration needs a unit"),
    (changed("[5, 50, 100]", "[5, 101]"), "should be less than or equal to 100"),
    (changed("[5, 50, 100]", "[5, 100, 50]"), "percentages rise from step to step"),
    (changed("[5, 50, 100]", "5"), "must be of type array"),
    (changed('"> 5"', '"more than 5"'), "spec.gates.health.criteria[0].fail"),
    (with_lines("window: {allow: [{days: [someday]}]}"), "spec.window.allow[0].days[0]: Unsupported value"),
    (with_lines("notify: {severity: {fatal: [a]}}"), 'unknown field "spec.notify.severity.fatal"'),
    (with_lines("notify: {channels: {a: {webhook: {url: x}, apprise: y}}}"), "spec.notify.channels.a: Too many: 2"),
    (with_step("{scale: deploy/a, replicas: 1}"), "spec.stages[0].steps[0].scale"),
    (
        with_lines("flag_systems: {a: {unleash: {url: 'http://a', token: {env: A, file: B}}}}"),
        "unleash.token: Too many: 2",
    ),
    # --- exactly one
    (with_lines("checks: [{name: x}]"), f"spec.checks[0]: Invalid value: {ONE_SOURCE}"),
    (with_lines("checks: [{command: [ls], query: up}]"), ONE_SOURCE),
    (with_step("{wait: 5m, manual: look}"), "a step has at most one of flag, scale, image"),
    (changed("flag: beta,", "flag: beta, before: [{undo: none}],"), ONE_ACTION),
    (with_step("{undo: none}"), "those of kind steps are actions"),
    (
        with_lines("approval: {any_of: []}"),
        "an approval names either any_of or all_of, with at least one group or name",
    ),
    (with_lines("approval: {any_of: [a], all_of: [b]}"), "an approval names either any_of or all_of"),
    (changed("percentages: [5, 50, 100]", "percentages: [5], steps: [{percentage: 5}]"), "has percentages or steps"),
    (changed("percentages: [5, 50, 100], ", ""), "has percentages or steps, one of the two"),
    (
        changed('query: "rate(errors[5m])", fail: "> 5"', 'query: up, sql: SELECT 1, fail: "> 5"'),
        "a criterion has exactly one of command",
    ),
    (changed('fail: "> 5", ', ""), "pass, fail or expect says what is asked of the value"),
    (with_lines("flag_systems: {a: {flagd: {}}}"), "flagd has exactly one of file, config_map and feature_flag"),
    (with_lines("flag_systems: {a: {flagd: {config_map: Flags}}}"), "spec.flag_systems.a.flagd.config_map"),
    # --- what belongs where
    (with_lines("flag_systems: {a: {flagd: {file: a, key: b}}}"), "key belongs to config_map"),
    (with_lines("flag_systems: {a: {flagd: {file: a, kubernetes: {}}}}"), "kubernetes does not go with file"),
    (changed("bake: 10m", "bake: 10m, migrations: [{up: a}]"), "belong to stages of kind migration"),
    (changed("flag: beta, ", ""), "a stage of kind monitoring needs flag"),
    (with_step("{scale: deployment/a}"), "scale and replicas belong together"),
    (with_step("{wait: 5m, percentage: 4}"), "do not go with scale, image"),
    (with_lines("checks: [{query: up, by: [a]}]"), "by and optional belong to manual"),
    (with_lines("checks: [{manual: look, expect: {exit: 0}}]"), "a person answers a manual check"),
    (with_lines("checks: [{query: up, expect: {exit: 0}}]"), "of expect, exit and stdout belong to command and script"),
    (with_lines("checks: [{file: a, source: b}]"), "source belongs to query, sql and health"),
    (changed("{name: errors, ", "{name: errors, ratio: {bad: a, total: b, at_most: 1%}, "), "say themselves what is"),
    (
        with_lines("triggers: [{name: t, query: up, fail: '< 1', ask: {question: really}}]"),
        "ask is the question before a rollback; it needs then: rollback",
    ),
    (with_lines("triggers: [{name: t, by_hand: true, query: up}]"), "or it is by_hand, and measures nothing"),
    (with_lines("approval: {any_of: [a], on_timeout: rollback}"), "on_timeout needs a timeout"),
    (with_lines("success: [{name: s, query: up, improves: '> 1%'}]"), "say how long they are with window"),
    (
        changed("flag: beta,", "flag: beta, before: [{disable: beta}],"),
        'unknown field "spec.stages[0].before[0].disable"',
    ),
    # --- names that are declared, once
    (changed("flag: beta,", "flag: gamma,"), "spec.flags does not declare gamma"),
    (changed("gate: health", "gate: [heath]"), "spec.gates does not declare heath"),
    (
        with_lines("triggers: [{name: t, query: up, fail: '< 1'}, {name: t, query: up, fail: '< 2'}]"),
        "each trigger has a name of its own; one is used twice",
    ),
)


@pytest.mark.parametrize(("text", "words"), REFUSED)
def test_what_validate_refuses_the_api_server_refuses(cluster: Cluster, trial: str, text: str, words: str) -> None:
    said = dry_run(cluster, trial, text)
    assert words in re.sub(r'Invalid value: "[^"]*": ', "Invalid value: ", said)


# --- status -----------------------------------------------------------------------------------------------------------


def patch(cluster: Cluster, namespace: str, body: object, subresource: str = "") -> str:
    return api_of(cluster).patch("StagedRollout", namespace, "plan", body, subresource=subresource).refusal


def test_an_active_plan_cannot_be_changed_and_an_ended_one_can(cluster: Cluster, namespace: str) -> None:
    create(cluster, namespace, rollout("plan", WAIT))
    edit = {"spec": {"owner": "somebody"}}
    assert patch(cluster, namespace, {"status": {"phase": "running"}}, "status") == ""
    assert "the plan of an active run can't be changed" in patch(cluster, namespace, edit)
    assert patch(cluster, namespace, {"metadata": {"labels": {"a": "b"}}}) == ""
    assert patch(cluster, namespace, {"status": {"phase": "ended"}}, "status") == ""
    assert patch(cluster, namespace, edit) == ""


def test_only_the_status_of_the_contract_can_be_written(cluster: Cluster, namespace: str) -> None:
    create(cluster, namespace, rollout("plan", WAIT))
    words = patch(cluster, namespace, {"status": {"phase": "thinking"}}, "status")
    assert 'status.phase: Unsupported value: "thinking"' in words
    holds = {"status": {"holds": [{"reason": "paused"}] * 40}}
    assert "must have at most 32 items" in patch(cluster, namespace, holds, "status")


def test_kubectl_get_shows_where_a_rollout_stands(cluster: Cluster, namespace: str) -> None:
    create(cluster, namespace, rollout("plan", WAIT))
    status = {"phase": "running", "stage": "search", "step": "25%", "gate": {"name": "health", "verdict": "pass"}}
    assert patch(cluster, namespace, {"status": status}, "status") == ""
    head, line = cluster.kubectl("get", "sro", "--namespace", namespace).splitlines()
    assert head.split() == ["NAME", "PHASE", "STAGE", "STEP", "GATE", "OUTCOME", "AGE"]
    assert line.split()[:5] == ["plan", "running", "search", "25%", "pass"]
    assert "plan" in cluster.kubectl("get", "stagedrollout", "--namespace", namespace)


def test_kubectl_explain_tells_of_the_language(cluster: Cluster) -> None:
    def told() -> bool:
        return (
            "What must be empty before the workers may go"
            in cluster.try_kubectl("explain", "sro.spec.stages.drain").output
        )

    wait_until(told, what="kubectl explain to know the definition", deadline_seconds=EVENTUALLY_SECONDS)


# --- commands ---------------------------------------------------------------------------------------------------------


def test_a_command_is_never_changed(cluster: Cluster, namespace: str) -> None:
    body = command("search", "pause", "admin")
    body["metadata"] = {"name": "one"}
    create(cluster, namespace, body)
    change = json.dumps({"spec": {"reason": "another"}})
    arguments = ("patch", "sroc", "one", "--namespace", namespace, "--type", "merge", "--patch", change)
    assert "a command is given once and can't be changed" in cluster.try_kubectl(*arguments).errors
    answer = json.dumps({"status": {"accepted": True, "message": "paused", "at": "2026-01-01T00:00:00Z"}})
    cluster.kubectl(*arguments[:-1], answer, "--subresource", "status")
    head, line = cluster.kubectl("get", "sroc", "--namespace", namespace).splitlines()
    assert head.split() == ["NAME", "ROLLOUT", "COMMAND", "BY", "ACCEPTED", "AGE"]
    assert line.split()[:5] == ["one", "search", "pause", "admin", "true"]


@pytest.mark.parametrize(
    ("name", "spec", "words"),
    (
        ("pause", {"reason": " "}, "spec.reason"),
        ("explode", {}, "spec.command: Unsupported value"),
        ("fire", {}, "fire needs arguments.trigger"),
        ("pause", {"arguments": {"stage": "a"}}, "stage belongs to rollback"),
        ("approve", {"arguments": {"withSchema": True}}, "withSchema belongs to rollback"),
        ("resume", {"arguments": {"flag": "beta"}}, "flag needs pin, keep or release"),
        ("resume", {"arguments": {"pin": "lose"}}, "spec.arguments.pin: Unsupported value"),
        ("resume", {"arguments": {"pinned": "keep"}}, 'unknown field "spec.arguments.pinned"'),
    ),
)
def test_a_command_that_makes_no_sense_is_refused(
    cluster: Cluster, trial: str, name: str, spec: dict[str, Any], words: str
) -> None:
    assert words in try_create(cluster, trial, command("search", name, "admin", **spec)).errors


@pytest.mark.parametrize(
    ("name", "arguments"),
    (
        ("resume", {"flag": "beta", "pin": "keep"}),
        ("approve", {"item": "step:beta/1", "notApplicable": True}),
        ("rollback", {"stage": "beta", "withSchema": True}),
        ("resolve", {"target": "flag:production/beta", "takenAs": "done"}),
        ("fire", {"trigger": "quota"}),
    ),
)
def test_a_command_with_its_arguments_is_taken(
    cluster: Cluster, trial: str, name: str, arguments: dict[str, Any]
) -> None:
    assert try_create(cluster, trial, command("search", name, "admin", arguments=arguments)).code == 0
