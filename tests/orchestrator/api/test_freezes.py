import httpx
import pytest

from orchestrator.core.freeze import EVERYWHERE
from tests.orchestrator.api.fake_service import FakeService

FREEZE = "/api/v1/freeze"


async def test_a_freeze_is_set_read_and_lifted(service: FakeService, admin: httpx.AsyncClient) -> None:
    assert (await admin.get(FREEZE)).json() == []
    body = {"environment": "production", "until": "2h", "reason": "quarter end"}
    made = (await admin.post(FREEZE, json=body)).json()
    assert (made["environment"], made["by"], made["reason"]) == ("production", "admin-person", "quarter end")
    assert made["runs"] == list(service.runs)
    assert (await admin.get(FREEZE)).json() == made["frozen"]
    assert "\nstaged_rollout_frozen 1\n" in (await admin.get("/metrics")).text
    ended = await admin.request("DELETE", FREEZE, json={"environment": "production", "reason": "all closed"})
    assert (ended.status_code, ended.json()["frozen"]) == (200, [])
    assert "\nstaged_rollout_frozen 0\n" in (await admin.get("/metrics")).text


async def test_without_an_environment_it_is_all_of_them(admin: httpx.AsyncClient) -> None:
    made = (await admin.post(FREEZE, json={"reason": "incident"})).json()
    assert (made["environment"], made["until"]) == (EVERYWHERE, None)


@pytest.mark.parametrize(
    ("body", "said"),
    (
        ({}, "reason: is missing"),
        ({"reason": " "}, "reason"),
        ({"reason": "x", "until": "soon"}, "a duration such as 2h, or a time such as 2027-01-31T08:00:00Z, not 'soon'"),
        ({"reason": "x", "until": "2027-01-31T08:00:00"}, "which zone?"),
        ({"reason": "x", "environment": ""}, "environment"),
        ({"reason": "x", "env": "production"}, "env: is not known here"),
    ),
)
async def test_a_freeze_that_can_not_be_understood_is_refused(
    admin: httpx.AsyncClient, body: dict[str, object], said: str
) -> None:
    answer = await admin.post(FREEZE, json=body)
    assert answer.status_code == 422
    assert said in answer.json()["message"]
    assert (await admin.get(FREEZE)).json() == []


async def test_lifting_what_is_not_frozen_is_refused(admin: httpx.AsyncClient) -> None:
    answer = await admin.request("DELETE", FREEZE, json={"reason": "why not"})
    assert (answer.status_code, answer.json()["message"]) == (409, "nothing is frozen")
