import httpx
import pytest

from orchestrator.reading import Kill
from tests.orchestrator.api.fake_service import FakeService

KILL = "/feature-flags/disable-all"


async def test_flags_are_listed_of_all_environments_or_one(admin: httpx.AsyncClient) -> None:
    assert len((await admin.get("/api/v1/flags")).json()) == 4
    staging = (await admin.get("/api/v1/flags?environment=staging")).json()
    assert [(flag["key"], flag["percentage"]) for flag in staging] == [("new-api", 100)]


@pytest.mark.parametrize("path", ("team/share", "team%2Fshare"))
async def test_a_flag_is_read_whether_or_not_its_slash_is_escaped(admin: httpx.AsyncClient, path: str) -> None:
    assert (await admin.get(f"/api/v1/flags/{path}")).json()["key"] == "team/share"


async def test_a_flag_is_of_production_unless_said_otherwise(admin: httpx.AsyncClient) -> None:
    assert (await admin.get("/api/v1/flags/new-api")).json()["percentage"] == 30
    assert (await admin.get("/api/v1/flags/new-api?environment=staging")).json()["percentage"] == 100
    assert (await admin.get("/api/v1/flags/old?environment=staging")).status_code == 404


async def test_a_change_leaves_what_it_does_not_name(admin: httpx.AsyncClient) -> None:
    body = {"percentage": 12.5, "targets": {"team": ["search"]}, "reason": "a look"}
    changed = (await admin.patch("/api/v1/flags/new-api", json=body)).json()
    assert (changed["percentage"], changed["parameters"]) == (12.5, {"rate": 5})
    assert (changed["by"], changed["reason"]) == ("admin-person", "a look")
    assert (await admin.get("/api/v1/flags/new-api")).json()["targets"] == {"team": ["search"]}


@pytest.mark.parametrize(
    ("body", "said"),
    (
        ({"percentage": 101, "reason": "x"}, "percentage"),
        ({"percentage": 5}, "reason: is missing"),
        ({"percentage": 5, "reason": "  "}, "reason"),
        ({"reason": "x"}, "nothing is changed"),
        ({"precentage": 5, "reason": "x"}, "precentage: is not known here"),
        ({"profile": "none", "reason": "x"}, "profile"),
    ),
)
async def test_a_change_that_makes_no_sense_is_refused(
    admin: httpx.AsyncClient, body: dict[str, object], said: str
) -> None:
    answer = await admin.patch("/api/v1/flags/new-api", json=body)
    assert answer.status_code == 422
    assert said in answer.json()["message"]
    assert (await admin.get("/api/v1/flags/new-api")).json()["percentage"] == 30


async def test_the_kill_switch_may_be_for_a_run_or_an_owner_and_not_for_both(
    service: FakeService, admin: httpx.AsyncClient
) -> None:
    body = {"run": "search", "include_permanent": True, "reason": "theirs alone"}
    assert (await admin.post(KILL, json=body)).status_code == 200
    assert service.kills == [Kill(run="search", include_permanent=True, reason="theirs alone")]
    refused = await admin.post(KILL, json={"run": "search", "owner": "ann"})
    assert (refused.status_code, "give one of the two" in refused.json()["message"]) == (422, True)


async def test_the_kill_switch_works_without_a_body(service: FakeService, admin: httpx.AsyncClient) -> None:
    assert (await admin.post(KILL)).json()["environment"] == "*"
    assert service.killed == {"*": "no reason given"}
    answer = await admin.post("/ofrep/v1/evaluate/flags/team/share", json={})
    assert (answer.json()["value"], answer.json()["metadata"]["killed"]) == (0.0, True)


async def test_the_kill_switch_takes_a_body_whatever_curl_calls_it(
    service: FakeService, admin: httpx.AsyncClient
) -> None:
    content = b'{"environment": "staging", "reason": "errors"}'
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    assert (await admin.post(KILL, content=content, headers=headers)).status_code == 200
    assert service.killed == {"staging": "errors"}


@pytest.mark.parametrize("content", (b"{", b"[]", b'{"enviroment": "staging"}', b'{"environment": ""}'))
async def test_a_kill_with_a_body_that_says_something_else_is_refused(
    service: FakeService, admin: httpx.AsyncClient, content: bytes
) -> None:
    answer = await admin.post(KILL, content=content)
    assert answer.status_code in (400, 422)
    assert answer.json()["message"]
    assert service.killed == {}


async def test_lifting_first_shows_what_would_return(service: FakeService, admin: httpx.AsyncClient) -> None:
    await admin.post(KILL, json={"reason": "errors"})
    shown = await admin.request("DELETE", KILL, json={"reason": "over"})
    assert (shown.json()["lifted"], shown.json()["would_return"]["staging/new-api"]) == (False, 100)
    assert service.killed
    lifted = await admin.request("DELETE", KILL, json={"reason": "over", "confirm": True})
    assert lifted.json()["lifted"] is True
    assert not service.killed


async def test_lifting_needs_a_reason(service: FakeService, admin: httpx.AsyncClient) -> None:
    answer = await admin.request("DELETE", KILL)
    assert (answer.status_code, answer.json()["problems"]) == (422, [{"path": "reason", "message": "is missing"}])
    assert service.lifts == []
