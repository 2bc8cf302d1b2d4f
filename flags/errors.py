"""What can go wrong with flags: one root, and the error codes of OpenFeature that an evaluation can answer with."""

from __future__ import annotations

import reprlib
from enum import StrEnum

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 60


class ErrorCode(StrEnum):
    """The part of OpenFeature's error codes that this package answers with."""

    FLAG_NOT_FOUND = "FLAG_NOT_FOUND"
    GENERAL = "GENERAL"
    INVALID_CONTEXT = "INVALID_CONTEXT"
    PARSE_ERROR = "PARSE_ERROR"
    TARGETING_KEY_MISSING = "TARGETING_KEY_MISSING"


class FlagError(Exception):
    """Something is wrong with a flag."""

    http_status = 400
    exit_code = 1


class InvalidFlag(FlagError):
    """A flag document is not valid.

    `field` is the path inside the document (`variants.on`), `expected` the remedy in words, `key` the flag's key as
    soon as it is known.
    """

    http_status = 422
    exit_code = 2

    def __init__(self, field: str, expected: str, got: str, key: str | None = None) -> None:
        self.field = field
        self.expected = expected
        self.got = got
        self.key = key
        prefix = "" if key is None else f"flag {key!r}: "
        super().__init__(f"{prefix}{field}: expected {expected}, got {got}")

    def of(self, key: str) -> InvalidFlag:
        """The same complaint, with the flag's key in its sentence."""
        return InvalidFlag(self.field, self.expected, self.got, key)

    def __reduce__(self) -> tuple[type[InvalidFlag], tuple[str, str, str, str | None]]:
        return InvalidFlag, (self.field, self.expected, self.got, self.key)


def shown(value: object) -> str:
    """A value as it is printed in an error: with its type where the text alone would not tell, and never long."""
    try:
        text = _SHORT.repr(value)
    except ValueError:  # an integer of thousands of digits
        text = "something very large"
    return text if isinstance(value, str | bool | None) else f"{text} ({type(value).__name__})"
