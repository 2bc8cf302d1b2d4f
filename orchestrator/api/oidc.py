"""JSON Web Tokens of an OpenID Connect provider: who they are of, and as what these may come in.

Theory of operation. A token says of itself who signed it, how, and with which key, and none of that is believed: the
server's owner named the issuer and the audience, the algorithms stand below, and the keys come from where the issuer's
own configuration says. Of a token's head two words are looked at: ``alg`` must be one of ours and be the one that the
key is for; ``kid`` is looked up among the issuer's keys. Addresses and keys in a head (``jku``, ``x5u``, ``jwk``,
``x5c``) are not read at all.

Keys are kept for ten minutes, and then asked for again behind the answers; a ``kid`` that is not among them asks for
them at once, every ten seconds at most, for that is how a provider changes its keys. While the provider is away, those
that were known go on for a day.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

import structlog

from orchestrator.api.errors import Unauthorized
from orchestrator.core.commands import ROLES, Actor
from orchestrator.errors import Forbidden, RolloutError, Temporary, UsageError

log = structlog.get_logger()

LEEWAY_SECONDS: Final = 30.0
FRESH_SECONDS: Final = 600.0
AWAY_SECONDS: Final = 24 * 3600.0
AGAIN_SECONDS: Final = 10.0
MOST_KEYS: Final = 100
MOST_VERIFIED: Final = 10_000
MOST_GROUPS: Final = 200
MOST_LETTERS: Final = 200
MOST_HEAD_LETTERS: Final = 4096
LEAST_RSA_BITS: Final = 2048
MOST_SECONDS: Final = 1e11  # the year 5138
ANYBODY: Final = "*"

_KEYS_FOR: Final = {
    "RS256": ("RSA", None),
    "PS256": ("RSA", None),
    "ES256": ("EC", "P-256"),
    "EdDSA": ("OKP", "Ed25519"),
}
"""By algorithm, what kind of key and curve it takes. There is no other algorithm."""

_TYPES: Final = ("", "jwt", "at+jwt", "application/at+jwt")
"""What a token may say it is. Providers sign others with the same keys, such as those that tell of a sign-out."""

Fetch = Callable[[str], Awaitable[bytes]]
"""The content of an address, within bounds of time and size. Raises RolloutError."""

Post = Callable[[str, Mapping[str, str], tuple[str, str] | None], Awaitable[bytes]]
"""Of a form that is sent to an address, with user and password if they are given."""


@dataclass(frozen=True, slots=True)
class OidcSettings:
    """As the server's owner says. *roles*: which role whoever has a value in the claim *role_claim* comes in with; the
    highest counts. A claim is named as it is, or by its path: ``realm_access.roles``."""

    issuer: str
    audiences: tuple[str, ...]
    roles: tuple[tuple[str, str], ...]
    role_claim: str = "groups"
    name_claim: str = "sub"
    groups_claim: str = "groups"
    client_id: str | None = None
    client_secret: str | None = field(default=None, repr=False)
    scopes: tuple[str, ...] = ("openid",)

    def __post_init__(self) -> None:
        _imported()
        parts = urlsplit(self.issuer)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise UsageError(f"--oidc-issuer {self.issuer!r}: the URL of a provider is expected, https://HOST/PATH")
        if parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
            raise UsageError("--oidc-issuer: keys that come over plain HTTP could be anybody's; https:// is expected")
        if not self.audiences and self.client_id is None:
            raise UsageError(
                "--oidc-issuer needs --oidc-audience: which tokens of the provider are meant for this server; or "
                "--oidc-client-id, for people at the pages alone"
            )
        if not self.roles:
            raise UsageError(
                "--oidc-issuer needs --oidc-role VALUE=ROLE, or nobody may do anything; *=viewer is for all"
            )
        for value, role in self.roles:
            if role not in ROLES or not value:
                raise UsageError(f"--oidc-role {value}={role}: VALUE=ROLE is expected, with one of {', '.join(ROLES)}")


@dataclass(frozen=True, slots=True)
class Verified:
    actor: Actor
    subject: str
    expires: float
    token_id: str = ""


@dataclass(frozen=True, slots=True)
class Keys:
    """By ``kid``, as the provider wrote them, and when they were asked for (monotonic)."""

    by_id: Mapping[str, Mapping[str, Any]]
    asked_at: float = float("-inf")


class Oidc:
    def __init__(
        self,
        settings: OidcSettings,
        fetch: Fetch,
        now: Callable[[], float],
        monotonic: Callable[[], float],
        post: Post | None = None,
    ) -> None:
        """*post* is needed where people sign in at the provider."""
        self.settings = self._settings = settings
        self._post = post
        self._endpoints: Mapping[str, str] = {}
        self._fetch = fetch
        self._now = now
        self._monotonic = monotonic
        self._keys = Keys({})
        self._tried_at = float("-inf")
        self._asking: asyncio.Task[None] | None = None
        self._verified: OrderedDict[str, Verified] = OrderedDict()  # by the token's hash

    def begin(self) -> None:
        """Asks for the keys before somebody needs them, so that a wrong issuer is in the log from the start."""
        self._ask()

    async def close(self) -> None:
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)

    def known(self, sha256: str) -> Verified | None:
        """One that was verified before and still holds."""
        found = self._verified.get(sha256)
        if found is None or found.expires <= self._now() or self._age() > AWAY_SECONDS:
            return None
        if self._age() > FRESH_SECONDS:
            self._ask()
        self._verified.move_to_end(sha256)
        return found

    async def verify(self, token: str, sha256: str) -> Verified:
        """Raises ``Unauthorized``, ``Forbidden`` for who has no role here, ``Temporary`` if there are no keys now."""
        found = self._verified_by(await self._checked(token, self._settings.audiences))
        self._verified[sha256] = found
        if len(self._verified) > MOST_VERIFIED:
            self._verified.popitem(last=False)
        return found

    async def verify_own(self, token: str, nonce: str) -> Verified:
        """An ID token that the provider made for this very client and sign-in. Raises as ``verify``."""
        client = self._settings.client_id or ""
        claims = await self._checked(token, (client,))
        is_for_several = isinstance(claims["aud"], list) and len(claims["aud"]) > 1
        if claims.get("azp", "" if is_for_several else client) != client:
            raise Unauthorized("This token was made for another client of the provider.")
        if claims.get("nonce") != nonce:
            raise Unauthorized("This token was made for another sign-in.")
        return self._verified_by(claims)

    async def _checked(self, token: str, audiences: tuple[str, ...]) -> dict[str, Any]:
        algorithm, key_id = _head(token)
        return self._claims(token, algorithm, await self._key(algorithm, key_id), audiences)

    def _verified_by(self, claims: Mapping[str, Any]) -> Verified:
        token_id = claims.get("jti")
        expires = float(claims["exp"]) + LEEWAY_SECONDS
        return Verified(self._actor(claims), str(claims["sub"]), expires, token_id if isinstance(token_id, str) else "")

    # --- the provider itself ------------------------------------------------------------------------------------------

    @property
    def issuer(self) -> str:
        return self._settings.issuer

    async def endpoint(self, name: str) -> str:
        """An address of the provider's, by its own configuration. Raises ``Temporary``."""
        if name not in self._endpoints:
            await self._asked()
        if name not in self._endpoints:
            raise Temporary(f"{self.issuer} can't be asked just now, or has no {name}; come again.", AGAIN_SECONDS)
        return self._endpoints[name]

    async def post(self, where: str, form: Mapping[str, str], secret: str | None) -> bytes:
        """Raises ``Permanent`` for what is refused, ``Temporary``."""
        assert self._post is not None, "a server at which people sign in has it"
        basic = None if secret is None else (self._settings.client_id or "", secret)
        return await self._post(where, form, basic)

    # --- keys ---------------------------------------------------------------------------------------------------------

    async def _key(self, algorithm: str, key_id: str | None) -> Any:
        if self._age() > AWAY_SECONDS:
            await self._asked()
        found = self._suiting(algorithm, key_id)
        if found is None:  # it may be a new one
            await self._asked()
            found = self._suiting(algorithm, key_id)
        if self._age() > AWAY_SECONDS:
            raise Temporary(f"The keys of {self._settings.issuer} can't be had just now; come again.", AGAIN_SECONDS)
        if found is None:
            raise Unauthorized("This token is signed with a key that its issuer does not have.")
        if self._age() > FRESH_SECONDS:
            self._ask()
        return _made(found, algorithm)

    def _suiting(self, algorithm: str, key_id: str | None) -> Mapping[str, Any] | None:
        """Without a ``kid``, the only one that it could be."""
        suiting = [key for name, key in self._keys.by_id.items() if key_id in (None, name) and _suits(key, algorithm)]
        return suiting[0] if len(suiting) == 1 else None

    def _age(self) -> float:
        return self._monotonic() - self._keys.asked_at

    async def _asked(self) -> None:
        self._ask()
        if self._asking is not None:
            await asyncio.wait({self._asking})

    def _ask(self) -> None:
        """Unless that is under way, or was a moment ago."""
        now = self._monotonic()
        if self._asking is None and now - self._tried_at >= AGAIN_SECONDS:
            self._tried_at = now
            self._asking = asyncio.create_task(self._renew(now), name="keys of the OpenID provider")

    async def _renew(self, at: float) -> None:
        try:
            by_id = _keys_in(await self._fetch(await self._where()))
        except (RolloutError, ValueError, RecursionError) as problem:
            log.warning("oidc keys can't be had", issuer=self._settings.issuer, why=str(problem)[:300])
        else:
            if by_id != self._keys.by_id:
                self._verified.clear()  # a key that is gone takes its tokens along
            self._keys = Keys(by_id, at)
        finally:
            self._asking = None

    async def _where(self) -> str:
        issuer = self._settings.issuer
        found = json.loads(await self._fetch(f"{issuer.rstrip('/')}/.well-known/openid-configuration"))
        if not isinstance(found, dict) or found.get("issuer") != issuer:
            raise ValueError("its configuration is of another issuer: name it exactly as it names itself")
        where = found.get("jwks_uri")
        if not isinstance(where, str) or (issuer.startswith("https:") and not where.startswith("https://")):
            raise ValueError("its configuration names no keys that come over https")
        self._endpoints = {
            name: there
            for name in ("authorization_endpoint", "token_endpoint")
            if isinstance(there := found.get(name), str) and there.startswith(issuer.partition(":")[0] + "://")
        }
        return where

    # --- claims -------------------------------------------------------------------------------------------------------

    def _claims(self, token: str, algorithm: str, key: Any, audiences: tuple[str, ...]) -> dict[str, Any]:
        jwt = _imported()
        settings, later = self._settings, dict.fromkeys(("verify_exp", "verify_nbf", "verify_iat"), False)
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                audience=list(audiences),
                issuer=settings.issuer,
                options={"require": ["exp", "iss", "aud", "sub"], **later},
            )
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as problem:
            raise Unauthorized(_why(problem)) from None
        self._check_times(claims)
        return claims

    def _check_times(self, claims: Mapping[str, Any]) -> None:
        """By the server's own clock, as all tokens are."""
        now, exp = self._now(), _time(claims, "exp")
        if exp is None or not now < exp + LEEWAY_SECONDS:
            raise Unauthorized("This token has expired: ask its issuer for a new one.")
        begins = [time for time in (_time(claims, "nbf"), _time(claims, "iat")) if time is not None]
        if any(time > now + LEEWAY_SECONDS for time in begins):
            raise Unauthorized("This token is not good yet: look at the clocks of its issuer and of this server.")

    def _actor(self, claims: Mapping[str, Any]) -> Actor:
        settings = self._settings
        name = _claim(claims, settings.name_claim)
        if not isinstance(name, str) or not _is_shown(name):
            raise Unauthorized(f"The claim {settings.name_claim} of this token is no name.")
        if settings.name_claim == "email" and claims.get("email_verified") is not True:
            raise Unauthorized("The address of this token was not verified by its issuer.")
        values = {ANYBODY, *_texts(_claim(claims, settings.role_claim))}
        held = [role for value, role in settings.roles if value in values]
        if not held:
            raise Forbidden(f"{name} has no role here: none of the claim {settings.role_claim} stands for one.")
        groups = tuple(dict.fromkeys(_texts(_claim(claims, settings.groups_claim))))
        return Actor(name, max(held, key=ROLES.index), groups[:MOST_GROUPS])


