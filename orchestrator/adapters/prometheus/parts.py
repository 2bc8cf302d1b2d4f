"""Selectors that select a part of what another one does: ``requests_total{code="500"}`` of ``requests_total``.

One answer then serves both, which halves what a ratio costs the server and us. Which series belong to the part is told
here by the matchers that it has more. Where a pattern might mean something else to the server than to us, both are
asked for.
"""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache

from stages.criteria.selectors import Matcher, Selected, taken_apart

Belongs = Callable[[Mapping[str, str]], bool]
"""Of a series' labels: whether it is of the part."""

_ALIKE = re.compile(r"[A-Za-z0-9_ ./:|()*+-]*")  # patterns of these mean the same in RE2 and here


def wholes_of(selectors: Mapping[str, str]) -> dict[str, tuple[str, Belongs]]:
    """By name: the name whose selector is to be asked, which may be its own, and what of the answer belongs to it."""
    return {name: _whole_of(name, selectors) for name in selectors}


def _whole_of(name: str, selectors: Mapping[str, str]) -> tuple[str, Belongs]:
    part = _read(selectors[name])
    best, found = name, part
    for other, selector in selectors.items():
        whole = _read(selector)
        if len(whole.matchers) < len(found.matchers) and _is_within(part, whole):
            best, found = other, whole
    return best, _belongs(tuple(one for one in part.matchers if one not in found.matchers))


def _read(selector: str) -> Selected:
    """What is no selector, the server is asked, to say so."""
    try:
        return taken_apart(selector)
    except ValueError:
        return Selected("", ())


def _is_within(part: Selected, whole: Selected) -> bool:
    if not part.metric or part.metric != whole.metric or not set(whole.matchers) <= set(part.matchers):
        return False
    return all(
        op in ("=", "!=") or _ALIKE.fullmatch(value) for _, op, value in set(part.matchers) - set(whole.matchers)
    )


@lru_cache(maxsize=1024)
def _belongs(matchers: tuple[Matcher, ...]) -> Belongs:
    patterns = {value: re.compile(value) for _, op, value in matchers if op in ("=~", "!~")}

    def belongs(labels: Mapping[str, str]) -> bool:
        return all(_holds(labels.get(label, ""), op, value, patterns) for label, op, value in matchers)

    return belongs


def _holds(found: str, op: str, value: str, patterns: Mapping[str, re.Pattern[str]]) -> bool:
    is_equal = found == value if op in ("=", "!=") else patterns[value].fullmatch(found) is not None
    return is_equal if op in ("=", "=~") else not is_equal
