"""The real flagd provider, evaluating in process what the real servers send it."""

from __future__ import annotations

import asyncio
import logging
import random
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import grpc
import pytest
from openfeature.contrib.provider.flagd import FlagdProvider
from openfeature.contrib.provider.flagd.config import ResolverType
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import FlagNotFoundError, ProviderNotReadyError, TypeMismatchError
from openfeature.flag_evaluation import Reason

from flags import FlagDocument, FlagState
from flags.feed import Feed
from flags.values import same, thaw
from orchestrator.flag_board import Standing
from orchestrator.flagd_sync import serving_flagd
from orchestrator.flagd_sync.server import Certificate
from orchestrator.service import Service
from tests.flags import conformance
from tests.orchestrator.api.fake_service import SECRETS, TOKENS, FakeService, app_of, client_of
from tests.support.process import DEADLINE_SECONDS

USER_1, USER_2 = EvaluationContext("user-1"), EvaluationContext("user-2")


@pytest.fixture
def service() -> FakeService:
    service = FakeService()
    for document in (
        FlagDocument("new-api", percentage=30, parameters={"rate": 5, "list": [1, {"a": None}]}),
        FlagDocument("beta", targets={"team": ("search", "42"), "early": ("true",)}),
        FlagDocument("whole", percentage=100),
        FlagDocument("old", state=FlagState.DISABLED, percentage=100),
        FlagDocument("share", variants={"on": 10.0, "off": 0.0}, percentage=100),
        FlagDocument("size", variants={"on": 10, "off": 0}),
        FlagDocument("colour", variants={"blue": "#00f", "none": ""}, default_variant="none", on_variant="blue"),
        FlagDocument("theme", variants={"on": {"dark": [True, None]}, "off": {}}, percentage=100),
        FlagDocument("new-api", environment="staging", percentage=100),
    ):
        service.put(document)
    return service


def provider_at(port: int, **options: Any) -> FlagdProvider:
    """Tries again soon: the tests take servers away."""
    quick = {"retry_backoff_ms": 50, "retry_backoff_max_ms": 100, "deadline_ms": 5000}
    return FlagdProvider(port=port, resolver_type=ResolverType.IN_PROCESS, **{"host": "127.0.0.1", **quick, **options})


@contextmanager
def shut_down(provider: FlagdProvider) -> Iterator[FlagdProvider]:
    try:
        yield provider
    finally:
        provider.shutdown()
        connector = cast(Any, provider.resolver).connector
        for thread in (connector.thread, getattr(connector, "monitor_thread", None)):
            if thread is not None:
                thread.join(DEADLINE_SECONDS)


@asynccontextmanager
async def connected(port: int, **options: Any) -> AsyncIterator[FlagdProvider]:
    with shut_down(provider_at(port, **options)) as provider:
        await asyncio.to_thread(provider.initialize, EvaluationContext())
        yield provider


@asynccontextmanager
async def serving(service: FakeService, port: int = 0, **options: Any) -> AsyncIterator[int]:
    async with serving_flagd(cast(Service, service), "127.0.0.1", port, TOKENS, **options) as bound:
        yield bound


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not condition():  # noqa: ASYNC110 - the provider has no event to wait for
            await asyncio.sleep(0.01)


async def test_it_reads_values_of_every_type(service: FakeService) -> None:
    async with serving(service) as port, connected(port) as provider:
        assert provider.resolve_boolean_details("new-api", False, USER_2).value is True
        assert provider.resolve_boolean_details("new-api", True, USER_1).value is False
        assert provider.resolve_boolean_details("whole", False).value is True
        assert provider.resolve_float_details("share", 1.5).value == 10.0
        assert provider.resolve_integer_details("size", 3).value == 0
        assert provider.resolve_string_details("colour", "red").value == ""
        assert provider.resolve_object_details("theme", {}).value == {"dark": [True, None]}
        with pytest.raises(TypeMismatchError):
            provider.resolve_integer_details("share", 3)


