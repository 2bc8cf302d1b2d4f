"""Plans that come as objects: read like any other, within what a cluster may ask, and what RBAC is asked of them."""

from typing import Any

import pytest

from orchestrator.cluster.limits import CommandPolicy, refusals
from orchestrator.cluster.rights import accesses
from orchestrator.cluster_port import Access
from stages.load import LoadedPlan, load_data
from stages.problems import InvalidPlan
from tests.orchestrator.cluster.wishes import SPEC, STAGE, rollout

FILES = {
    "objects.yaml": """
apiVersion: v1
kind: ConfigMap
metadata: {name: limits}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: readers, namespace: other}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: admin}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: all}
""",
    "fill.yaml": """
apiVersion: batch/v1
kind: Job
metadata: {name: fill}
spec: {template: {spec: {containers: []}}}
""",
    "a.sql": "SELECT 1;\n",
}
APPS = "apps/v1"
RBAC = "rbac.authorization.k8s.io/v1"


def loaded(**spec: Any) -> LoadedPlan:
    document = rollout(spec={**SPEC, **spec}).document
    return load_data(document, "shop/demo", {}, read_file=lambda path: FILES[path].encode())


def steps(*actions: dict[str, Any], **stage: Any) -> list[dict[str, Any]]:
    written = [action if "flag" in action else {"undo": "none", **action} for action in actions]
    return [{"name": "do", "kind": "steps", "steps": written, **stage}]


def asked(*actions: dict[str, Any], **stage: Any) -> list[tuple[str, str, str, str]]:
    found = accesses(loaded(stages=steps(*actions, **stage)))
    return [(one.verb, one.kind, one.namespace, one.name) for one in found]


def test_a_plan_acts_in_the_namespace_of_its_object_unless_it_says_another() -> None:
    found = asked(
        {"scale": "deployment/web", "replicas": 2},
        {"restart": "statefulset/db", "kubernetes": {"namespace": "data"}},
    )
    assert found == [("patch", "Deployment", "shop", "web"), ("patch", "StatefulSet", "data", "db")]


def test_the_digest_of_a_plan_is_another_in_another_namespace() -> None:
    here, there = rollout(), rollout(namespace="other")
    digests = {load_data(one.document, "x", {}, read_file=lambda _: b"").digest for one in (here, there)}
    assert len(digests) == 2


def test_problems_of_a_plan_that_is_data_have_paths_and_no_lines() -> None:
    with pytest.raises(InvalidPlan) as found:
        loaded(stages=[{**STAGE, "flag": "bata"}])
    assert str(found.value) == "shop/demo: spec.stages[0].flag: unknown flag 'bata'; did you mean 'beta'?"


@pytest.mark.parametrize(
    ("action", "wanted"),
    (
        ({"image": "deployment/web", "to": "shop:2"}, [("patch", "Deployment", "shop", "web")]),
        ({"restart": "daemonset/agent"}, [("patch", "DaemonSet", "shop", "agent")]),
        ({"job": "fill.yaml"}, [("create", "Job", "shop", "fill")]),
        ({"flag": "beta", "state": "disabled"}, []),
        (
            {"scale": "deployment/web", "replicas": 1, "undo": {"restart": "deployment/other"}},
            [("patch", "Deployment", "shop", "web"), ("patch", "Deployment", "shop", "other")],
        ),
    ),
)
def test_rbac_is_asked_what_each_action_does(action: dict[str, Any], wanted: list[tuple[str, ...]]) -> None:
    assert asked(action) == wanted


@pytest.mark.parametrize(
    ("canary", "wanted"),
    (
        ({"canary": "deployment/web-canary"}, [("patch", "web"), ("patch", "web-canary")]),
        ({}, [("patch", "web"), ("patch", "web-rollout"), ("create", "web-rollout"), ("delete", "web-rollout")]),
    ),
)
def test_rbac_is_asked_for_both_deployments_of_a_version(canary: dict[str, str], wanted: list[tuple[str, str]]) -> None:
    version = {"kind": "version", "name": "v", "workload": "deployment/web", "image": "shop:2", "percentages": [100]}
    found = accesses(loaded(stages=[{**version, **canary}]))
    assert [(one.verb, one.name) for one in found] == wanted


def test_who_applies_objects_that_grant_rights_must_be_able_to_give_them_away() -> None:
    found = accesses(loaded(stages=steps({"apply": "objects.yaml"})))
    assert [one for one in found if one.verb in ("escalate", "bind")] == [
        Access("bind", RBAC, "ClusterRole", "other", "admin"),
        Access("escalate", RBAC, "Role", "shop", "all"),
    ]
    assert {(one.verb, one.name) for one in found if one.kind == "ConfigMap"} == {
        ("create", "limits"),
        ("patch", "limits"),
        ("delete", "limits"),
    }


def test_whoever_names_a_secret_of_the_cluster_must_be_allowed_to_read_it() -> None:
    plan = loaded(checks=[{"name": "c", "http": {"url": "https://x", "bearer": {"secret": "token/value"}}}])
    assert accesses(plan) == (Access("get", "v1", "Secret", "", "token"),)


