"""Rows of a database's tables of scheduled checks as what the port speaks of, alike for every store."""

import json
from typing import Any, Final

from orchestrator.schedule_port import Schedule, Turn

SCHEDULE: Final = ("name", "digest", "document", "files", "directory", "by_whom", "at", "is_owners")
TURN: Final = ("schedule", "round", "due", "by_whom", "claimed", "result")


def schedule_values(schedule: Schedule) -> tuple[Any, ...]:
    texts = json.dumps(schedule.raw), json.dumps(dict(schedule.files))
    rest = schedule.directory, schedule.by, schedule.at, int(schedule.is_owners)
    return (schedule.name, schedule.digest, *texts, *rest)


def schedule_of(found: tuple[Any, ...]) -> Schedule:
    name, digest, document, files, directory, by, at, is_owners = found
    return Schedule(name, digest, json.loads(document), json.loads(files), directory, by, at, bool(is_owners))


def turn_values(turn: Turn) -> tuple[Any, ...]:
    result = json.dumps(turn.result) if turn.result is not None else None
    return (turn.schedule, turn.round, turn.due, turn.by, turn.claimed, result)


def turn_of(found: tuple[Any, ...]) -> Turn:
    schedule, name, due, by, claimed, result = found
    return Turn(schedule, name, due, by, claimed, json.loads(result) if result is not None else None)
