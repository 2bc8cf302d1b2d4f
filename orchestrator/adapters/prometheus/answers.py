"""Answers of the Prometheus HTTP API, read strictly: what is not plainly an answer is refused, in a sentence."""

import json
import math
import operator
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.adapters.http_client import Reply
from stages.criteria.base import SeriesValue
from stages.lean import dataclass

MOST_SERIES = 10_000  # of one answer
STORE_AWAY = "rpc error: code = Unavailable"  # Thanos, told to rather answer nothing than a part


class UnusableAnswer(Exception):
    """An answer that is none; the message goes on after the server's name."""


class RefusedQuery(UnusableAnswer):
    """The server finds fault with the query itself."""


class PartialAnswer(UnusableAnswer):
    """The server did not reach all of its data; another try may."""


@dataclass(frozen=True, slots=True)
class Series:
    """The samples of one series, oldest first: *times* in seconds since the epoch, and as many *values*."""

    labels: Mapping[str, str]
    times: Sequence[float]
    values: Sequence[float]


@dataclass(frozen=True, slots=True)
class Point:
    labels: Mapping[str, str]
    at: float
    value: float


def read_values(reply: Reply) -> list[SeriesValue]:
    """The series of a vector or scalar. Raises ``UnusableAnswer`` for everything else that a server may say."""
    return [SeriesValue(text_of(point.labels), point.value, point.at) for point in read_points(reply)]


def read_points(reply: Reply, times: int = 1) -> list[Point]:
    """As ``read_values``, with labels apart. *times*: so many answers in one, each with its series."""
    data = _data(reply)
    try:
        return _points(data, times)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _unreadable() from error


def read_series(reply: Reply) -> list[Series]:
    """The series of a matrix, with all their samples. Raises ``UnusableAnswer``."""
    data = _data(reply)
    try:
        if data["resultType"] != "matrix":
            raise UnusableAnswer(f"answered with a {data['resultType']}, where samples of series are expected")
        return [_samples(entry) for entry in _few(data["result"], 1)]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _unreadable() from error


def text_of(labels: Mapping[str, str]) -> str:
    """``{a="b",c="d"}`` without the metric's own name; nothing if there are no others."""
    shown = [
        f"{name}={json.dumps(str(value), ensure_ascii=False)}"
        for name, value in sorted(labels.items())
        if name != "__name__"
    ]
    return "{" + ",".join(shown) + "}" if shown else ""


def short(text: str, longest: int = 160) -> str:
    line = " ".join(text.split())
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


def _data(reply: Reply) -> Mapping[str, Any]:
    if reply.status == 422 and STORE_AWAY in reply.text:
        raise PartialAnswer(f"does not reach all of its data (422){_said(reply)}")
    if reply.status in (400, 422):
        raise RefusedQuery(_refusal(reply))
    if reply.status != 200:
        raise UnusableAnswer(_refusal(reply))
    try:
        answer = reply.json()
    except (ValueError, RecursionError) as error:
        raise UnusableAnswer("answered with something that is not JSON") from error
    if not isinstance(answer, dict) or answer.get("status") not in ("success", "error"):
        raise UnusableAnswer("answered with JSON that is not of its API; is the URL right?")
    if answer["status"] == "error":
        raise RefusedQuery(f"refuses the query: {_error_of(answer)}")
    if warnings := [str(one) for one in answer.get("warnings") or ()]:
        is_of_query = all(one.startswith("PromQL") for one in warnings)
        kind = UnusableAnswer if is_of_query else PartialAnswer
        raise kind(f"warns, so its answer is not relied on: {short('; '.join(warnings))}")
    if answer.get("isPartial") or answer.get("partial"):
        raise PartialAnswer("answered with a part of the data only")
    data = answer.get("data")
    if not isinstance(data, dict):
        raise _unreadable()
    return data


def _points(data: Mapping[str, Any], times: int) -> list[Point]:
    match data["resultType"]:
        case "scalar":
            return [_point({}, data["result"])]
        case "vector":
            return [_point(_labels(entry["metric"]), _plain(entry)) for entry in _few(data["result"], times)]
        case "matrix" | "string" as kind:
            raise UnusableAnswer(f"answered with a {kind}, where one number a series is expected")
        case kind:
            raise UnusableAnswer(f"answered with a result of an unknown kind, {kind!r}")


def _few(result: Any, times: int) -> list[Any]:
    if not isinstance(result, list):
        raise TypeError("a result is a list")
    if (count := math.ceil(len(result) / times)) > MOST_SERIES:
        raise UnusableAnswer(f"answered with {count:,} series, and {MOST_SERIES:,} are the most that are read")
    return result


def _labels(metric: Any) -> Mapping[str, str]:
    if not isinstance(metric, dict):
        raise TypeError("labels are an object")
    return metric


def _plain(entry: Mapping[str, Any]) -> Any:
    if "histogram" in entry and "value" not in entry:
        raise UnusableAnswer("answered with a histogram, where one number a series is expected (histogram_quantile?)")
    return entry["value"]


def _point(labels: Mapping[str, str], sample: Any) -> Point:
    time, value = sample
    if not isinstance(value, str) or isinstance(time, bool) or not isinstance(time, int | float):
        raise TypeError("a sample is a time and a text")
    return Point(labels, float(time), float(value))


def _samples(entry: Mapping[str, Any]) -> Series:
    """The inner loops are C's: there may be hundreds of thousands of samples."""
    labels = _labels(entry["metric"])
    if entry.get("histograms"):
        name = labels.get("__name__", "it")
        raise UnusableAnswer(
            f"has a native histogram under {name}, which is no counter: a classic histogram's _bucket or _count is one"
        )
    times, texts = zip(*entry["values"], strict=True) if entry["values"] else ((), ())
    values = list(map(float, texts))
    if not math.isfinite(sum(times)) or not all(map(operator.lt, times, times[1:])):
        return Series(labels, *_in_order(times, values))
    return Series(labels, times, values)


def _in_order(times: Sequence[float], values: Sequence[float]) -> tuple[list[float], list[float]]:
    """By time, one sample each, of several the last: what reads from several stores may mix them up."""
    if not all(map(math.isfinite, times)):
        raise ValueError("a sample has a time")
    found = sorted(dict(zip(times, values, strict=True)).items())
    return [time for time, _ in found], [value for _, value in found]


def _unreadable() -> UnusableAnswer:
    return UnusableAnswer("answered with a result that can't be read")


def _refusal(reply: Reply) -> str:
    said = _said(reply)
    match reply.status:
        case 401 | 403:
            return f"does not let us in ({reply.status}){said}; see bearer, basic, tls and headers of its settings"
        case 404:
            return f"has no API there (404){said}; is the URL right?"
        case 429:
            return f"is asked too much (429){said}"
        case status if status >= 500:
            return f"is failing ({status}){said}"
        case status if status >= 400:
            return f"refuses the query ({status}){said}"
        case status:
            return f"answered with status {status}{f': {reply.note}' if reply.note else said}"


def _said(reply: Reply) -> str:
    """The server's own words: its API's error, else the begin of its text."""
    try:
        answer = reply.json()
    except (ValueError, RecursionError):
        text = short(reply.text[:1000])
        return f": {text}" if text else ""
    return f": {_error_of(answer)}" if isinstance(answer, dict) and "error" in answer else ""


def _error_of(answer: Mapping[str, Any]) -> str:
    kind = str(answer.get("errorType") or "error")
    return short(f"{kind}: {answer.get('error') or 'no reason is given'}", 400)
