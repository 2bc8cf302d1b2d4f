"""Who a secret stands for: a token of the file, one that the store keeps, or one of an OpenID Connect provider.

One door for HTTP and gRPC. What is known already is let in whatever else happens; only what has to be looked up counts
against an address that was wrong too often, so that nobody is shut out by others behind the same proxy.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from typing import Final, Literal, TypeVar
from urllib.parse import urlsplit

from orchestrator.api.audit import Audit
from orchestrator.api.errors import TooManyRequests, Unauthorized
from orchestrator.api.issued import IssuedTokens
from orchestrator.api.limits import RateLimit
from orchestrator.api.oidc import Oidc, Verified, looks_like_one
from orchestrator.api.provider_sign_in import Begun, ProviderSignIn
from orchestrator.api.tokens import Token, TokenStore, hashed
from orchestrator.core.commands import Actor
from orchestrator.errors import NotFound, RolloutError
from orchestrator.token_port import IssuedToken, OwnerToken, TokenStorage

REQUESTS_PER_SECOND: Final = 50.0
"""Of one token, on average; ten times as many may come at once."""

FAILURES_BURST, FAILURES_PER_SECOND = 20, 0.5
MOST_SECRET_LETTERS: Final = 16 * 1024
T = TypeVar("T")
UNKNOWN: Final = "This token is not known to this server."


@dataclass(frozen=True, slots=True)
class Identity:
    """Who asks, and as what. *key* tells them from all others, and is no secret; *sha256* is of what they showed,
    and *proof* where that is known."""

    actor: Actor
    environment: str | None
    key: str
    expires: float | None = None
    sha256: str = ""
    proof: Literal["file", "store", "provider"] = "store"
    subject: str = ""
    token_id: str = ""

    def has_expired(self, now: float) -> bool:
        return self.expires is not None and self.expires <= now


@dataclass(frozen=True, slots=True)
class Clocks:
    """Unix time, and one that never goes back."""

    now: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic


class Credentials:
    """*tokens* are those of the token file, *owner* is the one of whoever runs this controller."""

    def __init__(
        self,
        tokens: TokenStore | None = None,
        storage: TokenStorage | None = None,
        owner: Token | None = None,
        *,
        oidc: Oidc | None = None,
        requests_per_second: float = REQUESTS_PER_SECOND,
        clocks: Clocks | None = None,
    ) -> None:
        clocks = clocks or Clocks()
        now, monotonic = clocks.now, clocks.monotonic
        self._tokens = tokens if tokens is not None else TokenStore()
        self._all = self._tokens if owner is None else self._tokens.plus(owner)
        self.issued = None if storage is None else IssuedTokens(storage, hashed, now, monotonic)
        self.oidc = oidc
        self._sign_in = None if oidc is None else ProviderSignIn(oidc)
        self.audit = Audit(storage, now, monotonic)
        self._owner = owner
        self._requests = RateLimit(requests_per_second, max(round(10 * requests_per_second), 1))
        self._failures = RateLimit(FAILURES_PER_SECOND, FAILURES_BURST)
        self._now = now
        self._monotonic = monotonic

    @property
    def may_be_there(self) -> bool:
        """Whether anybody could have a token."""
        return bool(len(self._tokens)) or self.issued is not None or self.oidc is not None

    async def has_any(self) -> bool:
        """Whether anybody but who runs this controller could have a token now."""
        if self.oidc is not None:
            return True
        return bool(len(self._tokens)) or (
            self.issued is not None and bool(await self.issued.storage.live(self._now()))
        )

    async def identify(self, secret: str, peer: str) -> Identity:
        """Raises ``Unauthorized``, ``TooManyRequests``, or ``Temporary`` while that can't be told."""
        if len(secret) > MOST_SECRET_LETTERS:
            raise Unauthorized("What was sent is too long for a token.")
        sha256 = hashed(secret)
        found = await self._known(secret, sha256)
        if found is not None:
            return found
        return await self._counted(peer, lambda: self._looked_up(secret, sha256))

    async def come_back(
        self, answer: Mapping[str, str], cookie: str | None, back: str, peer: str
    ) -> tuple[Identity, str]:
        """Who comes back from the provider, and the page to go on to. Raises as ``identify``, and ``Forbidden``."""

        async def look() -> tuple[Identity, str]:
            verified, token, page = await self._provider().finish(answer, cookie, back)
            return await self._not_blocked(_of_provider(verified, hashed(token))), page

        return await self._counted(peer, look)

    async def go_there(self, page: str, back: str) -> Begun:
        """To the provider. Raises ``NotFound`` where nobody signs in there, ``Temporary``."""
        return await self._provider().begin(page, back)

    @property
    def provider_name(self) -> str | None:
        """The host at which people can sign in."""
        if self.oidc is None or self.oidc.settings.client_id is None:
            return None
        return urlsplit(self.oidc.issuer).hostname

    def _provider(self) -> ProviderSignIn:
        if self._sign_in is None:
            raise NotFound("This server has no provider to sign in at.")
        return self._sign_in

    async def _counted(self, peer: str, look: Callable[[], Awaitable[T]]) -> T:
        address = _counted_as(peer)
        wait_seconds = self._failures.wait_seconds(address, self._monotonic(), take=0.0)
        if wait_seconds:
            raise TooManyRequests("Too many wrong tokens came from this address; come again later.", wait_seconds)
        try:
            return await look()
        except Unauthorized:
            self._failures.wait_seconds(address, self._monotonic())
            raise

    async def _not_blocked(self, identity: Identity) -> Identity:
        """Raises ``Unauthorized`` for who the provider vouches for, and somebody here took that away."""
        if self.issued is not None and await self.issued.is_blocked(identity.subject, identity.token_id):
            raise Unauthorized(f"The tokens of {identity.actor.name} are blocked here: ask an admin.")
        return identity

    def is_owner(self, identity: Identity | None) -> bool:
        """Whether it is whoever runs this controller: who has the token that only its own user can read."""
        return identity is not None and self._owner is not None and identity.sha256 == self._owner.sha256

    def take_turn(self, identity: Identity) -> None:
        """Raises ``TooManyRequests``. Who runs the controller is let alone."""
        if self.is_owner(identity):
            return
        wait_seconds = self._requests.wait_seconds(identity.key, self._monotonic())
        if wait_seconds:
            raise TooManyRequests(f"{identity.actor.name} asks too often; come again later.", wait_seconds)

    async def holds(self, identity: Identity) -> bool:
        """Whether who was let in before would be let in now."""
        if identity.has_expired(self._now()):
            return False
        match identity.proof:
            case "file":
                return self._all.has(identity.sha256)
            case "provider":
                return self.oidc is not None and await self._is_unblocked(identity)
            case "store":
                return await self._is_live(identity.sha256)

    async def _is_unblocked(self, identity: Identity) -> bool:
        try:
            await self._not_blocked(identity)
        except RolloutError:
            return False
        return True

    async def _is_live(self, sha256: str) -> bool:
        try:
            return self.issued is not None and await self.issued.known(sha256) is not None
        except RolloutError:
            return False

    def begin(self) -> None:
        if self.oidc is not None:
            self.oidc.begin()

    async def close(self) -> None:
        await self.audit.close()
        if self.oidc is not None:
            await self.oidc.close()

    async def _known(self, secret: str, sha256: str) -> Identity | None:
        token = self._all.find(secret)
        if token is not None:
            if token.has_expired(self._now()):
                raise Unauthorized(f"The token of {token.name} has expired: ask for a new one.")
            return _of_file(token)
        verified = self.oidc.known(sha256) if self.oidc is not None else None
        if verified is not None:
            return await self._not_blocked(_of_provider(verified, sha256))
        found = await self.issued.known(sha256) if self.issued is not None else None
        return _of_store(found) if found is not None else None

    async def _looked_up(self, secret: str, sha256: str) -> Identity:
        if self.oidc is not None and looks_like_one(secret):
            return await self._not_blocked(_of_provider(await self.oidc.verify(secret, sha256), sha256))
        found = await self.issued.look_up(sha256) if self.issued is not None else None
        if found is None:
            raise Unauthorized(UNKNOWN)
        return _of_store(found)


def _of_file(token: Token) -> Identity:
    expires = token.expires.timestamp() if token.expires is not None else None
    return Identity(token.actor, token.environment, f"file {token.sha256[:12]}", expires, token.sha256, "file")


def _of_store(token: IssuedToken | OwnerToken) -> Identity:
    if isinstance(token, OwnerToken):
        return Identity(Actor(token.person, token.role), None, f"owner {token.controller}", sha256=token.sha256)
    actor = Actor(token.name, token.role, token.groups)
    return Identity(actor, token.environment, f"token {token.id}", token.expires, token.sha256)


def _of_provider(token: Verified, sha256: str) -> Identity:
    key = f"oidc {token.subject}"
    return Identity(token.actor, None, key, token.expires, sha256, "provider", token.subject, token.token_id)


def _counted_as(peer: str) -> str:
    """Whoever has one IPv6 address has 2^64 of them."""
    try:
        address = ip_address(peer.partition("%")[0])
    except ValueError:
        return peer
    if not isinstance(address, IPv6Address):
        return str(address)
    return str(address.ipv4_mapped or IPv6Address(int(address) >> 64 << 64))
