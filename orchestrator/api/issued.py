"""Tokens that are made and revoked while the server runs.

Theory of operation. The store has them; a controller keeps those that are live in memory, so that most requests ask
nobody. What it keeps is never older than ``FRESH_SECONDS`` when a request is let in by it: the first request after that
asks the store again, and the others wait with it. So a revocation holds at once where it was asked for, and two seconds
later everywhere. A secret that is not among them is looked up by its hash, so a new token is known everywhere at once.

While the store is away, what is known goes on for ``AWAY_SECONDS``: the kill switch must work then. After that nobody
can say any more whether a token still holds, and its bearer is told to come again.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import structlog

from orchestrator.api.errors import BadRequest, Unauthorized
from orchestrator.core.commands import ROLES, Actor
from orchestrator.errors import Forbidden, Refused, StoreError, Temporary
from orchestrator.token_port import (
    BLOCKED,
    BLOCKED_ROLE,
    CREATED,
    REVOKED,
    IssuedToken,
    Note,
    OwnerToken,
    Revocation,
    TokenStorage,
)

if TYPE_CHECKING:
    from orchestrator.api.bodies import BlockBody, TokenBody

log = structlog.get_logger()

FRESH_SECONDS: Final = 2.0
AWAY_SECONDS: Final = 3600.0
MOST_LIVE: Final = 10_000
PREFIX: Final = "rollout_"
"""Of every secret, so that scanners find one that was left lying about."""
_ASK_SECONDS: Final = 1.0  # that a request waits for the store before it takes what is known
_AGAIN_SECONDS: Final = 1.0  # from one failure to the next question
_AWAY: Final = "The store can't be asked just now whether this token holds; come again."


def drawn_id() -> str:
    return secrets.token_hex(6)


@dataclass(frozen=True, slots=True)
class Known:
    """What the store said last, and when it was asked (monotonic)."""

    by_hash: dict[str, IssuedToken]
    lent: dict[str, OwnerToken]
    asked_at: float
    blocks: dict[str, IssuedToken]
    """Of the provider's tokens, by name."""


