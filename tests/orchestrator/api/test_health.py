import time

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from orchestrator.api.feed import streams_of
from orchestrator.errors import StoreError
from tests.orchestrator.api.fake_service import FakeService, app_of, client_of


async def test_it_lives_also_while_its_store_is_away(service: FakeService, stranger: httpx.AsyncClient) -> None:
    service.is_ready = False
    assert (await stranger.get("/healthz")).status_code == 200
    assert (await stranger.get("/readyz")).status_code == 503
    service.is_ready = True
    assert (await stranger.get("/readyz")).status_code == 200


async def test_prometheus_can_read_the_metrics(service: FakeService, stranger: httpx.AsyncClient) -> None:
    await service.append("search-a1b2c3", "RunEnded", outcome="promoted")
    service.add("payments-1", "payments", entries=2)
    answer = await stranger.get("/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    families = {family.name: family for family in text_string_to_metric_families(answer.text)}
    runs = {sample.labels["phase"]: sample.value for sample in families["staged_rollout_runs"].samples}
    assert runs == {"checking": 0, "running": 1, "watching": 0, "rolling_back": 0, "ended": 1}
    assert families["staged_rollout_events"].samples[0].value == 6
    assert families["staged_rollout_events"].type == "counter"
    started = families["process_start_time_seconds"].samples[0].value
    assert time.time() - 24 * 3600 < started <= time.time() + 1


async def test_metrics_are_told_also_while_the_store_is_away(
    service: FakeService, stranger: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away() -> None:
        raise StoreError("the disk is gone")

    monkeypatch.setattr(service, "counts", away)
    lines = (await stranger.get("/metrics")).text.splitlines()
    assert "staged_rollout_store_readable 0" in lines
    assert "staged_rollout_active_runs" in "".join(lines)
    assert not [line for line in lines if line.startswith("staged_rollout_runs{")]


async def test_streams_of_flags_are_counted(service: FakeService) -> None:
    app = app_of(service)
    async with client_of(app) as stranger:
        with streams_of(app.state).listening("production"):
            text = (await stranger.get("/metrics")).text
    assert 'staged_rollout_flag_clients{protocol="feed"} 1' in text
    assert 'staged_rollout_flag_clients{protocol="ofrep"} 0' in text


async def test_every_metric_bears_its_unit_and_says_what_it_is(stranger: httpx.AsyncClient) -> None:
    """As `promtool check metrics` wants them."""
    families = list(text_string_to_metric_families((await stranger.get("/metrics")).text))
    names = [family.name for family in families]
    assert len(set(names)) == len(names)
    for family in families:
        assert family.name.startswith(("staged_rollout_", "process_"))
        assert family.documentation
        if family.type == "histogram":
            assert family.name.endswith("_seconds")


async def test_openapi_describes_every_route_and_every_refusal(stranger: httpx.AsyncClient) -> None:
    document = (await stranger.get("/openapi.json")).json()
    assert document["openapi"].startswith("3.1")
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert operation["description"], (method, path)
            assert path.startswith("/ofrep/") or path.count("/") == 1 or "403" in operation["responses"]
    assert "HTTPValidationError" not in document["components"]["schemas"]


async def test_no_page_loads_scripts_from_elsewhere(admin: httpx.AsyncClient) -> None:
    assert (await admin.get("/docs")).status_code == 404
    assert (await admin.get("/redoc")).status_code == 404
