"""What goes wrong in one scenario: a plain description. The world and the walk do what it says."""

from dataclasses import dataclass
from enum import StrEnum

from orchestrator.core.commands import Command

PAUSE_SECONDS = 600.0


class Away(StrEnum):
    PROMETHEUS = "Prometheus"
    DATABASE = "the database"
    STORE = "the store"


AWAY_SECONDS = {Away.PROMETHEUS: 900.0, Away.DATABASE: 900.0, Away.STORE: 180.0}
"""Longer than it takes until somebody is told; of the store as long as it takes to restart one."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """*away* lasts its ``AWAY_SECONDS``, all else to the end."""

    gates_fail: bool = False
    trigger: str | None = None  # whose criterion breaches
    away: Away | None = None
    refuses: str | None = None  # the id of an effect that is refused for good
    refuses_back: str | None = None  # a target whose way back is refused for good
    never_drains: bool = False
    is_killed: bool = False  # the controller, at the moment at which the scenario begins
    dies_after: str | None = None  # the id of an effect: the controller is killed when it is written
    rejects: str | None = None  # an item that waits for an answer
    nobody_answers: bool = False
    command: Command | None = None  # of a person, first of all
    resumes: bool = False  # PAUSE_SECONDS later

    @property
    def away_seconds(self) -> float:
        return AWAY_SECONDS[self.away] if self.away is not None else 0.0


NONE = Trouble()