async def test_it_says_why_and_reads_parameters(service: FakeService) -> None:
    async with serving(service) as port, connected(port) as provider:
        details = provider.resolve_boolean_details("new-api", False, USER_2)
        assert (details.variant, details.reason) == ("on", Reason.TARGETING_MATCH)  # flagd has no word for a split
        assert details.flag_metadata == {"rate": 5, "flagSetId": "production", "version": "0.0.9"}
        assert provider.resolve_boolean_details("whole", False).reason is Reason.STATIC
        parameters = provider.resolve_object_details("new-api.parameters", {})
        assert parameters.value == {"rate": 5, "list": [1, {"a": None}]}
        assert (parameters.variant, parameters.reason) == ("parameters", Reason.STATIC)


@pytest.mark.parametrize(
    ("attributes", "on"),
    (
        ({"team": "search"}, True),
        ({"team": ["other", "search"]}, True),
        ({"team": 42}, True),
        ({"team": 42.0}, True),
        ({"team": "42"}, True),
        ({"early": True}, True),
        ({"early": "true"}, True),
        ({"early": [False, True]}, True),
        ({"early": "True"}, False),
        ({"early": False}, False),
        ({"team": "searching"}, False),
        ({"team": []}, False),
        ({"team": [["search"]]}, False),
        ({"team": {"search": 1}}, False),
        ({"team": 43}, False),
        ({"team": ""}, False),
        ({}, False),
    ),
)
async def test_targets_match_as_they_do_here(service: FakeService, attributes: Any, on: bool) -> None:
    assert service.snapshot("production").get("beta").is_on(attributes) is on  # type: ignore[union-attr]
    async with serving(service) as port, connected(port) as provider:
        details = provider.resolve_boolean_details("beta", not on, EvaluationContext("user-1", attributes))
    assert (details.value, details.reason) == (on, Reason.TARGETING_MATCH if on else Reason.DEFAULT)


@pytest.mark.parametrize("key", (None, ""))
async def test_without_a_targeting_key_it_answers_the_default_variant(service: FakeService, key: str | None) -> None:
    async with serving(service) as port, connected(port) as provider:
        details = provider.resolve_boolean_details("new-api", True, EvaluationContext(key))
    assert (details.value, details.variant, details.reason) == (False, "off", Reason.DEFAULT)


async def test_a_disabled_flag_answers_off_whatever_the_application_says(service: FakeService) -> None:
    async with serving(service) as port, connected(port) as provider:
        assert provider.resolve_boolean_details("old", True).value is False


async def test_it_hears_of_a_change_and_of_the_kill_switch(service: FakeService) -> None:
    service.put(FlagDocument("lasting", percentage=100, permanent=True))
    async with serving(service) as port, connected(port) as provider:
        service.put(FlagDocument("new-api", percentage=100))
        await until(lambda: provider.resolve_boolean_details("new-api", False, USER_1).value)
        service.killed["*"] = "smoke"
        service.move()
        await until(lambda: not provider.resolve_boolean_details("new-api", True, USER_1).value)
        killed = provider.resolve_boolean_details("whole", True)
        assert (killed.value, killed.flag_metadata["killed"]) == (False, True)
        assert provider.resolve_boolean_details("lasting", False).value is True


async def test_it_answers_while_the_server_is_away_and_catches_up(service: FakeService) -> None:
    async with serving(service) as port:
        provider = provider_at(port)
        await asyncio.to_thread(provider.initialize, EvaluationContext())
    with shut_down(provider):
        service.put(FlagDocument("whole", percentage=0))
        assert provider.resolve_boolean_details("whole", False).value is True
        async with serving(service, port):
            await until(lambda: not provider.resolve_boolean_details("whole", True).value)


@pytest.mark.parametrize("selector", ("staging", "flagSetId=staging"))
async def test_its_selector_names_the_environment(service: FakeService, selector: str) -> None:
    async with serving(service) as port, connected(port, selector=selector) as provider:
        assert provider.resolve_boolean_details("new-api", False, USER_1).value is True
        assert provider.resolve_boolean_details("new-api", False, USER_1).flag_metadata["flagSetId"] == "staging"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    folder = tmp_path_factory.mktemp("certificate")
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out chain.pem -days 1 "
        "-subj /CN=localhost -addext subjectAltName=DNS:localhost"
    )
    subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)
    return Certificate((folder / "chain.pem").read_bytes(), (folder / "key.pem").read_bytes())


