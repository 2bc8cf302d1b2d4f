"""Two controllers of one store: whichever is asked about a run, the one that acts for it answers."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from urllib.parse import urlencode

import httpx
import pytest
from fastapi import FastAPI

from orchestrator.api.app import create_app
from orchestrator.api.credentials import Credentials
from orchestrator.api.passing import PASSED_BY
from orchestrator.api.tokens import Token, TokenStore
from orchestrator.errors import Temporary
from orchestrator.journal.memory_tokens import MemoryTokens
from orchestrator.ports import Member, Passed, PassedAnswer
from orchestrator.service import Service
from tests.orchestrator.api.browser import fields_of
from tests.orchestrator.api.fake_service import SECRETS, TOKENS, client_of
from tests.orchestrator.house import ANN, QUICK, House, eventually, submission

PAUSE = {"command": "pause", "reason": "look"}
LONG = [{**QUICK["stages"][0], "bake": "1h"}]


@dataclass
class Wires:
    """Between the controllers: what was passed on, by whom to whom."""

    apps: dict[str, FastAPI] = field(default_factory=dict)
    passed: list[tuple[str, Passed]] = field(default_factory=list)
    are_cut: bool = False

    async def ask(self, member: Member, passed: Passed) -> PassedAnswer:
        if self.are_cut:
            raise Temporary(f"the controller {member.name} can't be asked", 2.0)
        self.passed.append((member.name, passed))
        transport = httpx.ASGITransport(app=self.apps[member.name])
        async with httpx.AsyncClient(transport=transport, base_url=member.address) as client:
            reply = await client.request(passed.method, passed.path, headers=passed.headers, content=passed.body)
        return PassedAnswer(
            reply.status_code, {key.lower(): value for key, value in reply.headers.items()}, reply.content
        )


@dataclass
class Two:
    a: Service
    b: Service
    wires: Wires
    run: str  # which a acts for


@pytest.fixture
async def two(house: House) -> AsyncIterator[Two]:
    wires = Wires()
    a, b = [await house.join(name, peers=wires) for name in "ab"]
    wires.apps = {"a": create_app(a, TOKENS, True), "b": create_app(b, TOKENS, True)}
    run, _ = await a.start(submission(stages=LONG), ANN)
    yield Two(a, b, wires, run)
    for one in (a, b):
        await one.close(0)


async def test_a_command_is_passed_on_with_its_token_and_key_and_answered_as_by_the_one_that_acts(two: Two) -> None:
    headers = {"Idempotency-Key": "k1"}
    async with client_of(two.wires.apps["b"], "operator") as client:
        first = await client.post(f"/api/v1/runs/{two.run}/commands", json=PAUSE, headers=headers)
    assert first.status_code == 200, first.text
    assert first.headers["content-type"].startswith("application/json")
    ((to, passed),) = two.wires.passed
    assert (to, passed.headers[PASSED_BY], passed.headers["idempotency-key"]) == ("a", "b", "k1")
    async with client_of(two.wires.apps["a"], "operator") as client:
        second = await client.post(f"/api/v1/runs/{two.run}/commands", json=PAUSE, headers=headers)
    assert second.json() == first.json()
    history = await two.b.history(two.run)
    assert [entry["by"] for entry in history if entry["type"] == "Paused"] == ["operator-person"]


async def test_a_refusal_of_the_one_that_acts_comes_back_as_it_is(two: Two) -> None:
    async with client_of(two.wires.apps["b"], "operator") as client:
        answer = await client.post(f"/api/v1/runs/{two.run}/commands", json={"command": "resume", "reason": "go"})
        assert answer.status_code == 409
        assert answer.json()["error"] == "Refused"
        viewer = await client.post(f"/api/v1/runs/{two.run}/commands", json={"command": "advance", "reason": "go"})
        assert viewer.status_code == 403


async def test_a_plans_name_means_the_same_run_with_every_controller(two: Two) -> None:
    async with client_of(two.wires.apps["b"], "operator") as client:
        answer = await client.post("/api/v1/runs/change/commands", json=PAUSE)
    assert answer.json()["run"] == two.run


async def test_who_lacks_the_role_is_refused_before_anything_is_passed_on(two: Two) -> None:
    async with client_of(two.wires.apps["b"], "viewer") as client:
        assert (await client.post(f"/api/v1/runs/{two.run}/commands", json=PAUSE)).status_code == 403
    assert two.wires.passed == []


async def test_a_run_is_passed_on_once_and_one_that_has_moved_is_asked_for_again(two: Two) -> None:
    async with client_of(two.wires.apps["b"], "operator") as client:
        answer = await client.post(f"/api/v1/runs/{two.run}/commands", json=PAUSE, headers={PASSED_BY: "c"})
    assert (answer.status_code, two.wires.passed) == (503, [])
    assert answer.headers["retry-after"] == "2"
    assert "has moved to the controller a" in answer.json()["message"]


async def test_while_the_one_that_acts_cannot_be_asked_it_says_so_and_when_to_come_again(two: Two) -> None:
    two.wires.are_cut = True
    async with client_of(two.wires.apps["b"], "operator") as client:
        answer = await client.post(f"/api/v1/runs/{two.run}/commands", json=PAUSE)
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "2"
    assert "controller a can't be asked" in answer.json()["message"]


async def test_a_token_that_only_one_of_them_knows_is_told_apart_from_one_that_nobody_knows(two: Two) -> None:
    own = TOKENS.plus(Token.of("b-alone", "ann", "admin"))
    async with client_of(create_app(two.b, own, True)) as client:
        headers = {"Authorization": "Bearer b-alone"}
        answer = await client.post(f"/api/v1/runs/{two.run}/commands", json=PAUSE, headers=headers)
    assert answer.status_code == 401
    assert "same --token-file" in answer.json()["message"]


async def test_what_a_page_asks_in_a_session_is_passed_on_with_the_session(two: Two) -> None:
    kept = MemoryTokens()
    two.wires.apps = {
        name: create_app(service, Credentials(TOKENS, kept), True) for name, service in (("a", two.a), ("b", two.b))
    }
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app=two.wires.apps["b"]),
        base_url="https://rollout.example.org",  # a proxy's, while the controllers speak plain HTTP with each other
    ) as client:
        form = fields_of((await client.get("/sign-in")).text)
        sent = urlencode({**form, "token": SECRETS["operator"]})
        await client.post("/sign-in", content=sent, headers={"Content-Type": "application/x-www-form-urlencoded"})
        csrf = (await client.get("/api/v1/me")).json()["csrf"]
        path, headers = f"/api/v1/runs/{two.run}/commands", {"X-CSRF-Token": csrf}
        assert (await client.post(path, json=PAUSE)).status_code == 403
        assert two.wires.passed == []
        answer = await client.post(path, json=PAUSE, headers=headers)
    assert answer.status_code == 200, answer.text
    assert [to for to, _ in two.wires.passed] == ["a"]
    history = await two.b.history(two.run)
    assert [entry["by"] for entry in history if entry["type"] == "Paused"] == ["operator-person"]


async def test_reading_is_done_by_whoever_is_asked(two: Two) -> None:
    async with client_of(two.wires.apps["b"], "viewer") as client:
        shown = (await client.get(f"/api/v1/runs/{two.run}")).json()
        events = (await client.get(f"/api/v1/runs/{two.run}/events")).json()
    assert shown["controller"] == "a"
    assert events[0]["type"] == "RunStarted"
    assert two.wires.passed == []


async def test_each_says_which_controller_it_is_and_how_many_there_are(two: Two) -> None:
    async with client_of(two.wires.apps["b"]) as client:
        assert (await client.get("/readyz")).json() == {"status": "ready", "controller": "b", "controllers": 2}


async def test_a_controller_alone_on_its_store_says_nothing_of_others(house: House) -> None:
    service = await house.move_in()
    async with client_of(create_app(service, TokenStore(), True)) as client:
        assert (await client.get("/readyz")).json() == {"status": "ready"}


async def test_the_run_goes_on_while_commands_come_from_everywhere(two: Two) -> None:
    async with client_of(two.wires.apps["b"], "admin") as client:
        for wish in (PAUSE, {"command": "resume", "reason": "go"}, {"command": "rollback", "reason": "no"}):
            assert (await client.post(f"/api/v1/runs/{two.run}/commands", json=wish)).status_code == 200
    await eventually(two.b, two.run, outcome="rolled_back")
