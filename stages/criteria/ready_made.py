"""Ready-made criteria: ``standard: http-errors`` and a selector, in place of PromQL.

What was written is a ``StandardCriterion``; once it is valid it becomes a criterion of one of the kinds, so nothing
behind the plan language knows of ready-made ones, and a run goes on judging by the queries that it was started with,
whatever the table says later:

    written                     errors     latency                             a level (depth, saturation, ...)
    with ``arms``               compare    latency                             -
    with ``pass`` or ``fail``   -          threshold of the 99th percentile    threshold
    with neither                ratio      change of the 99th percentile       threshold with the row's bounds
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, assert_never

from pydantic import (
    AfterValidator,
    Field,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from stages.criteria.arms import Arms
from stages.criteria.base import Criterion, RollbackAfter
from stages.criteria.change import Change
from stages.criteria.compare import Compare
from stages.criteria.latency import Latency
from stages.criteria.ratio import Ratio
from stages.criteria.standard import STANDARDS, Errors, Level, Row, Slow
from stages.criteria.threshold import Threshold
from stages.problems import Path, listed, suggestion
from stages.promql import InvalidQuery, parse
from stages.values import Bound, Duration, Environments, Name, Part, Share

AT_MOST = 0.01
MAX_INCREASE = 0.05  # of a canary above its control
CHANGE_INCREASE = 0.2  # of a percentile above the time before
CHANGE_WINDOW_SECONDS = 3600.0
PERCENTILE_RANGE = "5m"
_SAYS_ITSELF = ("query", "sql", "http", "command", "script", "expect", "ratio", "compare", "latency", "change", "slo")
_METRIC = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


# --- as it is written -------------------------------------------------------------------------------------------------


def _known(name: str) -> str:
    if name not in STANDARDS:
        hint = suggestion(name, STANDARDS) or f"; there are {listed(list(STANDARDS), 'and')}"
        raise ValueError(f"unknown standard {name!r}{hint}")
    return name


def matched_labels(selector: str) -> frozenset[str]:
    """The labels that ``{...}`` matches. Raises ValueError if it is not matchers in braces and nothing else."""
    text = selector.strip()
    expected = "label matchers in braces are expected, such as '{job=\"shop\"}', or '{}' for all series"
    if not (text.startswith("{") and text.endswith("}")):
        raise ValueError(f"{expected}; the metric's name comes with the standard")
    try:
        parsed: Any = parse(f"x{text}")
    except InvalidQuery as error:
        raise ValueError(f"{expected}: {error}") from None
    if type(parsed).__name__ != "VectorSelector" or parsed.matchers.or_matchers:
        raise ValueError(expected)
    return frozenset(matcher.name for matcher in parsed.matchers.matchers)


def _selector(text: str) -> str:
    matched_labels(text)
    return text.strip()


class StandardCriterion(Part):
    """A ready-made criterion: what SREs watch, by the names under which it is usually counted."""

    name: Name
    standard: Annotated[
        str, AfterValidator(_known), WithJsonSchema({"type": "string", "enum": list(STANDARDS), "title": "Standard"})
    ]
    selector: Annotated[str, AfterValidator(_selector)]
    metric: str | None = None
    label: str | None = None
    arms: Arms | None = None
    at_most: Share | None = None
    pass_: Bound | None = Field(default=None, alias="pass")
    fail: Bound | None = None
    max_increase: Share | None = None
    window: Duration | None = None
    for_: Duration | None = Field(default=None, alias="for")
    empty: Literal["inconclusive", "pass", 0] = "inconclusive"
    on_missing: Literal["hold"] | RollbackAfter = "hold"
    source: str | None = None
    timeout: Duration | None = None
    environments: Environments = ()

    @model_validator(mode="before")
    @classmethod
    def _one_question(cls, value: Any) -> Any:
        if isinstance(value, dict):
            for field in _SAYS_ITSELF:
                if field in value:
                    raise ValueError(f"a standard says by itself what is measured; leave {field} out, or standard")
        return value

    @field_validator("metric", "label", "arms", "at_most", "pass_", "fail", "max_increase", "window")
    @classmethod
    def _goes_with_it(cls, value: Any, info: ValidationInfo) -> Any:
        name, field = info.data.get("standard"), info.field_name or ""
        if name is not None and (sentence := _refusal(name, field, value, info.data)):
            raise ValueError(sentence)
        return value

    @model_validator(mode="after")
    def _some_bound(self) -> Self:
        row = STANDARDS[self.standard]
        if isinstance(row, Level) and row.alert is None and self.pass_ is None and self.fail is None:
            words = f"{self.standard} ({row.words}) needs pass or fail, such as fail: '> 500'"
            raise ValueError(f"{words}; how many are too many differs")
        return self

    @property
    def compared_arms(self) -> Arms | None:
        row = STANDARDS[self.standard]
        return self.arms or (row.arms if isinstance(row, Slow) else None)


def _refusal(name: str, field: str, value: Any, before: Mapping[str, Any]) -> str | None:
    """Why *field* does not go with the standard *name* and the fields *before* it, if it does not."""
    row = STANDARDS[name]
    match field:
        case "metric":
            return _refused_metric(name, row, value)
        case "label":
            return _refused_label(name, row, value)
        case _:
            pass
    match row:
        case Errors():
            return _refused_of_errors(name, field, before.get("arms") is not None)
        case Slow():
            bounds = before.get("pass_") is not None or before.get("fail") is not None
            return _refused_of_latency(name, field, before.get("arms") is not None or row.arms is not None, bounds)
        case Level():
            if field in ("pass_", "fail"):
                return None
            return f"{field} does not go with {name}, which is a number with bounds: give pass and fail"
        case _:
            assert_never(row)


def _refused_metric(name: str, row: Row, value: str) -> str | None:
    if not row.metric or (isinstance(row, Errors) and row.bad_metric):
        return f"{name} is made of several metrics, so it has no other name; write a query instead"
    if not _METRIC.fullmatch(value):
        return f"the name of a metric is expected, such as {row.metric}, not {value!r}"
    return None


def _refused_label(name: str, row: Row, value: str) -> str | None:
    if not isinstance(row, Errors) or not row.label:
        return f"{name} looks at no label that could have another name"
    return None if _LABEL.fullmatch(value) else f"the name of a label is expected, such as {row.label}, not {value!r}"


def _refused_of_errors(name: str, field: str, compared: bool) -> str | None:
    if field == "at_most":
        sentence = "with arms the canary is held against its control: max_increase says how much worse it may be"
        return sentence if compared else None
    if field == "max_increase":
        return None if compared else "max_increase needs arms to compare; without them at_most is the bound"
    if field == "arms":
        return None
    words = "{} does not go with {}, which is a share: give at_most, or arms and max_increase"
    return words.format(field.rstrip("_"), name)


def _refused_of_latency(name: str, field: str, compared: bool, bounds: bool) -> str | None:
    if field == "at_most":
        return f"at_most does not go with {name}: give arms, or a bound in seconds such as fail: '> 0.5'"
    if field in ("pass_", "fail") and compared:
        return "with arms the canary is held against its control: max_increase says how much worse it may be"
    if field == "max_increase" and bounds:
        return "max_increase is for a comparison; there are bounds already"
    if field == "window" and (compared or bounds):
        return "window is what stands before the step, which is looked at only without arms and bounds"
    return None


# --- what becomes of it -----------------------------------------------------------------------------------------------


def expand(written: StandardCriterion) -> Criterion:
    """The criterion that it stands for. Raises ValueError if that is none."""
    kept = written.model_dump(
        by_alias=True,
        exclude_unset=True,
        include={"name", "for_", "empty", "on_missing", "source", "timeout", "environments"},
    )
    row = STANDARDS[written.standard]
    try:
        match row:
            case Errors():
                return _errors(written, row, kept)
            case Slow():
                return _slow(written, row, kept)
            case Level():
                return _threshold(written, _level_query(written, row), row, kept)
            case _:
                assert_never(row)
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(str(first.get("ctx", {}).get("error", first["msg"]))) from None


def _errors(written: StandardCriterion, row: Errors, kept: dict[str, Any]) -> Criterion:
    metric = written.metric or row.metric
    total = _series(metric, written.selector, row.usual)
    if row.bad_metric:
        bad = _series(row.bad_metric, written.selector, row.usual)
    else:
        op = "=" if row.values.isalnum() else "=~"
        outcome = f'{written.label or row.label}{op}"{row.values}"'
        bad = _series(metric, written.selector, row.usual, outcome)
    if written.arms is None:
        at_most = AT_MOST if written.at_most is None else written.at_most
        return Ratio.model_validate({**kept, "ratio": {"bad": bad, "total": total, "at_most": at_most}})
    max_increase = MAX_INCREASE if written.max_increase is None else written.max_increase
    compared = {"bad": bad, "total": total, "arms": written.arms, "max_increase": max_increase}
    return Compare.model_validate({**kept, "compare": compared})


def _slow(written: StandardCriterion, row: Slow, kept: dict[str, Any]) -> Criterion:
    metric = written.metric or row.metric
    arms = written.compared_arms
    if arms is not None:
        max_increase = MAX_INCREASE if written.max_increase is None else written.max_increase
        histogram = _series(metric, written.selector, row.usual)
        return Latency.model_validate(
            {**kept, "latency": {"histogram": histogram, "arms": arms, "max_increase": max_increase}}
        )
    buckets = _series(f"{metric}_bucket", written.selector, row.usual)
    query = f"histogram_quantile(0.99, sum by (le) (rate({buckets}[{PERCENTILE_RANGE}])))"
    if row.per_second != 1:
        query += f" / {row.per_second}"
    if written.pass_ is not None or written.fail is not None:
        return _threshold(written, query, Level(row.words, query), kept)
    change = {
        "query": query,
        "window": CHANGE_WINDOW_SECONDS if written.window is None else written.window,
        "max_increase": CHANGE_INCREASE if written.max_increase is None else written.max_increase,
    }
    return Change.model_validate({**kept, "change": change})


def _threshold(written: StandardCriterion, query: str, row: Level, kept: dict[str, Any]) -> Threshold:
    """The bounds that were written stand in place of the row's, both of them: one alone would meet a stranger."""
    bounds = {"pass": written.pass_, "fail": written.fail}
    if written.pass_ is None and written.fail is None:
        bounds = {"pass": _bound(row.target), "fail": _bound(row.alert)}
    given = {name: bound for name, bound in bounds.items() if bound is not None}
    return Threshold.model_validate({"for": row.for_seconds, **kept, **given, "query": query})


