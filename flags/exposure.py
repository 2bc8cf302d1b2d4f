"""Outcome and latency of what a flag switches, counted by flag, variant, arm and band with prometheus_client.

    flags = Exposure(client)                                     # once
    with flags.exposure("batchOptimization", context) as on:     # one line
        embed_all(documents) if on else embed_each(documents)

Theory of operation. A block asks its flag once, and what was answered is what is counted: the variant, the arm (drawn
and on, drawn and off, on by targeting, not drawn for want of a key) and the band, the place of the key on this flag.
All label values are few and known beforehand, so the children of the metrics are looked up once per combination and
kept in a list by band; a block then costs the evaluation, one hash, one increment and one observation. What could grow
without bound is counted under `other`: flags that are not known, flags beyond `most_flags`, and variants beyond
`MOST_VARIANTS` of one flag.

Nothing here raises into the application: what goes wrong is logged once, and the flag answers as it would without a
context, or by its default.

Names and label values are a contract with the gates that read them: `flags.exposure_names`.
"""

from __future__ import annotations

import functools
import inspect
import logging
import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Protocol, TypeAlias, TypeGuard, TypeVar, cast
from weakref import WeakKeyDictionary

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram

from flags import exposure_names as names
from flags.bucketing import NO_HASH, hasher, threshold
from flags.errors import shown
from flags.evaluate import TARGETING_KEY, CompiledFlag, Context, Reason
from flags.exposure_block import Block, Cell, Expected
from flags.exposure_labels import LOCK, Labels

BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Seconds. Fine enough that an edge lies near the median, the 90th and the 99th per cent of most services."""
MOST_FLAGS: Final = 200
_MOST_WARNINGS: Final = 32
_LONGEST_SECONDS: Final = 366 * 24 * 3600.0
_EDGES: Final = tuple(threshold(round(end * 1000)) for end in names.BAND_ENDS)
_BY_INDEX: Final = (*names.BANDS, names.NO_BAND, names.NO_BAND)
_NO_KEY: Final = len(names.BANDS)  # where `bisect` puts NO_HASH
_NOT_OURS: Final = _NO_KEY + 1  # drawn, by somebody who hashes in another way
_NOBODY: Final[Context] = MappingProxyType({})

_log = logging.getLogger(__name__)

T = TypeVar("T")


class Finder(Protocol):
    """A `Snapshot`, or whatever else hands out compiled flags by key."""

    def get(self, key: str, /) -> CompiledFlag | None: ...


class Client(Protocol):
    """A `FlagClient`: the flags in force, and defaults for those that are not known."""

    @property
    def snapshot(self) -> Finder: ...

    def is_on(self, key: str, context: Context | None = None, /) -> bool: ...


Source: TypeAlias = "Client | Finder | Callable[[], Finder]"


class Answer(NamedTuple):
    """What another flag system answered. `targeted`: by a rule that names this user, not by the draw. `banded`: it
    draws as flagd does, so that a key's band says whether it is below a percentage."""

    on: bool
    variant: str | None = None
    targeted: bool = False
    banded: bool = True


