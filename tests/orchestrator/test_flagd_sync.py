"""The sync service over real gRPC: what goes over the wire, to whom, and how much of it."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import grpc
import grpc.aio
import pytest
from openfeature.schemas.protobuf.flagd.sync.v1 import sync_pb2

from flags import FlagDocument
from orchestrator.api.credentials import Credentials
from orchestrator.api.tokens import Token, TokenStore, hashed
from orchestrator.errors import RolloutError, UsageError
from orchestrator.flagd_sync import serving_flagd
from orchestrator.flagd_sync.messages import BadMessage, response, selector_of
from orchestrator.flagd_sync.server import Certificate
from orchestrator.flagd_sync.sync import peer_in
from orchestrator.journal.memory_tokens import MemoryTokens
from orchestrator.service import Service
from orchestrator.token_port import CREATED, REVOKED, IssuedToken, Note, Revocation
from tests.orchestrator.api.fake_service import SECRETS, TOKENS, FakeService
from tests.support.process import DEADLINE_SECONDS

Json = dict[str, Any]
PREFIX = "/flagd.sync.v1.FlagSyncService/"


@pytest.fixture
def service() -> FakeService:
    service = FakeService()
    service.put(FlagDocument("new-api", percentage=30))
    service.put(FlagDocument("new-api", environment="staging", percentage=100))
    return service


@asynccontextmanager
async def channel_to(service: FakeService, **options: Any) -> AsyncIterator[grpc.aio.Channel]:
    tokens = options.pop("tokens", TOKENS)
    serving = serving_flagd(cast(Service, service), options.pop("host", "127.0.0.1"), 0, tokens, **options)
    async with serving as port, grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel


def follow(channel: grpc.aio.Channel, request: bytes = b"", metadata: Json | None = None) -> Any:
    call: Any = channel.unary_stream(PREFIX + "SyncFlags")
    return call(request, metadata=tuple((metadata or {}).items()))


async def fetch(channel: grpc.aio.Channel, request: bytes = b"", metadata: Json | None = None) -> Json:
    call: Any = channel.unary_unary(PREFIX + "FetchAllFlags")
    answer: bytes = await call(request, metadata=tuple((metadata or {}).items()))
    text: Json = json.loads(sync_pb2.FetchAllFlagsResponse.FromString(answer).flag_configuration)
    return text


def state_of(message: bytes) -> tuple[str, Any]:
    """The environment, and what is chosen of the flag."""
    text = json.loads(sync_pb2.SyncFlagsResponse.FromString(message).flag_configuration)
    flag = text["flags"]["new-api"]
    return text["metadata"]["flagSetId"], flag.get("targeting", flag["defaultVariant"])


THIRTY = ("production", {"fractional": [["on", 30000], ["off", 70000]]})


async def test_a_stream_has_the_whole_document_at_once_and_again_on_every_change(service: FakeService) -> None:
    async with channel_to(service) as channel:
        stream = follow(channel)
        assert state_of(await stream.read()) == THIRTY
        service.put(FlagDocument("new-api", percentage=100))
        assert state_of(await stream.read()) == ("production", "on")
        service.killed["*"] = "smoke"
        service.move()
        assert state_of(await stream.read()) == ("production", "off")


async def test_all_flags_can_be_fetched_once(service: FakeService) -> None:
    async with channel_to(service) as channel:
        text = await fetch(channel)
    assert list(text["flags"]) == ["new-api"]
    assert text["metadata"]["flagSetId"] == "production"


@pytest.mark.parametrize("selector", ("staging", "flagSetId=staging", "environment=staging"))
async def test_the_selector_names_the_environment(service: FakeService, selector: str) -> None:
    request = sync_pb2.SyncFlagsRequest(provider_id="me", selector=selector).SerializeToString()
    async with channel_to(service) as channel:
        assert state_of(await follow(channel, request).read()) == ("staging", "on")
        assert state_of(await follow(channel, metadata={"flagd-selector": selector}).read()) == ("staging", "on")
        assert (await fetch(channel, request))["metadata"]["flagSetId"] == "staging"


async def test_a_token_may_name_the_environment(service: FakeService) -> None:
    token = Token.of("secret", "app", "viewer").model_copy(update={"environment": "staging"})
    async with channel_to(service, tokens=TokenStore([token])) as channel:
        assert (await fetch(channel, metadata={"authorization": "Bearer secret"}))["metadata"]["flagSetId"] == "staging"
        assert (await fetch(channel))["metadata"]["flagSetId"] == "production"


async def test_a_stream_ends_with_its_token_and_is_told_nothing_more(
    service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.api.issued.FRESH_SECONDS", 0.0)
    storage = MemoryTokens()
    token = IssuedToken("0a", "app", "viewer", (), None, hashed("secret"), 1.0, "ann")
    await storage.add(token, Note("n1", 1.0, CREATED, "ann", {}))
    async with channel_to(service, tokens=Credentials(None, storage)) as channel:
        call = follow(channel, metadata={"authorization": "Bearer secret"})
        assert await call.read()
        await storage.revoke("0a", Revocation(2.0, "ann", "it leaked"), Note("n2", 2.0, REVOKED, "ann", {}))
        service.put(FlagDocument("new", percentage=10))
        assert await refusal(call.read()) == (grpc.StatusCode.UNAUTHENTICATED, "this token no longer holds")


async def test_a_refusal_is_written_down_with_the_address_it_came_from(service: FakeService) -> None:
    storage = MemoryTokens()
    credentials = Credentials(None, storage)
    async with channel_to(service, tokens=credentials) as channel:
        await refusal(fetch(channel, metadata={"authorization": "Bearer wrong"}))
    await credentials.close()
    (note,) = await storage.notes()
    assert (note.detail["method"], note.detail["peer"], note.detail["status"]) == ("gRPC", "127.0.0.1", 401)


@pytest.mark.parametrize(
    ("peer", "address"),
    (
        ("ipv4:192.0.2.1:4711", "192.0.2.1"),
        ("ipv6:%5B2001:db8::1%5D:4711", "2001:db8::1"),
        ("ipv6:[::1]:4711", "::1"),
        ("unix:", ""),
    ),
)
def test_an_address_is_found_in_what_grpc_says_of_a_peer(peer: str, address: str) -> None:
    assert peer_in(peer) == address


async def refusal(work: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await work
    return refused.value.code(), refused.value.details() or ""


@pytest.mark.parametrize("call", ("SyncFlags", "FetchAllFlags"))
async def test_a_token_that_is_sent_must_be_right(service: FakeService, call: str) -> None:
    expired = Token.of("old", "app", "viewer").model_copy(update={"expires": Token.model_validate(
        {"name": "x", "role": "viewer", "sha256": "0" * 64, "expires": "2020-01-01T00:00:00Z"}).expires})  # fmt: skip
    async with channel_to(service, tokens=TokenStore([expired])) as channel:
        for header, sentence in (
            ("Bearer wrong", "This token is not known to this server."),
            ("Basic eDp5", "the metadata `authorization` must be `Bearer TOKEN`"),
            ("Bearer old", "The token of app has expired: ask for a new one."),
        ):
            metadata = {"authorization": header}
            work = (
                follow(channel, metadata=metadata).read() if call == "SyncFlags" else fetch(channel, metadata=metadata)
            )
            assert await refusal(work) == (grpc.StatusCode.UNAUTHENTICATED, sentence)


async def test_beyond_loopback_everybody_needs_a_token(service: FakeService) -> None:
    async with channel_to(service, host="0.0.0.0") as channel:
        code, sentence = await refusal(follow(channel).read())
        assert (code, "authorization: Bearer TOKEN" in sentence) == (grpc.StatusCode.UNAUTHENTICATED, True)
        metadata = {"authorization": f"Bearer {SECRETS['viewer']}"}
        assert state_of(await follow(channel, metadata=metadata).read()) == THIRTY


@pytest.mark.parametrize(
    ("request_bytes", "sentence"),
    (
        (b"\x12\x05abc", "the request can't be read: the message ends inside a field"),
        (b"\x12\x01\xff", "the request can't be read: the selector is not UTF-8"),
        (b"\x17", "the request can't be read: there is no wire type 7"),
        (b"\xff" * 20, "the request can't be read: a number is longer than 64 bits"),
        (b"\xff", "the request can't be read: the message ends inside a number"),
        (b"\x12\x0dsource=x.json", "the selector 'source=x.json' can't be answered: name an environment"),
        (b"\x12\xc9\x01" + b"x" * 201, "an environment has at most 200 letters"),
    ),
)
async def test_a_request_that_cannot_be_answered_is_refused_in_a_sentence(
    service: FakeService, request_bytes: bytes, sentence: str
) -> None:
    async with channel_to(service) as channel:
        code, details = await refusal(follow(channel, request_bytes).read())
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert sentence in details
        assert (await refusal(fetch(channel, request_bytes)))[0] is code


async def test_a_request_of_a_megabyte_is_refused(service: FakeService) -> None:
    async with channel_to(service) as channel:
        assert (await refusal(fetch(channel, b"\x0a\x80\x80\x40" + b"x" * 2**20)))[0] is (
            grpc.StatusCode.RESOURCE_EXHAUSTED
        )


async def test_metadata_is_not_implemented(service: FakeService) -> None:
    async with channel_to(service) as channel:
        call: Any = channel.unary_unary(PREFIX + "GetMetadata")
        assert (await refusal(call(b"")))[0] is grpc.StatusCode.UNIMPLEMENTED


async def test_no_more_streams_are_open_than_allowed_and_a_place_is_free_again(service: FakeService) -> None:
    async with channel_to(service, most_streams=1) as channel:
        first = follow(channel)
        await first.read()
        code, sentence = await refusal(follow(channel).read())
        assert (code, sentence) == (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "1 streams are open; come again later, or call FetchAllFlags",
        )
        first.cancel()
        assert state_of(await first_message(channel)) == THIRTY


def large(percentage: float) -> FlagDocument:
    """Some hundred kilobytes: more than the network takes for a client that does not read."""
    return FlagDocument("new-api", percentage=percentage, parameters={"text": "x" * 400_000})


async def test_a_client_that_reads_slowly_skips_to_the_newest(service: FakeService) -> None:
    service.put(large(1))
    async with channel_to(service) as channel:
        stream = follow(channel)
        await stream.read()
        for percentage in range(2, 60):
            service.put(large(percentage))
            await asyncio.sleep(0)
        seen: list[int] = []
        while not seen or seen[-1] != 59000:
            seen.append(state_of(await stream.read())[1]["fractional"][0][1])
    assert seen == sorted(seen)
    assert len(seen) < 20


async def test_a_client_that_does_not_read_keeps_its_place_until_it_is_gone(service: FakeService) -> None:
    service.put(large(1))
    async with channel_to(service, most_streams=1) as channel:
        stream = follow(channel)
        await stream.read()
        for percentage in range(2, 60):
            service.put(large(percentage))
            await asyncio.sleep(0)
        assert (await refusal(follow(channel).read()))[0] is grpc.StatusCode.RESOURCE_EXHAUSTED
        stream.cancel()
        assert state_of(await first_message(channel))[1] == {"fractional": [["on", 59000], ["off", 41000]]}


async def first_message(channel: grpc.aio.Channel) -> bytes:
    """Of a new stream, as soon as there is a place for it."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while True:
            try:
                return bytes(await follow(channel).read())
            except grpc.aio.AioRpcError:
                await asyncio.sleep(0.01)


