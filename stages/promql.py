"""PromQL, as far as a plan must understand it: whether a query can be parsed, and how far back it looks."""

import math
import re
from collections.abc import Iterator
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import promql_parser


LONGEST_QUERY = 16_384  # characters
DEEPEST_QUERY = 32  # brackets inside brackets
MOST_OPERATORS = 200
MOST_KNOWN = 10_000  # queries whose look-back is remembered
# The parser is native and recursive: without these bounds a query could overflow its stack and end the process.

_QUOTED = re.compile(r""""(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|`[^`]*`""", re.DOTALL)
_OPERATOR = re.compile(r"[-+*/%^<>=!]|\b(?:and|or|unless|atan2|offset|bool|by|without)\b", re.IGNORECASE)


class InvalidQuery(ValueError):
    """The query is not PromQL; the message says why."""


def parse(query: str) -> "promql_parser.Expr":
    import promql_parser

    _refuse_size(query)
    try:
        return promql_parser.parse(query)
    except (ValueError, OverflowError) as error:
        raise InvalidQuery((str(error).splitlines() or ["it cannot be parsed"])[0][:200]) from error


def _refuse_size(query: str) -> None:
    if len(query) > LONGEST_QUERY:
        raise InvalidQuery(f"longer than {LONGEST_QUERY} characters")
    bare = _QUOTED.sub("", query)
    depth = deepest = 0
    for character in bare:
        depth += (character in "([{") - (character in ")]}")
        deepest = max(deepest, depth)
    if deepest > DEEPEST_QUERY:
        raise InvalidQuery(f"more than {DEEPEST_QUERY} brackets inside each other")
    if sum(1 for _ in _OPERATOR.finditer(bare)) > MOST_OPERATORS:
        raise InvalidQuery(f"more than {MOST_OPERATORS} operators")


@lru_cache(MOST_KNOWN)  # asked of the same queries at each of their looks
def lookback_seconds(query: str) -> float:
    """How far before the time of evaluation the query reaches: the longest range plus offset of any selector, those of
    the subqueries around it added. Infinite if a selector is fixed to a time with ``@``: it never sees anything new.

    The staleness look-back of plain selectors is not counted. Raises InvalidQuery.
    """
    return max(_reaches(parse(query), 0.0), default=0.0)


def _reaches(expression: Any, outer_seconds: float) -> Iterator[float]:
    import promql_parser as ast

    match expression:
        case ast.VectorSelector():
            yield _back(expression.offset, expression.at, outer_seconds)
        case ast.MatrixSelector():
            selector = expression.vector_selector
            yield _back(selector.offset, selector.at, outer_seconds) + expression.range.total_seconds()
        case ast.SubqueryExpr():
            width = expression.range.total_seconds() if expression.range is not None else 0.0
            reach = _back(expression.offset, expression.at, outer_seconds) + width
            yield from _reaches(expression.expr, reach)
        case ast.Call():
            for argument in expression.args:
                yield from _reaches(argument, outer_seconds)
        case ast.BinaryExpr():
            yield from _reaches(expression.lhs, outer_seconds)
            yield from _reaches(expression.rhs, outer_seconds)
        case ast.AggregateExpr() | ast.ParenExpr() | ast.UnaryExpr():
            yield from _reaches(expression.expr, outer_seconds)
        case _:
            yield 0.0


def _back(offset: timedelta | None, at: Any, outer_seconds: float) -> float:
    """Seconds before the evaluation at which a selector is read: ``@ start()`` and ``@ end()`` are the evaluation."""
    shift = offset.total_seconds() if offset is not None else 0.0
    if at is None:
        return max(outer_seconds + shift, 0.0)
    if str(at.type).rsplit(".", 1)[-1] in ("Start", "End"):
        return max(shift, 0.0)
    return math.inf
