"""The one HTTP client: what it sends, what it refuses, and that every call ends in time."""

import asyncio
import gzip
import ipaddress
import random
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from orchestrator.adapters.http_client import (
    MAX_BODY_BYTES,
    HttpClient,
    NoAnswer,
    Reply,
    TooLarge,
    Unreachable,
    server_of,
)
from orchestrator.adapters.secrets import Secrets
from orchestrator.allowance import Allowance, is_forbidden
from orchestrator.errors import Permanent, RolloutError
from stages.checks import HttpRequest
from tests.support.http_server import (
    Received,
    ScriptedServer,
    answer,
    answer_json,
    dead_url,
    hang,
    reset,
    say_nonsense,
    talk_for_ever,
)


@pytest_asyncio.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    async with ScriptedServer() as server:
        yield server


def client(allowance: Allowance | None = None, **environ: str) -> HttpClient:
    return HttpClient(Secrets(allowance, environ=environ))


async def send(url: str, *, through: HttpClient | None = None, **fields: Any) -> Reply:
    return await (through or client()).request(HttpRequest.model_validate({"url": url, "timeout": 5.0, **fields}))


# --- what is sent -----------------------------------------------------------------------------------------------------


async def test_a_request_arrives_as_the_plan_says(server: ScriptedServer) -> None:
    await send(f"{server.url}/a/b?c=d#e", method="POST", json={"ä": 1}, headers={"X-Team": "search"})
    got = server.requests[0]
    assert (got.method, got.target) == ("POST", "/a/b?c=d")
    assert got.body == '{"ä":1}'.encode()
    assert got.headers["content-type"] == "application/json"
    assert got.headers["x-team"] == "search"
    assert got.headers["host"] == f"127.0.0.1:{server.port}"


async def test_an_address_is_sent_as_it_is_written_and_other_letters_encoded(server: ScriptedServer) -> None:
    await send(f"{server.url}/a%2Fb%20c/é?q=x%20y+z&r=%C3%A4")
    assert server.requests[0].target == "/a%2Fb%20c/%C3%A9?q=x%20y+z&r=%C3%A4"


async def test_no_header_is_added_that_the_plan_does_not_know_of(server: ScriptedServer) -> None:
    await send(server.url, method="PUT", body="plain")
    names = {"accept", "accept-encoding", "connection", "content-length", "host", "user-agent"}
    assert set(server.requests[0].headers) == names


async def test_a_text_body_is_sent_as_it_is(server: ScriptedServer) -> None:
    await send(server.url, method="PUT", body="plain")
    assert server.requests[0].body == b"plain"


async def test_headers_and_bearer_are_resolved(server: ScriptedServer) -> None:
    through = client(TOKEN="t0ken", KEY="k3y!")
    await send(server.url, through=through, bearer={"env": "TOKEN"}, headers={"x-key": {"env": "KEY"}})
    assert server.requests[0].headers["authorization"] == "Bearer t0ken"
    assert server.requests[0].headers["x-key"] == "k3y!"


async def test_user_and_password_of_an_url_are_sent_as_basic_authorization(server: ScriptedServer) -> None:
    await send(f"http://us%40er:pw@127.0.0.1:{server.port}/")
    assert server.requests[0].headers["authorization"] == "Basic dXNAZXI6cHc="


async def test_a_missing_secret_sends_nothing(server: ScriptedServer) -> None:
    with pytest.raises(Permanent, match="TOKEN is not set"):
        await send(server.url, bearer={"env": "TOKEN"})
    assert server.requests == []


async def test_a_header_value_with_a_line_end_is_refused_without_showing_it(server: ScriptedServer) -> None:
    with pytest.raises(Permanent, match="the header x-key can't be sent") as caught:
        await send(server.url, headers={"x-key": "a\r\nX-Evil: 1"})
    assert "Evil" not in str(caught.value)
    assert server.requests == []


async def test_a_name_is_called_by_its_name(server: ScriptedServer) -> None:
    assert (await send(f"http://localhost:{server.port}/")).status == 200
    assert server.requests[0].headers["host"] == f"localhost:{server.port}"


# --- what is answered -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", (200, 204, 404, 429, 500, 503))
async def test_any_status_is_an_answer(server: ScriptedServer, status: int) -> None:
    server.behave(answer("" if status == 204 else "words", status, {"Retry-After": "7"}))
    reply = await send(server.url)
    assert reply.status == status
    assert reply.retry_after_seconds == 7


async def test_an_answer_may_have_a_long_header_and_one_that_comes_twice(server: ScriptedServer) -> None:
    async def behave(_: Received, writer: asyncio.StreamWriter) -> None:
        long = b"X-Long: " + b"x" * 30_000
        writer.write(b"HTTP/1.1 200 OK\r\nX-Two: a\r\nX-Two: b\r\n" + long + b"\r\nContent-Length: 0\r\n\r\n")

    server.behave(behave)
    reply = await send(server.url)
    assert reply.headers["x-two"] == "a, b"
    assert len(reply.headers["x-long"]) == 30_000


