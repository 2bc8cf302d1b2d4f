import time

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.orchestrator.api.fake_service import FakeService


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
    runs = {sample.labels["phase"]: sample.value for sample in families["rollout_runs"].samples}
    assert runs == {"checking": 0, "running": 1, "watching": 0, "rolling_back": 0, "ended": 1}
    assert families["rollout_events"].samples[0].value == 6
    assert families["rollout_events"].type == "counter"
    assert families["rollout_effects_outstanding"].samples[0].value == 3
    started = families["process_start_time_seconds"].samples[0].value
    assert time.time() - 24 * 3600 < started <= time.time() + 1


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
