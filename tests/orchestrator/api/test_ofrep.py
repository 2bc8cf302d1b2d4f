import asyncio
import json
import socket
import threading
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from starlette.types import Message
from structlog.testing import capture_logs

from flags import FlagDocument
from flags.ofrep import Answer, Responder
from orchestrator.api import ofrep
from orchestrator.api.app import create_app
from orchestrator.api.context import Timing
from orchestrator.api.flag_routes import MANY_FLAGS
from orchestrator.api.limits import EVALUATION_BYTES, RateLimit, Turns
from orchestrator.api.ofrep_stream import EVENTS
from orchestrator.api.tokens import Token, TokenStore
from tests.orchestrator.api.fake_service import FakeService, app_of, client_of
from tests.orchestrator.api.test_ofrep_stream import served
from tests.orchestrator.api.test_streams import read_all, until

FLAGS = "/ofrep/v1/evaluate/flags"
USER = {"context": {"targetingKey": "user-2"}}


async def test_the_bytes_are_those_of_the_protocol(service: FakeService, stranger: httpx.AsyncClient) -> None:
    body = json.dumps(USER).encode()
    single = await stranger.post(f"{FLAGS}/new-api", content=body)
    bulk = await stranger.post(FLAGS, content=body)
    responder = Responder(service.snapshot("production"))
    assert single.content == responder.single("new-api", body).content
    assert bulk.content == responder.bulk(body, None, "/ofrep/v1/events?environment=production").content
    for answer in (single, bulk):
        assert answer.headers["Content-Type"] == "application/json"


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


@pytest.mark.parametrize("environment", ("%20", "a%0Ab", "x" * 257, "%00"))
async def test_an_environment_that_has_no_possible_name_is_refused(
    stranger: httpx.AsyncClient, environment: str
) -> None:
    for method, path in (("POST", FLAGS), ("POST", f"{FLAGS}/new-api"), ("GET", EVENTS)):
        answer = await stranger.request(method, f"{path}?environment={environment}")
        assert answer.status_code == 422
        assert answer.json()["errorCode"] == "GENERAL"
        assert "environment" in answer.json()["errorDetails"]


async def test_only_the_protocols_methods_are_known(stranger: httpx.AsyncClient) -> None:
    for method, path, possible in (
        ("GET", FLAGS, "POST"),
        ("PUT", f"{FLAGS}/new-api", "POST"),
        ("POST", EVENTS, "GET"),
    ):
        answer = await stranger.request(method, path)
        assert (answer.status_code, answer.headers["Allow"]) == (405, possible)
        assert answer.json()["errorDetails"]


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


async def test_so_many_pass_in_one_turn_of_the_event_loop_in_the_order_they_came() -> None:
    turns, passed, by_turn = Turns(most=3), list[int](), list[int]()

    async def one(number: int) -> None:
        await turns.take()
        passed.append(number)

    tasks = [asyncio.create_task(one(number)) for number in range(10)]
    tasks[4].cancel()
    while not all(task.done() for task in tasks):
        await asyncio.sleep(0)
        by_turn.append(len(passed) - sum(by_turn))
    assert passed == [0, 1, 2, 3, 5, 6, 7, 8, 9]
    assert max(by_turn) == 3


def test_turns_begin_anew_in_another_event_loop() -> None:
    turns = Turns(most=1)
    for _ in range(5):
        asyncio.run(turns.take())


def test_only_so_many_clients_are_remembered() -> None:
    limit = RateLimit(per_second=1, burst=1)
    limit.MOST_CLIENTS = 2
    assert limit.wait_seconds("a", 0.0) == 0
    assert limit.wait_seconds("b", 0.0) == 0
    assert limit.wait_seconds("c", 0.0) == 0
    assert limit.wait_seconds("c", 0.0) == 1
    assert limit.wait_seconds("a", 0.0) == 0


# --- many, large, slow ------------------------------------------------------------------------------------------------


