"""A gate's looks at one criterion, one after the other, with the memory written to JSON and back between them."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from stages.criteria import judging
from stages.criteria.base import (
    Count,
    Counting,
    Judgement,
    Measurement,
    MeasurementState,
    Memory,
    Setting,
    Verdict,
    Wanted,
    memory_after_gap,
)

SINCE = 1_764_100_000.0
EVERY_SECONDS = 15.0
MOST_CHECKED = 10

Amount = float | Callable[[Counting], float] | None


@dataclass
class Looks:
    """*setting* may be changed between looks, as the core does at a step."""

    criterion: Any
    setting: Setting = field(default_factory=lambda: Setting(since=SINCE, before=SINCE, warmup_seconds=60.0))
    memory: Memory = field(default_factory=Memory)
    at: float = SINCE
    looked_at: float | None = None
    wanted: Wanted = field(default_factory=Wanted)
    checked: int = 0  # looks that were judged twice, to see that judging is a function

    def count(self, bad: Amount, total: Amount, seconds: float = EVERY_SECONDS, state: str = "ok") -> Judgement:
        """The look *seconds* later. Amounts are of the interval that is counted; None: no such series."""
        wanted = self._wanted(seconds)
        counts: list[Count] = []
        if wanted.counting is not None and state == "ok":
            for name, amount in (("bad", bad), ("total", total)):
                value = amount(wanted.counting) if callable(amount) else amount
                if value is not None:
                    counts.append(Count(name, (), float(value)))
        return self._judge(Measurement(MeasurementState(state), self.at, counts=tuple(counts), detail=_detail(state)))

    def measure(self, measurement: Callable[[float, Wanted], Measurement], seconds: float = EVERY_SECONDS) -> Judgement:
        """The look *seconds* later, answered by *measurement* of its time and what it wants."""
        wanted = self._wanted(seconds)
        return self._judge(measurement(self.at, wanted))

    def stepped(self) -> None:
        """A step comes into force now."""
        self.setting = replace(self.setting, since=self.at)

    def _wanted(self, seconds: float) -> Wanted:
        self.at += seconds
        if self.looked_at is not None:
            self.memory = memory_after_gap(self.memory, self.looked_at, self.at, self.setting.every_seconds)
        self.wanted = judging.wanted(self.criterion, self.setting, self.memory, self.at)
        return self.wanted

    def _judge(self, measurement: Measurement) -> Judgement:
        judgement = judging.judge(self.criterion, measurement, self.memory, self.setting)
        if self.checked < MOST_CHECKED:
            assert judging.judge(self.criterion, measurement, self.memory, self.setting) == judgement
            self.checked += 1
        text = json.dumps(judgement.memory.extra, allow_nan=False)
        self.memory = replace(judgement.memory, extra=json.loads(text))
        self.looked_at = self.at
        return judgement


def _detail(state: str) -> str:
    return "" if state == "ok" else "the server is away"


def rate(per_look: float) -> Callable[[Counting], float]:
    """So many events in 15 s, whatever the length of the interval."""
    return lambda counting: per_look * (counting.to - counting.from_) / EVERY_SECONDS


def again(look: Callable[[], Judgement], times: int) -> Judgement:
    """The last of so many looks."""
    return [look() for _ in range(times)][-1]


def verdicts(judgements: Sequence[Judgement]) -> list[Verdict]:
    return [one.verdict for one in judgements]