def looks_like_one(secret: str) -> bool:
    return secret.count(".") == 2


def _imported() -> Any:
    try:
        import jwt
    except ImportError:
        raise UsageError("--oidc-issuer needs the extra `oidc`: pip install 'staged-rollout[oidc]'") from None
    return jwt


def _why(problem: Exception) -> str:
    jwt = _imported()
    match problem:
        case jwt.InvalidAudienceError():
            return "This token is meant for somebody else: its audience is not this server."
        case jwt.InvalidIssuerError():
            return "This token is of another issuer."
        case jwt.InvalidSignatureError():
            return "The signature of this token is wrong."
        case jwt.MissingRequiredClaimError():
            return f"This token has no {problem.claim}, which is needed."
        case _:
            return "This token can't be read."


def _head(token: str) -> tuple[str, str | None]:
    """Algorithm and key id of a token. Raises ``Unauthorized`` for what is not signed as it must be."""
    head = _parsed(token.partition(".")[0])
    if head is None:
        raise Unauthorized("This token can't be read.")
    algorithm, key_id, kind = head.get("alg"), head.get("kid"), head.get("typ", "")
    if algorithm not in _KEYS_FOR:
        raise Unauthorized(f"This token is not signed with one of {', '.join(_KEYS_FOR)}.")
    if "crit" in head or not isinstance(kind, str) or kind.lower() not in _TYPES:
        raise Unauthorized("This token is of a kind that is not for signing in.")
    if key_id is not None and (not isinstance(key_id, str) or len(key_id) > MOST_LETTERS):
        raise Unauthorized("This token can't be read.")
    return algorithm, key_id


