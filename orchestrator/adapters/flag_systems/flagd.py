"""Flags in a flagd document, wherever that is kept.

Ours to raise is a flag whose targeting is a ``fractional`` of two shares, the second one its default variant's, or an
``if`` over targets that ends in such a one. A change puts the state and the two weights, and leaves everything else of
the document as it is. How the document is read, and written only if it is still the one that was read, its place says:
a file, or an object in a cluster.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from flags.flagd_rules import Unsayable, read_targeting
from orchestrator.adapters.flag_systems.json_places import Path
from orchestrator.adapters.flag_systems.port import Sight, Wish
from orchestrator.adapters.kubernetes.marks import Author
from orchestrator.errors import Permanent
from stages.values import Json

FINEST = 100_000  # weights that add up to this have a step of 0.001 %
DEEPEST = 50

Changes = Mapping[Path, int | str]
"""The new value at each of these places of a document, where there is a number or a text now."""


@dataclass(frozen=True, slots=True)
class Copy:
    """A *document* as it was read. *origin* is its place's own: what a write is made conditional on."""

    document: Any
    origin: Any


class DocumentPlace(Protocol):
    """Where a document is kept. All but ``changed_by`` may raise ``Temporary`` and ``Permanent``."""

    title: str
    is_fenced: bool

    async def read(self) -> Copy: ...

    async def write(self, copy: Copy, changes: Changes, author: Author) -> None:
        """All changes in one. Raises ``Moved`` if what is there is no longer *copy*."""
        ...

    async def changed_by(self, key: str) -> str | None: ...


@dataclass(frozen=True, slots=True)
class _Found:
    """Where in a document the numbers of a flag are."""

    copy: Copy
    state: Path
    weights: tuple[Path, Path]
    on: int
    total: int


class FlagdFlags:
    """Implements ``FlagSystem``. The parameters of its values: ``{"of": N}``, what the two weights add up to."""

    kind = "flagd"
    mark = "of"

    def __init__(self, place: DocumentPlace) -> None:
        self._place = place
        self.is_fenced = place.is_fenced

    async def look(self, key: str) -> Sight:
        copy = await self._place.read()
        flags = copy.document.get("flags") if isinstance(copy.document, dict) else None
        if not isinstance(flags, dict):
            raise Permanent(f"{self._place.title} is no flagd document: it has no object flags")
        if key not in flags:
            raise Permanent(f"there is no flag {key!r} in {self._place.title}; add it there, with a fractional at 0")
        try:
            return _sight(key, flags[key], copy)
        except Unsayable as problem:
            raise Permanent(f"{self._place.title}: {problem.place}: {problem}") from None

    async def changed_by(self, key: str) -> str | None:
        return await self._place.changed_by(key)

    def is_reached(self, sight: Sight, wish: Wish) -> bool:
        """Also in what the weights add up to, where the wish can say it: a way back ends at the same bytes."""
        found: _Found = sight.detail
        return sight.enabled is wish.enabled and (found.on, found.total) == _weights(wish, found.total)

    def is_between(self, sight: Sight, before: Json, wish: Wish) -> bool:
        return False  # one write changes all of it

    async def step(self, key: str, sight: Sight, wish: Wish, author: Author) -> None:
        found: _Found = sight.detail
        on, total = _weights(wish, found.total)
        first, second = found.weights
        state = "ENABLED" if wish.enabled else "DISABLED"
        await self._place.write(found.copy, {found.state: state, first: on, second: total - on}, author)


def _sight(key: str, flag: Any, copy: Copy) -> Sight:
    """Raises ``Unsayable``."""
    place = f"flags.{key}"
    if not isinstance(flag, dict):
        raise Unsayable(place, "an object is expected")
    state, variants, default = flag.get("state"), flag.get("variants"), flag.get("defaultVariant")
    if state not in ("ENABLED", "DISABLED"):
        raise Unsayable(f"{place}.state", "ENABLED or DISABLED is expected")
    if not isinstance(variants, dict) or not isinstance(default, str) or default not in variants:
        raise Unsayable(f"{place}.defaultVariant", "one of the flag's variants is expected")
    rule = read_targeting(flag.get("targeting"), default, variants, f"{place}.targeting")
    where = _fraction(flag.get("targeting"))
    shares: Any = value_at(flag["targeting"], where) if where is not None else None
    if where is None or not _are_two(shares, default):
        raise Unsayable(
            f"{place}.targeting",
            f"a fraction of two is expected, the default variant second, such as {_example(variants, default)}",
        )
    on, total = shares[0][1], shares[0][1] + shares[1][1]
    whole: Path = ("flags", key, "targeting", *where)
    found = _Found(copy, ("flags", key, "state"), ((*whole, 0, 1), (*whole, 1, 1)), on, total)
    return Sight(state == "ENABLED", rule.weight * 100 / FINEST, {"of": total}, found)


def _fraction(targeting: Any) -> Path | None:
    """The way to the shares: through what each ``if`` ends in."""
    path: Path = ()
    for _ in range(DEEPEST):
        match targeting:
            case {"fractional": list()}:
                return (*path, "fractional")
            case {"if": [*_, last] as arguments} if len(arguments) % 2:
                path, targeting = (*path, "if", len(arguments) - 1), last
            case _:
                return None
    return None


def value_at(value: Any, path: Path) -> Any:
    for part in path:
        value = value[part]
    return value


def _are_two(shares: Any, default: str) -> bool:
    match shares:
        case [[str(on), int(first)], [str(rest), int(second)]]:
            are_weights = not isinstance(first, bool) and not isinstance(second, bool)
            return are_weights and on != default == rest and min(first, second) >= 0 and first + second > 0
        case _:
            return False


def _example(variants: Mapping[str, Any], default: str) -> str:
    on = next((name for name in variants if name != default), "on")
    return f'{{"fractional": [["{on}", 0], ["{default}", 100]]}}'


def _weights(wish: Wish, total: int) -> tuple[int, int]:
    """The weight of the share, and what both add up to: as before the run or as it is where that can say it."""
    thousandths = round(wish.percentage * 1000)
    for candidate in (wish.parameters.get("of"), total):
        if isinstance(candidate, int) and candidate > 0 and thousandths * candidate % FINEST == 0:
            return thousandths * candidate // FINEST, candidate
    return thousandths, FINEST
