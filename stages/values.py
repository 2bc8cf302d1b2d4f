"""The small values of the plan language: durations, bounds, percentages, references to secrets.

Each is written as text or a number in YAML and is plain data afterwards: durations are seconds, bounds know how to
compare, percentages are numbers from 0 to 100 in steps of 0.001.
"""

import math
import operator
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationInfo,
    model_serializer,
    model_validator,
)

Json = Any  # what JSON can hold; pydantic's own JsonValue is recursive and slow to validate

SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
LONGEST_SECONDS = 3660 * SECONDS["d"]
WRITTEN = {"written": True}
"""Context of validation for what a person wrote: a bare number is no duration then (elsewhere it is seconds)."""

_DURATION = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?(?:ms|s|m|h|d))+")
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
_BOUND = re.compile(r"(<=|>=|==|!=|<|>)\s*([-+]?[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?)\s*(%?)")
_SHARE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*%")
_AGE = re.compile(rf"(<=|>=|<|>)\s*({_DURATION.pattern})")
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
_OPPOSITE: dict[str, str] = {"<": ">=", "<=": ">", ">": "<=", ">=": "<", "==": "!=", "!=": "=="}


class Part(BaseModel):
    """Base of everything that is written in a plan: immutable, no unknown fields, written back as it was read."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", populate_by_name=True, ser_json_inf_nan="strings", defer_build=True
    )


def parse_duration(value: Any) -> Any:
    """Seconds of ``500ms``, ``30s``, ``5m``, ``48h``, ``7d`` or a sum such as ``1h30m``."""
    if isinstance(value, str):
        return _seconds_of(value)
    if isinstance(value, float):  # seconds that were already parsed
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        raise ValueError(f"a duration needs a unit, such as {value}s or {value}m")
    raise ValueError(f"a duration such as 30s, 5m or 48h is expected, not {_kind(value)}")


@lru_cache(1024)  # a plan's few are read at each look
def _seconds_of(text: str) -> float:
    if not _DURATION.fullmatch(text.strip()):
        raise ValueError(f"a duration such as 30s, 5m or 48h is expected, not {text!r}")
    seconds = sum(float(number) * SECONDS[unit] for number, unit in _PART.findall(text))
    return _acceptable(seconds, text.strip())


def _acceptable(seconds: float, text: str) -> float:
    if seconds > LONGEST_SECONDS:
        raise ValueError(f"a duration is at most {format_duration(LONGEST_SECONDS)}, not {text}")
    milliseconds = seconds * 1000
    if abs(milliseconds - round(milliseconds)) > 1e-3:
        raise ValueError(f"durations have steps of 1ms; {text} is finer than that")
    return round(milliseconds) / 1000


def _kind(value: Any) -> str:
    """A value as a message shows it: no contents of mappings and lists."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    return "nothing" if value is None else repr(value)[:80]


def _read_duration(value: Any, info: ValidationInfo) -> Any:
    if isinstance(value, float) and info.context is not None and info.context.get("written"):
        raise ValueError(f"a duration needs a unit, such as {value:g}s or {value:g}m")
    return parse_duration(value)


def format_duration(seconds: float) -> str:
    """The shortest text that :func:`parse_duration` reads back to the same number of seconds."""
    milliseconds = round(seconds * 1000)
    for unit in ("d", "h", "m", "s"):
        if milliseconds and milliseconds % round(SECONDS[unit] * 1000) == 0:
            return f"{milliseconds // round(SECONDS[unit] * 1000)}{unit}"
    return "0s" if milliseconds == 0 else f"{milliseconds}ms"


_RATE = re.compile(r"(\d+(?:\.\d+)?)/(s|m|h)")


def parse_rate(value: str | None) -> float | None:
    """So many a second: ``20000/s`` is 20,000, ``600/m`` is 10."""
    if value is None:
        return None
    found = _RATE.fullmatch(value.strip())
    if found is None or float(found[1]) <= 0:
        raise ValueError(f"a rate such as 20000/s is expected, not {value!r}")
    return float(found[1]) / SECONDS[found[2]]


