"""Scheduled checks as a store keeps them: one document a name, and the newest turns of their rounds.

A turn is one asking of a round. It is claimed before it is asked, so that of the controllers of a store one asks; what
is asked has no consequence, so one whose controller died is simply asked again.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from orchestrator.token_port import Note

SCHEDULED: Final = "scheduled"
UNSCHEDULED: Final = "unscheduled"
"""What the log calls them, where it also says who made and revoked tokens."""

MOST_TURNS: Final = 1000
"""So many turns of one document are kept; older ones go."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """*raw* is the document as JSON, *files* travelled with it; *is_owners*: it was handed in by whoever runs the
    controller. *at*: since when its rounds are due."""

    name: str
    digest: str
    raw: Mapping[str, Any]
    files: Mapping[str, str]
    directory: str | None
    by: str
    at: float
    is_owners: bool


@dataclass(frozen=True, slots=True)
class Turn:
    """*due* by the schedule, *claimed* by the controller *by*; *result* as ``rounds.Result.to_json``, None until it was
    asked. Times in seconds since the epoch."""

    schedule: str
    round: str
    due: float
    by: str
    claimed: float
    result: Mapping[str, Any] | None = None


class Schedules(Protocol):
    """For reading. Raises StoreError."""

    async def schedules(self) -> list[Schedule]:
        """By name."""
        ...

    async def turns(self, schedule: str, limit: int = 100) -> list[Turn]:
        """Newest first; also of a document that is kept no more."""
        ...

    async def newest_turns(self, schedule: str) -> dict[str, Turn]:
        """Round -> its newest turn."""
        ...


class ScheduleStorage(Schedules, Protocol):
    async def put_schedule(self, schedule: Schedule, note: Note) -> None:
        """In place of one of that name; with its line in the log, in one transaction."""
        ...

    async def drop_schedule(self, name: str, note: Note) -> bool:
        """Whether there was one. Its turns stay."""
        ...

    async def claim_turn(self, turn: Turn, abandoned_before: float) -> bool:
        """Whether *turn*'s controller is to ask: nobody had it, or who had it never answered and claimed it before
        *abandoned_before*. The same call again is true again."""
        ...

    async def finish_turn(self, turn: Turn) -> None:
        """Keeps its result, if it is still its controller's; and drops the oldest beyond ``MOST_TURNS``."""
        ...