def _parsed(part: str) -> dict[str, Any] | None:
    if len(part) > MOST_HEAD_LETTERS:
        return None
    try:
        found = json.loads(base64.b64decode(part + "=" * (-len(part) % 4), b"-_", validate=True))
    except (binascii.Error, ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or not isinstance(found.get("alg"), str):
        return None
    return found


def _keys_in(content: bytes) -> dict[str, Mapping[str, Any]]:
    """Those for signatures, by id; one without gets a place of its own. Raises ValueError."""
    document = json.loads(content)
    listed = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list) or len(listed) > MOST_KEYS:
        raise ValueError(f"what it has under its keys' address is no set of at most {MOST_KEYS} keys")
    keys = [key for key in listed if _is_for_signatures(key)]
    return {str(key.get("kid", f"\0{number}")): key for number, key in enumerate(keys)}


def _is_for_signatures(key: object) -> bool:
    return isinstance(key, dict) and key.get("use", "sig") == "sig" and isinstance(key.get("key_ops", []), list)


def _suits(key: Mapping[str, Any], algorithm: str) -> bool:
    kind, curve = _KEYS_FOR[algorithm]
    return (
        key.get("kty") == kind
        and key.get("alg", algorithm) == algorithm
        and (curve is None or key.get("crv") == curve)
        and "verify" in (key.get("key_ops") or ("verify",))
    )


