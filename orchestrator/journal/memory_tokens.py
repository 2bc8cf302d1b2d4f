"""Tokens in memory, for tests and the simulation."""

import itertools
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import replace
from typing import Self

from orchestrator import token_port
from orchestrator.token_port import IssuedToken, Note, OwnerToken, Revocation, Session


class MemoryTokens:
    """The ``TokenStorage`` of a store in memory. *holds*: whether the lease of the controller of that name does."""

    def __init__(self, holds: Callable[[str], bool] = lambda _: True) -> None:
        self._holds = holds
        self._tokens: dict[str, IssuedToken] = {}
        self._notes: dict[str, Note] = {}
        self._sessions: dict[str, Session] = {}
        self._lent: dict[str, OwnerToken] = {}
        self._numbers = itertools.count(1)

    def of_replica(self, holds: Callable[[str], bool]) -> Self:
        """The same tokens, as one of several controllers has them."""
        made = copy(self)
        vars(made).update(_holds=holds)
        return made

    async def add(self, token: IssuedToken, note: Note) -> None:
        if self._tokens.setdefault(token.id, token) != token:
            raise token_port.taken(token)
        self._write(note)

    async def revoke(self, token_id: str, revocation: Revocation, note: Note) -> IssuedToken:
        found = self._tokens.get(token_id)
        if found is None:
            raise token_port.no_token(token_id)
        if found.revoked not in (None, revocation):
            raise token_port.revoked_before(found)
        self._tokens[token_id] = replace(found, revoked=revocation)
        self._write(note)
        return self._tokens[token_id]

    async def tokens(self, limit: int = 1000) -> list[IssuedToken]:
        newest = sorted(self._tokens.values(), key=lambda token: (token.created, token.id), reverse=True)
        return newest[: max(limit, 0)]

    async def find(self, sha256: str) -> IssuedToken | None:
        return next((token for token in self._tokens.values() if token.sha256 == sha256), None)

    async def live(self, now: float) -> list[IssuedToken]:
        return [token for token in await self.tokens(len(self._tokens)) if token.is_live(now)]

    async def note(self, notes: Sequence[Note]) -> None:
        for note in notes:
            self._write(note)
        refusals = [note for note in self._notes.values() if note.is_refusal]
        for note in refusals[: max(len(refusals) - token_port.MOST_REFUSALS, 0)]:
            del self._notes[note.id]

    async def notes(self, limit: int = 100, before: int | None = None) -> list[Note]:
        newest = [note for note in reversed(self._notes.values()) if before is None or note.seq < before]
        return newest[: max(limit, 0)]

    async def begin(self, session: Session, now: float) -> None:
        self._sessions[session.sha256] = session
        kept = sorted(self._sessions.values(), key=lambda one: one.expires, reverse=True)[: token_port.MOST_SESSIONS]
        wanted = {one.sha256 for one in kept if one.expires > now}
        for sha256 in self._sessions.keys() - wanted:
            del self._sessions[sha256]

    async def session(self, sha256: str) -> Session | None:
        return self._sessions.get(sha256)

    async def end(self, sha256: str) -> None:
        self._sessions.pop(sha256, None)

    async def lend(self, owner: OwnerToken) -> None:
        self._lent[owner.controller] = owner

    async def lent(self) -> list[OwnerToken]:
        return [owner for owner in self._lent.values() if self._holds(owner.controller)]

    def _write(self, note: Note) -> None:
        if note.id not in self._notes:
            self._notes[note.id] = replace(note, seq=next(self._numbers))
