"""The way back for a person: the same steps as the controller's, in an order that its graph allows, as commands."""

from typing import Any

import pytest

from orchestrator.core.runbook import build, to_markdown, to_script
from tests.orchestrator.core.drive import Drive
from tests.orchestrator.core.test_backward import FILES, spec
from tests.orchestrator.core.test_workloads import VERSION, queue, started


def whats(drive: Drive) -> list[str]:
    return [step["what"] for step in build(drive.state)["steps"]]


def commands(drive: Drive) -> list[str]:
    return [line for step in build(drive.state)["steps"] for line in step["commands"]]


def at_ten(**fields: Any) -> Drive:
    drive = Drive(spec(**fields), FILES)
    drive.run_until(lambda: drive.percentage("beta") == 10)
    return drive


def test_before_anything_was_changed_there_is_nothing_to_take_back() -> None:
    drive = Drive(spec(), FILES)
    assert build(drive.state)["steps"] == []
    assert "nothing to take back" in to_markdown(build(drive.state))


def test_exposure_goes_first_then_people_wait_and_the_rest_follows_last_first() -> None:
    drive = at_ten()
    assert whats(drive) == [
        "flag beta in production back to disabled, 0 %",
        "wait 20s, until everybody has heard of it",
        "wait until the queue of open is empty, 1m at most",
        "workers in production back",
        "backend in production back",
    ]
    assert commands(drive) == [
        "rollout flag --environment production set beta --state disabled --percentage 0 --reason 'taken back by hand'",
        "sleep 20",
        "# look: depth == 0",
        "./deploy.sh old",
        "./deploy.sh old",
    ]


def test_what_stays_is_said() -> None:
    assert any("1.sql" in one for one in build(at_ten().state)["stays"])


def test_in_the_middle_of_a_way_back_it_is_what_is_left_of_it() -> None:
    drive = at_ten()
    drive.metrics["depth"] = 9.0
    drive.command("rollback", reason="bad")
    drive.run_until(lambda: drive.percentage("beta") == 0)
    drive.run_until(
        lambda: drive.state.rollback is not None and drive.state.rollback.nodes["settle:production/workers"].finished
    )
    assert whats(drive)[0].startswith("wait until the queue of open is empty")
    drive.run_until(lambda: drive.state.ended)
    assert build(drive.state)["steps"] == []


def test_of_a_run_that_went_all_the_way_it_is_what_a_reverse_run_would_do() -> None:
    drive = at_ten(watch="1m")
    drive.run_until(lambda: drive.state.outcome == "promoted", limit_seconds=100_000)
    assert whats(drive)[0] == "flag beta in production back to disabled, 0 %"
    assert whats(drive)[-1] == "backend in production back"


def test_workers_and_versions_go_back_by_kubectl() -> None:
    drive = started(queue(kubernetes={"context": "prod", "namespace": "search"}))
    drive.world["replicas:production/prod/search/deployment/workers"] = {"replicas": 1}
    drive.run_until(lambda: drive.percentage("beta") == 5)
    assert commands(drive)[-2:] == [
        "kubectl --context prod --namespace search scale deployment/workers --replicas=1",
        "kubectl --context prod --namespace search rollout status deployment/workers --timeout=600s",
    ]


def test_a_version_has_its_old_image_and_all_pods_before_the_copy_goes() -> None:
    stage = {
        "name": "version",
        "kind": "version",
        "workload": "deployment/api",
        "image": "v2",
        "percentages": [50],
        "bake": "10m",
    }
    drive = Drive({"stages": [stage], "watch": "0s"})
    drive.world[VERSION] = {"stable": {"replicas": 4, "image": "v1"}}
    drive.run_until(lambda: bool(drive.performed))
    lines = commands(drive)
    assert lines[1].startswith("kubectl set image deployment/api ")
    assert "=v1" in lines[1]
    assert lines[2] == "kubectl scale deployment/api --replicas=4"
    assert lines[-1] == "kubectl delete deployment/api-rollout --ignore-not-found"


KEPT = "\"$(kubectl get secret app --output jsonpath='{.data.token}' | base64 --decode)\""
CALL = {
    "http": {
        "url": "http://app/switch", "method": "POST", "headers": {"X-Team": "search"},
        "bearer": {"env": "APP_TOKEN"}, "json": {"to": "new"},
    },
    "idempotent": True, "name": "switch",
}  # fmt: skip


@pytest.mark.parametrize(
    ("undo", "line"),
    (
        (
            {
                "http": {"url": "http://app/switch", "method": "DELETE", "bearer": {"env": "APP_TOKEN"}},
                "idempotent": True,
                "undo": "none",
            },
            'curl --fail-with-body --request DELETE --header "Authorization: Bearer $APP_TOKEN" http://app/switch',
        ),
        (
            {"command": ["./switch", "two words"], "vars": {"TOKEN": {"secret": "app/token"}}, "undo": "none"},
            f"TOKEN={KEPT} ./switch 'two words'",
        ),
        ({"sql": "back.sql", "undo": "none"}, "sqlite3 app.db < back.sql"),
    ),
)
def test_secrets_stay_references_and_words_stay_whole(undo: dict[str, Any], line: str) -> None:
    stage = {"name": "switch", "kind": "steps", "steps": [{**CALL, "undo": undo}]}
    wait = {"name": "wait", "kind": "steps", "steps": [{"manual": "look"}]}
    drive = Drive({"database": "sqlite:///app.db", "stages": [stage, wait]}, {"back.sql": "select 1"})
    drive.run_until(lambda: drive.state.cursor.stage == 1)
    assert commands(drive) == [line]


def test_what_a_question_leads_to_is_for_a_person_in_the_script_as_well() -> None:
    ask = [{"question": "Restore it?", "by": ["dba"], "actions": [{"command": ["./restore"], "undo": "none"}]}]
    script = to_script(build(at_ten(rollback={"ask": ask}).state))
    assert "# Restore it?\n# by dba; only if the answer is yes:\n# ./restore\n" in script
    assert script.startswith("#!/bin/sh\n")
    assert "\nset -eux\n" in script
