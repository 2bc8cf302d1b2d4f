"""Scheduled checks in memory, for tests."""

from dataclasses import replace

from orchestrator.journal.memory_tokens import MemoryTokens
from orchestrator.schedule_port import MOST_TURNS, Schedule, Turn
from orchestrator.token_port import Note


class MemorySchedules:
    """The ``ScheduleStorage`` of a store in memory, whose log is that of its *tokens*."""

    def __init__(self, tokens: MemoryTokens) -> None:
        self._tokens = tokens
        self._schedules: dict[str, Schedule] = {}
        self._turns: dict[tuple[str, str, float], Turn] = {}

    async def schedules(self) -> list[Schedule]:
        return [schedule for _, schedule in sorted(self._schedules.items())]

    async def turns(self, schedule: str, limit: int = 100) -> list[Turn]:
        return self._of(schedule)[:limit]

    async def newest_turns(self, schedule: str) -> dict[str, Turn]:
        return {turn.round: turn for turn in reversed(self._of(schedule))}

    async def put_schedule(self, schedule: Schedule, note: Note) -> None:
        self._schedules[schedule.name] = schedule
        await self._tokens.note([note])

    async def drop_schedule(self, name: str, note: Note) -> bool:
        if self._schedules.pop(name, None) is None:
            return False
        await self._tokens.note([note])
        return True

    async def claim_turn(self, turn: Turn, abandoned_before: float) -> bool:
        key = (turn.schedule, turn.round, turn.due)
        known = self._turns.get(key)
        if known is not None and (known.result is not None or known.claimed >= abandoned_before):
            return known == turn
        self._turns[key] = replace(turn, result=None)
        return True

    async def finish_turn(self, turn: Turn) -> None:
        key = (turn.schedule, turn.round, turn.due)
        known = self._turns.get(key)
        if known is None or (known.by, known.claimed) != (turn.by, turn.claimed):
            return
        self._turns[key] = turn
        for old in self._of(turn.schedule)[MOST_TURNS:]:
            del self._turns[old.schedule, old.round, old.due]

    def _of(self, schedule: str) -> list[Turn]:
        found = (turn for turn in self._turns.values() if turn.schedule == schedule)
        return sorted(found, key=lambda turn: (-turn.due, turn.round))
