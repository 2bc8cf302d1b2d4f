"""What goes wrong in one seed: a fresh random subset of fault kinds, each with its own dice, until everything heals."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from random import Random


class Fault(StrEnum):
    LATENCY = "latency"
    TEMPORARY = "temporary refusals of effects"
    UNKNOWN = "effects whose outcome is not known"
    REFUSED = "effects refused for good"
    BAD_DATA = "missing, stale, NaN and erring measurements"
    OUTAGE = "Prometheus away"
    SPIKES = "spikes of what is measured"
    CHECKS = "checks that say no or can't be asked"
    STORE = "a store that can't be written"
    CRASH_WRITE = "crashes at journal writes"
    CRASH_EFFECT = "crashes at effects"
    CRASH_TIME = "crashes at any time"
    CLOCK = "clock steps"
    EDITS = "people editing flags"
    KILL = "the kill switch"
    COMMANDS = "operators at random"
    DUPLICATES = "commands sent twice"
    SUPERSEDE = "a corrected plan taking over"
    REVERSE = "a way back after the end"
    UNREADY = "workloads that do not become ready"
    HANDS = "people changing workloads by hand"
    FREEZE = "people freezing runs"
    WITHDRAW = "people who change their mind about approvals"


Span = tuple[float, float]


class Fate(StrEnum):
    """What becomes of one try of an effect."""

    FINE = "fine"
    TEMPORARY = "temporary"
    UNKNOWN_DONE = "unknown, though it happened"
    UNKNOWN_NOT_DONE = "unknown, and it did not happen"
    REFUSED = "refused"


@dataclass
class Faults:
    """The faults of one seed. Times are virtual seconds; nothing goes wrong from ``heals_at`` on."""

    kinds: frozenset[Fault]
    heals_at: float
    seed: int
    probability: dict[Fault, float] = field(default_factory=dict)
    spans: dict[Fault, tuple[Span, ...]] = field(default_factory=dict)
    moments: dict[Fault, tuple[float, ...]] = field(default_factory=dict)
    crashes_left: int = 6

    def __post_init__(self) -> None:
        self._dice = {kind: Random(f"{kind.name}/{self.seed}") for kind in Fault}
        self._latency = Random(f"latency/{self.seed}")

    @property
    def now(self) -> float:
        return asyncio.get_running_loop().time()

    @property
    def healed(self) -> bool:
        return self.now >= self.heals_at

    def strikes(self, kind: Fault) -> bool:
        """The kind's own dice, thrown once."""
        if kind not in self.kinds or self.healed:
            return False
        return self._dice[kind].random() < self.probability[kind]

    def lasts(self, kind: Fault, at: float | None = None) -> bool:
        """Whether one of the kind's spans of trouble covers *at* (now)."""
        moment = self.now if at is None else at
        return any(begin <= moment < end for begin, end in self.spans.get(kind, ()))

    def latency(self) -> float:
        """Mostly quick; with the fault sometimes as long as a time-out."""
        slow = self.strikes(Fault.LATENCY)
        return self._latency.uniform(1.0, 20.0) if slow else self._latency.uniform(0.001, 0.2)

    def choice(self, kind: Fault, options: tuple[str, ...]) -> str:
        return self._dice[kind].choice(options)

    def fate(self) -> Fate:
        if self.strikes(Fault.REFUSED):
            return Fate.REFUSED
        if self.strikes(Fault.UNKNOWN):
            return Fate(self.choice(Fault.UNKNOWN, (Fate.UNKNOWN_DONE, Fate.UNKNOWN_NOT_DONE)))
        return Fate.TEMPORARY if self.strikes(Fault.TEMPORARY) else Fate.FINE

    def crash(self, kind: Fault, places: tuple[str, ...]) -> str | None:
        """Where in the thing that is about to happen the controller dies; None: it lives."""
        if self.crashes_left <= 0 or not self.strikes(kind):
            return None
        self.crashes_left -= 1
        return self.choice(kind, places)

    def describe(self) -> list[str]:
        lines = [f"heals at {self.heals_at:.0f} s"]
        for kind in sorted(self.kinds):
            what = [f"p={self.probability[kind]:.3f}"] if kind in self.probability else []
            what += [f"{begin:.0f}-{end:.0f}s" for begin, end in self.spans.get(kind, ())]
            what += [f"at {at:.0f}s" for at in self.moments.get(kind, ())]
            lines.append(f"{kind.value}: {', '.join(what)}")
        return lines


