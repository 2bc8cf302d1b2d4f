"""Rows of a database's tables of tokens as what the port speaks of, alike for every store."""

import json
from typing import Any, Final

from orchestrator.journal.chain import canonical
from orchestrator.token_port import IssuedToken, Note, Revocation

TOKEN: Final = (
    "id", "name", "role", "groups", "environment", "sha256", "created", "created_by", "expires",
    "revoked", "revoked_by", "revoked_reason",
)  # fmt: skip
NOTE: Final = ("id", "at", "what", "by_whom", "detail", "refusal")


def token_values(token: IssuedToken) -> tuple[Any, ...]:
    """Of one that was not revoked: the first nine columns."""
    groups = canonical(list(token.groups))
    made = (token.created, token.by, token.expires)
    return (token.id, token.name, token.role, groups, token.environment, token.sha256, *made)


def issued_token(found: tuple[Any, ...]) -> IssuedToken:
    token_id, name, role, groups, environment, sha256, created, by, expires, revoked, revoked_by, reason = found
    revocation = None if revoked is None else Revocation(revoked, revoked_by, reason)
    return IssuedToken(
        token_id, name, role, tuple(json.loads(groups)), environment, sha256, created, by, expires, revocation
    )


def note_values(note: Note) -> tuple[Any, ...]:
    return (note.id, note.at, note.what, note.by, canonical(dict(note.detail)), note.is_refusal)


def note_of(found: tuple[Any, ...]) -> Note:
    seq, note_id, at, what, by, detail = found
    return Note(note_id, at, what, by, json.loads(detail), seq)
