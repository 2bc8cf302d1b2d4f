"""Counters, gauges and histograms, and how Prometheus' text format (0.0.4) writes them."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})
Values = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Name:
    """Of a family: *text* says what it is, *labels* what its series are told apart by."""

    name: str
    text: str
    labels: tuple[str, ...] = ()

    def head(self, kind: str) -> list[str]:
        return [f"# HELP {self.name} {self.text}", f"# TYPE {self.name} {kind}"]

    def series(self, values: Values, suffix: str = "", **more: str) -> str:
        pairs = [*zip(self.labels, values, strict=True), *more.items()]
        inside = ",".join(f'{label}="{value.translate(_ESCAPES)}"' for label, value in pairs)
        return f"{self.name}{suffix}{{{inside}}}" if inside else f"{self.name}{suffix}"


class Counter:
    """Series of *known* values are there from the beginning: a rise from nothing would not be seen by ``increase``."""

    def __init__(self, name: str, text: str, labels: tuple[str, ...] = (), known: Iterable[Values] = ((),)) -> None:
        self._name = Name(name, text, labels)
        self._values: dict[Values, float] = dict.fromkeys(known, 0.0)

    def add(self, *values: str) -> None:
        self._values[values] = self._values.get(values, 0.0) + 1.0

    def lines(self) -> Iterator[str]:
        yield from self._name.head("counter")
        yield from (f"{self._name.series(values)} {value:.15g}" for values, value in self._values.items())


class Histogram:
    """Of seconds. *bounds* are the upper ends of its buckets, rising."""

    def __init__(
        self,
        name: str,
        text: str,
        bounds: tuple[float, ...],
        labels: tuple[str, ...] = (),
        known: Iterable[Values] = (),
    ) -> None:
        self._name = Name(name, text, labels)
        self._bounds = bounds
        self._counts: dict[Values, list[int]] = {values: self._empty() for values in known}
        self._sums: dict[Values, float] = dict.fromkeys(self._counts, 0.0)

    def _empty(self) -> list[int]:
        return [0] * (len(self._bounds) + 1)

    def observe(self, seconds: float, *values: str) -> None:
        self._counts.setdefault(values, self._empty())[bisect_left(self._bounds, seconds)] += 1
        self._sums[values] = self._sums.get(values, 0.0) + seconds

    def lines(self) -> Iterator[str]:
        yield from self._name.head("histogram")
        ends = (*(f"{bound:g}" for bound in self._bounds), "+Inf")
        for values, counts in self._counts.items():
            for end, count in zip(ends, accumulate(counts), strict=True):
                yield f"{self._name.series(values, '_bucket', le=end)} {count}"
            yield f"{self._name.series(values, '_sum')} {self._sums[values]:.15g}"
            yield f"{self._name.series(values, '_count')} {sum(counts)}"


def gauge(name: str, text: str, values: float | Mapping[str, float], label: str = "") -> list[str]:
    """One family as it stands now: a number, or numbers by the values of one *label*."""
    if isinstance(values, Mapping):
        return pairs_gauge(Name(name, text, (label,)), {(one,): value for one, value in values.items()})
    return pairs_gauge(Name(name, text), {(): values})


def pairs_gauge(name: Name, values: Mapping[Values, float], kind: str = "gauge") -> list[str]:
    """By several labels. *kind* for what is counted elsewhere, such as by the operating system."""
    return [*name.head(kind), *(f"{name.series(labels)} {value:.15g}" for labels, value in values.items())]