def parse_percentage(value: Any) -> Any:
    """A number from 0 to 100 in steps of 0.001."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"a percentage is a number from 0 to 100, not {_kind(value)}")
    if not 0 <= value <= 100:
        raise ValueError(f"a percentage lies between 0 and 100, not at {value}")
    if abs(value * 1000 - round(value * 1000)) > 1e-6:
        raise ValueError(f"percentages have steps of 0.001; {value} is finer than that")
    return round(float(value), 3)


def parse_share(value: Any) -> Any:
    """A share as a number: ``5%`` is 0.05."""
    if isinstance(value, str) and (match := _SHARE.fullmatch(value.strip())):
        return float(match.group(1)) / 100
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f'a share such as "5%" or 0.05 is expected, not {_kind(value)}')
    return float(value)


Duration = Annotated[
    float,
    BeforeValidator(_read_duration, json_schema_input_type=Annotated[str, Field(pattern=f"^{_DURATION.pattern}$")]),
    PlainSerializer(format_duration, return_type=str),
]
Percentage = Annotated[
    float, BeforeValidator(parse_percentage, json_schema_input_type=Annotated[float, Field(ge=0, le=100)])
]
Share = Annotated[
    float,
    BeforeValidator(
        parse_share, json_schema_input_type=float | Annotated[str, Field(pattern=r"^\s*[0-9]+(\.[0-9]+)?\s*%\s*$")]
    ),
]
LONGEST_NAME = 120
Name = Annotated[str, Field(min_length=1, max_length=LONGEST_NAME)]


def named(what: str, end: str) -> str:
    """A name made of *what* somebody wrote, which may be long, and of *end*: *what* is cut where it must be."""
    room = LONGEST_NAME - len(end)
    return (what if len(what) <= room else f"{what[: room - 1]}…") + end


def parse_age(text: str) -> tuple[str, float]:
    """Comparison and seconds of ``"< 24h"``."""
    match = _AGE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f'an age such as "< 24h" is expected, not {text!r}')
    return match.group(1), float(parse_duration(match.group(2)))


def _check_age(text: str) -> str:
    parse_age(text)
    return text


Age = Annotated[str, AfterValidator(_check_age)]


class Bound(Part):
    """A comparison with a number, such as ``"> 10"``, ``">= 95"`` or ``"< 5%"``."""

    op: Literal["<", "<=", ">", ">=", "==", "!="]
    number: float
    text: str

    @model_validator(mode="before")
    @classmethod
    def _parse(cls, value: Any) -> Any:
        if not isinstance(value, str):
            if isinstance(value, dict | Bound):
                return value
            raise ValueError(f'a bound such as "> 10", ">= 95" or "== 0" is expected, not {_kind(value)}')
        match = _BOUND.fullmatch(value.strip())
        if match is None:
            raise ValueError(f'a bound such as "> 10", ">= 95" or "== 0" is expected, not {value!r}')
        op, number, percent = match.groups()
        if float(number) in (float("inf"), float("-inf")):
            raise ValueError(f"the number of a bound is too large: {value}")
        return {"op": op, "number": float(number) / (100 if percent else 1), "text": value.strip()}

    @model_serializer
    def _write(self) -> str:
        return self.text

    def __str__(self) -> str:
        return self.text

    def holds(self, value: float) -> bool:
        return _COMPARE[self.op](value, self.number)

    @property
    def opposite(self) -> "Bound":
        """The bound that holds exactly when this one does not."""
        return _opposite(self.op, self.number)

    def severity(self, value: float) -> float:
        """How far *value* lies on the breaching side of the bound: of several series, the largest is the worst."""
        if self.op in ("<", "<="):
            return self.number - value
        if self.op in (">", ">="):
            return value - self.number
        return -abs(value - self.number) if self.op == "==" else abs(value - self.number)


@lru_cache(1024)  # asked for at each look
def _opposite(op: str, number: float) -> Bound:
    other = _OPPOSITE[op]
    return Bound.model_validate({"op": other, "number": number, "text": f"{other} {number:g}"})


_OF_CLUSTER = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[-._a-zA-Z0-9]+")


class SecretRef(Part):
    """Where a secret is: an environment variable, a file, or a Kubernetes secret. Never the secret itself."""

    env: str | None = None
    file: str | None = None
    secret: str | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if sum(value is not None for value in (self.env, self.file, self.secret)) != 1:
            raise ValueError("a reference names exactly one of env, file and secret")
        if self.secret is not None and not _OF_CLUSTER.fullmatch(self.secret):
            raise ValueError(f"a secret of Kubernetes is written as NAME/KEY, not {self.secret!r}")
        return self

    def __str__(self) -> str:
        return f"env {self.env}" if self.env else f"file {self.file}" if self.file else f"secret {self.secret}"


TextOrSecret = str | SecretRef
Words = Annotated[tuple[str, ...], Field(min_length=1)]
"""A command: program and arguments, each a word of its own; no shell reads them."""
Environments = tuple[str, ...]


def finite(value: Json) -> Json:
    """*value* with what JSON has no number for written as a text: ``NaN``, ``Infinity``, ``-Infinity``."""
    match value:
        case dict():
            return {key: finite(entry) for key, entry in value.items()}
        case list() | tuple():
            return [finite(entry) for entry in value]
        case float() if math.isnan(value):
            return "NaN"
        case float() if math.isinf(value):
            return "Infinity" if value > 0 else "-Infinity"
        case _:
            return value
