"""JSON values that nobody can change: what variants and parameters are made of."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TypeAlias

from flags.errors import InvalidFlag, shown

Frozen: TypeAlias = "bool | int | float | str | Sequence[Frozen] | Mapping[str, Frozen] | None"
FlagValue: TypeAlias = "bool | int | float | str | Mapping[str, Frozen]"
Scalar: TypeAlias = "bool | int | float | str"

_DEEPEST = 32
_JSON = "a boolean, number, string, list or object"


def freeze(value: object, field: str, depth: int = 0) -> Frozen:
    """A copy in which objects are read-only mappings and lists are tuples; InvalidFlag for what JSON cannot say."""
    if depth > _DEEPEST:
        raise InvalidFlag(field, f"at most {_DEEPEST} levels of nesting", "more")
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _text(value, field)
    if isinstance(value, int | float):
        return _number(value, field)
    if isinstance(value, Mapping):
        return freeze_object(value, field, depth)
    if isinstance(value, list | tuple):
        return tuple(freeze(item, f"{field}[{index}]", depth + 1) for index, item in enumerate(value))
    raise InvalidFlag(field, _JSON, shown(value))


def freeze_object(value: object, field: str, depth: int = 0) -> Mapping[str, Frozen]:
    if not isinstance(value, Mapping):
        raise InvalidFlag(field, "an object", shown(value))
    return MappingProxyType(
        {name(key, field): freeze(item, f"{field}.{key}", depth + 1) for key, item in value.items()}
    )


def name(value: object, field: str) -> str:
    """A name that a person can read and type: printable, without blanks around it, at most 256 characters."""
    readable = isinstance(value, str) and value.isprintable() and value.strip() == value
    if not isinstance(value, str) or not readable or not 0 < len(value) <= 256:
        raise InvalidFlag(field, "a name of 1 to 256 printable characters without blanks around it", shown(value))
    return str(value)


def _text(value: str, field: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidFlag(field, "text that can be written as UTF-8", shown(value)) from None
    return str(value)


def _number(value: int | float, field: str) -> int | float:
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidFlag(field, "a finite number", shown(value))
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise InvalidFlag(field, "an integer of at most 64 bits", shown(value))
    return float(value) if isinstance(value, float) else int(value)


def thaw(value: Frozen) -> object:
    """Plain dicts and lists, the caller's own, ready for `json.dumps`."""
    if isinstance(value, Mapping):
        return {key: thaw(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [thaw(item) for item in value]
    return value


def same(left: object, right: object) -> bool:
    """Equality as JSON sees it: unlike in Python, 1, 1.0 and true are three different values."""
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return left.keys() == right.keys() and all(same(item, right[key]) for key, item in left.items())
    if isinstance(left, Sequence) and isinstance(right, Sequence) and not isinstance(left, str):
        return len(left) == len(right) and all(map(same, left, right))
    return type(left) is type(right) and left == right
