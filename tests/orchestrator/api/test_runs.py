import json
from typing import Any

import httpx
import pytest

from orchestrator.survey import Finding, Level
from stages.load import digest_of, load_plan
from tests.orchestrator.api.fake_service import FakeService, app_of, client_of

PLAN = """
apiVersion: stagedrollout.io/v1alpha1
kind: StagedRollout
metadata: {name: payments}
spec:
  prometheus: {url: "http://127.0.0.1:9090"}
  stages:
    - name: change
      kind: steps
      steps: [{name: pause, wait: 5s}]
"""


def submission(**more: object) -> dict[str, Any]:
    def nothing(path: str) -> bytes:
        raise FileNotFoundError(path)

    plan = load_plan(PLAN, "plan.yaml", {}, read_file=nothing)
    documents = [{"environment": environment, "plan": raw} for environment, raw in plan.raw]
    return {"plan": plan.name, "digest": plan.digest, "documents": documents, **more}


async def test_a_plan_is_started_and_a_second_time_attached_to(service: FakeService, admin: httpx.AsyncClient) -> None:
    first = await admin.post("/api/v1/runs", json=submission(reason="ship it", directory="/srv/plans"))
    assert (first.status_code, first.json()) == (201, {"run": "payments-000001", "started": True, "warnings": []})
    assert first.headers["Location"] == "/api/v1/runs/payments-000001"
    assert service.submissions[0].reason == "ship it"
    assert service.submissions[0].directory is None, "somebody's folder is not the controller's owner's"
    second = await admin.post("/api/v1/runs", json=submission())
    assert (second.status_code, second.json()) == (200, {"run": "payments-000001", "started": False, "warnings": []})


async def test_what_the_rules_warn_of_in_a_migrators_sql_is_told(
    service: FakeService, admin: httpx.AsyncClient
) -> None:
    service.lint_findings = [Finding(Level.WARNING, "production: stage schema", "its SQL can't be had for the lint")]
    answer = await admin.post("/api/v1/runs", json=submission())
    assert answer.json()["warnings"] == ["production: stage schema: its SQL can't be had for the lint"]


async def test_beyond_loopback_a_folder_of_another_machine_means_nothing(service: FakeService) -> None:
    async with client_of(app_of(service, loopback=False), "operator") as client:
        assert (await client.post("/api/v1/runs", json=submission(directory="/etc"))).status_code == 201
    assert service.submissions[0].directory is None


async def test_a_plan_over_a_claimed_target_is_refused(service: FakeService, admin: httpx.AsyncClient) -> None:
    service.add("payments-ffffff", "payments")
    answer = await admin.post("/api/v1/runs", json=submission())
    assert answer.status_code == 409
    assert answer.json() == {"error": "TargetBusy", "message": "payments-ffffff holds flag new-api"}


@pytest.mark.parametrize("wrong", ({"digest": "0" * 64}, {"plan": "other"}, {"files": {"a.sql": "drop table x"}}))
async def test_a_submission_that_is_not_what_its_digest_says_is_refused(
    service: FakeService, admin: httpx.AsyncClient, wrong: dict[str, object]
) -> None:
    answer = await admin.post("/api/v1/runs", json=submission(**wrong))
    assert (answer.status_code, answer.json()["error"]) == (422, "InvalidPlan")
    assert service.submissions == []


async def test_a_submission_with_an_invalid_plan_is_refused(admin: httpx.AsyncClient) -> None:
    body = submission(documents=[{"environment": "production", "plan": {"kind": "StagedRollout"}}])
    answer = await admin.post("/api/v1/runs", json=body)
    assert (answer.status_code, answer.json()["error"]) == (422, "InvalidPlan")


async def test_runs_are_listed_and_filtered(service: FakeService, admin: httpx.AsyncClient) -> None:
    await service.append("search-a1b2c3", "RunEnded", outcome="promoted")
    service.add("payments-1", "payments")
    names = {query: [one["run"] for one in (await admin.get(f"/api/v1/runs{query}")).json()] for query in QUERIES}
    assert names == {
        "": ["search-a1b2c3", "payments-1"],
        "?active=true": ["payments-1"],
        "?active=false": ["search-a1b2c3"],
        "?limit=1": ["search-a1b2c3"],
    }


QUERIES = ("", "?active=true", "?active=false", "?limit=1")


async def test_a_run_is_found_by_the_beginning_of_its_name_or_its_plan(admin: httpx.AsyncClient) -> None:
    for name in ("search-a1b2c3", "search-a1", "search"):
        assert (await admin.get(f"/api/v1/runs/{name}")).json()["run"] == "search-a1b2c3"


@pytest.mark.parametrize("path", ("", "/commands", "/events", "/journal", "/report"))
async def test_an_unknown_run_is_said(admin: httpx.AsyncClient, path: str) -> None:
    answer = await admin.get(f"/api/v1/runs/nothing{path}")
    assert (answer.status_code, answer.json()) == (404, {"error": "NotFound", "message": "there is no run nothing"})


async def test_a_command_reaches_the_run_with_its_actor(service: FakeService, admin: httpx.AsyncClient) -> None:
    answer = await admin.post("/api/v1/runs/search/commands", json={"command": "pause", "reason": "look first"})
    assert answer.json() == {
        "run": "search-a1b2c3", "command": "pause", "accepted": True, "seq": 4, "run_started": None,
    }  # fmt: skip
    run, command, actor = service.asked[0]
    assert (run, command.reason) == ("search-a1b2c3", "look first")
    assert (actor.name, actor.role, actor.groups) == ("admin-person", "admin", ("sre",))


