from collections.abc import AsyncIterator
from typing import Any

import pytest

from orchestrator.adapters.http import HttpPerformer
from orchestrator.adapters.http_client import MAX_BODY_BYTES, HttpClient
from orchestrator.adapters.secrets import Secrets
from orchestrator.core.effect import Effect, EffectState
from orchestrator.errors import Permanent
from orchestrator.ports import Scene
from stages.checks import HttpRequest
from stages.effects import CallHttp, ObserveFlag, TargetKind
from tests.support.http_server import Behaviour, ScriptedServer, answer, dead_url, hang, reset

SCENE = Scene("r1", "production", epoch=7)
DONE, REFUSED, TEMPORARY, UNKNOWN = EffectState.DONE, EffectState.REFUSED, EffectState.TEMPORARY, EffectState.UNKNOWN


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    async with ScriptedServer() as server:
        yield server


@pytest.fixture
def performer() -> HttpPerformer:
    return HttpPerformer(HttpClient(Secrets(environ={"TOKEN": "t0ken-value"})))


def effect(url: str, *, idempotent: bool = False, **request: Any) -> Effect:
    asked = HttpRequest.model_validate({"url": url, "method": "POST", "timeout": 5.0, **request})
    return Effect(
        id="r1-e7",
        target="http:production/cache/clear",
        target_kind=TargetKind.HTTP,
        label="clear the cache",
        operation=CallHttp(request=asked, idempotent=idempotent),
        environment="production",
    )


async def test_an_expected_status_is_done_and_the_effects_id_travelled_along(
    performer: HttpPerformer, server: ScriptedServer
) -> None:
    asked = effect(f"{server.url}/clear", json={"all": True}, bearer={"env": "TOKEN"})

    outcome = await performer.perform(asked, SCENE, resumed=False)

    assert (outcome.state, outcome.observed) == (DONE, {"ran": "r1-e7"})
    (got,) = server.requests
    assert (got.method, got.target, got.body) == ("POST", "/clear", b'{"all":true}')
    assert got.headers["idempotency-key"] == "r1-e7"
    assert got.headers["x-rollout-run"] == "r1"
    assert got.headers["x-rollout-epoch"] == "7"
    assert got.headers["authorization"] == "Bearer t0ken-value"


@pytest.mark.parametrize(
    ("status", "once", "idempotent"),
    (
        (200, DONE, DONE),
        (204, DONE, DONE),
        (302, REFUSED, REFUSED),
        (400, REFUSED, REFUSED),
        (409, REFUSED, REFUSED),
        (429, TEMPORARY, TEMPORARY),
        (500, UNKNOWN, TEMPORARY),
        (503, UNKNOWN, TEMPORARY),
    ),
)
async def test_the_status_tells_what_became_of_it(
    performer: HttpPerformer, server: ScriptedServer, status: int, once: EffectState, idempotent: EffectState
) -> None:
    server.behave(answer("" if status == 204 else "so it is", status))

    first = await performer.perform(effect(server.url), SCENE, resumed=False)
    second = await performer.perform(effect(server.url, idempotent=True), SCENE, resumed=False)

    assert (first.state, second.state) == (once, idempotent)
    assert str(status) in first.detail


async def test_a_success_that_is_not_the_expected_one_may_have_done_something(
    performer: HttpPerformer, server: ScriptedServer
) -> None:
    server.behave(answer("queued", 202))

    outcome = await performer.perform(effect(server.url, status=200), SCENE, resumed=False)
    repeatable = await performer.perform(effect(server.url, status=200, idempotent=True), SCENE, resumed=False)
    expected = await performer.perform(effect(server.url, status=[200, 202]), SCENE, resumed=False)

    assert (outcome.state, repeatable.state, expected.state) == (UNKNOWN, REFUSED, DONE)
    assert "not the expected status" in outcome.detail


@pytest.mark.parametrize("behaviour", (hang, reset, answer("half", length=100)))
async def test_without_a_whole_answer_it_may_have_been_carried_out(
    performer: HttpPerformer, server: ScriptedServer, behaviour: Behaviour
) -> None:
    server.behave(behaviour)

    once = await performer.perform(effect(server.url, timeout=0.3), SCENE, resumed=False)
    again = await performer.perform(effect(server.url, timeout=0.3, idempotent=True), SCENE, resumed=False)

    assert (once.state, again.state) == (UNKNOWN, TEMPORARY)
    assert "may have been carried out" in once.detail


@pytest.mark.parametrize("url", ("", "http://no-such-host.invalid/"))
async def test_what_never_left_may_be_tried_again(performer: HttpPerformer, url: str) -> None:
    outcome = await performer.perform(effect(url or dead_url()), SCENE, resumed=False)

    assert outcome.state is TEMPORARY
    assert "nothing was sent" in outcome.detail


@pytest.mark.parametrize(
    "behaviour", (answer(b"x" * (MAX_BODY_BYTES + 1)), answer("packed", headers={"Content-Encoding": "br"}))
)
async def test_an_answer_that_cannot_be_read_may_have_been_carried_out(
    performer: HttpPerformer, server: ScriptedServer, behaviour: Behaviour
) -> None:
    server.behave(behaviour)

    once = await performer.perform(effect(server.url), SCENE, resumed=False)
    again = await performer.perform(effect(server.url, idempotent=True), SCENE, resumed=False)

    assert (once.state, again.state) == (UNKNOWN, REFUSED)


async def test_the_server_says_when_to_come_again(performer: HttpPerformer, server: ScriptedServer) -> None:
    server.behave(answer("busy", 429, {"Retry-After": "7"}))

    outcome = await performer.perform(effect(server.url), SCENE, resumed=False)

    assert outcome.retry_after_seconds == 7.0


async def test_resumed_only_an_idempotent_one_is_sent(performer: HttpPerformer, server: ScriptedServer) -> None:
    once = await performer.perform(effect(server.url), SCENE, resumed=True)
    sent_by_then = len(server.requests)
    again = await performer.perform(effect(server.url, idempotent=True), SCENE, resumed=True)

    assert (once.state, sent_by_then) == (UNKNOWN, 0)
    assert (again.state, len(server.requests)) == (DONE, 1)


@pytest.mark.parametrize(
    "wrong", ({"url": "ftp://x/"}, {"url": "http://169.254.169.254/"}, {"bearer": {"env": "MISSING"}})
)
async def test_what_cannot_be_sent_is_refused(
    performer: HttpPerformer, server: ScriptedServer, wrong: dict[str, Any]
) -> None:
    outcome = await performer.perform(effect(**{"url": server.url, **wrong}), SCENE, resumed=False)

    assert outcome.state is REFUSED
    assert server.requests == []


async def test_a_secret_that_the_server_repeats_is_not_shown(performer: HttpPerformer, server: ScriptedServer) -> None:
    server.behave(answer("bad token t0ken-value", 401))

    outcome = await performer.perform(effect(server.url, bearer={"env": "TOKEN"}), SCENE, resumed=False)

    assert outcome.detail.endswith("401: bad token ***")


async def test_a_call_has_nothing_to_observe(performer: HttpPerformer) -> None:
    with pytest.raises(Permanent, match="nothing that can be seen"):
        await performer.observe(ObserveFlag(environment="production", key="a"), SCENE)
