"""Tokens that a store keeps, and the log of who was let in, by whom, and who was not: what the API needs of a store.

A secret never reaches a store, its SHA-256 does. Times are Unix times in seconds, of the controller's wall clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from orchestrator.errors import Conflict, NotFound, Refused

MOST_REFUSALS = 100_000
"""So many refusals are kept; older ones go. What was made and taken away stays for good."""


@dataclass(frozen=True, slots=True)
class Revocation:
    at: float
    by: str
    reason: str


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """``environment`` is the one whose flags an application reads with it, unless it names another."""

    id: str
    name: str
    role: str
    groups: tuple[str, ...]
    environment: str | None
    sha256: str
    created: float
    by: str
    expires: float | None = None
    revoked: Revocation | None = None

    def is_live(self, now: float) -> bool:
        return self.revoked is None and not self.has_expired(now)

    def has_expired(self, now: float) -> bool:
        return self.expires is not None and self.expires <= now

    @property
    def is_block(self) -> bool:
        """Whether it lets nobody in, and says of whom a provider vouches in vain."""
        return self.role == BLOCKED_ROLE


BLOCKED_ROLE = "blocked"


@dataclass(frozen=True, slots=True)
class Note:
    """One line of the log. *id* is drawn at random by who writes it, so that it is written once however often it is
    tried; *detail* has texts and numbers only."""

    id: str
    at: float
    what: str
    by: str
    detail: Mapping[str, str | int | None]
    seq: int = 0

    @property
    def is_refusal(self) -> bool:
        return self.what == REFUSED


CREATED, REVOKED, REFUSED, BLOCKED = "token.created", "token.revoked", "refused", "provider.blocked"


@dataclass(frozen=True, slots=True)
class OwnerToken:
    """What a controller wrote into ``controller.json`` for whoever runs it: known to all controllers of a shared store
    for as long as that one's lease holds."""

    controller: str
    person: str
    role: str
    sha256: str


MOST_SESSIONS = 10_000


@dataclass(frozen=True, slots=True)
class Session:
    """Of a browser that signed in: *sha256* is of what its cookie holds, *identity* a text of whoever keeps them."""

    sha256: str
    identity: str
    expires: float


class TokenStorage(Protocol):
    """Every change is one transaction with its note, and the same call again changes nothing more. Each method raises
    StoreError."""

    async def add(self, token: IssuedToken, note: Note) -> None:
        """Raises Conflict if the id is another token's."""
        ...

    async def revoke(self, token_id: str, revocation: Revocation, note: Note) -> IssuedToken:
        """Raises NotFound, and Refused if somebody has done so before."""
        ...

    async def tokens(self, limit: int = 1000) -> list[IssuedToken]:
        """Newest first, also those that are over."""
        ...

    async def find(self, sha256: str) -> IssuedToken | None:
        """Live or not."""
        ...

    async def live(self, now: float) -> list[IssuedToken]:
        """Those that are neither revoked nor over at *now*."""
        ...

    async def note(self, notes: Sequence[Note]) -> None:
        """Older refusals go when there are more than ``MOST_REFUSALS``."""
        ...

    async def notes(self, limit: int = 100, before: int | None = None) -> list[Note]:
        """Newest first; those with a lower ``seq`` than *before*."""
        ...

    async def begin(self, session: Session, now: float) -> None:
        """Those that are over at *now* go, and of more than ``MOST_SESSIONS`` those that end first."""
        ...

    async def session(self, sha256: str) -> Session | None: ...

    async def end(self, sha256: str) -> None: ...

    async def lend(self, owner: OwnerToken) -> None:
        """Makes *owner*'s token known to the other controllers. Nothing where there are none."""
        ...

    async def lent(self) -> list[OwnerToken]:
        """Of the controllers whose lease holds."""
        ...


# --- what every store judges alike ------------------------------------------------------------------------------------


def taken(token: IssuedToken) -> Conflict:
    return Conflict(f"The id {token.id} is another token's: create it again.")


def no_token(token_id: str) -> NotFound:
    return NotFound(f"There is no token {token_id!r} in this store; `rollout token list` shows those there are.")


def revoked_before(token: IssuedToken) -> Refused:
    assert token.revoked is not None
    return Refused(f"The token {token.id} of {token.name} was revoked before, by {token.revoked.by}.")
