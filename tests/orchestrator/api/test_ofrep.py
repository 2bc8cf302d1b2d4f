import json

import httpx
import pytest

from flags import FlagDocument
from flags.ofrep import evaluate_bulk, evaluate_single
from orchestrator.api.app import create_app
from orchestrator.api.limits import EVALUATION_BYTES, RateLimit
from orchestrator.api.tokens import Token, TokenStore
from tests.orchestrator.api.fake_service import FakeService, app_of, client_of

FLAGS = "/ofrep/v1/evaluate/flags"
USER = {"context": {"targetingKey": "user-2"}}


async def test_the_bytes_are_those_of_the_protocol(service: FakeService, stranger: httpx.AsyncClient) -> None:
    body = json.dumps(USER).encode()
    single = await stranger.post(f"{FLAGS}/new-api", content=body)
    bulk = await stranger.post(FLAGS, content=body)
    assert single.content == evaluate_single(service.snapshot("production"), "new-api", body).content
    assert bulk.content == evaluate_bulk(service.snapshot("production"), body).content
    assert single.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("key", ("team/share", "team%2Fshare"))
async def test_a_float_keeps_its_point_and_a_key_its_slash(stranger: httpx.AsyncClient, key: str) -> None:
    answer = await stranger.post(f"{FLAGS}/{key}", json={})
    assert answer.status_code == 200
    assert b'"value":10.0' in answer.content


@pytest.mark.parametrize(
    ("path", "content", "status", "code"),
    (
        (f"{FLAGS}/nothing", b"{}", 404, "FLAG_NOT_FOUND"),
        (f"{FLAGS}/", b"{}", 404, "FLAG_NOT_FOUND"),
        (f"{FLAGS}/new-api", b"{", 400, "PARSE_ERROR"),
        (f"{FLAGS}/new-api", b"{}", 400, "TARGETING_KEY_MISSING"),
        (f"{FLAGS}/new-api", b'{"context": 3}', 400, "INVALID_CONTEXT"),
        (FLAGS, b"{", 400, "PARSE_ERROR"),
        (f"{FLAGS}/new-api", b" " * (EVALUATION_BYTES + 1), 413, "GENERAL"),
        ("/ofrep/v1/evaluate", b"{}", 404, "FLAG_NOT_FOUND"),
    ),
)
async def test_refusals_have_the_form_of_the_protocol(
    stranger: httpx.AsyncClient, path: str, content: bytes, status: int, code: str
) -> None:
    answer = await stranger.post(path, content=content)
    assert (answer.status_code, answer.json()["errorCode"]) == (status, code)
    assert answer.json()["errorDetails"]
    assert answer.headers["Access-Control-Allow-Origin"] == "*"


async def test_an_answer_that_is_known_is_not_sent_again(service: FakeService, stranger: httpx.AsyncClient) -> None:
    first = await stranger.post(FLAGS, json=USER)
    headers = {"If-None-Match": f'"other", {first.headers["ETag"]}'}
    again = await stranger.post(FLAGS, json=USER, headers=headers)
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["ETag"] == first.headers["ETag"]
    service.put(FlagDocument("new-api", percentage=0))
    assert (await stranger.post(FLAGS, json=USER, headers=headers)).status_code == 200


async def test_the_environment_is_the_query_then_the_header_then_the_tokens_then_production(
    service: FakeService,
) -> None:
    service.put(FlagDocument("where", environment="a", variants={"on": "x", "off": "a"}))
    service.put(FlagDocument("where", environment="b", variants={"on": "x", "off": "b"}))
    service.put(FlagDocument("where", environment="c", variants={"on": "x", "off": "c"}))
    service.put(FlagDocument("where", variants={"on": "x", "off": "production"}))
    token = Token.of("s", "shop", "viewer").model_copy(update={"environment": "c"})
    app = create_app(service, TokenStore([token]), True)  # type: ignore[arg-type]
    header, bearer = {"X-Rollout-Environment": "b"}, {"Authorization": "Bearer s"}
    async with client_of(app) as client:
        found = [
            (await client.post(f"{FLAGS}/where?environment=a", headers=header | bearer)).json()["value"],
            (await client.post(f"{FLAGS}/where", headers=header | bearer)).json()["value"],
            (await client.post(f"{FLAGS}/where", headers=bearer)).json()["value"],
            (await client.post(f"{FLAGS}/where")).json()["value"],
        ]
    assert found == ["a", "b", "c", "production"]


async def test_a_browser_of_another_origin_may_ask(stranger: httpx.AsyncClient) -> None:
    preflight = await stranger.options(
        f"{FLAGS}/new-api",
        headers={
            "Origin": "https://shop.example",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "content-type,if-none-match",
        },
    )
    assert preflight.status_code == 204
    allowed = preflight.headers["Access-Control-Allow-Headers"].lower().split(", ")
    assert {"content-type", "authorization", "x-api-key", "if-none-match"} <= set(allowed)
    assert preflight.headers["Access-Control-Allow-Methods"] == "POST"
    answer = await stranger.post(FLAGS, json=USER, headers={"Origin": "https://shop.example"})
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert "ETag" in answer.headers["Access-Control-Expose-Headers"]


async def test_a_preflight_needs_no_token_and_other_routes_have_none(service: FakeService) -> None:
    async with client_of(app_of(service, loopback=False)) as client:
        assert (await client.options(FLAGS)).status_code == 204
        assert (await client.options("/api/v1/runs")).status_code == 401


async def test_a_client_that_asks_too_often_is_told_when_to_come_again(service: FakeService) -> None:
    async with client_of(app_of(service, rate_limit=RateLimit(per_second=0.1, burst=2))) as client:
        answers = [await client.post(FLAGS, json=USER) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert 9 <= int(answers[2].headers["Retry-After"]) <= 10
    assert answers[2].json()["errorDetails"]


def test_a_bucket_fills_again_with_time_and_not_beyond_its_size() -> None:
    limit = RateLimit(per_second=2, burst=2)
    assert [limit.wait_seconds("a", 0.0) for _ in range(3)] == [0, 0, 1]
    assert limit.wait_seconds("b", 0.0) == 0
    assert limit.wait_seconds("a", 0.5) == 0
    assert [limit.wait_seconds("a", 100.0) for _ in range(3)] == [0, 0, 1]


def test_only_so_many_clients_are_remembered() -> None:
    limit = RateLimit(per_second=1, burst=1)
    limit.MOST_CLIENTS = 2
    assert limit.wait_seconds("a", 0.0) == 0
    assert limit.wait_seconds("b", 0.0) == 0
    assert limit.wait_seconds("c", 0.0) == 0
    assert limit.wait_seconds("c", 0.0) == 1
    assert limit.wait_seconds("a", 0.0) == 0