async def test_beyond_loopback_it_sends_its_token_over_tls(service: FakeService, certificate: Certificate) -> None:
    server = serving_flagd(cast(Service, service), "0.0.0.0", 0, TOKENS, certificate=certificate)
    tls = grpc.ssl_channel_credentials(certificate.chain)
    token = grpc.access_token_call_credentials(SECRETS["viewer"])
    async with server as port:
        secret = {"host": "localhost", "channel_credentials": grpc.composite_channel_credentials(tls, token)}
        async with connected(port, **secret) as provider:
            assert provider.resolve_boolean_details("whole", False).value is True
        stranger = provider_at(port, host="localhost", channel_credentials=tls, deadline_ms=300)
        with shut_down(stranger), pytest.raises(ProviderNotReadyError):
            await asyncio.to_thread(stranger.initialize, EvaluationContext())


async def test_it_reads_the_file_that_http_serves(service: FakeService, tmp_path: Path) -> None:
    async with client_of(app_of(service)) as client:
        answer = await client.get("/flagd/v1/flags.json")
    file = tmp_path / "flags.json"
    file.write_bytes(answer.content)
    provider = FlagdProvider(
        resolver_type=ResolverType.FILE, offline_flag_source_path=str(file), deadline_ms=10, cache=None
    )
    with shut_down(provider):
        await asyncio.to_thread(provider.initialize, EvaluationContext())
        assert provider.resolve_boolean_details("new-api", False, USER_2).value is True
        assert provider.resolve_float_details("share", 1.5).value == 10.0
        assert provider.resolve_boolean_details("old", True).value is False


# --- the table of answers ---------------------------------------------------------------------------------------------

# What flagd calls the same. It has no split, no error for want of a key, and our disabled flag is a static one.
REASONS = {
    "STATIC": Reason.STATIC,
    "DISABLED": Reason.STATIC,
    "TARGETING_MATCH": Reason.TARGETING_MATCH,
    "DEFAULT": Reason.DEFAULT,
}


RESOLVE: dict[type, tuple[str, Any]] = {
    bool: ("resolve_boolean_details", True),
    int: ("resolve_integer_details", 99),
    float: ("resolve_float_details", 9.9),
    str: ("resolve_string_details", "default"),
    dict: ("resolve_object_details", {"default": 1}),
}


class Serving(FakeService):
    """One set of documents of the table."""

    def __init__(self, feed: Feed) -> None:
        super().__init__()
        self._standing = Standing(feed)

    def standing(self, environment: str) -> Standing:
        return self._standing


@pytest.mark.parametrize("name", conformance.sets())
async def test_it_answers_as_the_table_says(name: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "openfeature.contrib")  # it has a line for every context without a key
    wrong, asked = [], [case for case in conformance.cases() if case.flags == name and "flagd" not in case.unlike]
    async with serving(Serving(conformance.feed(name))) as port, connected(port) as provider:
        for case in asked:
            said = answer_of(provider, case)
            if said is not None:
                wrong.append(f"{case}: {said}")
    assert not wrong
    assert asked


def answer_of(provider: FlagdProvider, case: conformance.Case) -> str | None:
    """None if it is the right one."""
    attributes = {name: value for name, value in case.context.items() if name != "targetingKey"}
    context = EvaluationContext(case.context.get("targetingKey"), attributes)
    method, default = RESOLVE[type(case.value) if case.value is not None else bool]
    try:
        details = getattr(provider, method)(case.flag, default, context)
    except FlagNotFoundError:
        return None if case.error_code == "FLAG_NOT_FOUND" else "not found"
    if not same(details.value, case.value) or details.variant != case.variant:
        return f"{details.variant} {details.value}"
    if details.reason != REASONS.get(case.reason, details.reason):
        return f"{details.reason}"
    metadata = {key: value for key, value in details.flag_metadata.items() if key not in ("flagSetId", "version")}
    expected = metadata if case.error_code else case.metadata  # an error has none in the table
    return None if same(metadata, dict(expected)) else f"{metadata}"


# --- many random contexts ---------------------------------------------------------------------------------------------