async def test_a_fault_inside_says_nothing_of_itself(service: FakeService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "standing", lambda environment: 1 / 0)
    async with channel_to(service) as channel:
        code, sentence = await refusal(fetch(channel))
    assert code is grpc.StatusCode.INTERNAL
    assert sentence == "Something went wrong inside the controller; its log says what."


async def test_an_address_in_use_and_one_that_is_none_are_refused(service: FakeService) -> None:
    async with serving_flagd(cast(Service, service), "127.0.0.1", 0) as port:
        with pytest.raises(
            RolloutError, match=f"can't serve flagd on 127.0.0.1:{port}: Address already in use; choose"
        ):
            async with serving_flagd(cast(Service, service), "127.0.0.1", port):
                pass
    with pytest.raises(RolloutError, match=r"can't serve flagd on nowhere\.invalid:1"):
        async with serving_flagd(cast(Service, service), "nowhere.invalid", 1):
            pass


async def test_a_certificate_that_is_none_is_refused(service: FakeService) -> None:
    certificate = Certificate(b"no certificate", b"no key")
    with pytest.raises(RolloutError, match="look whether the certificate and its key are PEM and fit"):
        async with serving_flagd(cast(Service, service), "127.0.0.1", 0, TOKENS, certificate=certificate):
            pass