class Exposure:
    """Counts into `registry`, of which any number of these may share one.

    `source` is a `FlagClient`, a `Snapshot`, anything else with `get(key)`, or a function that gives the one in force;
    without one only answers of other flag systems are counted (`answered`).
    """

    def __init__(
        self,
        source: Source | None = None,
        *,
        registry: CollectorRegistry = REGISTRY,
        buckets: Sequence[float] = BUCKETS,
        most_flags: int = MOST_FLAGS,
    ) -> None:
        """`buckets`: upper bounds in seconds, rising. ValueError if the registry has these metrics otherwise."""
        self._find, self._default = _finder(source), _defaults(source)
        self._metrics = _metrics_of(registry, tuple(map(float, buckets)), most_flags)
        self._flags: dict[str, _Flag] = {}

    def exposure(self, key: str, context: Context | None = None, *, expected: Expected = ()) -> Block:
        """Asks the flag now. The block that is given is entered with `with` or `async with`. Exceptions of the
        `expected` types leave it as a part of its work, and are no error."""
        try:
            cell, on, variant = self._ask(key, _NOBODY if context is None else context)
        except Exception as problem:  # noqa: BLE001  # counting must never break what is counted
            cell, on, variant = self._ask_again(key, context, problem)
        return Block(cell, on, variant, expected)

    def exposed(
        self, key: str, context: Context | Callable[..., Context], *, expected: Expected = ()
    ) -> Callable[[Callable[..., T]], Callable[..., T]]:
        """Decorator: the function, or coroutine function, is the block, and gets it as its argument `on`. `context`
        may be a function of the same arguments."""

        def block(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Block:
            given = self._context(context, args, kwargs) if callable(context) else context
            return self.exposure(key, given, expected=expected)

        return lambda function: _decorated(function, block)

    def observe(
        self, key: str, context: Context | None = None, *, error: bool = False, seconds: float | None = None
    ) -> None:
        """Counts what is over already, by what the flag answers now; `seconds` of None has no latency. Where the
        answer was given earlier, rather keep its block and `finish` it."""
        self.exposure(key, context).record(error, self._metrics.measured(seconds))

    def answered(self, key: str, targeting_key: object, answer: Answer, *, expected: Expected = ()) -> Block:
        """A block for what another flag system answered, such as one behind OpenFeature."""
        try:
            cell = self._metrics.row(key, answer.variant, answer.on).cell(*_place(key, targeting_key, answer))
        except Exception as problem:  # noqa: BLE001  # counting must never break what is counted
            self._metrics.warn("answer", "an answer for flag %s cannot be counted: %r", shown(key), problem)
            cell = self._metrics.other
        return Block(cell, answer.on, answer.variant, expected)

    def evaluated(self, key: str, variant: str | None, reason: str) -> None:
        """Counts one evaluation, of which no outcome is known."""
        self._metrics.evaluated(key, variant, reason)

    def _ask(self, key: str, context: Context) -> tuple[Cell, bool, str | None]:
        compiled = self._find(key)
        if compiled is None:
            return self._unknown(key, context)
        flag = self._flags.get(key)
        if flag is None or flag.compiled is not compiled:
            flag = self._learn(key, compiled)
        details = compiled.details(context)
        on, row = flag.answers.get(details.variant) or self._meet(flag, details.variant)
        band = bisect_right(_EDGES, flag.hash_of(context.get(TARGETING_KEY)))
        return row.cell(band, details.reason is Reason.TARGETING_MATCH), on, details.variant

    def _ask_again(self, key: str, context: object, problem: Exception) -> tuple[Cell, bool, str | None]:
        """Without the context; the contents of one are nobody's business and are not logged."""
        try:
            answer = self._ask(key, _NOBODY)
        except Exception:  # noqa: BLE001  # counting must never break what is counted
            self._metrics.warn(f"ask {shown(key)}", "flag %s cannot be asked and is off: %r", shown(key), problem)
            return self._metrics.other, False, None
        kind = type(context).__name__
        sentence = "flag %s is asked without its context, for a mapping with 'targetingKey' is expected and %s gave %r"
        self._metrics.warn(f"context {kind}", sentence, shown(key), kind, problem)
        return answer

    def _unknown(self, key: str, context: Context) -> tuple[Cell, bool, None]:
        name = shown(key)
        self._metrics.warn(
            f"unknown {name}", "flag %s is not known: its default is answered, counted under flag=%r", name, names.OTHER
        )
        return self._metrics.other, self._default(key, context), None

    def _learn(self, key: str, compiled: CompiledFlag) -> _Flag:
        """At the first use of a flag, and of each new document of it. Only what has series of its own is kept."""
        flag = _Flag(compiled, hasher(compiled.key), {})
        if key == compiled.key and self._metrics.has_room(key):
            self._flags[key] = flag
        return flag

    def _meet(self, flag: _Flag, variant: str) -> tuple[bool, _Row]:
        """Of the two variants that a flag answers one is on; nobody gets the one or the other, and tells which."""
        nobodys = flag.compiled.details(_NOBODY).variant
        on = flag.compiled.is_on(_NOBODY) is (variant == nobodys)
        flag.answers[variant] = met = on, self._metrics.row(flag.compiled.key, variant, on)
        return met

    def _context(self, context: Callable[..., Context], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Context:
        try:
            return context(*args, **kwargs)
        except Exception as problem:  # noqa: BLE001  # counting must never break what is counted
            name = getattr(context, "__qualname__", shown(context))
            self._metrics.warn(f"context of {name}", "%s gives no context for a flag: %r", name, problem)
            return _NOBODY


def _decorated(
    function: Callable[..., T], block: Callable[[tuple[Any, ...], dict[str, Any]], Block]
) -> Callable[..., T]:
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError(
            f"{function.__qualname__} is a generator: its block would end before its first value; use `with`"
        )
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def awaited(*args: Any, **kwargs: Any) -> Any:
            with block(args, kwargs) as on:
                return await function(*args, on=on, **kwargs)

        return cast("Callable[..., T]", awaited)

    @functools.wraps(function)
    def called(*args: Any, **kwargs: Any) -> T:
        with block(args, kwargs) as on:
            return function(*args, on=on, **kwargs)

    return called


class _Flag(NamedTuple):
    """What is kept of one compiled flag; `answers` by variant."""

    compiled: CompiledFlag
    hash_of: Callable[[object], int]
    answers: dict[str, tuple[bool, _Row]]


class _Row:
    """The cells of one variant of one flag by band, made when they are first needed."""

    __slots__ = ("_drawn", "_make", "_targeted")

    def __init__(self, make: Callable[[int, bool], Cell], filled: Cell | None = None) -> None:
        self._make = make
        self._drawn = [filled] * len(_BY_INDEX)
        self._targeted = [filled] * len(_BY_INDEX)

    def cell(self, band: int, targeted: bool) -> Cell:
        cells = self._targeted if targeted else self._drawn
        cell = cells[band]
        if cell is None:
            cell = cells[band] = self._make(band, targeted)
        return cell


class _Metrics:
    """The metrics of one registry, the bounds of their labels, and what was warned of."""

    def __init__(self, registry: CollectorRegistry, buckets: tuple[float, ...], most_flags: int) -> None:
        self.settings = buckets, most_flags
        self._most_flags = most_flags
        self._exposures = Counter(
            names.EXPOSURES, "Blocks behind a flag that ended.", names.EXPOSURES_LABELS, registry=registry
        )
        self._seconds = Histogram(
            names.SECONDS, "How long they took.", names.SECONDS_LABELS, registry=registry, buckets=buckets
        )
        self._evaluations = Counter(
            names.EVALUATIONS, "Flags that were evaluated.", names.EVALUATIONS_LABELS, registry=registry
        )
        self._exposed, self._asked = Labels(most_flags), Labels(most_flags)
        self._rows: dict[tuple[str, str, bool], _Row] = {}
        self._warned: set[str] = set()

    @functools.cached_property
    def other(self) -> Cell:
        return self._cell((names.OTHER, names.OTHER, names.NO_ARM), names.NO_BAND)

    @functools.cached_property
    def _other_row(self) -> _Row:
        return _Row(lambda _band, _targeted: self.other, self.other)

    def has_room(self, flag: str) -> bool:
        if self._exposed.has_room(flag):
            return True
        self.warn(
            "room",
            "flag %s is counted under flag=%r, as all flags are beyond the first %d and those whose key is no label",
            shown(flag),
            names.OTHER,
            self._most_flags,
        )
        return False

    def row(self, flag: str, variant: str | None, on: bool) -> _Row:
        if not self.has_room(flag):
            return self._other_row
        if variant is None:
            variant = "on" if on else "off"
        labelled = flag, self._exposed.variant(flag, variant), on
        row = self._rows.get(labelled)
        if row is None:
            row = self._rows.setdefault(labelled, _Row(functools.partial(self._make, *labelled)))
        return row

    def evaluated(self, flag: str, variant: str | None, reason: str) -> None:
        try:
            if self._asked.has_room(flag):
                named = self._asked.variant(flag, "none" if variant is None else variant)
            else:
                flag = named = names.OTHER
            self._evaluations.labels(flag, named, reason if reason in names.REASONS else names.OTHER).inc()
        except Exception as problem:  # noqa: BLE001  # counting must never break what is counted
            self.warn("evaluated", "evaluations cannot be counted: %r", problem)

    def measured(self, seconds: object) -> float | None:
        """None for what is no span of time: a single NaN would spoil the sum for good."""
        if seconds is None:
            return None
        if _is_span(seconds):
            return seconds
        self.warn("seconds", "seconds=%s is no span of time and is left out", shown(seconds))
        return None

    def warn(self, once: str, message: str, *args: object) -> None:
        """Logs what goes wrong once for each `once`, and no more than a few of these."""
        if once not in self._warned and len(self._warned) < _MOST_WARNINGS:
            self._warned.add(once)
            _log.warning(message, *args)

    def _make(self, flag: str, variant: str, on: bool, band: int, targeted: bool) -> Cell:
        if targeted:
            arm = names.TARGET
        elif band == _NO_KEY:
            arm = names.NO_ARM
        else:
            arm = names.CANARY if on else names.CONTROL
        return self._cell((flag, variant, arm), _BY_INDEX[band])

    def _cell(self, labels: tuple[str, str, str], band: str) -> Cell:
        """Both outcomes at once: then the first error is a rise from 0, and not a new series."""
        with LOCK:
            counter = self._exposures.labels
            ok, error = counter(*labels, band, names.OK), counter(*labels, band, names.ERROR)
            return Cell(ok.inc, error.inc, self._seconds.labels(*labels).observe, self.warn)


_OF_REGISTRY: WeakKeyDictionary[CollectorRegistry, _Metrics] = WeakKeyDictionary()


def _metrics_of(registry: CollectorRegistry, buckets: tuple[float, ...], most_flags: int) -> _Metrics:
    if not buckets or any(map(math.isnan, buckets)) or list(buckets) != sorted(set(buckets)):
        raise ValueError(f"buckets: rising numbers of seconds are expected, got {shown(buckets)}")
    if most_flags < 1:
        raise ValueError(f"most_flags: at least 1 is expected, got {shown(most_flags)}")
    with LOCK:
        found = _OF_REGISTRY.get(registry)
        if found is None:
            found = _OF_REGISTRY[registry] = _Metrics(registry, buckets, most_flags)
    if found.settings != (buckets, most_flags):
        raise ValueError(
            "this registry has the exposure metrics already: give the same buckets and most_flags, or another"
        )
    return found


def _finder(source: Source | None) -> Callable[[str], CompiledFlag | None]:
    if source is None:
        return lambda _key: None
    held: Any = source  # which of the three it is shows in what it has
    if callable(getattr(source, "get", None)):
        return cast("Callable[[str], CompiledFlag | None]", held.get)
    if hasattr(source, "snapshot"):
        return lambda key: held.snapshot.get(key)  # noqa: PLW0108  # its snapshot is replaced
    if callable(source):
        return lambda key: held().get(key)
    raise TypeError(f"source: a FlagClient, a Snapshot or a function that gives one is expected, got {shown(source)}")


def _defaults(source: object) -> Callable[[str, Context], bool]:
    """Whether a flag that is not known is on: a client may have been told so."""
    is_on = getattr(source, "is_on", None)
    return is_on if callable(is_on) else lambda _key, _context: False


def _is_span(seconds: object) -> TypeGuard[float]:
    return isinstance(seconds, int | float) and not isinstance(seconds, bool) and 0 <= seconds <= _LONGEST_SECONDS


def _place(key: str, targeting_key: object, answer: Answer) -> tuple[int, bool]:
    place = hasher(key)(targeting_key)
    band = _NOT_OURS if place != NO_HASH and not answer.banded else bisect_right(_EDGES, place)
    return band, answer.targeted
