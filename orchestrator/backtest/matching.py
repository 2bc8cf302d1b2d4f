"""Series selectors as sets of matchers, which can be changed, written again, and held against labels."""

import json
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache

from stages.criteria.selectors import NAME, Matcher, taken_apart
from stages.criteria.selectors import matchers_of as matchers_of_arm

__all__ = ["NAME", "Matcher", "Matchers", "hold", "matchers_of", "matchers_of_arm", "written"]

Matchers = frozenset[Matcher]


@lru_cache(1024)
def matchers_of(selector: str) -> Matchers:
    """Those of an instant vector selector, its metric's name among them. Raises ValueError for anything else."""
    found = taken_apart(selector)
    named = [(NAME, "=", found.metric)] if found.metric else []
    return frozenset([*named, *found.matchers])


def written(matchers: Iterable[Matcher]) -> str:
    """The same selector for the same matchers."""
    parts = [f"{label}{op}{json.dumps(value, ensure_ascii=False)}" for label, op, value in matchers]
    return "{" + ",".join(sorted(parts)) + "}"


def hold(matchers: Iterable[Matcher], labels: Mapping[str, str]) -> bool:
    """Whether a series with these *labels* is selected."""
    return all(_holds(matcher, labels.get(matcher[0], "")) for matcher in matchers)


def _holds(matcher: Matcher, found: str) -> bool:
    """Expressions match whole values. Prometheus' are RE2's; what Python reads otherwise, labels do not hold."""
    _, op, value = matcher
    if op in ("=", "!="):
        return (found == value) == (op == "=")
    return (_expression(value).fullmatch(found) is not None) == (op == "=~")


@lru_cache(256)
def _expression(text: str) -> re.Pattern[str]:
    return re.compile(text, re.DOTALL)
