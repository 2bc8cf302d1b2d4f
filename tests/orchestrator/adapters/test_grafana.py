"""Annotations in Grafana, as its API takes them."""

import json
from collections.abc import AsyncIterator

import pytest

from orchestrator.adapters.http_client import HttpClient
from orchestrator.adapters.notify import ChannelMessenger
from orchestrator.adapters.secrets import Secrets
from orchestrator.core.effect import Notice, NoticeSeverity
from orchestrator.errors import Permanent, Temporary
from orchestrator.extras import missing_for
from orchestrator.ports import Scene
from stages.notify import Channel
from tests.orchestrator.adapters.test_notify import StandingClock
from tests.support.http_server import ScriptedServer, answer
from tests.support.process import ROOT

SCENE = Scene("search-1a2b3c", "production", head="12:" + 64 * "a")
NOTICE = Notice(key="n", channel="graphs", severity=NoticeSeverity.NEWS, title="stage search is done", text="More.")


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    async with ScriptedServer() as server:
        yield server


async def annotate(server: ScriptedServer) -> None:
    channel = Channel.model_validate({"grafana": {"url": f"{server.url}/", "token": {"env": "T"}, "tags": ["search"]}})
    client = HttpClient(Secrets(environ={"T": "glsa_s3cret"}))
    await ChannelMessenger(client, StandingClock(), None, "https://rollout.example").deliver(NOTICE, channel, SCENE)


async def test_an_annotation_has_time_tags_and_a_text_with_a_link(server: ScriptedServer) -> None:
    await annotate(server)
    (got,) = server.requests
    assert (got.method, got.target) == ("POST", "/api/annotations")
    assert got.headers["authorization"] == "Bearer glsa_s3cret"
    assert json.loads(got.body) == {
        "time": 1_800_000_000_250,
        "tags": ["staged-rollout", "search-1a2b3c", "news", "search"],
        "text": "stage search is done\nhttps://rollout.example/runs/search-1a2b3c",
    }


async def test_a_token_that_may_not_write_is_refused_for_good_and_a_grafana_that_is_away_is_asked_again(
    server: ScriptedServer,
) -> None:
    server.behave(answer("no", 403))
    with pytest.raises(Permanent, match="403"):
        await annotate(server)
    server.behave(answer("", 502))
    with pytest.raises(Temporary, match="502"):
        await annotate(server)


def test_it_needs_no_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.extras.find_spec", lambda name: None)
    grafana = Channel.model_validate({"grafana": {"url": "https://grafana.example", "token": {"env": "T"}}})
    teams = Channel.model_validate({"teams": {"url": {"env": "T"}}})
    assert [path for path, _ in missing_for({"g": grafana, "t": teams})] == ["spec.notify.channels.t"]


def test_the_dashboard_shows_what_is_tagged_so() -> None:
    dashboard = json.loads((ROOT / "manifests" / "monitoring" / "dashboard.json").read_text())
    (query,) = dashboard["annotations"]["list"]
    assert query["target"]["tags"] == ["staged-rollout"]
