"""flagd's document over HTTP, and documents of flagd taken over."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from flags import FlagDocument
from flags.flagd import encode, export
from orchestrator.api import flagd
from orchestrator.api.flagd import FlagdTexts
from orchestrator.api.tokens import Token, TokenStore
from orchestrator.flag_board import FlagBoard, Standing
from orchestrator.journal.kill_switch import MemoryKillSwitch
from orchestrator.journal.memory import MemoryStore
from orchestrator.ports import FlagRecord, FlagWrite
from tests.orchestrator.api.fake_service import SECRETS, FakeService, app_of, client_of

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


@pytest.mark.parametrize("many", (True, False))
async def test_a_text_is_written_once_for_all_who_ask(
    service: FakeService, monkeypatch: pytest.MonkeyPatch, many: bool
) -> None:
    monkeypatch.setattr(flagd, "MANY_FLAGS", 0 if many else 500)
    texts = FlagdTexts()
    first = await texts.of(service.standing("production"))
    assert await texts.of(service.standing("production")) is first
    service.put(FlagDocument("new-api", percentage=31))
    assert (await texts.of(service.standing("production"))).content != first.content


async def test_only_so_many_environments_are_kept(service: FakeService) -> None:
    texts = FlagdTexts()
    for number in range(1000):
        await texts.of(service.standing(f"e{number}"))
    assert len(texts._known) == flagd.MOST_TEXTS


async def test_a_target_that_flagd_cannot_say_is_told_to_the_operator(
    service: FakeService, capsys: pytest.CaptureFixture[str]
) -> None:
    service.put(FlagDocument("new-api", targets={"user.team": ("a",)}))
    texts = FlagdTexts()
    for _ in range(2):
        await texts.of(service.standing("production"))
    assert capsys.readouterr().out.count("its target by 'user.team' is not sent") == 1


# --- taken over -------------------------------------------------------------------------------------------------------


class Boarded(FakeService):
    """Flags on a real board, in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.board = FlagBoard(MemoryStore(), MemoryKillSwitch())
        self.clock = SimpleNamespace(now=lambda: 5.0)
        self.held: dict[str, str] = {}

    async def flags(self, environment: str | None = None, full_for_seconds: float | None = None) -> list[Json]:
        records = await self.board.all(environment)
        return [{**one.document.to_json(), "run": self.held.get(one.document.key)} for one in records]

    def standing(self, environment: str) -> Standing:
        return self.board.standing(environment)

    async def record(self, key: str, environment: str = "production") -> FlagRecord:
        found = await self.board.get(environment, key)
        assert found is not None
        return found


@pytest.fixture
def boarded() -> Boarded:
    return Boarded()


@pytest.fixture
async def operator(boarded: Boarded) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(app_of(boarded), "operator") as client:
        yield client


def a_file(*documents: FlagDocument) -> Json:
    text: Json = json.loads(export(documents, documents[0].environment))
    return text


async def sent(client: httpx.AsyncClient, text: Json, **query: str) -> httpx.Response:
    return await client.post(IMPORT, json={"flagd": text, "reason": "we move"}, params=query)


async def test_an_export_is_taken_over_whole(boarded: Boarded, operator: httpx.AsyncClient) -> None:
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
        record = await boarded.record(document.key)
        assert replace(record.document, version=document.version) == document
        assert (record.by, record.reason) == ("operator-person", "we move")


async def test_what_is_the_same_is_not_written_again(boarded: Boarded, operator: httpx.AsyncClient) -> None:
    first, second = FlagDocument("a", percentage=1), FlagDocument("b", percentage=2)
    await sent(operator, a_file(first, second))
    version = (await boarded.record("a")).document.version
    boarded.held = {"a": "run-1", "b": "run-2"}
    answer = (await sent(operator, a_file(first, replace(second, percentage=3)))).json()
    assert (answer["written"], answer["unchanged"], answer["runs"]) == (["b"], ["a"], {"b": "run-2"})
    assert (await boarded.record("a")).document.version == version


async def test_it_may_go_into_another_environment(boarded: Boarded, operator: httpx.AsyncClient) -> None:
    answer = await sent(operator, a_file(FlagDocument("a", percentage=1)), environment="staging")
    assert answer.json()["environment"] == "staging"
    assert (await boarded.record("a", "staging")).document.percentage == 1


async def test_what_was_left_behind_is_said(boarded: Boarded, operator: httpx.AsyncClient) -> None:
    flag = {"state": "DISABLED", "variants": {"on": True, "off": False}, "defaultVariant": "off"}
    notes = (await sent(operator, {"flags": {"f": flag}})).json()["notes"]
    assert notes == [
        "flag 'f': it is disabled and answers its default variant, where flagd's clients answered their own default"
    ]


async def test_nothing_is_written_if_one_flag_cannot_be_said(boarded: Boarded, operator: httpx.AsyncClient) -> None:
    text = a_file(FlagDocument("a", percentage=1), FlagDocument("b", percentage=50))
    text["flags"]["b"]["targeting"] = {"fractional": [["off", 50], ["on", 50]]}
    answer = await sent(operator, text)
    assert (answer.status_code, answer.json()["error"]) == (422, "InvalidFlagd")
    assert answer.json()["message"].startswith("flag 'b': targeting.fractional: one other variant first")
    assert await boarded.board.all() == []


async def test_who_writes_first_wins_and_the_import_tries_again(
    boarded: Boarded, operator: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await sent(operator, a_file(FlagDocument("a", percentage=1)))
    get = boarded.board.get
    races = iter([True, False])

    async def raced(environment: str, key: str) -> FlagRecord | None:
        found = await get(environment, key)
        if found is not None and next(races):
            other = replace(found.document, percentage=50.0)
            await boarded.board.write(FlagWrite(other, found.document.version, "ann", "first"), 4.0)
        return found

    monkeypatch.setattr(boarded.board, "get", raced)
    assert (await sent(operator, a_file(FlagDocument("a", percentage=2)))).json()["written"] == ["a"]
    monkeypatch.undo()
    assert (await boarded.record("a")).document.percentage == 2


async def test_others_who_never_stop_are_a_conflict(
    boarded: Boarded, operator: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await sent(operator, a_file(FlagDocument("a", percentage=1)))
    stale = await boarded.record("a")
    await sent(operator, a_file(FlagDocument("a", percentage=2)))

    async def get(environment: str, key: str) -> FlagRecord | None:
        return stale

    monkeypatch.setattr(boarded.board, "get", get)
    answer = await sent(operator, a_file(FlagDocument("a", percentage=3)))
    assert (answer.status_code, answer.json()["error"]) == (409, "Conflict")


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


async def test_a_viewer_and_a_stranger_may_not_import(boarded: Boarded) -> None:
    text = a_file(FlagDocument("a"))
    async with client_of(app_of(boarded), "viewer") as client:
        assert (await sent(client, text)).status_code == 403
    async with client_of(app_of(boarded)) as client:
        assert (await sent(client, text)).status_code == 401
