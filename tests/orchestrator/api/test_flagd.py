"""flagd's document over HTTP, and documents of flagd taken over."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from flags import FlagDocument
from flags.flagd import encode, export
from orchestrator.api.tokens import Token, TokenStore
from orchestrator.core.commands import Actor
from orchestrator.ports import FlagRecord
from orchestrator.service import Service
from tests.orchestrator.api.fake_service import SECRETS, FakeService, app_of, client_of
from tests.orchestrator.house import House, submission

FLAGS = "/flagd/v1/flags.json"
IMPORT = "/api/v1/flags/import"
Json = dict[str, Any]

# --- served -----------------------------------------------------------------------------------------------------------


async def test_the_document_is_that_of_the_environment(service: FakeService, stranger: httpx.AsyncClient) -> None:
    answer = await stranger.get(FLAGS)
    standing = service.standing("production")
    assert answer.content == encode(standing.snapshot, standing.feed.version)
    assert answer.headers["Content-Type"] == "application/json"
    assert (await stranger.get(FLAGS, params={"environment": "staging"})).json()["flags"].keys() == {"new-api"}
    header = {"X-Rollout-Environment": "staging"}
    assert (await stranger.get(FLAGS, headers=header)).json()["metadata"]["flagSetId"] == "staging"


async def test_a_document_that_is_known_is_not_sent_again(service: FakeService, stranger: httpx.AsyncClient) -> None:
    first = await stranger.get(FLAGS)
    assert first.headers["Cache-Control"] == "no-cache"
    tag = first.headers["ETag"]
    for known in (tag, f'"other", W/{tag}', "*"):
        again = await stranger.get(FLAGS, headers={"If-None-Match": known})
        assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", tag)
    service.put(FlagDocument("new-api", percentage=31))
    changed = await stranger.get(FLAGS, headers={"If-None-Match": tag})
    assert changed.status_code == 200
    assert changed.headers["ETag"] != tag


async def test_the_kill_switch_is_in_the_document_at_once(service: FakeService, admin: httpx.AsyncClient) -> None:
    assert "targeting" in (await admin.get(FLAGS)).json()["flags"]["new-api"]
    await admin.post("/feature-flags/disable-all")
    flag = (await admin.get(FLAGS)).json()["flags"]["new-api"]
    assert (flag["state"], flag["defaultVariant"], flag["metadata"]) == ("ENABLED", "off", {"rate": 5, "killed": True})
    assert "targeting" not in flag


async def test_beyond_loopback_a_token_is_needed_and_may_name_the_environment(
    service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with client_of(app_of(service, loopback=False)) as client:
        assert (await client.get(FLAGS)).status_code == 401
        bearer = {"Authorization": f"Bearer {SECRETS['viewer']}"}
        assert (await client.get(FLAGS, headers=bearer)).json()["metadata"]["flagSetId"] == "production"
    token = Token.of("secret", "app", "viewer").model_copy(update={"environment": "staging"})
    monkeypatch.setattr("tests.orchestrator.api.fake_service.TOKENS", TokenStore([token]))
    async with client_of(app_of(service, loopback=False)) as client:
        bearer = {"Authorization": "Bearer secret"}
        assert (await client.get(FLAGS, headers=bearer)).json()["metadata"]["flagSetId"] == "staging"


async def test_a_target_that_flagd_cannot_say_is_told_to_the_operator(
    service: FakeService, stranger: httpx.AsyncClient, capsys: pytest.CaptureFixture[str]
) -> None:
    service.put(FlagDocument("new-api", targets={"user.team": ("a",)}))
    for _ in range(2):
        await stranger.get(FLAGS)
    assert capsys.readouterr().out.count("its target by 'user.team' is not sent") == 1


# --- taken over -------------------------------------------------------------------------------------------------------


@pytest.fixture
async def boarded(house: House) -> Service:
    """A whole service, with its flags in memory."""
    return await house.move_in()


@pytest.fixture
async def operator(boarded: Service) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(app_of(boarded), "operator") as client:
        yield client


async def record_of(service: Service, key: str, environment: str = "production") -> FlagRecord:
    found = await service.board.get(environment, key)
    assert found is not None
    return found


def a_file(*documents: FlagDocument) -> Json:
    text: Json = json.loads(export(documents, documents[0].environment))
    return text


async def sent(client: httpx.AsyncClient, text: Json, **query: str) -> httpx.Response:
    return await client.post(IMPORT, json={"flagd": text, "reason": "we move"}, params=query)


async def test_an_export_is_taken_over_whole(boarded: Service, operator: httpx.AsyncClient) -> None:
    documents = (
        FlagDocument("new-api", percentage=30, permanent=True, profiles={"p": {"rate": 1.0}}, profile="p"),
        FlagDocument("share", variants={"a": 1.0, "b": 2.0}, default_variant="a", on_variant="b", percentage=100),
    )
    answer = await sent(operator, a_file(*documents))
    assert answer.json() == {
        "environment": "production",
        "written": ["new-api", "share"],
        "unchanged": [],
        "runs": {},
        "notes": [],
    }
    for document in documents:
        record = await record_of(boarded, document.key)
        assert replace(record.document, version=document.version) == document
        assert (record.by, record.reason) == ("operator-person", "we move")


async def test_what_is_the_same_is_not_written_again(boarded: Service, operator: httpx.AsyncClient) -> None:
    first, second = FlagDocument("a", percentage=1), FlagDocument("b", percentage=2)
    await sent(operator, a_file(first, second))
    version = (await record_of(boarded, "a")).document.version
    run, _ = await boarded.start(submission(flag="b"), Actor("ann", "admin"))
    answer = (await sent(operator, a_file(first, replace(second, percentage=3)))).json()
    assert (answer["written"], answer["unchanged"], answer["runs"]) == (["b"], ["a"], {"b": run})
    assert (await record_of(boarded, "a")).document.version == version


async def test_it_may_go_into_another_environment(boarded: Service, operator: httpx.AsyncClient) -> None:
    answer = await sent(operator, a_file(FlagDocument("a", percentage=1)), environment="staging")
    assert answer.json()["environment"] == "staging"
    assert (await record_of(boarded, "a", "staging")).document.percentage == 1


async def test_what_was_left_behind_is_said(boarded: Service, operator: httpx.AsyncClient) -> None:
    flag = {"state": "DISABLED", "variants": {"on": True, "off": False}, "defaultVariant": "off"}
    notes = (await sent(operator, {"flags": {"f": flag}})).json()["notes"]
    assert notes == [
        "flag 'f': it is disabled and answers its default variant, where flagd's clients answered their own default"
    ]


async def test_nothing_is_written_if_one_flag_cannot_be_said(boarded: Service, operator: httpx.AsyncClient) -> None:
    text = a_file(FlagDocument("a", percentage=1), FlagDocument("b", percentage=50))
    text["flags"]["b"]["targeting"] = {"fractional": [["off", 50], ["on", 50]]}
    answer = await sent(operator, text)
    assert (answer.status_code, answer.json()["error"]) == (422, "InvalidFlagd")
    assert answer.json()["message"].startswith("flag 'b': targeting.fractional: one other variant first")
    assert await boarded.board.all() == []


@pytest.mark.parametrize(
    ("body", "status", "sentence"),
    (
        ({"flagd": {"flags": {}}}, 422, "reason"),
        ({"flagd": [], "reason": "x"}, 422, "flagd"),
        ({"flagd": {}, "reason": "x"}, 422, "flags: an object of flags by their keys is expected"),
        ({"flagd": {"flags": {}}, "reason": "x", "more": 1}, 422, "more"),
    ),
)
async def test_a_body_that_is_none_is_refused(
    operator: httpx.AsyncClient, body: Json, status: int, sentence: str
) -> None:
    answer = await operator.post(IMPORT, json=body)
    assert answer.status_code == status
    assert sentence in answer.json()["message"]


async def test_a_viewer_and_a_stranger_may_not_import(boarded: Service) -> None:
    text = a_file(FlagDocument("a"))
    async with client_of(app_of(boarded), "viewer") as client:
        assert (await sent(client, text)).status_code == 403
    async with client_of(app_of(boarded)) as client:
        assert (await sent(client, text)).status_code == 401