_PROBABILITIES: dict[Fault, Span] = {
    Fault.LATENCY: (0.02, 0.2),
    Fault.TEMPORARY: (0.1, 0.6),
    Fault.UNKNOWN: (0.05, 0.4),
    Fault.REFUSED: (0.03, 0.2),
    Fault.STORE: (0.0, 0.1),
    Fault.CRASH_WRITE: (0.01, 0.08),
    Fault.CRASH_EFFECT: (0.05, 0.4),
    Fault.DUPLICATES: (0.5, 1.0),
    Fault.UNREADY: (0.1, 0.5),
}
_SPANS: dict[Fault, tuple[int, Span]] = {  # how many at most, and how long
    Fault.BAD_DATA: (6, (10.0, 200.0)),
    Fault.OUTAGE: (2, (30.0, 300.0)),
    Fault.SPIKES: (5, (5.0, 120.0)),
    Fault.CHECKS: (6, (10.0, 400.0)),
    Fault.STORE: (3, (2.0, 90.0)),
    Fault.KILL: (2, (5.0, 300.0)),
    Fault.FREEZE: (3, (5.0, 300.0)),
}
_MOMENTS: dict[Fault, int] = {
    Fault.CRASH_TIME: 4,
    Fault.CLOCK: 5,
    Fault.EDITS: 4,
    Fault.COMMANDS: 14,
    Fault.SUPERSEDE: 1,
    Fault.REVERSE: 1,
    Fault.HANDS: 4,
    Fault.WITHDRAW: 12,
}
_OF_WORKLOADS = (Fault.UNREADY, Fault.HANDS)
_OF_PEOPLE = (Fault.FREEZE, Fault.WITHDRAW)
_RARE = {Fault.SUPERSEDE: 0.12, Fault.REVERSE: 0.12, Fault.KILL: 0.2, Fault.EDITS: 0.25}


def draw_faults(seed: int) -> Faults:
    random = Random(f"faults/{seed}")
    share = random.choice((0.0, 0.15, 0.3, 0.5))
    usual = [kind for kind in Fault if kind not in (*_OF_WORKLOADS, *_OF_PEOPLE)]
    kinds = frozenset(kind for kind in usual if random.random() < min(_RARE.get(kind, 1.0), share))
    heals_at = random.choice((150.0, 400.0, 900.0))
    faults = Faults(kinds, heals_at, seed)
    _draw(faults, sorted(kinds), random)
    for name, others in (("workloads", _OF_WORKLOADS), ("people", _OF_PEOPLE)):
        apart = Random(f"faults of {name}/{seed}")  # so that all else is drawn as it would be without
        more = [kind for kind in others if apart.random() < share]
        faults.kinds |= frozenset(more)
        _draw(faults, more, apart)
    return faults


def _draw(faults: Faults, kinds: list[Fault], random: Random) -> None:
    heals_at = faults.heals_at
    for kind in kinds:
        if kind in _PROBABILITIES:
            faults.probability[kind] = random.uniform(*_PROBABILITIES[kind])
        if kind in _SPANS:
            faults.spans[kind] = _draw_spans(random, *_SPANS[kind], heals_at)
        if kind in _MOMENTS:
            count = random.randint(1, _MOMENTS[kind])
            # most of what people and crashes do is wanted while the run is young
            spread: Callable[[], float] = lambda: random.uniform(0.5, random.choice((60.0, 300.0, heals_at)))  # noqa: E731
            faults.moments[kind] = tuple(sorted(spread() for _ in range(count)))


def _draw_spans(random: Random, most: int, length: Span, heals_at: float) -> tuple[Span, ...]:
    found = []
    for _ in range(random.randint(1, most)):
        begin = random.uniform(0.0, heals_at * 0.9)
        found.append((begin, min(begin + random.uniform(*length), heals_at)))
    return tuple(sorted(found))