ATTRIBUTES = ("team", "tenant", "plan", "größe", "a b", "x/y", "length", "targetingKey")
WORDS = (
    "search",
    "web",
    "42",
    "2.5",
    "-7",
    "1e+300",
    "18446744073709551615",
    "",
    "ü",
    "x" * 300,
    "true",
    "false",
    "3.0",
)
# Python's JSON Logic takes true for 1 and false for 0, as this module's flags say; these numbers are left out.
NUMBERS = (42, 42.0, 2.5, -7, -7.0, 1e300, 2**64 - 1, 3.0, 3)
KINDS: tuple[tuple[Any, ...], ...] = (
    (True, False),
    ("", "a", "ü"),
    (0, 7, -(2**60)),
    (0.0, 10.0, 1e-9),
    ({}, {"a": [1, None]}),
)
ENVIRONMENTS = 10
CONTEXTS = 100
FLAGS = 100


def random_document(draw: random.Random, number: int) -> FlagDocument:
    values = draw.choice(KINDS)
    names = draw.sample(("on", "off", "true", "é"), draw.randint(2, 3))
    default_variant, on_variant = draw.sample(names, 2)
    targets = {name: draw.sample(WORDS, draw.randint(1, 4)) for name in draw.sample(ATTRIBUTES, draw.randint(0, 3))}
    exact = (0, 100, 0.001, 99.999, 50, 33.333)
    return FlagDocument(
        draw.choice(("flag-", "team/", "ü ", "😀")) + str(number),
        state=draw.choice((FlagState.ENABLED,) * 9 + (FlagState.DISABLED,)),
        variants={name: draw.choice(values) for name in names},
        default_variant=default_variant,
        on_variant=on_variant,
        targets={name: tuple(words) for name, words in targets.items()},
        percentage=draw.choice((*exact, *(draw.randint(0, 100_000) / 1000 for _ in exact))),
        permanent=draw.random() < 0.2,
    )


def random_context(draw: random.Random) -> tuple[str | None, dict[str, Any]]:
    def value() -> Any:
        one = (draw.choice(WORDS), draw.choice(NUMBERS), True, False, None, {"a": 1}, "other")
        return draw.choice((*one, draw.choice(WORDS), [draw.choice(one) for _ in range(draw.randint(0, 3))]))

    key = draw.choice(
        (None, "", "search", "ü" * 50, "k" * 70_000, *(f"user-{draw.getrandbits(40)}" for _ in range(20)))
    )
    names = draw.sample(ATTRIBUTES[:-1], draw.randint(0, 5))
    return key, {name: value() for name in names}


@pytest.mark.slow
async def test_it_agrees_on_100_000_random_contexts(service: FakeService, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "openfeature.contrib")  # it has a line for every context without a key
    draw = random.Random(20_260)
    for number in range(ENVIRONMENTS):
        environment = f"random-{number}"
        for index in range(FLAGS):
            service.put(replace(random_document(draw, index), environment=environment))
        if number % 5 == 4:
            service.killed[environment] = "a kill"
    compared = 0
    async with serving(service) as port:
        for number in range(ENVIRONMENTS):
            async with connected(port, selector=f"random-{number}") as provider:
                compared += compare(service, f"random-{number}", provider, draw)
    assert compared == ENVIRONMENTS * FLAGS * CONTEXTS


def compare(service: FakeService, environment: str, provider: FlagdProvider, draw: random.Random) -> int:
    contexts = [random_context(draw) for _ in range(CONTEXTS)]
    snapshot = service.snapshot(environment)
    compared = 0
    for document in snapshot.documents():
        flag = snapshot.get(document.key)
        assert flag is not None
        kind = dict if not isinstance(document.on_value, bool | int | float | str) else type(document.on_value)
        method, default = RESOLVE[kind]
        resolve = getattr(provider, method)
        for key, attributes in contexts:
            ours = flag.details({**attributes, "targetingKey": key} if key is not None else attributes)
            theirs = resolve(document.key, default, EvaluationContext(key, attributes))
            is_same = (theirs.variant, theirs.value) == (ours.variant, thaw(ours.value)) and type(theirs.value) is kind
            assert is_same, (document, key, attributes, ours, theirs)
            assert REASONS.get(str(ours.reason), theirs.reason) == theirs.reason, (document, attributes, ours, theirs)
            compared += 1
    return compared