async def test_what_one_could_ask_of_a_run_is_told_with_who_one_is(admin: httpx.AsyncClient) -> None:
    answer = (await admin.get("/api/v1/runs/search/commands")).json()
    assert answer["actor"] == {"name": "admin-person", "role": "admin", "groups": ["sre"]}
    (offer,) = answer["commands"]
    assert (offer["command"], offer["what"], offer["refused"]) == ("pause", "hold search-a1b2c3", None)


async def test_the_same_idempotency_key_gives_the_same_answer(service: FakeService, admin: httpx.AsyncClient) -> None:
    headers = {"Idempotency-Key": "k-1"}
    body = {"command": "pause"}
    answers = [await admin.post("/api/v1/runs/search/commands", json=body, headers=headers) for _ in range(2)]
    assert answers[0].json() == answers[1].json()
    assert [command.key for _, command, _ in service.asked] == ["k-1"]


async def test_two_different_keys_for_one_command_are_refused(admin: httpx.AsyncClient) -> None:
    body = {"command": "pause", "key": "a"}
    answer = await admin.post("/api/v1/runs/search/commands", json=body, headers={"Idempotency-Key": "b"})
    assert (answer.status_code, answer.json()["error"]) == (400, "BadRequest")


async def test_a_refused_command_says_why(service: FakeService, admin: httpx.AsyncClient) -> None:
    await service.append("search-a1b2c3", "RunEnded", outcome="stopped")
    answer = await admin.post("/api/v1/runs/search/commands", json={"command": "pause"})
    assert (answer.status_code, answer.json()["error"]) == (409, "Refused")
    assert "makes no sense there" in answer.json()["message"]


async def test_the_journal_is_read_in_parts(admin: httpx.AsyncClient) -> None:
    answer = await admin.get("/api/v1/runs/search/events?after=1&limit=1")
    assert [entry["seq"] for entry in answer.json()] == [2]
    assert [entry["seq"] for entry in (await admin.get("/api/v1/runs/search/events")).json()] == [1, 2, 3]


async def test_the_journal_is_exported_as_lines_that_can_be_verified_in_parts(admin: httpx.AsyncClient) -> None:
    answer = await admin.get("/api/v1/runs/search/journal?limit=2")
    assert answer.headers["content-type"].startswith("application/jsonl")
    rest = await admin.get("/api/v1/runs/search/journal?after=2")
    assert [json.loads(line)["seq"] for line in (answer.text + rest.text).splitlines()] == [1, 2, 3]


async def test_a_report_has_the_status_and_every_entry(admin: httpx.AsyncClient) -> None:
    report = (await admin.get("/api/v1/runs/search/report")).json()
    assert report["status"]["run"] == "search-a1b2c3"
    assert len(report["history"]) == 3


async def test_a_measurement_that_is_no_number_goes_out_as_text(service: FakeService, admin: httpx.AsyncClient) -> None:
    await service.append("search-a1b2c3", "GateFailed", values=[float("nan"), float("inf"), float("-inf"), 1.5])
    entries = (await admin.get("/api/v1/runs/search/events?after=3")).json()
    assert entries[0]["data"]["values"] == ["NaN", "Infinity", "-Infinity", 1.5]


async def test_a_valid_plan_is_answered_with_its_digest(admin: httpx.AsyncClient) -> None:
    answer = await admin.post("/api/v1/plans/validate", json={"text": PLAN})
    assert (answer.status_code, answer.json()["digest"]) == (200, submission()["digest"])
    assert answer.json()["plan"] == "payments"


async def test_an_invalid_plan_is_answered_with_every_problem_at_its_place(admin: httpx.AsyncClient) -> None:
    text = PLAN.replace("wait: 5s", "wait: soon").replace("kind: steps", "kind: stepz")
    answer = await admin.post("/api/v1/plans/validate", json={"text": text, "file": "pay.yaml"})
    assert (answer.status_code, answer.json()["error"]) == (422, "InvalidPlan")
    problems = answer.json()["problems"]
    assert problems
    assert {problem["file"] for problem in problems} == {"pay.yaml"}
    assert all(problem["line"] > 0 and problem["message"] for problem in problems)
    assert answer.json()["message"].startswith("The plan is not valid: pay.yaml:")


async def test_a_plan_with_files_is_validated_with_those_that_were_sent(admin: httpx.AsyncClient) -> None:
    text = PLAN.replace("wait: 5s", "command: [./check.sh]")
    missing = await admin.post("/api/v1/plans/validate", json={"text": text})
    assert "there is no file ./check.sh" in missing.text
    sent = await admin.post("/api/v1/plans/validate", json={"text": text, "files": {"./check.sh": "exit 0"}})
    assert "there is no file" not in sent.text


async def test_what_a_start_refuses_is_refused_however_it_is_handed_in(
    service: FakeService, admin: httpx.AsyncClient
) -> None:
    whole = submission()
    stage = {"name": "drop", "kind": "migration", "database": "sqlite:////x", "migrations": [{"up": "1.sql"}]}
    plan = {**whole["documents"][0]["plan"], "spec": {"stages": [stage]}}
    files = {"1.sql": "DROP TABLE people;"}
    sent = {"documents": [{"environment": "production", "plan": plan}], "files": files}
    digest = digest_of([("production", plan)], files)
    answer = await admin.post("/api/v1/runs", json={**whole, **sent, "digest": digest})
    assert answer.status_code == 422
    assert "drop" in str(answer.json()["problems"]).lower()
    assert service.submissions == []