async def test_without_tokens_nothing_is_served_beyond_loopback(service: FakeService) -> None:
    with pytest.raises(UsageError, match="--token-file"):
        async with serving_flagd(cast(Service, service), "0.0.0.0", 0):
            pass


async def test_without_grpc_the_remedy_is_said(service: FakeService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "grpc.aio", None)
    with pytest.raises(UsageError, match=r"pip install 'staged-rollout\[flagd\]'"):
        async with serving_flagd(cast(Service, service), "127.0.0.1", 0):
            pass


@pytest.mark.parametrize("length", (0, 1, 127, 128, 20_000, 3_000_000))
def test_a_response_is_what_protobuf_writes(length: int) -> None:
    text = "x" * length
    assert sync_pb2.SyncFlagsResponse.FromString(response(text.encode())).flag_configuration == text
    if length:
        assert response(text.encode()) == sync_pb2.SyncFlagsResponse(flag_configuration=text).SerializeToString()


def test_a_selector_is_found_among_fields_that_are_not_known() -> None:
    known = sync_pb2.SyncFlagsRequest(provider_id="p" * 300, selector="größer").SerializeToString()
    unknown = b"\x18\x96\x01" + b"\x21" + bytes(8) + b"\x2d" + bytes(4) + b"\x32\x02ab"
    assert selector_of(unknown + known + unknown) == "größer"
    assert selector_of(b"") == ""


@pytest.mark.parametrize("cut", range(1, 6))
def test_a_request_that_was_cut_off_is_bad(cut: int) -> None:
    with pytest.raises(BadMessage):
        selector_of(b"\x12\x05abcde"[: cut + 1] if cut < 5 else b"\x09abc")