def _bound(text: str | None) -> Bound | None:
    return Bound.model_validate(text) if text is not None else None


def _level_query(written: StandardCriterion, row: Level) -> str:
    query = row.query.replace("$matchers", _inside(written.selector))
    return query.replace("$series", _series(written.metric or row.metric, written.selector))


def _series(metric: str, selector: str, usual: Mapping[str, str] | None = None, outcome: str = "") -> str:
    """``metric{...}`` with the selector's matchers, the usual ones that it does not have, and the outcome's."""
    own = matched_labels(selector)
    added = [f'{label}="{value}"' for label, value in (usual or {}).items() if label not in own]
    matchers = ",".join(part for part in (outcome, *added, _inside(selector)) if part)
    return f"{metric}{{{matchers}}}"


def _inside(selector: str) -> str:
    return selector.strip()[1:-1].strip().removesuffix(",").strip()


def written_path(data: Any, path: Path) -> Path:
    """*path* as far as a person wrote it in *data*: what a ready-made criterion became was not written anywhere."""
    node = data
    for depth, part in enumerate(path):
        try:
            node = node[part]
        except (KeyError, IndexError, TypeError):
            return path
        if path[:2] == ("spec", "gates") and isinstance(node, dict) and "standard" in node:
            below = path[depth + 1 : depth + 2]
            return path[: depth + 1] + (path[depth + 1 :] if below and below[0] in node else ())
    return path
