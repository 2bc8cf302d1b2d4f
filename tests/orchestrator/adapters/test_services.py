"""Messages through apprise, to real receivers: each is what apprise itself connected and sent."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from orchestrator.adapters.apprise_child import Guard
from orchestrator.adapters.http_client import HttpClient
from orchestrator.adapters.notify import ChannelMessenger
from orchestrator.adapters.secrets import Secrets
from orchestrator.allowance import Allowance, Trust, acting_for
from orchestrator.core.effect import Notice, NoticeSeverity
from orchestrator.errors import Permanent, Temporary
from orchestrator.ports import Scene
from stages.notify import Channel
from tests.orchestrator.adapters.test_notify import StandingClock
from tests.support.http_server import Behaviour, ScriptedServer, answer, dead_url, hang, talk_for_ever
from tests.support.receivers import FLOW, Receivers

SCENE = Scene("change-1", "production", head="12:" + 64 * "a")
NOTICE = Notice(
    key="hold:approval/x/1.000+900@ops",
    channel="ops",
    severity=NoticeSeverity.CRITICAL,
    title="change-1: holds",
    text="The gate fails: 12 % > 5 %",
    subject="hold:approval/x/1.000",
)
ENVIRON = {
    "SLACK": "https://hooks.slack.com/services/T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX",
    "TEAMS": f"https://{FLOW}:443/workflows/643e69f83c8944438d68119179a10a64/triggers/manual/paths/invoke?"
    "api-version=2016-06-01&sp=%2Ftriggers%2Fmanual%2Frun&sv=1.0&sig=KODuebWbDGYFr0z0eu-6Rj8aUKz7108W3wrNJZxFE5A",
    "PD": "k" * 32,
    "OG": "a-a-a-a-secret-key",
    "BOT": "xoxb-1234-1234-abc124",
}


@pytest.fixture
async def receivers() -> AsyncIterator[Receivers]:
    async with Receivers() as receivers:
        yield receivers


def messenger(receivers: Receivers, allowance: Allowance | None = None, **environ: str) -> ChannelMessenger:
    secrets = Secrets(allowance, environ=ENVIRON | environ)
    sender = receivers.sender(secrets, https_proxy=dead_url(), all_proxy=dead_url())
    return ChannelMessenger(HttpClient(secrets), StandingClock(), None, "https://rollout.example/", sender)


def channel(**service: Any) -> Channel:
    return Channel.model_validate(service)


async def test_a_slack_webhook_gets_the_message_with_the_link_to_the_run(receivers: Receivers) -> None:
    receivers.https.behave(answer("ok"))
    await messenger(receivers).deliver(NOTICE, channel(slack={"url": {"env": "SLACK"}}), SCENE)

    got = receivers.calls_of("hooks.slack.com")[-1]
    assert got.target == "/services/T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX"
    said = json.dumps(json.loads(got.body))
    assert "The gate fails: 12 % &gt; 5 %" in said
    assert "https://rollout.example/runs/change-1" in said
    assert "rollout ack change-1 --reason TEXT" in said


async def test_a_teams_workflow_gets_a_card(receivers: Receivers) -> None:
    receivers.https.behave(answer("", 202))
    await messenger(receivers).deliver(NOTICE, channel(teams={"url": {"env": "TEAMS"}}), SCENE)

    got = receivers.calls_of(FLOW)[-1]
    assert got.target.startswith("/workflows/643e69f83c8944438d68119179a10a64/triggers/manual/paths/invoke?")
    assert got.parameters["sig"] == "KODuebWbDGYFr0z0eu-6Rj8aUKz7108W3wrNJZxFE5A"
    card = json.loads(got.body)["attachments"][0]
    assert card["contentType"] == "application/vnd.microsoft.card.adaptive"
    assert "The gate fails" in json.dumps(card)


async def test_pagerduty_gets_one_incident_for_one_hold(receivers: Receivers) -> None:
    receivers.https.behave(answer('{"status": "success"}', 202))
    await messenger(receivers).deliver(NOTICE, channel(pagerduty={"routing_key": {"env": "PD"}}), SCENE)

    got = json.loads(receivers.calls_of("events.pagerduty.com")[-1].body)
    assert (got["routing_key"], got["event_action"]) == ("k" * 32, "trigger")
    assert got["dedup_key"] == "change-1/hold:approval/x/1.000"
    assert (got["payload"]["severity"], got["payload"]["source"]) == ("critical", "change-1")
    assert got["links"] == [{"href": "https://rollout.example/runs/change-1"}]
    assert "The gate fails" in got["payload"]["summary"]


async def test_pagerduty_hears_when_what_an_incident_was_about_is_over(receivers: Receivers) -> None:
    receivers.https.behave(answer('{"status": "success"}', 202))
    over = NOTICE.model_copy(update={"ends": True, "key": "over"})
    await messenger(receivers).deliver(over, channel(pagerduty={"routing_key": {"env": "PD"}}), SCENE)

    got = json.loads(receivers.calls_of("events.pagerduty.com")[-1].body)
    assert (got["event_action"], got["dedup_key"]) == ("resolve", "change-1/hold:approval/x/1.000")


async def test_opsgenie_gets_an_alert_of_the_highest_priority(receivers: Receivers) -> None:
    receivers.https.behave(answer('{"result": "Request will be processed", "requestId": "43a29c5c"}', 202))
    service = {"api_key": {"env": "OG"}, "responders": ["#sre"]}
    await messenger(receivers).deliver(NOTICE, channel(opsgenie=service), SCENE)

    got = receivers.calls_of("api.opsgenie.com")[-1]
    assert got.headers["authorization"] == "GenieKey a-a-a-a-secret-key"
    alert = json.loads(got.body)
    assert (alert["priority"], alert["alias"]) == ("P1", "change-1/hold:approval/x/1.000")
    assert alert["responders"] == [{"type": "team", "name": "sre"}]


async def test_mail_arrives_at_everybody(receivers: Receivers) -> None:
    to = ["ann@example.org", "bob@example.org"]
    service = {
        "server": "127.0.0.1",
        "port": receivers.smtp_port,
        "security": "none",
        "from": "ro@example.org",
        "to": to,
    }
    await messenger(receivers).deliver(NOTICE, channel(email=service), SCENE)

    found = receivers.mails[-2:]
    assert {one.to for one in found} == {("ann@example.org",), ("bob@example.org",)}
    assert found[0].message["subject"] == "change-1: holds"
    assert "The gate fails: 12 % > 5 %" in found[0].text


@pytest.mark.parametrize(("refusal", "kind"), (("451 later", Temporary), ("550 no such user", Permanent)))
async def test_a_mail_server_says_whether_it_may_work_later(
    receivers: Receivers, refusal: str, kind: type[Exception]
) -> None:
    receivers.mail_refusal = refusal
    service = {
        "server": "127.0.0.1", "port": receivers.smtp_port, "security": "none",
        "from": "ro@example.org", "to": ["ann@example.org"],
    }  # fmt: skip
    try:
        with pytest.raises(kind, match=f"ops .email. answered with {refusal[:3]}"):
            await messenger(receivers).deliver(NOTICE, channel(email=service), SCENE)
    finally:
        receivers.mail_refusal = None


@pytest.mark.parametrize(("status", "kind"), ((503, Temporary), (429, Temporary), (403, Permanent)))
async def test_a_status_says_whether_it_may_work_later_and_no_secret_is_told(
    receivers: Receivers, status: int, kind: type[Exception]
) -> None:
    receivers.https.behave(answer("the key kkkkkkkk is wrong", status))
    with pytest.raises(kind) as caught:
        await messenger(receivers).deliver(NOTICE, channel(pagerduty={"routing_key": {"env": "PD"}}), SCENE)
    assert str(caught.value) == f"the channel ops (pagerduty) answered with {status}"


async def test_any_service_of_apprise_is_reached_by_its_own_address(receivers: Receivers) -> None:
    async with ScriptedServer() as server:
        address = f"json://127.0.0.1:{server.port}/hook?+X-Token=s3cret-token"
        await messenger(receivers, ANY=address).deliver(NOTICE, channel(apprise={"env": "ANY"}), SCENE)
        (got,) = server.requests
    assert (got.target, got.headers["x-token"]) == ("/hook", "s3cret-token")
    assert json.loads(got.body)["title"] == "change-1: holds"


async def test_a_service_of_this_machine_is_refused_without_repeating_the_address(receivers: Receivers) -> None:
    with pytest.raises(Permanent, match=r"ops \(apprise\) is not usable") as caught:
        await messenger(receivers, ANY="syslog://s3cret").deliver(NOTICE, channel(apprise={"env": "ANY"}), SCENE)
    assert "s3cret" not in str(caught.value)


async def test_a_host_that_plans_may_not_call_is_not_called(receivers: Receivers) -> None:
    before = len(receivers.calls)
    allowance = Allowance(hosts=("hooks.slack.com",), variables=("*",))
    with acting_for(Trust.HANDED), pytest.raises(Permanent, match=r"may not call events\.pagerduty\.com"):
        await messenger(receivers, allowance).deliver(NOTICE, channel(pagerduty={"routing_key": {"env": "PD"}}), SCENE)
    assert len(receivers.calls) == before


async def test_a_redirect_leads_nowhere(receivers: Receivers) -> None:
    async with ScriptedServer() as elsewhere:
        receivers.https.behave(answer("", 307, {"Location": f"{elsewhere.url}/x"}))
        with pytest.raises(Permanent, match="answered with 307"):
            await messenger(receivers).deliver(NOTICE, channel(pagerduty={"routing_key": {"env": "PD"}}), SCENE)
    assert not elsewhere.requests


async def test_nobody_there_is_temporary(receivers: Receivers) -> None:
    port = int(dead_url().rpartition(":")[2])
    service = {"server": "127.0.0.1", "port": port, "security": "none", "from": "a@x.org", "to": ["b@x.org"]}
    with pytest.raises(Temporary, match=r"ops \(email\) can't be reached"):
        await messenger(receivers).deliver(NOTICE, channel(email=service), SCENE)


@pytest.mark.parametrize(
    ("behaviour", "why"),
    ((hang, "did not take the message within 4 s"), (talk_for_ever, r"can't be reached|MemoryError|within 4 s")),
)
async def test_a_service_that_hangs_or_never_ends_is_given_up(
    receivers: Receivers, monkeypatch: pytest.MonkeyPatch, behaviour: Behaviour, why: str
) -> None:
    monkeypatch.setattr("orchestrator.adapters.apprise_sender.LIMIT_SECONDS", 4.0)
    async with ScriptedServer() as server:
        server.behave(behaviour)
        address = f"json://127.0.0.1:{server.port}/hook?rto=60&cto=60"
        with pytest.raises(Temporary, match=why):
            await messenger(receivers, ANY=address).deliver(NOTICE, channel(apprise={"env": "ANY"}), SCENE)


@pytest.mark.parametrize(
    ("event", "values"),
    (
        ("open", ("/etc/passwd", "r", 0)),
        ("open", ("/tmp/new", "w", 0)),
        ("socket.connect", (None, ("127.0.0.1", 22))),
        ("socket.connect", (None, "/run/docker.sock")),
        ("subprocess.Popen", ("/bin/sh", ["sh"], None, None)),
        ("socket.gethostbyname", ("example.org",)),
    ),
)
def test_the_process_of_a_message_reaches_nothing_that_the_controller_did_not_look_up(
    event: str, values: tuple[Any, ...]
) -> None:
    guard = Guard.__new__(Guard)
    guard._known, guard._folders, guard._reads_files, guard.armed = set(), ("/usr/lib/python3",), False, True
    with pytest.raises(OSError, match=r"only|nothing|no files|looked up"):
        guard.hook(event, values)