def _made(key: Mapping[str, Any], algorithm: str) -> Any:
    jwt = _imported()
    public = {name: value for name, value in key.items() if name != "d"}
    try:
        made = jwt.PyJWK(public, algorithm=algorithm).key
    except (jwt.PyJWTError, ValueError, TypeError):
        raise Unauthorized("This token is signed with a key of its issuer that can't be read.") from None
    if getattr(made, "key_size", LEAST_RSA_BITS) < LEAST_RSA_BITS and key["kty"] == "RSA":
        raise Unauthorized(f"This token is signed with an RSA key of fewer than {LEAST_RSA_BITS} bits.")
    return made


def _time(claims: Mapping[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < MOST_SECONDS:
        raise Unauthorized(f"The {name} of this token is no time.")
    return float(value)


def _claim(claims: Mapping[str, Any], name: str) -> Any:
    if name in claims:  # also one whose name is an URL, with dots in it
        return claims[name]
    found: Any = claims
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _texts(value: Any) -> Iterator[str]:
    """Of a list, or of one text with blanks between, as ``scope`` is."""
    listed = value if isinstance(value, list) else value.split() if isinstance(value, str) else ()
    return (one for one in listed if isinstance(one, str) and _is_shown(one))


def _is_shown(text: str) -> bool:
    return bool(text.strip()) and text == text.strip() and len(text) <= MOST_LETTERS and text.isprintable()