def test_whoever_writes_a_plan_must_be_allowed_to_change_the_objects_that_its_flags_are_in() -> None:
    systems = {
        "files": {"flagd": {"config_map": "flags"}},
        "operator": {"flagd": {"feature_flag": "all", "kubernetes": {"namespace": "other"}}},
    }
    flags = {"beta": {"system": "files"}, "new": {"system": "operator"}, "ours": {}}
    assert accesses(loaded(flag_systems=systems, flags=flags)) == (
        Access("patch", "v1", "ConfigMap", "shop", "flags"),
        Access("patch", "core.openfeature.dev/v1beta1", "FeatureFlag", "other", "all"),
    )


def test_both_deployments_of_a_version_stage_are_asked_for() -> None:
    version = {"name": "v", "kind": "version", "workload": "deployment/web", "canary": "deployment/web-canary"}
    found = accesses(loaded(stages=[{**version, "image": "shop:2", "percentages": [50]}]))
    assert found == (
        Access("patch", APPS, "Deployment", "shop", "web"),
        Access("patch", APPS, "Deployment", "shop", "web-canary"),
    )


def test_the_way_back_triggers_and_questions_are_asked_for_too() -> None:
    question = {"question": "Restart?", "actions": [{"restart": "deployment/asked", "undo": "none"}]}
    plan = loaded(
        stages=[{**STAGE, "rollback": {"after": [{"restart": "deployment/after", "undo": "none"}], "ask": [question]}}],
        triggers=[
            {"name": "t", "by_hand": True, "actions": [{"restart": "deployment/fired", "undo": "none"}]},
        ],
        rollback={"before": [{"restart": "deployment/before", "undo": "none"}]},
    )
    assert {one.name for one in accesses(plan)} == {"after", "asked", "fired", "before"}


NO_COMMANDS = "a plan from a cluster runs no commands"


@pytest.mark.parametrize(
    ("spec", "path", "sentence"),
    (
        ({"stages": steps({"command": ["sh"]})}, "spec.stages[0].steps[0].command", NO_COMMANDS),
        ({"checks": [{"script": "true"}]}, "spec.checks[0].script", NO_COMMANDS),
        (
            {"stages": steps({"http": {"url": "http://x"}, "undo": ["sh"]})},
            "spec.stages[0].steps[0].undo",
            NO_COMMANDS,
        ),
        (
            {"stages": [{**STAGE, "backup": {"command": ["pg_dump"]}}]},
            "spec.stages[0].backup.command",
            NO_COMMANDS,
        ),
        (
            {
                "database": {"env": "PLAN_DATABASE"},
                "stages": [{"name": "m", "kind": "migration", "alembic": {}}],
            },
            "spec.stages[0].alembic",
            "Alembic would run in the controller's own container; call it as a command in an image",
        ),
        ({"kubernetes": {"context": "prod"}}, "spec.kubernetes.context", "acts in that cluster alone"),
        (
            {"flag_systems": {"a": {"flagd": {"config_map": "b", "kubernetes": {"context": "prod"}}}}},
            "spec.flag_systems.a.flagd.kubernetes.context",
            "acts in that cluster alone",
        ),
        ({"database": "sqlite:///x.db"}, "spec.database", "on the controller's own disk"),
        (
            {"sources": {"main": {"database": "SQLite:///x.db"}}},
            "spec.sources.main.database",
            "on the controller's own disk",
        ),
    ),
)
def test_what_would_happen_in_the_controllers_own_container_is_refused(
    spec: dict[str, Any], path: str, sentence: str
) -> None:
    (found,) = refusals(loaded(**spec))
    assert found[0] == path
    assert sentence in found[1]


def test_flags_sql_on_a_server_calls_and_workloads_are_within_the_limits() -> None:
    plan = loaded(
        database="postgresql://db/shop",
        stages=[
            STAGE,
            *steps(
                {"sql": "a.sql", "name": "one"},
                {"http": {"url": "https://x"}},
                {"scale": "deployment/web", "replicas": 1},
            ),
        ],
    )
    assert refusals(plan) == []


COMMANDS = steps({"command": ["sh"]})


def commanded(**commands: Any) -> LoadedPlan:
    return loaded(commands=commands, stages=COMMANDS, checks=[{"script": "true"}])


@pytest.mark.parametrize("listed", ("registry.example/tools:1", "registry.example/*", "*"))
def test_commands_run_in_images_that_the_controller_allows(listed: str) -> None:
    plan = commanded(image="registry.example/tools:1", service_account="deployer")
    assert CommandPolicy((listed,), ("shop/deployer",)).refusals(plan) == []
    assert refusals(plan) == []


def test_an_image_or_a_service_account_that_is_not_allowed_is_refused_with_the_setting_that_would_allow_it() -> None:
    plan = commanded(image="registry.example/tools:1", service_account="deployer")
    image, account = CommandPolicy(accounts=("other/deployer",)).refusals(plan)
    assert image[0] == "spec.commands.image"
    assert image[1] == (
        "the image registry.example/tools:1 is not among the images that commands may run with; "
        "ROLLOUT_COMMAND_IMAGES of the controller lists them (it has none yet)"
    )
    assert account[0] == "spec.commands.service_account"
    assert "ROLLOUT_COMMAND_ACCOUNTS of the controller lists them (it has other/deployer)" in account[1]


def test_whoever_has_commands_run_as_jobs_must_be_allowed_to_make_jobs() -> None:
    (found,) = accesses(commanded(image="tools:1"))
    assert found == Access("create", "batch/v1", "Job", "shop", "")
    assert found.words == "create any Job in shop"
