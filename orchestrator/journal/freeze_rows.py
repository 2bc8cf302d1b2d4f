"""Rows of a database's table of freezes as what the port speaks of, alike for every store."""

from typing import Any, Final

from orchestrator.core.freeze import Freeze, Lift

FREEZE: Final = ("environment", "revision", "by_whom", "reason", "at", "until", "lifted", "lifted_by", "lifted_reason")


def freeze_values(freeze: Freeze) -> tuple[Any, ...]:
    lifted = freeze.lifted
    ended = (None, None, None) if lifted is None else (lifted.at, lifted.by, lifted.reason)
    return (freeze.environment, freeze.revision, freeze.by, freeze.reason, freeze.at, freeze.until, *ended)


def freeze_of(found: tuple[Any, ...]) -> Freeze:
    environment, revision, by, reason, at, until, lifted, lifted_by, lifted_reason = found
    ended = None if lifted is None else Lift(lifted, lifted_by, lifted_reason)
    return Freeze(environment, by, reason, at, until, revision, ended)
