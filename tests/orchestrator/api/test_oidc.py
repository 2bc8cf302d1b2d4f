"""Tokens of an OpenID Connect provider, and what an attacker makes of them."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from orchestrator.api.credentials import Clocks, Credentials
from orchestrator.api.errors import Unauthorized
from orchestrator.api.oidc import AGAIN_SECONDS, AWAY_SECONDS, FRESH_SECONDS, LEEWAY_SECONDS, Oidc, OidcSettings
from orchestrator.api.tokens import hashed
from orchestrator.errors import Forbidden, Permanent, RolloutError, Temporary, UsageError

Json = dict[str, Any]
ISSUER = "https://id.example.org/realms/house"
KEYS_AT = "https://id.example.org/keys"
START = 1_772_366_400.0
SETTINGS = OidcSettings(ISSUER, ("rollout",), (("*", "viewer"), ("sre", "approver"), ("dev", "operator")))


@cache
def private(kind: str) -> Any:
    """A key, made once for all tests."""
    match kind.partition(" ")[0]:
        case "rsa":
            return rsa.generate_private_key(65537, 1024 if kind == "rsa short" else 2048)
        case "ec":
            return ec.generate_private_key(ec.SECP384R1() if kind == "ec 384" else ec.SECP256R1())
        case _:
            return ed25519.Ed25519PrivateKey.generate()


ALGORITHMS = {"RS256": "rsa one", "PS256": "rsa one", "ES256": "ec one", "EdDSA": "ed one"}


def public(kind: str, kid: str | None = "k1", **more: Any) -> Json:
    made = jwt.get_algorithm_by_name(_any_algorithm(kind)).to_jwk(private(kind).public_key(), as_dict=True)
    return {**made, **({} if kid is None else {"kid": kid}), **more}


def _any_algorithm(kind: str) -> str:
    return {"rsa": "RS256", "ec": "ES384" if kind == "ec 384" else "ES256", "ed": "EdDSA"}[kind.partition(" ")[0]]


def claims(**more: Any) -> Json:
    usual = {"iss": ISSUER, "aud": "rollout", "sub": "kim", "exp": START + 300, "iat": START, "groups": ["dev"]}
    return {name: value for name, value in {**usual, **more}.items() if value is not None}


def signed(kind: str = "rsa one", algorithm: str = "RS256", head: Json | None = None, **more: Any) -> str:
    return jwt.encode(claims(**more), private(kind), algorithm=algorithm, headers={"kid": "k1", **(head or {})})


def encoded(value: Any) -> str:
    content = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def by_hand(head: Any, body: Any, signature: bytes = b"") -> str:
    return f"{encoded(head)}.{encoded(body)}.{encoded(signature)}"


@dataclass
class Provider:
    """What its addresses have. *asked*: for its keys."""

    keys: list[Json] = field(default_factory=lambda: [public("rsa one")])
    configuration: Json = field(default_factory=lambda: {"issuer": ISSUER, "jwks_uri": KEYS_AT})
    is_away: bool = False
    asked: int = 0
    seconds: float = 0.0

    async def fetch(self, url: str) -> bytes:
        if self.is_away:
            raise Temporary("it is away")
        if url == f"{ISSUER}/.well-known/openid-configuration":
            return json.dumps(self.configuration).encode()
        if url != KEYS_AT:
            raise Permanent(f"{url} answered 404")
        self.asked += 1
        return json.dumps({"keys": self.keys}).encode()

    def now(self) -> float:
        return START + self.seconds

    def oidc(self, settings: OidcSettings = SETTINGS) -> Oidc:
        return Oidc(settings, self.fetch, self.now, lambda: self.seconds)


@pytest.fixture
def provider() -> Provider:
    return Provider()


async def verify(oidc: Oidc, token: str) -> Any:
    return await oidc.verify(token, hashed(token))


# --- who comes in -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_a_token_that_the_issuer_signed_for_this_server_is_let_in(provider: Provider, algorithm: str) -> None:
    kind = ALGORITHMS[algorithm]
    provider.keys = [public(kind)]
    found = await verify(provider.oidc(), signed(kind, algorithm))
    assert (found.actor.name, found.actor.role, found.actor.groups) == ("kim", "operator", ("dev",))
    assert found.expires == START + 300 + LEEWAY_SECONDS


@pytest.mark.parametrize(
    ("groups", "role"),
    (
        (["sre", "dev"], "approver"),  # the highest
        (["other"], "viewer"),  # as everybody
        ("dev other", "operator"),  # one text, as scope is
        ({"dev": True}, "viewer"),
        (None, "viewer"),
        ([["sre"], 7, "sre\n"], "viewer"),
    ),
)
async def test_the_role_is_what_the_owner_of_the_server_says_a_value_stands_for(
    provider: Provider, groups: Any, role: str
) -> None:
    assert (await verify(provider.oidc(), signed(groups=groups))).actor.role == role


async def test_claims_are_named_as_they_are_or_by_their_path(provider: Provider) -> None:
    settings = replace(
        SETTINGS, role_claim="realm_access.roles", name_claim="email", groups_claim="https://house/groups"
    )
    more: Json = {"realm_access": {"roles": ["sre"]}, "https://house/groups": ["dba", "dba"]}
    token = signed(**more, email="kim@example.org", email_verified=True)
    actor = (await verify(provider.oidc(settings), token)).actor
    assert (actor.name, actor.role, actor.groups) == ("kim@example.org", "approver", ("dba",))


async def test_an_address_that_was_not_verified_is_nobody_s_name(provider: Provider) -> None:
    oidc = provider.oidc(replace(SETTINGS, name_claim="email"))
    for more in ({}, {"email_verified": False}, {"email_verified": "true"}):
        with pytest.raises(Unauthorized, match="not verified"):
            await verify(oidc, signed(email="kim@example.org", **more))


@pytest.mark.parametrize("name", ("", " kim", "kim\x1b[2J", "k" * 201, 7, ["kim"], None))
async def test_what_is_no_name_is_refused(provider: Provider, name: Any) -> None:
    with pytest.raises(Unauthorized, match="is no name"):
        await verify(provider.oidc(replace(SETTINGS, name_claim="nick")), signed(nick=name))


async def test_who_has_no_role_is_told_so(provider: Provider) -> None:
    oidc = provider.oidc(replace(SETTINGS, roles=(("sre", "admin"),)))
    with pytest.raises(Forbidden, match="kim has no role here: none of the claim groups stands for one"):
        await verify(oidc, signed())


async def test_one_that_was_verified_is_known_until_it_is_over(provider: Provider) -> None:
    oidc, token = provider.oidc(), signed()
    assert oidc.known(hashed(token)) is None
    found = await verify(oidc, token)
    provider.seconds = 300 + LEEWAY_SECONDS - 0.1
    assert oidc.known(hashed(token)) == found
    provider.seconds = 300 + LEEWAY_SECONDS
    assert oidc.known(hashed(token)) is None
    with pytest.raises(Unauthorized, match="has expired"):
        await verify(oidc, token)


# --- who does not -----------------------------------------------------------------------------------------------------


def none(_: str) -> str:
    return by_hand({"alg": "none", "kid": "k1"}, claims())


def hmac_with_the_public_key(_: str) -> str:
    """Who takes the algorithm from the token checks an HMAC with a key that everybody has."""
    secret = private("rsa one").public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    text = f"{encoded({'alg': 'HS256', 'kid': 'k1', 'typ': 'JWT'})}.{encoded(claims())}"
    return f"{text}.{encoded(hmac.new(secret, text.encode(), hashlib.sha256).digest())}"


def own_key_in_the_head(place: str) -> Callable[[str], str]:
    own: Json = {
        "jwk": public("rsa other"),
        "jku": "https://evil.example/keys",
        "x5u": "https://evil.example/cert",
        "x5c": ["MIIB"],
    }

    def forged(_: str) -> str:
        return signed("rsa other", head={place: own[place]})

    return forged


FORGED: dict[str, tuple[Callable[[str], str], str]] = {
    "no signature asked for": (none, "is not signed with one of RS256"),
    "none, spelt otherwise": (lambda _: by_hand({"alg": "nOnE"}, claims()), "is not signed with one of"),
    "an HMAC of the public key": (hmac_with_the_public_key, "is not signed with one of"),
    "signature cut off": (lambda good: good.rpartition(".")[0] + ".", "signature of this token is wrong"),
    "signature of another token": (
        lambda good: ".".join([*good.split(".")[:2], signed(sub="eve").split(".")[2]]),
        "signature of this token is wrong",
    ),
    "claims changed": (
        lambda good: ".".join([good.split(".")[0], encoded(claims(groups=["sre"])), good.split(".")[2]]),
        "signature of this token is wrong",
    ),
    "somebody else's key under a known name": (lambda _: signed("rsa other"), "signature of this token is wrong"),
    "its own key": (own_key_in_the_head("jwk"), "signature of this token is wrong"),
    "its own key at an address": (own_key_in_the_head("jku"), "signature of this token is wrong"),
    "its own certificate at an address": (own_key_in_the_head("x5u"), "signature of this token is wrong"),
    "its own certificate": (own_key_in_the_head("x5c"), "signature of this token is wrong"),
    "a key that nobody has": (lambda _: signed(head={"kid": "k2"}), "key that its issuer does not have"),
    "a path as the key's name": (lambda _: signed(head={"kid": "../../../dev/null"}), "does not have"),
    "SQL as the key's name": (lambda _: signed(head={"kid": "' UNION SELECT 'x"}), "does not have"),
    "a number as the key's name": (lambda _: by_hand({"alg": "RS256", "kid": 1}, claims()), "can't be read"),
    "a list as the key's name": (lambda _: by_hand({"alg": "RS256", "kid": ["k1"]}, claims()), "can't be read"),
    "a huge key's name": (lambda _: by_hand({"alg": "RS256", "kid": "k" * 2000}, claims()), "can't be read"),
    "a list as the algorithm": (lambda _: by_hand({"alg": ["RS256"]}, claims()), "can't be read"),
    "another algorithm than the key's": (lambda _: signed(algorithm="RS512"), "is not signed with one of"),
    "an algorithm for another kind of key": (lambda _: signed("ec one", "ES256"), "does not have"),
    "another audience": (lambda _: signed(aud="billing"), "meant for somebody else"),
    "no audience": (lambda _: signed(aud=None), "no aud"),
    "an empty list of audiences": (lambda _: signed(aud=[]), "meant for somebody else|no aud"),
    "another issuer": (lambda _: signed(iss="https://evil.example"), "of another issuer"),
    "the issuer with a slash": (lambda _: signed(iss=ISSUER + "/"), "of another issuer"),
    "no issuer": (lambda _: signed(iss=None), "no iss"),
    "no subject": (lambda _: signed(sub=None), "no sub"),
    "no end": (lambda _: signed(exp=None), "no exp"),
    "over": (lambda _: signed(exp=START - LEEWAY_SECONDS), "has expired"),
    "an end that is a text": (lambda _: signed(exp="9999999999"), "exp of this token is no time"),
    "an end that never comes": (lambda _: signed(exp=float("inf")), "exp of this token is no time"),
    "an end that is no number": (lambda _: signed(exp=float("nan")), "exp of this token is no time"),
    "true as its end": (lambda _: signed(exp=True), "exp of this token is no time"),
    "not good yet": (lambda _: signed(nbf=START + LEEWAY_SECONDS + 1), "not good yet"),
    "made in the future": (lambda _: signed(iat=START + LEEWAY_SECONDS + 1), "not good yet"),
    "one that tells of a sign-out": (lambda _: signed(head={"typ": "logout+jwt"}), "not for signing in"),
    "an extension that must be understood": (lambda _: signed(head={"crit": ["exp"]}), "not for signing in"),
    "no JSON": (lambda _: f"{encoded(b'{')}.{encoded(claims())}.x", "can't be read"),
    "no base64": (lambda _: "ey*.e30.x", "can't be read"),
    "nothing": (lambda _: "..", "can't be read"),
    "a list as its head": (lambda _: by_hand([], claims()), "can't be read"),
    "a head that is nested deeply": (lambda _: by_hand(b"[" * 3000, claims()), "can't be read"),
    "a head that is huge": (lambda _: by_hand({"alg": "RS256", "x": "x" * 9000}, claims()), "can't be read"),
    "encrypted rather than signed": (lambda _: by_hand({"alg": "RSA-OAEP", "enc": "A256GCM"}, {}), "not signed with"),
}


@pytest.mark.parametrize("how", FORGED)
async def test_a_token_that_is_not_what_it_must_be_is_refused(provider: Provider, how: str) -> None:
    forge, sentence = FORGED[how]
    oidc, good = provider.oidc(), signed()
    await verify(oidc, good)
    token = forge(good)
    with pytest.raises(Unauthorized, match=sentence):
        await verify(oidc, token)
    assert oidc.known(hashed(token)) is None


async def test_claims_that_are_nested_deeply_are_refused(provider: Provider) -> None:
    """By a provider that signs anything."""
    token = jwt.api_jws.encode(b'{"a":' * 5000, private("rsa one"), "RS256", headers={"kid": "k1"})
    with pytest.raises(Unauthorized, match="can't be read"):
        await verify(provider.oidc(), token)


async def test_a_huge_token_is_not_even_looked_at(provider: Provider) -> None:
    credentials = Credentials(oidc=provider.oidc())
    with pytest.raises(Unauthorized, match="too long"):
        await credentials.identify(signed(padding="x" * 20_000), "::1")
    assert provider.asked == 0


# --- keys -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "algorithm", "kind", "sentence"),
    (
        ({"use": "enc"}, "RS256", "rsa one", "does not have"),
        ({"key_ops": ["encrypt"]}, "RS256", "rsa one", "does not have"),
        ({"alg": "PS256"}, "RS256", "rsa one", "does not have"),
        ({"kty": "oct", "k": "c2VjcmV0"}, "RS256", "rsa one", "does not have"),
        ({"n": "!!"}, "RS256", "rsa one", "can't be read"),
        ({}, "RS256", "rsa short", "fewer than 2048 bits"),
        ({}, "ES256", "ec 384", "does not have"),
    ),
)
async def test_a_key_is_good_only_for_what_it_is_for(
    provider: Provider, key: Json, algorithm: str, kind: str, sentence: str
) -> None:
    provider.keys = [public(kind, **key)]
    token = by_hand({"alg": algorithm, "kid": "k1"}, claims(), b"x" * 64) if kind != "rsa one" else signed(kind)
    with pytest.raises(Unauthorized, match=sentence):
        await verify(provider.oidc(), token)


async def test_without_a_key_s_name_there_must_be_only_one_that_it_could_be(provider: Provider) -> None:
    unnamed = jwt.encode(claims(), private("rsa one"), algorithm="RS256")
    provider.keys = [public("rsa one", kid=None), public("ec one", kid=None)]
    assert (await verify(provider.oidc(), unnamed)).actor.name == "kim"
    provider.keys.append(public("rsa other", kid=None))
    with pytest.raises(Unauthorized, match="does not have"):
        await verify(provider.oidc(), unnamed)


async def test_a_new_key_is_asked_for_when_a_token_names_it_but_not_again_and_again(provider: Provider) -> None:
    oidc = provider.oidc()
    await verify(oidc, signed())
    provider.keys = [public("rsa one"), public("rsa other", "k2")]
    new = signed("rsa other", head={"kid": "k2"})
    for number in range(20):
        with pytest.raises(Unauthorized, match="does not have"):
            await verify(oidc, signed(head={"kid": f"guess {number}"}))
    assert provider.asked == 1
    provider.seconds += AGAIN_SECONDS
    assert (await verify(oidc, new)).actor.name == "kim"
    assert provider.asked == 2


async def test_a_key_that_is_gone_takes_its_tokens_along(provider: Provider) -> None:
    oidc, token = provider.oidc(), signed(exp=START + 10_000)
    await verify(oidc, token)
    provider.keys = [public("rsa other", "k2")]
    provider.seconds += FRESH_SECONDS + 1
    assert oidc.known(hashed(token)) is not None  # and asks for the keys behind that
    await verify(oidc, signed("rsa other", head={"kid": "k2"}, exp=START + 10_000))
    assert oidc.known(hashed(token)) is None
    with pytest.raises(Unauthorized, match="does not have"):
        await verify(oidc, token)


async def test_while_the_provider_is_away_known_keys_go_on_for_a_day(provider: Provider) -> None:
    oidc = provider.oidc()
    await verify(oidc, signed())
    provider.is_away = True
    provider.seconds = AWAY_SECONDS
    token = signed(exp=START + 2 * AWAY_SECONDS)
    assert (await verify(oidc, token)).actor.name == "kim"
    provider.seconds += 1
    assert oidc.known(hashed(token)) is None
    with pytest.raises(Temporary, match="can't be had just now"):
        await verify(oidc, token)
    provider.is_away = False
    provider.seconds += AGAIN_SECONDS
    assert (await verify(oidc, token)).actor.name == "kim"


async def test_a_provider_that_is_away_from_the_start_is_waited_for(provider: Provider) -> None:
    provider.is_away = True
    oidc = provider.oidc()
    oidc.begin()
    with pytest.raises(Temporary, match="can't be had just now"):
        await verify(oidc, signed())
    provider.is_away = False
    provider.seconds += AGAIN_SECONDS
    assert (await verify(oidc, signed())).actor.name == "kim"
    await oidc.close()


@pytest.mark.parametrize(
    "configuration",
    (
        {"issuer": "https://evil.example", "jwks_uri": KEYS_AT},
        {"issuer": ISSUER + "/", "jwks_uri": KEYS_AT},
        {"issuer": ISSUER, "jwks_uri": "http://id.example.org/keys"},
        {"issuer": ISSUER, "jwks_uri": "file:///etc/passwd"},
        {"issuer": ISSUER, "jwks_uri": 7},
        {"issuer": ISSUER},
    ),
)
async def test_a_configuration_that_is_not_the_issuer_s_is_not_believed(
    provider: Provider, configuration: Json
) -> None:
    provider.configuration = configuration
    with pytest.raises(Temporary, match="can't be had just now"):
        await verify(provider.oidc(), signed())


@pytest.mark.parametrize("keys", ("nothing", [{"kty": "RSA"}] * 101, {"kid": "k1"}))
async def test_what_is_no_set_of_keys_is_none(provider: Provider, keys: Any) -> None:
    provider.keys = keys
    with pytest.raises(Temporary, match="can't be had just now"):
        await verify(provider.oidc(), signed())


async def test_keys_that_are_no_keys_are_passed_by(provider: Provider) -> None:
    provider.keys = [7, {"key_ops": 1}, {"kid": []}, {"kty": "RSA", "kid": "k0"}, public("rsa one")]  # type: ignore[list-item]
    assert (await verify(provider.oidc(), signed())).actor.name == "kim"


# --- beside the other tokens, and how it is set -----------------------------------------------------------------------


async def test_the_door_takes_them_beside_other_tokens(provider: Provider) -> None:
    credentials = Credentials(oidc=provider.oidc(), clocks=Clocks(provider.now, lambda: provider.seconds))
    token = signed()
    identity = await credentials.identify(token, "::1")
    assert await credentials.identify(token, "::1") == identity
    assert (identity.actor.name, identity.key) == ("kim", "oidc kim")
    assert await credentials.holds(identity)
    provider.seconds = 300 + LEEWAY_SECONDS
    assert not await credentials.holds(identity)
    for wrong in ("no.such.token", "word"):
        with pytest.raises(RolloutError):
            await credentials.identify(wrong, "::1")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    (
        ({"issuer": "id.example.org"}, "the URL of a provider is expected"),
        ({"issuer": "http://id.example.org"}, "plain HTTP could be anybody's"),
        ({"issuer": "https://id.example.org/?x=1"}, "the URL of a provider is expected"),
        ({"audiences": ()}, "needs --oidc-audience"),
        ({"roles": ()}, "needs --oidc-role VALUE=ROLE"),
        ({"roles": (("sre", "root"),)}, "with one of viewer, operator"),
        ({"roles": (("", "viewer"),)}, "VALUE=ROLE is expected"),
    ),
)
def test_settings_that_would_let_in_the_wrong_ones_are_refused(changes: Json, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        replace(SETTINGS, **changes)