async def test_many_flags_are_answered_beside_the_event_loop(
    service: FakeService, stranger: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[threading.Thread] = []

    class Watched(Responder):
        def bulk(self, *arguments: Any) -> Answer:
            threads.append(threading.current_thread())
            return super().bulk(*arguments)

    monkeypatch.setattr(ofrep, "Responder", Watched)
    few = await stranger.post(FLAGS, json=USER)
    for number in range(MANY_FLAGS):
        service.put(FlagDocument(f"flag-{number}", percentage=number % 100))
    many = await stranger.post(FLAGS, json=USER)
    assert len(many.json()["flags"]) == len(few.json()["flags"]) + MANY_FLAGS
    assert [thread is threading.main_thread() for thread in threads] == [True, False]
    assert (await stranger.post(f"{FLAGS}/flag-1", json=USER)).status_code == 200


async def test_a_value_of_a_megabyte_goes_out_whole(service: FakeService, stranger: httpx.AsyncClient) -> None:
    service.put(FlagDocument("large", variants={"on": {"x": ["y" * 1000] * 1000}, "off": {}}, percentage=100))
    assert (await stranger.post(f"{FLAGS}/large", json={})).json()["value"] == {"x": ["y" * 1000] * 1000}
    assert len((await stranger.post(FLAGS, json=USER)).content) > 1_000_000


async def test_a_client_that_does_not_read_its_answer_is_dropped(service: FakeService) -> None:
    service.put(FlagDocument("large", variants={"on": "y" * 4_000_000, "off": ""}, percentage=100))
    app = create_app(service, TokenStore(), True, timing=Timing(stalled_seconds=0.2))  # type: ignore[arg-type]
    with capture_logs() as logs, socket.socket() as frozen:
        frozen.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        async with served(app) as port:
            frozen.connect(("127.0.0.1", port))
            frozen.sendall(f"POST {FLAGS} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{{}}".encode())
            await until(lambda: any(entry["event"] == "answer.dropped" for entry in logs))
            assert len(await asyncio.to_thread(read_all, frozen)) < 1_000_000


async def test_a_thousand_attributes_are_read(stranger: httpx.AsyncClient) -> None:
    context = {"targetingKey": "user-2"} | {f"attribute-{number}": ["é" * 10, number] for number in range(1000)}
    assert (await stranger.post(f"{FLAGS}/new-api", json={"context": context})).json()["value"] is True


async def asked(app: Any, path: str, *messages: Message, method: str = "POST", query: bytes = b"") -> list[Message]:
    """What the application sends to a client that sends *messages* and then nothing."""
    coming: list[Message] = list(messages)
    sent: list[Message] = []

    async def receive() -> Message:
        if not coming:
            await asyncio.Event().wait()
        return coming.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "path": path,
        "raw_path": path.encode(), "query_string": query, "root_path": "", "scheme": "http", "headers": [],
        "client": ("127.0.0.1", 1), "server": ("localhost", 80),
    }  # fmt: skip
    await app(scope, receive, send)
    return sent


async def test_a_body_that_does_not_arrive_is_not_waited_for(
    service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ofrep, "EVALUATION_SECONDS", 0.01)
    begun = {"type": "http.request", "body": b'{"context":', "more_body": True}
    for path in (FLAGS, f"{FLAGS}/new-api"):
        head, body = await asked(app_of(service), path, begun)
        assert head["status"] == 408
        assert "within 0.01 seconds" in json.loads(body["body"])["errorDetails"]


async def test_a_client_that_goes_away_half_way_is_answered_nothing(service: FakeService) -> None:
    begun = {"type": "http.request", "body": b'{"context":', "more_body": True}
    assert await asked(app_of(service), FLAGS, begun, {"type": "http.disconnect"}) == []


# --- whatever is sent -------------------------------------------------------------------------------------------------

CODES = {"PARSE_ERROR", "INVALID_CONTEXT", "TARGETING_KEY_MISSING", "GENERAL"}
VALUES = (bool, int, float, str, dict)


def assert_shape(sent: list[Message], key: str | None) -> None:
    """One of the documented statuses, in its form. *key* is None for an answer with all flags."""
    head, content = sent
    body = json.loads(content["body"])
    assert (b"content-type", b"application/json") in head["headers"]
    match head["status"]:
        case 200 if key is None:
            assert body.keys() == {"flags", "metadata", "eventStreams"}
            for flag in body["flags"]:
                assert_flag(flag)
        case 200:
            assert_flag(body)
            assert body["key"] == key
        case 400 if key is None:
            assert body.keys() == {"errorCode", "errorDetails"}
            assert body["errorCode"] in CODES
        case 400:
            assert body.keys() == {"key", "errorCode", "errorDetails"}
            assert (body["key"], body["errorCode"] in CODES) == (key, True)
        case 404:
            assert key is not None
            assert body.keys() == {"key", "errorCode", "errorDetails"}
            assert (body["key"], body["errorCode"]) == (key, "FLAG_NOT_FOUND")
        case status:
            assert status == 413
    if head["status"] != 200:
        assert body["errorDetails"]