class IssuedTokens:
    """*now* gives Unix time, *monotonic* a time that never goes back."""

    def __init__(
        self,
        storage: TokenStorage,
        hashed: Callable[[str], str],
        now: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        self.storage = storage
        self._hashed = hashed
        self.now = now
        self._monotonic = monotonic
        self._known = Known({}, {}, float("-inf"), {})
        self._asking: asyncio.Task[None] | None = None
        self._begun_at = float("-inf")
        self._failed_at = float("-inf")
        self._revoked_at: dict[str, float] = {}  # here, since the store was asked last: by hash

    # --- who is let in ------------------------------------------------------------------------------------------------

    async def known(self, sha256: str) -> IssuedToken | OwnerToken | None:
        """A live one, by what is in memory. Raises ``Temporary`` for one that was, too long ago."""
        await self._freshen()
        if sha256 in self._revoked_at:
            return None
        found = self._known.by_hash.get(sha256) or self._known.lent.get(sha256)
        if found is None or (isinstance(found, IssuedToken) and (found.has_expired(self.now()) or found.is_block)):
            return None
        if self._monotonic() - self._known.asked_at > AWAY_SECONDS:
            raise Temporary(_AWAY, _AGAIN_SECONDS)
        return found

    async def look_up(self, sha256: str) -> IssuedToken | OwnerToken | None:
        """One that is not in memory, by the store. Raises ``Unauthorized`` for one that is over, ``Temporary``."""
        try:
            found = await self.storage.find(sha256)
            if found is None:
                return next((owner for owner in await self.storage.lent() if owner.sha256 == sha256), None)
        except StoreError:
            raise Temporary(_AWAY, _AGAIN_SECONDS) from None
        if found.is_block:
            return None
        if found.revoked is not None:
            raise Unauthorized(f"The token of {found.name} was revoked: ask for a new one.")
        if found.has_expired(self.now()):
            raise Unauthorized(f"The token of {found.name} has expired: ask for a new one.")
        self._known.by_hash[sha256] = found
        return found

    async def _freshen(self) -> None:
        now = self._monotonic()
        if now - self._known.asked_at <= FRESH_SECONDS:
            return
        if self._asking is None:
            if now - self._failed_at < _AGAIN_SECONDS:
                return
            self._begun_at = now
            self._asking = asyncio.create_task(self._ask(), name="tokens")
        await asyncio.wait({self._asking}, timeout=max(self._begun_at + _ASK_SECONDS - now, 0.0))

    async def _ask(self) -> None:
        try:
            live, lent = await self.storage.live(self.now()), await self.storage.lent()
            by_hash = {token.sha256: token for token in live}
            blocks = {token.name: token for token in live if token.is_block}
            self._known = Known(by_hash, {owner.sha256: owner for owner in lent}, self._begun_at, blocks)
            self._revoked_at = {one: at for one, at in self._revoked_at.items() if at >= self._begun_at}
        except StoreError as problem:
            self._failed_at = self._monotonic()
            log.warning("tokens can't be read", why=str(problem))
        finally:
            self._asking = None

    # --- made and revoked ---------------------------------------------------------------------------------------------

    async def issue(self, wanted: TokenBody, by: Actor) -> tuple[IssuedToken, str]:
        """The token, and its secret, which nobody can be told again."""
        if ROLES.index(wanted.role) > ROLES.index(by.role):
            raise Forbidden(f"{by.name} is {by.role} and can't make a token for the role {wanted.role}.")
        now = self.now()
        expires = wanted.expires.timestamp() if wanted.expires is not None else None
        if expires is not None and expires <= now:
            raise BadRequest("The token would have expired already: name a time to come.")
        if len(await self.storage.live(now)) >= MOST_LIVE:
            raise Refused(f"There are {MOST_LIVE:,} live tokens, which is the most: revoke some.")
        secret = PREFIX + secrets.token_urlsafe(32)
        token = IssuedToken(
            drawn_id(), wanted.name, wanted.role, wanted.groups, wanted.environment,
            self._hashed(secret), now, by.name, expires,
        )  # fmt: skip
        detail = {"token": token.id, "name": token.name, "role": token.role, "groups": ", ".join(token.groups)}
        await self.storage.add(token, Note(drawn_id(), now, CREATED, by.name, detail))
        log.warning("token created", token=token.id, name=token.name, role=token.role, by=by.name)
        return token, secret

    async def block(self, wanted: BlockBody, by: Actor) -> IssuedToken:
        """Takes away what a provider vouches for: of a subject, or one token. Raises Refused if that is so already."""
        now = self.now()
        name = f"subject {wanted.subject}" if wanted.subject is not None else f"token {wanted.token_id}"
        expires = wanted.expires.timestamp() if wanted.expires is not None else None
        if expires is not None and expires <= now:
            raise BadRequest("The block would be over already: name a time to come.")
        live = await self.storage.live(now)
        if len(live) >= MOST_LIVE:
            raise Refused(f"There are {MOST_LIVE:,} live tokens and blocks, which is the most: revoke some.")
        if any(one.is_block and one.name == name for one in live):
            raise Refused(f"The {name} is blocked already.")
        made = IssuedToken(drawn_id(), name, BLOCKED_ROLE, (), None, "", now, by.name, expires)
        made = replace(made, sha256=self._hashed(f"{name}\0{made.id}"))
        detail = {"token": made.id, "name": name, "reason": wanted.reason}
        await self.storage.add(made, Note(drawn_id(), now, BLOCKED, by.name, detail))
        self._known.blocks[name] = made
        log.warning("provider's token blocked", block=made.id, name=name, by=by.name, reason=wanted.reason)
        return made

    async def is_blocked(self, subject: str, token_id: str) -> bool:
        """Raises ``Temporary`` if that was not known for too long."""
        await self._freshen()
        if self._monotonic() - self._known.asked_at > AWAY_SECONDS:
            raise Temporary(_AWAY, _AGAIN_SECONDS)
        found = [self._known.blocks.get(name) for name in (f"subject {subject}", f"token {token_id}")]
        return any(
            one is not None and not one.has_expired(self.now()) and one.sha256 not in self._revoked_at for one in found
        )

    async def revoke(self, which: str, reason: str, by: Actor) -> IssuedToken:
        """*which*: an id, or a name that one live token bears. Raises NotFound, Refused."""
        now = self.now()
        token_id = self._meant(which, await self.storage.live(now))
        detail = {"token": token_id, "reason": reason}
        note = Note(drawn_id(), now, REVOKED, by.name, detail)
        revoked = await self.storage.revoke(token_id, Revocation(now, by.name, reason), note)
        self._revoked_at[revoked.sha256] = self._monotonic()
        log.warning("token revoked", token=revoked.id, name=revoked.name, by=by.name, reason=reason)
        return revoked

    @staticmethod
    def _meant(which: str, live: list[IssuedToken]) -> str:
        if any(token.id == which for token in live):
            return which
        ids = [token.id for token in live if token.name == which]
        if len(ids) > 1:
            raise Refused(f"{len(ids)} live tokens bear the name {which!r}: say which by its id, {' or '.join(ids)}.")
        return ids[0] if ids else which
