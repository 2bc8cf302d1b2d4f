"""A server that knows as much PromQL as counting asks for, and the series that a test gives it.

store = Store()
store.series("errors_total", {"pod": "a"}, {-10: 5, 5: 7})     # seconds from START, and values
server.behave(store)
"""

import asyncio
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any

from tests.support.http_server import Received, answer

START = 1_700_000_000.0
NOW = START + 100
LOOKBACK_SECONDS = 300.0
_RANGE = re.compile(r"(\w+)\[(\d+)s\]")
_BEFORE = re.compile(r"last_over_time\((\w+)\[1h\]\)")
_SCRAPED = re.compile(r'max by \(job, instance\) \(max_over_time\(up\{job=~"(.*)"\}\[1h\]\)\) > 0')
_TARGETS = re.compile(r'max by \(job, instance\) \(last_over_time\(up\{job=~"(.*)"\}\[10m\] offset 50m\)\)')


@dataclass
class Entry:
    name: str
    labels: Mapping[str, str]
    samples: Mapping[float, Any]
    ended: bool = False

    def between(self, after: float, to: float) -> list[list[Any]]:
        """Samples as the API writes them; the begin of a range is left out, as newer servers do."""
        return [[START + at, str(value)] for at, value in self.samples.items() if after < START + at <= to]

    def metric(self) -> dict[str, str]:
        return {"__name__": self.name, **self.labels}


@dataclass
class Store:
    """*ahead_seconds*: how far its clock is ahead of one that shows ``NOW``; None: it does not tell."""

    entries: list[Entry] = field(default_factory=list)
    asked: list[tuple[str, float]] = field(default_factory=list)  # query, and seconds from START
    ahead_seconds: float | None = None
    headers: dict[str, str] = field(default_factory=dict)

    def series(
        self, name: str, labels: Mapping[str, str], samples: Mapping[float, Any], *, ended: bool = False
    ) -> None:
        """*ended*: with the mark of a series that has ended after its last sample."""
        self.entries.append(Entry(name, labels, samples, ended))

    def scraped(self, name: str, labels: Mapping[str, str], samples: Mapping[float, Any]) -> None:
        """A series of the target ``job="shop", instance="a"`` unless *labels* say otherwise."""
        self.series(name, {"job": "shop", "instance": "a", **labels}, samples)

    def up(self, instance: str, samples: Mapping[float, Any], job: str = "shop") -> None:
        self.series("up", {"job": job, "instance": instance}, samples)

    @property
    def queries(self) -> list[str]:
        return [query for query, _ in self.asked]

    async def __call__(self, received: Received, writer: asyncio.StreamWriter) -> None:
        query, at = received.parameters["query"], float(received.parameters["time"])
        self.asked.append((query, at - START))
        kind, result = self.answer(query, at)
        document = {"status": "success", "data": {"resultType": kind, "result": result}}
        headers = dict(self.headers)
        if self.ahead_seconds is not None:
            headers["Date"] = formatdate(NOW + self.ahead_seconds, usegmt=True)
        await answer(json.dumps(document), headers=headers)(received, writer)

    def answer(self, query: str, at: float) -> tuple[str, list[dict[str, Any]]]:
        if found := _RANGE.fullmatch(query):
            name, seconds = found[1], float(found[2])
            pairs = [(one, one.between(at - seconds, at)) for one in self._named(name)]
            return "matrix", [{"metric": one.metric(), "values": values} for one, values in pairs if values]
        if found := _BEFORE.fullmatch(query):
            return "vector", self._newest(self._named(found[1]), at, at - 3600, at)
        if found := _SCRAPED.fullmatch(query):
            ups = [one for one in self._ups(found[1]) if any(v == "1" for _, v in one.between(at - 3600, at))]
            return "vector", [{"metric": dict(one.labels), "value": [at, "1"]} for one in ups]
        if found := _TARGETS.fullmatch(query):
            return "vector", self._newest(self._ups(found[1]), at, at - 3600, at - 3000)
        alive = [one for one in self._named(query) if not one.ended]
        return "vector", self._newest(alive, at, at - LOOKBACK_SECONDS, at)

    def _named(self, name: str) -> list[Entry]:
        return [one for one in self.entries if one.name == name]

    def _ups(self, jobs: str) -> list[Entry]:
        pattern = jobs.replace("\\\\", "\\")
        return [one for one in self._named("up") if re.fullmatch(pattern, one.labels["job"])]

    def _newest(self, entries: list[Entry], at: float, after: float, to: float) -> list[dict[str, Any]]:
        found = [(one, one.between(after, to)) for one in entries]
        return [{"metric": one.metric(), "value": [at, values[-1][1]]} for one, values in found if values]


def every(seconds: float, from_: float, to: float, begin: float = 0.0, rise: float = 1.0) -> dict[float, Any]:
    """Samples *seconds* apart of a counter that rises by *rise* from each to the next."""
    number = math.floor((to - from_) / seconds) + 1
    return {from_ + seconds * index: begin + rise * index for index in range(number)}
