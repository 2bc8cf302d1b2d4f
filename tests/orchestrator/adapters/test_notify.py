import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from orchestrator.adapters.http_client import HttpClient
from orchestrator.adapters.notify import LIMIT_SECONDS, ChannelMessenger
from orchestrator.adapters.secrets import Secrets
from orchestrator.core.effect import Notice, NoticeSeverity
from orchestrator.errors import Permanent, Temporary
from orchestrator.ports import Scene
from orchestrator.signing import Checker, Signer
from stages.notify import Channel, Heartbeat
from tests.support.http_server import ScriptedServer, answer, dead_url, hang

SCENE = Scene("r1", "production", head="12:" + 64 * "a")
NOTICE = Notice(
    key="hold-3", channel="dev-team", severity=NoticeSeverity.HIGH, title="Held", text="The gate is inconclusive."
)


class StandingClock:
    def now(self) -> float:
        return 1_800_000_000.25

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing here sleeps")


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    async with ScriptedServer() as server:
        yield server


def messenger(**environ: str) -> ChannelMessenger:
    return ChannelMessenger(HttpClient(Secrets(environ=environ)), StandingClock())


def channel(**webhook: Any) -> Channel:
    return Channel.model_validate({"webhook": webhook})


async def test_a_notice_arrives_whole_under_its_key(server: ScriptedServer) -> None:
    secret_url = f"{server.url}/hook/s3cret-path"
    to = channel(url={"env": "HOOK"}, headers={"X-Token": {"env": "TOKEN"}})

    await messenger(HOOK=secret_url, TOKEN="t0ken").deliver(NOTICE, to, SCENE)

    (got,) = server.requests
    assert (got.method, got.target) == ("POST", "/hook/s3cret-path")
    assert got.headers["idempotency-key"] == "r1/hold-3"
    assert got.headers["x-token"] == "t0ken"
    assert got.headers["content-type"] == "application/json"
    assert json.loads(got.body) == {
        "title": "Held",
        "text": "The gate is inconclusive.",
        "severity": "high",
        "run": "r1",
        "key": "hold-3",
        "head": "12:" + 64 * "a",
        "at": "2027-01-15T08:00:00.250+00:00",
    }


async def test_a_receiver_with_the_secret_can_tell_who_sent_what_and_when(server: ScriptedServer) -> None:
    to = channel(url=server.url, secret={"env": "KEY"})
    await messenger(KEY="k3y-of-the-hook").deliver(NOTICE, to, SCENE)

    (got,) = server.requests
    fields = dict(part.split("=", 1) for part in got.headers["x-rollout-signature"].split(","))
    signed = fields["t"].encode() + b"." + got.body
    assert hmac.compare_digest(hmac.new(b"k3y-of-the-hook", signed, hashlib.sha256).hexdigest(), fields["v1"])
    assert fields["t"] == "1800000000"


async def test_a_link_to_the_run_goes_along_where_its_address_is_known(server: ScriptedServer) -> None:
    sender = ChannelMessenger(HttpClient(Secrets(environ={})), StandingClock(), None, "https://rollout.example/")
    await sender.deliver(NOTICE, channel(url=server.url), SCENE)
    assert json.loads(server.requests[-1].body)["link"] == "https://rollout.example/runs/r1"


async def test_a_sign_of_life_says_of_which_run_and_the_last_one_goes_where_the_plan_says(
    server: ScriptedServer,
) -> None:
    heartbeat = Heartbeat.model_validate(
        {"url": {"env": "BEAT"}, "ended": f"{server.url}/pause", "headers": {"X-Api-Key": {"env": "KEY"}}}
    )
    sender = messenger(BEAT=f"{server.url}/beat", KEY="k3y-of-the-check")
    await sender.beat(heartbeat, SCENE, ended=False)
    await sender.beat(heartbeat, SCENE, ended=True)
    assert [one.target for one in server.requests] == ["/beat", "/pause"]
    assert [json.loads(one.body)["state"] for one in server.requests] == ["looked_at", "ended"]
    assert server.requests[-1].headers["x-api-key"] == "k3y-of-the-check"


async def test_the_head_is_signed_where_there_is_a_key(server: ScriptedServer) -> None:
    key = Ed25519PrivateKey.generate()
    sender = ChannelMessenger(HttpClient(Secrets(environ={})), StandingClock(), Signer(key))
    await sender.deliver(NOTICE, channel(url=server.url), SCENE)
    told = json.loads(server.requests[-1].body)
    assert Checker(key.public_key()).is_signed(told["run"], told["head"], told["signature"])


async def test_a_secret_in_a_message_is_taken_out(server: ScriptedServer) -> None:
    to = channel(url=server.url, headers={"X-Token": {"env": "TOKEN"}})
    sender = messenger(TOKEN="t0ken-value")
    await sender.deliver(NOTICE, to, SCENE)  # from now on the secret is known as one

    await sender.deliver(NOTICE.model_copy(update={"text": "said t0ken-value"}), to, SCENE)

    assert json.loads(server.requests[-1].body)["text"] == "said ***"


@pytest.mark.parametrize(
    ("status", "kind"), ((429, Temporary), (500, Temporary), (503, Temporary), (302, Permanent), (404, Permanent))
)
async def test_a_status_says_whether_it_may_work_later(
    server: ScriptedServer, status: int, kind: type[Exception]
) -> None:
    server.behave(answer("not now", status, {"Retry-After": "9"}))

    with pytest.raises(kind, match=f"dev-team .* {status}: not now") as caught:
        await messenger().deliver(NOTICE, channel(url=f"{server.url}/s3cret"), SCENE)

    assert "s3cret" not in str(caught.value)
    if isinstance(caught.value, Temporary):
        assert caught.value.retry_after_seconds == 9.0


async def test_nobody_there_is_temporary() -> None:
    with pytest.raises(Temporary):
        await messenger().deliver(NOTICE, channel(url=dead_url()), SCENE)


@pytest.mark.slow
async def test_a_hanging_endpoint_is_given_up_within_the_limit(server: ScriptedServer) -> None:
    server.behave(hang)

    with pytest.raises(Temporary, match=f"within {LIMIT_SECONDS:g} s"):
        await messenger().deliver(NOTICE, channel(url=server.url), SCENE)


async def test_a_missing_secret_is_named() -> None:
    with pytest.raises(Permanent, match="HOOK"):
        await messenger().deliver(NOTICE, channel(url={"env": "HOOK"}), SCENE)