async def test_json_is_read(server: ScriptedServer) -> None:
    server.behave(answer_json({"a": [1, 2]}))
    assert (await send(server.url)).json() == {"a": [1, 2]}


async def test_a_compressed_answer_is_unpacked(server: ScriptedServer) -> None:
    server.behave(answer(gzip.compress(b"hello", mtime=0), headers={"Content-Encoding": "gzip"}))
    assert (await send(server.url)).text == "hello"


async def test_a_small_answer_that_unpacks_to_much_is_not_unpacked(server: ScriptedServer) -> None:
    bomb = gzip.compress(b"\0" * (50 * MAX_BODY_BYTES))
    server.behave(answer(bomb, headers={"Content-Encoding": "gzip"}))
    with pytest.raises(TooLarge):
        await send(server.url)


@pytest.mark.parametrize(
    ("content", "encoding", "kind"),
    (
        (b"no gzip", "gzip", Permanent),
        (b"x", "br", Permanent),
        (gzip.compress(b"hello", mtime=0)[:-9], "gzip", NoAnswer),
    ),
)
async def test_wrong_compression_is_said(
    server: ScriptedServer, content: bytes, encoding: str, kind: type[RolloutError]
) -> None:
    server.behave(answer(content, headers={"Content-Encoding": encoding}))
    with pytest.raises(kind, match="compressed"):
        await send(server.url)


async def test_an_answer_may_be_as_large_as_the_limit_and_no_larger(server: ScriptedServer) -> None:
    server.behave(answer(b"x" * MAX_BODY_BYTES))
    assert len((await send(server.url)).body) == MAX_BODY_BYTES
    server.behave(answer(b"x" * (MAX_BODY_BYTES + 1)))
    with pytest.raises(TooLarge, match="more than 1024 KiB"):
        await send(server.url)


async def test_an_answer_without_end_is_cut_off(server: ScriptedServer) -> None:
    server.behave(talk_for_ever)
    with pytest.raises(TooLarge):
        await send(server.url)


# --- what goes wrong --------------------------------------------------------------------------------------------------


async def test_a_refused_connection_never_left() -> None:
    with pytest.raises(Unreachable, match="can't be reached: Connection refused"):
        await send(dead_url())


async def test_an_unknown_host_never_left() -> None:
    with pytest.raises(Unreachable, match=r"the host nowhere\.invalid can't be found"):
        await send("http://nowhere.invalid/")


async def test_silence_ends_in_time_and_may_have_arrived(server: ScriptedServer) -> None:
    server.behave(hang)
    began = time.monotonic()
    with pytest.raises(NoAnswer, match=r"did not answer within 0\.2 s"):
        await send(server.url, timeout=0.2)
    assert time.monotonic() - began < 2


async def test_a_trickle_does_not_stretch_the_time(server: ScriptedServer) -> None:
    async def trickle(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.05)

    server.behave(trickle)
    with pytest.raises(NoAnswer, match=r"within 0\.3 s"):
        await send(server.url, timeout=0.3)


@pytest.mark.parametrize("behaviour", (reset, say_nonsense, answer("cut", length=100)))
async def test_a_broken_answer_may_have_arrived(server: ScriptedServer, behaviour: Any) -> None:
    server.behave(behaviour)
    with pytest.raises(NoAnswer, match="broke off without a whole answer"):
        await send(server.url)


@pytest.mark.parametrize("method", ("GET", "PUT", "DELETE", "POST"))
async def test_what_broke_off_is_not_sent_again_by_itself(server: ScriptedServer, method: str) -> None:
    server.behave(reset)
    with pytest.raises(NoAnswer):
        await send(server.url, method=method)
    assert len(server.requests) == 1


async def test_a_server_without_tls_is_never_sent_anything_over_https(server: ScriptedServer) -> None:
    with pytest.raises(Unreachable):
        await send(f"https://127.0.0.1:{server.port}/", timeout=0.3)
    assert server.requests == []


# --- redirects --------------------------------------------------------------------------------------------------------


def redirect(to: str, status: int = 302) -> Any:
    async def behave(received: Received, writer: asyncio.StreamWriter) -> None:
        away = received.target == "/from"
        await (answer("", status, {"Location": to}) if away else answer("there"))(received, writer)

    return behave


async def test_a_redirect_at_the_same_host_is_followed(server: ScriptedServer) -> None:
    server.behave(redirect("/to?x=1"))
    assert (await send(f"{server.url}/from")).text == "there"
    assert server.requests[1].target == "/to?x=1"


