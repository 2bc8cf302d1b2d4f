"""What the loop needs of a system, and the values in which it speaks of flags.

Of a flag in another system a value says the state and the percentage; its *parameters* say what is needed to put it
back exactly (which strategy it was, or out of how many the weight is). They are the system's own and mean nothing
elsewhere.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from flags.errors import InvalidFlag
from flags.model import FlagDocument, FlagState
from orchestrator.adapters.kubernetes.marks import Author
from orchestrator.errors import Permanent
from stages.flag_spec import to_document, to_value
from stages.values import Json


class Moved(Exception):
    """Somebody else wrote between our look and our write; nothing was written."""


@dataclass(frozen=True, slots=True)
class Sight:
    """A flag as it stands. *detail* is the system's own: what its next write builds on."""

    enabled: bool
    percentage: float
    parameters: Mapping[str, Json]
    detail: Any = None

    @property
    def value(self) -> dict[str, Json]:
        return to_value(
            FlagDocument(
                key="-",
                state=FlagState.ENABLED if self.enabled else FlagState.DISABLED,
                percentage=self.percentage,
                parameters=self.parameters,
            )
        )

    def stands_at(self, value: Json) -> bool:
        """Compared as documents: what is not said has its default."""
        return to_document(self.value) == to_document(value)


@dataclass(frozen=True, slots=True)
class Wish:
    """Where a flag is to stand. *parameters* are those that were there before the run, or that stand there now."""

    enabled: bool
    percentage: float
    parameters: Mapping[str, Json]

    @classmethod
    def of(cls, value: Json, kind: str) -> "Wish":
        """Raises ``Permanent`` for what no system holds."""
        try:
            document = to_document(value)
        except InvalidFlag as problem:
            raise Permanent(str(problem)) from problem
        if document.targets or document.profiles or document.profile is not None:
            raise Permanent(f"a run sets a state and a percentage in {kind}, and no targets or profiles")
        parameters = to_value(document)["parameters"]
        return cls(document.state is FlagState.ENABLED, document.percentage, parameters)


class FlagSystem(Protocol):
    """One flag system, as a plan names it. All methods may raise ``Temporary`` and ``Permanent``."""

    kind: str
    mark: str  # the parameter that every value of it has
    is_fenced: bool  # whether what was sent before a write of ours is refused if it arrives after it

    async def look(self, key: str) -> Sight:
        """Also raises ``Permanent``, naming what is there, for a flag that is not there or is no plain percentage."""
        ...

    def is_reached(self, sight: Sight, wish: Wish) -> bool: ...

    def is_between(self, sight: Sight, before: Json, wish: Wish) -> bool:
        """Whether it stands where our own writes pass on the way from *before*, one done and the next one not."""
        ...

    async def step(self, key: str, sight: Sight, wish: Wish, author: Author) -> None:
        """The next single write on the way from *sight* to *wish*; one that *is_fenced* writes also where they are the
        same. Raises ``Moved`` if *sight* is no longer so.
        """
        ...

    async def changed_by(self, key: str) -> str | None:
        """Who changed the flag last, if that can be told. Raises nothing."""
        ...
