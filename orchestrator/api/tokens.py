"""Bearer tokens: who may speak to the controller, and as what.

A token is 256 random bits. Only its SHA-256 is kept: a fast hash is enough, for such a secret cannot be guessed. A file
of tokens is a JSON list of ``{name, role, groups, sha256, expires, environment}``; the last three may be left out.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from orchestrator.core.commands import Actor
from orchestrator.errors import UsageError

SECRET_BYTES = 32


def new_secret() -> str:
    return secrets.token_urlsafe(SECRET_BYTES)


def hashed(secret: str) -> str:
    """Hexadecimal SHA-256, as ``printf %s TOKEN | sha256sum`` prints it."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


class Token(BaseModel):
    """``environment`` is the one whose flags an application reads with it, unless it names another."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=200)]
    role: Literal["viewer", "operator", "approver", "admin"]
    groups: tuple[str, ...] = ()
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    expires: AwareDatetime | None = None
    environment: str | None = None

    @classmethod
    def of(cls, secret: str, name: str, role: str, groups: tuple[str, ...] = ()) -> Self:
        return cls.model_validate({"name": name, "role": role, "groups": groups, "sha256": hashed(secret)})

    @property
    def actor(self) -> Actor:
        return Actor(self.name, self.role, self.groups)

    def has_expired(self, now: float) -> bool:
        return self.expires is not None and self.expires.timestamp() <= now


_TOKENS = TypeAdapter(tuple[Token, ...])


class TokenStore:
    """All tokens of one server. Several may bear one name, so that a person can change theirs without a gap."""

    __slots__ = ("_tokens",)

    def __init__(self, tokens: Iterable[Token] = ()) -> None:
        self._tokens = tuple(tokens)
        if len({token.sha256 for token in self._tokens}) != len(self._tokens):
            raise UsageError("Two tokens have the same sha256: each needs a secret of its own.")

    def __len__(self) -> int:
        return len(self._tokens)

    def plus(self, *tokens: Token) -> TokenStore:
        return TokenStore((*self._tokens, *tokens))

    def has(self, sha256: str) -> bool:
        return any(token.sha256 == sha256 for token in self._tokens)

    def find(self, secret: str) -> Token | None:
        """The token, expired or not. Takes the same time whichever it is, and for none."""
        wanted, found = hashed(secret), None
        for token in self._tokens:
            if hmac.compare_digest(token.sha256, wanted):
                found = token
        return found

    @classmethod
    def read(cls, file: Path) -> TokenStore:
        """Raises UsageError with every problem of the file, and never with a hash in it."""
        try:
            data = json.loads(file.read_bytes())
        except OSError as problem:
            raise UsageError(f"The token file {file} can't be read: {problem.strerror}.") from None
        except ValueError as problem:
            raise UsageError(f"The token file {file} is not JSON: {problem}.") from None
        except RecursionError:
            raise UsageError(f"The token file {file} is nested too deeply for a list of tokens.") from None
        try:
            tokens = _TOKENS.validate_python(data)
        except ValidationError as problem:
            raise UsageError(f"The token file {file} is not valid: {_sentences(problem)}") from None
        if not tokens:
            raise UsageError(f"The token file {file} has no token in it.")
        return cls(tokens)


def _sentences(error: ValidationError) -> str:
    found = error.errors(include_url=False, include_input=False)
    return "; ".join(f"{'.'.join(map(str, one['loc'])) or 'document'}: {one['msg']}" for one in found)
