"""Scheduled checks over HTTP."""

from typing import Any

import httpx

from stages.load_schedule import load_schedule
from tests.orchestrator.api.fake_service import FakeService, app_of, client_of
from tests.orchestrator.scheduled import NIGHTLY

TEXT = """
apiVersion: stagedrollout.io/v1alpha1
kind: ScheduledChecks
metadata: {name: ops}
spec:
  rounds: [{name: morning, at: "09:00", checks: [{name: disk, command: [./disk.sh, "$$HOME"]}]}]
"""
PATH = "/api/v1/schedules"


def body(text: str = TEXT, **more: Any) -> dict[str, Any]:
    loaded = load_schedule(text, "ops.yaml", {}, read_file=lambda _: b"#!/bin/sh\n")
    return {"digest": loaded.digest, "document": loaded.raw, "files": dict(loaded.plan.files), **more}


async def test_a_document_is_scheduled_and_the_very_same_one_changes_nothing(admin: httpx.AsyncClient) -> None:
    first = await admin.post(PATH, json=body(reason="from now on"))
    assert (first.status_code, first.json()) == (201, {"name": "ops", "scheduled": True})
    again = await admin.post(PATH, json=body())
    assert (again.status_code, again.json()["scheduled"]) == (200, False)
    found = (await admin.get(PATH)).json()[1]
    assert (found["name"], found["by"], found["timezone"]) == ("ops", "admin-person", "UTC")
    assert found["rounds"][0]["last"] is None
    assert found["rounds"][0]["next"].endswith("T09:00:00.000Z")
    assert (await admin.get(f"{PATH}/ops")).json()["turns"] == []


async def test_only_the_owner_of_a_controller_names_a_folder_of_it(service: FakeService) -> None:
    async with client_of(app_of(service), "operator") as client:
        assert (await client.post(PATH, json=body(directory="/etc"))).status_code == 201
    kept = (await service.kept.schedules())[1]
    assert (kept.directory, kept.is_owners, kept.by) == (None, False, "operator-person")
    assert kept.raw["spec"]["rounds"][0]["checks"][0]["command"] == ["./disk.sh", "$HOME"]


async def test_what_is_not_valid_is_refused_at_its_place_and_keeps_nothing(
    service: FakeService, admin: httpx.AsyncClient
) -> None:
    wrong = body()
    wrong["document"]["spec"]["rounds"][0]["at"] = "soon"
    answer = await admin.post(PATH, json=wrong)
    assert answer.status_code == 422
    assert "spec.rounds[0].at" in str(answer.json()["problems"])
    other = await admin.post(PATH, json={**body(), "digest": "0" * 64})
    assert (other.status_code, "digest" in other.json()["message"]) == (422, True)
    missing = await admin.post(PATH, json={**body(), "files": {}})
    assert missing.status_code == 422
    assert await service.kept.schedules() == [NIGHTLY]


async def test_one_that_is_ended_is_gone_and_an_unknown_one_says_which_there_are(admin: httpx.AsyncClient) -> None:
    await admin.post(PATH, json=body())
    unknown = await admin.request("DELETE", f"{PATH}/opps", json={"reason": "x"})
    assert (unknown.status_code, unknown.json()["message"]) == (
        404,
        "there are no scheduled checks opps; there are nightly, ops",
    )
    ended = await admin.request("DELETE", f"{PATH}/ops", json={"reason": "over"})
    assert (ended.status_code, ended.json()) == (200, {"name": "ops", "ended": True})
    assert [one["name"] for one in (await admin.get(PATH)).json()] == ["nightly"]
    assert (await admin.get(f"{PATH}/ops")).status_code == 404