@pytest.mark.parametrize("to", ("http://localhost:1/", "http://127.0.0.1:1/", "//elsewhere.invalid/", "file:///etc"))
async def test_a_redirect_elsewhere_is_not_followed(server: ScriptedServer, to: str) -> None:
    server.behave(redirect(to))
    reply = await send(f"{server.url}/from", through=client(T="token"), bearer={"env": "T"})
    assert reply.status == 302
    assert "is not followed" in reply.note
    assert len(server.requests) == 1


async def test_a_redirect_that_is_itself_expected_is_not_followed(server: ScriptedServer) -> None:
    server.behave(redirect("/to"))
    assert (await send(f"{server.url}/from", status=302)).status == 302


async def test_only_what_changes_nothing_is_redirected(server: ScriptedServer) -> None:
    server.behave(redirect("/to", 307))
    reply = await send(f"{server.url}/from", method="POST", body="x")
    assert (reply.status, reply.note) == (307, "a redirect of POST is not followed")


async def test_redirects_in_a_circle_end(server: ScriptedServer) -> None:
    server.behave(answer("", 302, {"Location": "/again"}))
    with pytest.raises(Permanent, match="redirects more than 5 times"):
        await send(server.url)


# --- the guard --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    (
        "http://169.254.169.254/latest/meta-data",
        "http://169.254.0.1/",
        "http://2852039166/",
        "http://0xa9fea9fe/",
        "http://[fe80::1]/",
        "http://[fe80::1%25eth0]/",
        "http://[::ffff:169.254.169.254]/",
        "http://[64:ff9b::a9fe:a9fe]/",
        "http://[fd00:ec2::254]/",
        "http://100.100.100.200/",
    ),
)
async def test_link_local_and_metadata_addresses_are_never_called(url: str) -> None:
    with pytest.raises((Permanent, Unreachable)) as caught:
        await send(url, timeout=1.0)
    assert isinstance(caught.value, Permanent) or "can't be found" in str(caught.value)


async def test_a_name_is_refused_for_the_address_behind_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: [(2, 1, 6, "", ("169.254.169.254", 80))])
    with pytest.raises(Permanent, match=r"innocent\.example is at 169\.254\.169\.254, which is a link-local"):
        await send("http://innocent.example/")


@pytest.mark.parametrize("address", ("127.0.0.1", "::1", "10.0.0.1", "192.168.1.1", "fd00::1", "8.8.8.8"))
def test_ordinary_addresses_are_allowed(address: str) -> None:
    assert not is_forbidden(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "url",
    ("ftp://host/", "file:///etc/passwd", "host/path", "http://", "http://a b/", "http://host:99999/", "http://[x"),
)
async def test_what_is_no_web_address_is_refused(url: str) -> None:
    with pytest.raises(Permanent, match="URL"):
        await send(url)


async def test_only_allowed_hosts_are_called(server: ScriptedServer) -> None:
    allowance = Allowance(hosts=("localhost", "*.example.org"))
    assert (await send(f"http://localhost:{server.port}", through=client(allowance))).status == 200
    with pytest.raises(Permanent, match=r"plans may not call 127\.0\.0\.1; the controller does not allow this host"):
        await send(server.url, through=client(allowance))
    assert allowance.host("api.example.org") is None
    assert allowance.host("example.org.evil") is not None
    assert allowance.host("evilexample.org") is not None


def test_a_server_is_named_without_what_may_be_secret() -> None:
    assert server_of("https://user:pw@host:8443/path?token=x#y") == "https://host:8443"
    assert server_of("http://[::1]:80/") == "http://[::1]:80"
    assert server_of("http://[") == "the address"


# --- many at once -----------------------------------------------------------------------------------------------------


async def test_after_a_storm_of_cancelled_calls_it_still_answers(server: ScriptedServer) -> None:
    through = client()
    dice = random.Random(1)

    async def slow(received: Received, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(dice.random() * 0.02)
        await answer("ok")(received, writer)

    async def impatient() -> None:
        try:
            async with asyncio.timeout(dice.random() * 0.05):
                await send(server.url, through=through)
        except (TimeoutError, RolloutError):
            pass

    server.behave(slow)
    await asyncio.gather(*(impatient() for _ in range(200)))
    assert (await send(server.url, through=through)).text == "ok"


async def test_hung_calls_hold_up_no_other(server: ScriptedServer) -> None:
    through = client()
    async with ScriptedServer() as hung:
        hung.behave(hang)
        waiting = [asyncio.create_task(send(hung.url, through=through)) for _ in range(100)]
        await asyncio.sleep(0)
        began = time.monotonic()
        await send(server.url, through=through)
        assert time.monotonic() - began < 2
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
