"""The small values of the plan language: durations, bounds, percentages, references to secrets.

Each is written as text or a number in YAML and is plain data afterwards: durations are seconds, bounds know how to
compare, percentages are numbers from 0 to 100 in steps of 0.001.
"""

import operator
import re
from collections.abc import Callable
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, model_serializer, model_validator

Json = Any  # what JSON can hold; pydantic's own JsonValue is recursive and slow to validate

SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+")
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_BOUND = re.compile(r"(<=|>=|==|!=|<|>)\s*([-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)\s*(%?)")
_SHARE = re.compile(r"(\d+(?:\.\d+)?)\s*%")
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

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, ser_json_inf_nan="strings")


def parse_duration(value: Any) -> Any:
    """Seconds of ``500ms``, ``30s``, ``5m``, ``48h``, ``7d`` or a sum such as ``1h30m``."""
    if isinstance(value, str):
        text = value.strip()
        if not _DURATION.fullmatch(text):
            raise ValueError(f"a duration such as 30s, 5m or 48h is expected, not {value!r}")
        return sum(float(number) * SECONDS[unit] for number, unit in _PART.findall(text))
    if isinstance(value, bool) or not isinstance(value, float):  # floats are seconds that were already parsed
        raise ValueError(f"a duration needs a unit, such as {value}s or {value}m")
    return value


def format_duration(seconds: float) -> str:
    """The shortest text that :func:`parse_duration` reads back to the same number of seconds."""
    for unit in ("d", "h", "m", "s"):
        if seconds and seconds % SECONDS[unit] == 0:
            return f"{int(seconds // SECONDS[unit])}{unit}"
    return "0s" if seconds == 0 else f"{round(seconds * 1000)}ms"


def parse_percentage(value: Any) -> Any:
    """A number from 0 to 100 in steps of 0.001."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"a percentage is a number from 0 to 100, not {value!r}")
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
        raise ValueError(f'a share such as "5%" or 0.05 is expected, not {value!r}')
    return float(value)


Duration = Annotated[
    float,
    BeforeValidator(parse_duration, json_schema_input_type=Annotated[str, Field(pattern=f"^{_DURATION.pattern}$")]),
    PlainSerializer(format_duration, return_type=str),
    Field(ge=0),
]
Percentage = Annotated[float, BeforeValidator(parse_percentage), Field(ge=0, le=100)]
Share = Annotated[float, BeforeValidator(parse_share, json_schema_input_type=float | str)]
Name = Annotated[str, Field(min_length=1, max_length=120)]


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
            raise ValueError(f'a bound such as "> 10" or ">= 95" is expected, not {value!r}')
        match = _BOUND.fullmatch(value.strip())
        if match is None:
            raise ValueError(f'a bound such as "> 10", ">= 95" or "== 0" is expected, not {value!r}')
        op, number, percent = match.groups()
        return {"op": op, "number": float(number) / (100 if percent else 1), "text": value.strip()}

    @model_serializer
    def _write(self) -> str:
        return self.text

    def __str__(self) -> str:
        return self.text

    def holds(self, value: float) -> bool:
        return _COMPARE[self.op](value, self.number)

    @property
    def opposite(self) -> Self:
        """The bound that holds exactly when this one does not."""
        op = _OPPOSITE[self.op]
        return type(self).model_validate({"op": op, "number": self.number, "text": f"{op} {self.number:g}"})

    def severity(self, value: float) -> float:
        """How far *value* lies on the breaching side of the bound: of several series, the largest is the worst."""
        if self.op in ("<", "<="):
            return self.number - value
        if self.op in (">", ">="):
            return value - self.number
        return -abs(value - self.number) if self.op == "==" else abs(value - self.number)


class SecretRef(Part):
    """Where a secret is: an environment variable, a file, or a Kubernetes secret. Never the secret itself."""

    env: str | None = None
    file: str | None = None
    secret: str | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if sum(value is not None for value in (self.env, self.file, self.secret)) != 1:
            raise ValueError("a reference names exactly one of env, file and secret")
        return self

    def __str__(self) -> str:
        return f"env {self.env}" if self.env else f"file {self.file}" if self.file else f"secret {self.secret}"


TextOrSecret = str | SecretRef
Environments = tuple[str, ...]
