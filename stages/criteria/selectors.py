"""Selectors of counters, as plans write them: whether they are some, and what becomes of them with more matchers.

A selector is taken apart by the PromQL parser and written anew, rather than changed as text: comments, commas and
braces inside quotes then need no thought.
"""

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Annotated, Any

from pydantic import AfterValidator

from stages.promql import InvalidQuery, parse

SELECTOR_EXPECTED = (
    'a selector of counters is expected, such as http_requests_total{job="shop"}, without rate, sum or range: '
    "its rise is counted here"
)
ARM_EXPECTED = 'label matchers in braces are expected, such as {track="canary"}'
NAME = "__name__"
_OPS = {"MatchOp.Equal": "=", "MatchOp.NotEqual": "!=", "MatchOp.Re": "=~", "MatchOp.NotRe": "!~"}
_PLAIN = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_PLAIN_METRIC = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")

Matcher = tuple[str, str, str]
"""Label, operator, value."""


@dataclass(frozen=True, slots=True)
class Selected:
    """A selector in its parts. *metric* is empty if the name is matched by an expression, or not at all."""

    metric: str
    matchers: tuple[Matcher, ...]

    def __str__(self) -> str:
        inside = [f"{_label(label)}{op}{_quoted(value)}" for label, op, value in self.matchers]
        if self.metric and not _PLAIN_METRIC.fullmatch(self.metric):
            return f"{{{','.join([_quoted(self.metric), *inside])}}}"
        return f"{self.metric}{{{','.join(inside)}}}" if inside or not self.metric else self.metric


@lru_cache(maxsize=1024)
def taken_apart(selector: str, expected: str = SELECTOR_EXPECTED) -> Selected:
    """Raises ValueError, with what was *expected*, for anything but an instant vector selector of this moment."""
    try:
        parsed: Any = parse(selector)
    except InvalidQuery as error:
        raise ValueError(f"{expected}; this is not PromQL: {error}") from None
    is_plain = type(parsed).__name__ == "VectorSelector" and parsed.offset is None and parsed.at is None
    if not is_plain or parsed.matchers.or_matchers:
        raise ValueError(expected)
    matchers = [(one.name, _OPS[str(one.op)], one.value) for one in parsed.matchers.matchers]
    named = [one for one in matchers if one[:2] == (NAME, "=")]
    metric = parsed.name or (named[0][2] if len(named) == 1 else "")
    kept = tuple(one for one in matchers if not metric or one != (NAME, "=", metric))
    return Selected(metric, kept)


def matchers_of(arm: str) -> tuple[Matcher, ...]:
    """Those of ``{a="b"}``. Raises ValueError for anything else, and if there are none."""
    text = arm.strip()
    if not text.startswith("{"):
        raise ValueError(ARM_EXPECTED)
    found = taken_apart(f"x{text}", ARM_EXPECTED)
    if found.metric != "x" or any(label == NAME for label, _, _ in found.matchers):
        raise ValueError(f"{ARM_EXPECTED}; the metric's name is that of the counters")
    if not found.matchers:
        raise ValueError(f"{ARM_EXPECTED}; without any, an arm would be everything")
    return found.matchers


def of_arm(selector: str, arm: str) -> str:
    """*selector* with the matchers of *arm* as well."""
    found = taken_apart(selector)
    return str(replace(found, matchers=_united(found.matchers, matchers_of(arm))))


def with_suffix(selector: str, suffix: str) -> str:
    """*selector* of the metric with *suffix* behind its name. Raises ValueError if the selector does not name it."""
    found = taken_apart(selector)
    if not found.metric:
        raise ValueError("the name of a histogram is expected, such as http_request_duration_seconds")
    return str(replace(found, metric=found.metric + suffix))


def _united(some: Iterable[Matcher], others: Iterable[Matcher]) -> tuple[Matcher, ...]:
    return tuple(dict.fromkeys((*some, *others)))


def _label(name: str) -> str:
    return name if _PLAIN.fullmatch(name) else _quoted(name)


def _quoted(text: str) -> str:
    """PromQL writes strings as Go does, which JSON's are a part of."""
    return json.dumps(text, ensure_ascii=False)


def _checked(read: Callable[[str], object]) -> AfterValidator:
    def check(text: str) -> str:
        read(text)
        return text.strip()

    return AfterValidator(check)


CounterSelector = Annotated[str, _checked(taken_apart)]
ArmMatchers = Annotated[str, _checked(matchers_of)]
