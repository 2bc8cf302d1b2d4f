"""Who is told, and when: forty virtual minutes of an escalation that arrive at real receivers, and its end."""

import asyncio
import hashlib
import hmac
import json
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from orchestrator.adapters.http_client import HttpClient
from orchestrator.adapters.notify import ChannelMessenger
from orchestrator.adapters.secrets import Secrets
from orchestrator.allowance import Trust, acting_for
from orchestrator.core.commands import Command
from orchestrator.core.effect import Notice
from orchestrator.ports import Scene
from orchestrator.rehearse.loop import START, VirtualLoop, run_in
from orchestrator.rehearse.world import VirtualClock
from stages.notify import Channel
from tests.orchestrator.house import ANN, House, submission
from tests.support.http_server import Received, ScriptedServer, answer
from tests.support.process import DEADLINE_SECONDS
from tests.support.receivers import Receivers

HOUR = 3600.0
KEY = "what the audit's webhook is signed with"
SPIKE = {
    "name": "failure spike", "by_hand": True, "then": "hold", "severity": "critical", "runbook": "https://wiki/spike",
}  # fmt: skip


@contextmanager
def real_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """One in a thread of its own, whose time passes."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@dataclass(slots=True)
class Standing:
    """The virtual time at which the world outside was entered."""

    at: float = 0.0

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


@dataclass(slots=True)
class Bridge:
    """Virtual time stands still while a message makes its way, by the real messenger, through real connections."""

    loop: asyncio.AbstractEventLoop
    receivers: Receivers
    audit: ScriptedServer
    clock: Standing = field(default_factory=Standing)
    arrived: list[tuple[int, str]] = field(default_factory=list)  # minute, where
    sender: ChannelMessenger | None = None

    def outside(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(DEADLINE_SECONDS)

    async def deliver(self, notice: Notice, channel: Channel, scene: Scene) -> None:
        self.clock.at = START + asyncio.get_running_loop().time()
        before = self._counts()
        self.outside(self._send(notice, channel, scene))
        minute = round(asyncio.get_running_loop().time() / 60)
        self.arrived += [
            (minute, where) for where, count in self._counts().items() for _ in range(count - before[where])
        ]

    async def _send(self, notice: Notice, channel: Channel, scene: Scene) -> None:
        if self.sender is None:
            secrets = Secrets(environ=ENVIRON)
            sender = self.receivers.sender(secrets)
            self.sender = ChannelMessenger(HttpClient(secrets), self.clock, None, "https://rollout.example", sender)
        with acting_for(Trust.OWNER):
            await self.sender.deliver(notice, channel, scene)

    def _counts(self) -> dict[str, int]:
        return {
            "slack": len(self.receivers.calls_of("hooks.slack.com")),
            "pagerduty": len(self.receivers.calls_of("events.pagerduty.com")),
            "mail": len(self.receivers.mails),
            "webhook": len(self.audit.requests),
        }


ENVIRON = {"SLACK": "https://hooks.slack.com/services/T00000000/B00000000/XXXXXXXX", "PD": "p" * 32, "KEY": KEY}


def _notify(receivers: Receivers, audit: ScriptedServer) -> dict[str, Any]:
    mail = {
        "server": "127.0.0.1", "port": receivers.smtp_port, "security": "none",
        "from": "rollout@example.org", "to": ["boss@example.org"],
    }  # fmt: skip
    return {
        "channels": {
            "dev-team": {"slack": {"url": {"env": "SLACK"}}},
            "ops-team": {"pagerduty": {"routing_key": {"env": "PD"}}},
            "management": {"email": mail},
            "audit": {"webhook": {"url": audit.url, "secret": {"env": "KEY"}}},
        },
        "escalation": [
            {"after": "0m", "channels": ["dev-team", "audit"]},
            {"after": "15m", "channels": ["dev-team", "ops-team"]},
            {"after": "30m", "channels": ["ops-team", "management"], "repeat": "10m"},
        ],
    }


async def _night(bridge: Bridge) -> tuple[dict[str, Any], dict[str, Any], str]:
    """Fired at once, acknowledged after 41 minutes, gone on with an hour later: status before and after the
    acknowledgement, and the phase at the end of that hour."""
    house = House(VirtualClock())
    house.messenger = bridge
    service = await house.move_in()
    notify = _notify(bridge.receivers, bridge.audit)
    run, _ = await service.start(submission(triggers=[SPIKE], notify=notify), ANN)
    await asyncio.sleep(1.0)
    await service.command(
        run, Command.model_validate({"command": "fire", "trigger": "failure spike", "reason": "night"}), ANN
    )
    await asyncio.sleep(41 * 60)
    before = await service.status(run)
    await service.command(run, Command.model_validate({"command": "ack", "reason": "I look"}), ANN)
    await asyncio.sleep(60)
    after = await service.status(run)
    await asyncio.sleep(HOUR)
    phase = str((await service.status(run))["phase"])
    await service.command(run, Command.model_validate({"command": "resume", "reason": "the spike is over"}), ANN)
    await asyncio.sleep(60)
    await service.close()
    return before, after, phase


def test_an_escalation_of_forty_minutes_arrives_in_order_and_ends_with_the_acknowledgement() -> None:
    with real_loop() as loop:
        receivers, audit = Receivers(), ScriptedServer()
        bridge = Bridge(loop, receivers, audit)
        bridge.outside(receivers.__aenter__())
        bridge.outside(audit.__aenter__())
        receivers.https.behave(_slack_or_pagerduty)
        try:
            before, after, phase = run_in(VirtualLoop(horizon_seconds=3 * HOUR), lambda: _night(bridge))
        finally:
            bridge.outside(audit.__aexit__())
            bridge.outside(receivers.__aexit__())

    assert sorted(bridge.arrived) == [
        (0, "slack"), (0, "webhook"),
        (15, "pagerduty"), (15, "slack"),
        (30, "mail"), (30, "pagerduty"),
        (40, "mail"), (40, "pagerduty"),
        (41, "mail"), (41, "slack"), (41, "webhook"),
        (102, "pagerduty"),
    ]  # fmt: skip
    _assert_heard(receivers, audit)
    (escalation,) = before["notifications"]["escalations"]
    assert (escalation["acknowledged_by"], escalation["next"]["channels"]) == (None, ["ops-team", "management"])
    (escalation,) = after["notifications"]["escalations"]
    assert escalation["acknowledged_by"] == "ann"
    assert phase == "running", "an acknowledgement ends the escalation and not the hold"


async def _slack_or_pagerduty(received: Received, writer: asyncio.StreamWriter) -> None:
    is_slack = received.headers["host"] == "hooks.slack.com"
    await (answer("ok") if is_slack else answer('{"status": "success"}', 202))(received, writer)


def _assert_heard(receivers: Receivers, audit: ScriptedServer) -> None:
    incidents = [json.loads(one.body) for one in receivers.calls_of("events.pagerduty.com")]
    assert len({one["dedup_key"] for one in incidents}) == 1, "what repeats is one incident"
    assert [one["event_action"] for one in incidents] == ["trigger"] * 3 + ["resolve"], "it ends with the hold"
    assert "https://wiki/spike" in incidents[0]["payload"]["summary"]
    assert incidents[0]["payload"]["severity"] == "critical"
    assert "acknowledged by ann" in str(receivers.mails[-1].message["subject"])
    for got in audit.requests:
        fields = dict(part.split("=", 1) for part in got.headers["x-rollout-signature"].split(","))
        signed = fields["t"].encode() + b"." + got.body
        assert hmac.compare_digest(hmac.new(KEY.encode(), signed, hashlib.sha256).hexdigest(), fields["v1"])
    sent = [
        int(dict(p.split("=") for p in got.headers["x-rollout-signature"].split(","))["t"]) for got in audit.requests
    ]
    assert [round((one - START) / 60) for one in sent] == [0, 41]
