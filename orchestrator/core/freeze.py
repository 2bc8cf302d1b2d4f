"""Freezes: somebody's word that no run goes forward in an environment, said once for all runs of a store.

A freeze has a place: one environment, or ``*``, which is all of them. The newest of each place is known, also when it
is over, so that a run which it held can say who ended it. It ends at its ``until`` by itself, by the wall clock, as a
window opens. It holds what moves forward and nothing else: runs are looked at, bake, fire triggers and roll back.
"""

from dataclasses import dataclass
from typing import Final

from orchestrator.core.effect import Effect
from orchestrator.core.times import iso

EVERYWHERE: Final = "*"
_ITEM: Final = "freeze:"
_FORWARD: Final = ("backup:", "before:", "step:", "after:")  # walks of the plan's own way, by the names they begin with


@dataclass(frozen=True, slots=True)
class Lift:
    at: float
    by: str
    reason: str


@dataclass(frozen=True, slots=True)
class Freeze:
    """*revision* rises with each change at its place, whoever makes it."""

    environment: str
    by: str
    reason: str
    at: float
    until: float | None = None
    revision: int = 1
    lifted: Lift | None = None

    def covers(self, environment: str) -> bool:
        return self.environment in (EVERYWHERE, environment)

    def stands(self, wall: float) -> bool:
        return self.lifted is None and not self.is_over(wall)

    def is_over(self, wall: float) -> bool:
        return self.until is not None and wall >= self.until

    def shown(self) -> dict[str, str | None]:
        shown = {"environment": self.environment, "by": self.by, "reason": self.reason}
        return {**shown, "at": iso(self.at), "until": iso(self.until)}

    @property
    def item(self) -> str:
        """Of the hold that it is to a run."""
        return f"{_ITEM}{self.environment}"

    @property
    def place(self) -> str:
        return "every environment" if self.environment == EVERYWHERE else self.environment

    @property
    def words(self) -> str:
        until = f"until {iso(self.until)}" if self.until is not None else "until somebody unfreezes it"
        return f"{self.place} is frozen by {self.by} {until}: {self.reason}"


def is_freeze(item: str) -> bool:
    """Whether a hold's item is a freeze's."""
    return item.startswith(_ITEM)


def is_forward(effect: Effect) -> bool:
    """Whether an effect belongs to the plan's own way: not to a trigger, to scaling on load or to a way back."""
    return effect.node is None and effect.walk is not None and effect.walk.startswith(_FORWARD)