def assert_flag(flag: dict[str, Any]) -> None:
    if "errorCode" in flag:
        assert flag.keys() == {"key", "errorCode", "errorDetails"}
        return
    assert flag.keys() == {"key", "value", "reason", "variant", "metadata"}
    assert isinstance(flag["value"], VALUES)
    assert flag["reason"] in {"STATIC", "TARGETING_MATCH", "SPLIT", "DISABLED", "DEFAULT"}
    assert isinstance(flag["variant"], str)
    assert all(isinstance(value, bool | int | float | str) for value in flag["metadata"].values())


def nearly_json() -> st.SearchStrategy[bytes]:
    """Contexts as no decent client sends them, and then with some bytes of them changed."""
    leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
    trees = st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)
    contexts = st.dictionaries(st.sampled_from(("targetingKey", "team", "x", "")), trees) | trees
    bodies = st.builds(lambda context, more: json.dumps(more | {"context": context}).encode(), contexts, st.just({}))
    cut = st.builds(
        lambda body, at, put: body[:at] + put + body[at:], bodies, st.integers(0, 80), st.binary(max_size=3)
    )
    return st.binary() | bodies | cut


KEYS = st.text(st.characters(codec="utf-8"), max_size=50) | st.sampled_from(
    ("new-api", "team/share", "old", "/", "//", "../x", "a b", "🚀", "%2F", "%", "%zz", "new-api.parameters", ".", "..")
)


def test_every_request_has_a_documented_answer(service: FakeService) -> None:
    app = app_of(service)

    async def ask(path: str, body: bytes) -> list[Message]:
        return await asked(app, path, {"type": "http.request", "body": body})

    @given(key=KEYS, body=nearly_json())
    @example(key="new-api\n", body=b"{}")
    @example(key="", body=b"[" * 100_000)
    @example(key="new-api", body=b'{"context": {"targetingKey": "user-2", "x": 1e999, "y": ' + b"9" * 5000 + b"}}")
    @example(key="new-api", body=b'{"context": {"targetingKey": "\\ud800"}}')
    @example(key="new-api", body=b'{"a":' * 40_000)
    @example(key="new-api", body=b" " * 300_000)
    @settings(deadline=None, max_examples=150)
    def check(key: str, body: bytes) -> None:
        assert_shape(asyncio.run(ask(f"{FLAGS}/{key}", body)), key)
        assert_shape(asyncio.run(ask(FLAGS, body)), None)

    check()


@pytest.mark.parametrize("key", ("team/share", "a b", "🚀 take off", "50%", "a%2Fb", "ключ", "x?y#z", "é" * 128))
async def test_keys_are_found_however_they_are_written(
    service: FakeService, stranger: httpx.AsyncClient, key: str
) -> None:
    service.put(FlagDocument(key, variants={"on": "found", "off": "x"}, percentage=100))
    for safe in ("", "/"):
        answer = await stranger.post(f"{FLAGS}/{quote(key, safe=safe)}", json={})
        assert (answer.json()["key"], answer.json()["value"]) == (key, "found")


def test_no_url_opens_a_stream_beyond_loopback_without_a_ticket(service: FakeService) -> None:
    app = app_of(service, loopback=False)
    queries = st.binary() | st.builds(
        lambda environment, ticket: f"environment={quote(environment)}&ticket={quote(ticket)}".encode(),
        st.text(st.characters(codec="utf-8")),
        st.from_regex(r"\d{1,14}\.[A-Za-z0-9_-]{42,44}") | st.text(st.characters(codec="utf-8")),
    )

    @given(queries)
    @settings(deadline=None)
    def check(query: bytes) -> None:
        head, content = asyncio.run(asked(app, EVENTS, method="GET", query=query))
        assert head["status"] == 401
        assert json.loads(content["body"]).keys() == {"errorCode", "errorDetails"}

    check()


@pytest.mark.parametrize(
    ("target", "status"),
    (
        (b"team/share", 200),
        (b"team//share", 404),
        (b"team%2fshare", 200),
        (b"%F0%9F%9A%80", 404),
        (b"%ff%fe", 404),
        (b"%zz", 404),
        (b"%00", 404),
        (b"../../../etc/passwd", 404),
        (b"a b", 400),
        ("🚀".encode(), 400),
        (b"\xff", 400),
    ),
)
async def test_a_key_as_it_stands_in_a_request_is_answered_or_refused(
    service: FakeService, target: bytes, status: int
) -> None:
    async with served(app_of(service)) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        head = b"Host: localhost\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
        writer.write(b"POST " + FLAGS.encode() + b"/" + target + b" HTTP/1.1\r\n" + head)
        answer = await asyncio.wait_for(reader.read(), 20)
        writer.close()
    assert answer.split(b" ")[1] == str(status).encode()
