"""Signing in at an OpenID Connect provider, what is made of it on the way, and blocking what a provider vouches for."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from orchestrator.api.bodies import BlockBody
from orchestrator.api.credentials import FAILURES_BURST, Clocks, Credentials
from orchestrator.api.errors import TooManyRequests, Unauthorized
from orchestrator.api.issued import FRESH_SECONDS
from orchestrator.api.oidc import AGAIN_SECONDS, Oidc
from orchestrator.api.tokens import TokenStore
from orchestrator.core.commands import Actor
from orchestrator.errors import NotFound, Permanent, Refused, RolloutError, Temporary
from orchestrator.journal.memory_tokens import MemoryTokens
from tests.orchestrator.api.test_oidc import ISSUER, SETTINGS, START, Provider, signed

PAGES = replace(SETTINGS, client_id="pages", client_secret="a secret")
BACK = "https://rollout.example.org/sign-in/return"
ADMIN = Actor("root", "admin")
Sent = tuple[str, Mapping[str, str], tuple[str, str] | None]


class House:
    """Two controllers of one store, and a provider that says *claims* of whoever brings a code."""

    def __init__(self) -> None:
        self.provider = Provider()
        self.provider.configuration |= {
            "authorization_endpoint": f"{ISSUER}/auth?theme=dark",
            "token_endpoint": f"{ISSUER}/token",
        }
        self.claims: dict[str, Any] = {"aud": "pages"}
        self.sent: list[Sent] = []
        self.answer: bytes | RolloutError | None = None
        storage, clocks = MemoryTokens(), Clocks(self.provider.now, lambda: self.provider.seconds)
        self.one, self.two = (Credentials(TokenStore(), storage, oidc=self._oidc(), clocks=clocks) for _ in range(2))

    def _oidc(self) -> Oidc:
        return Oidc(PAGES, self.provider.fetch, self.provider.now, lambda: self.provider.seconds, self._post)

    async def _post(self, url: str, form: Mapping[str, str], basic: tuple[str, str] | None) -> bytes:
        self.sent.append((url, form, basic))
        if isinstance(self.answer, RolloutError):
            raise self.answer
        return self.answer or json.dumps({"id_token": signed(**self.claims)}).encode()

    async def went(self, page: str = "/runs/search") -> tuple[dict[str, str], str]:
        """What the provider was asked for, and the cookie."""
        begun = await self.one.go_there(page, BACK)
        asked = {name: values[0] for name, values in parse_qs(urlsplit(begun.url).query).items()}
        self.claims["nonce"] = asked["nonce"]
        return asked, begun.cookie

    async def back(self, **more: Any) -> Any:
        asked, cookie = await self.went()
        answer = {"code": "a-code", "state": asked["state"], **more.pop("answer", {})}
        self.claims |= more
        return await self.two.come_back({k: v for k, v in answer.items() if v is not None}, cookie, BACK, "192.0.2.1")


@pytest.fixture
def house() -> House:
    return House()


async def test_a_browser_is_sent_with_a_challenge_and_comes_back_to_any_controller_of_the_store(house: House) -> None:
    asked, cookie = await house.went("/runs/search")
    assert asked.pop("theme") == "dark"
    assert (asked["response_type"], asked["client_id"], asked["redirect_uri"]) == ("code", "pages", BACK)
    assert (asked["scope"], asked["code_challenge_method"]) == ("openid", "S256")
    assert not {asked["state"], asked["nonce"], asked["code_challenge"]} & set(cookie.split("."))
    answer = {"code": "a-code", "state": asked["state"], "iss": ISSUER}
    identity, page = await house.two.come_back(answer, cookie, BACK, "192.0.2.1")
    assert (identity.actor.name, identity.actor.role, page) == ("kim", "operator", "/runs/search")
    url, form, basic = house.sent[0]
    assert (url, basic) == (f"{ISSUER}/token", ("pages", "a secret"))
    assert (form["code"], form["redirect_uri"]) == ("a-code", BACK)
    digest = sha256(form["code_verifier"].encode()).digest()
    assert urlsafe_b64encode(digest).rstrip(b"=").decode() == asked["code_challenge"]


@pytest.mark.parametrize(
    ("answer", "words"),
    (
        ({"state": "another"}, "not begun in this browser"),
        ({"state": None}, "not begun in this browser"),
        ({"state": "\udcff"}, "not begun in this browser"),
        ({"iss": "https://evil.example"}, "of another provider"),
        ({"code": None, "error": "access_denied"}, "access denied"),
        ({"code": None, "error": "<script>"}, "does not say why"),
        ({"code": "x" * 5000}, "does not say why"),
    ),
)
async def test_an_answer_that_is_not_to_our_question_is_refused_and_nothing_is_exchanged(
    house: House, answer: dict[str, str | None], words: str
) -> None:
    with pytest.raises(Unauthorized, match=words):
        await house.back(answer=answer)
    assert house.sent == []


@pytest.mark.parametrize(
    ("claims", "words"),
    (
        ({"nonce": "another"}, "another sign-in"),
        ({"nonce": None}, "another sign-in"),
        ({"aud": "rollout"}, "meant for somebody else"),
        ({"aud": ["pages", "billing"]}, "another client"),
        ({"aud": ["pages", "billing"], "azp": "billing"}, "another client"),
        ({"azp": "billing"}, "another client"),
        ({"iss": "https://evil.example"}, "another issuer"),
        ({"exp": START - 60}, "expired"),
    ),
)
async def test_a_token_that_was_made_for_something_else_is_refused(
    house: House, claims: dict[str, Any], words: str
) -> None:
    with pytest.raises(Unauthorized, match=words):
        await house.back(**claims)


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    (
        (b"no JSON", Temporary, "can't be read"),
        (b"[]", Unauthorized, "no ID token"),
        (b'{"access_token": "x"}', Unauthorized, "no ID token"),
        (Permanent("it answered 400"), Unauthorized, "takes back what it said: it answered 400"),
        (Temporary("it is away"), Temporary, "it is away"),
    ),
)
async def test_a_provider_that_does_not_keep_its_word_lets_nobody_in(
    house: House, answer: bytes | RolloutError, error: type[Exception], words: str
) -> None:
    house.answer = answer
    with pytest.raises(error, match=words):
        await house.back()


async def test_several_audiences_are_fine_where_the_token_says_that_it_was_made_for_us(house: House) -> None:
    identity, _ = await house.back(aud=["pages", "billing"], azp="pages")
    assert identity.actor.name == "kim"


async def test_who_tries_answers_at_random_has_to_wait(house: House) -> None:
    for _ in range(FAILURES_BURST):
        with pytest.raises(Unauthorized):
            await house.back(answer={"state": "guessed"})
    with pytest.raises(TooManyRequests):
        await house.back(answer={"state": "guessed"})


async def test_a_provider_that_is_away_or_has_no_such_address_is_told_as_such(house: House) -> None:
    house.provider.is_away = True
    with pytest.raises(Temporary, match="can't be asked just now"):
        await house.went()
    house.provider.is_away = False
    house.provider.seconds += AGAIN_SECONDS
    house.provider.configuration["authorization_endpoint"] = "http://id.example.org/auth"
    with pytest.raises(Temporary, match="has no authorization_endpoint"):
        await house.went()


async def test_without_a_client_nobody_is_sent_anywhere() -> None:
    credentials = Credentials(TokenStore(), MemoryTokens(), oidc=Provider().oidc())
    assert credentials.provider_name is None
    with pytest.raises(NotFound, match="--oidc-client-id"):
        await credentials.go_there("/", BACK)


# --- blocking ---------------------------------------------------------------------------------------------------------


async def block(house: House, **wanted: Any) -> Any:
    assert house.one.issued is not None
    return await house.one.issued.block(BlockBody(reason="a test", **wanted), ADMIN)


async def test_a_block_holds_at_once_here_and_within_two_seconds_elsewhere_until_it_is_revoked(house: House) -> None:
    token = signed(jti="t-1")
    identity = await house.two.identify(token, "")
    made = await block(house, subject="kim")
    with pytest.raises(Unauthorized, match="blocked here"):
        await house.one.identify(token, "")
    house.provider.seconds += FRESH_SECONDS + 0.1
    with pytest.raises(Unauthorized, match="blocked here"):
        await house.two.identify(token, "")
    assert not await house.two.holds(identity)
    with pytest.raises(Unauthorized, match="blocked here"):
        await house.back()
    assert (await house.two.identify(signed(sub="lee"), "")).actor.name == "lee"
    assert house.one.issued is not None
    await house.one.issued.revoke(made.id, "it was found", ADMIN)
    assert (await house.one.identify(token, "")).actor.name == "kim"


async def test_one_token_is_blocked_by_its_id_and_the_others_of_its_subject_go_on(house: House) -> None:
    await block(house, token_id="t-1")
    with pytest.raises(Unauthorized, match="blocked here"):
        await house.one.identify(signed(jti="t-1"), "")
    assert (await house.one.identify(signed(jti="t-2"), "")).actor.name == "kim"


async def test_a_block_may_end_by_itself_and_is_made_once(house: House) -> None:
    await block(house, subject="kim", expires="2026-03-01T12:01:00Z")
    with pytest.raises(Refused, match="is blocked already"):
        await block(house, subject="kim")
    with pytest.raises(Unauthorized):
        await house.one.identify(signed(), "")
    house.provider.seconds += 61
    assert (await house.one.identify(signed(), "")).actor.name == "kim"


async def test_a_block_is_nobody_s_token(house: House) -> None:
    made = await block(house, subject="kim")
    with pytest.raises(Unauthorized, match="not known"):
        await house.two.identify(f"subject kim\0{made.id}", "")
