"""What pages ask beside runs: what a plan would meet, what the kill switch holds, what waits for people."""

import httpx

from orchestrator.survey import Finding, Level
from tests.orchestrator.api.fake_service import FakeService
from tests.orchestrator.api.test_runs import PLAN, submission


async def test_what_a_plan_would_meet_is_told_beside_what_it_is(service: FakeService, admin: httpx.AsyncClient) -> None:
    service.lint_findings = [Finding(Level.WARNING, "production: gate health, errors", "it sees nothing below 6.1x")]
    answer = (await admin.post("/api/v1/plans/foresee", json={"text": PLAN})).json()
    assert (answer["plan"], answer["digest"]) == ("payments", submission()["digest"])
    assert answer["findings"] == [
        {"level": "warning", "where": "production: gate health, errors", "sentence": "it sees nothing below 6.1x"}
    ]
    (handed,) = service.submissions
    assert not handed.is_owners, "a token's plan is held to what plans may name"
    assert handed.directory is None
    assert (await admin.get("/api/v1/runs")).json()[0]["plan"] != "payments"


async def test_nothing_is_asked_of_a_plan_that_is_not_valid(service: FakeService, admin: httpx.AsyncClient) -> None:
    answer = await admin.post("/api/v1/plans/foresee", json={"text": PLAN.replace("wait: 5s", "wait: soon")})
    assert (answer.status_code, answer.json()["error"]) == (422, "InvalidPlan")
    assert service.submissions == []


async def test_what_the_kill_switch_holds_can_be_read(service: FakeService, admin: httpx.AsyncClient) -> None:
    assert (await admin.get("/feature-flags/disable-all")).json() == []
    await admin.post("/feature-flags/disable-all", json={"environment": "staging", "reason": "fire"})
    (latch,) = (await admin.get("/feature-flags/disable-all")).json()
    assert (latch["environment"], latch["reason"], latch["flags"]) == ("staging", "fire", [])


async def test_a_report_is_there_as_it_is_read(admin: httpx.AsyncClient) -> None:
    found = (await admin.get("/api/v1/runs/search/report")).json()
    assert found["report"]["run"] == found["status"]["run"]
    assert found["report"]["chain"]["entries"] == len(found["history"])
