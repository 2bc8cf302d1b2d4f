"""A service in memory, as the API sees one: runs that tests move by hand, flags that are really evaluated."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, cast

import httpx
from fastapi import FastAPI

from flags import FlagDocument, Snapshot, Version
from flags.feed import Feed, FeedVersion, newest
from orchestrator.adapters.clock import SystemClock
from orchestrator.api.app import create_app
from orchestrator.api.credentials import Credentials
from orchestrator.api.limits import RateLimit
from orchestrator.api.tokens import Token, TokenStore
from orchestrator.core.commands import Actor, Command
from orchestrator.core.report import build
from orchestrator.errors import NotFound, Refused, TargetBusy
from orchestrator.flag_board import Standing
from orchestrator.freezing import FreezeAsked, Freezing
from orchestrator.journal.memory_freezes import MemoryFreezes
from orchestrator.journal.memory_schedules import MemorySchedules
from orchestrator.journal.memory_tokens import MemoryTokens
from orchestrator.metrics import Counts, Meter, RunNow
from orchestrator.ports import Latch, World
from orchestrator.reading import PIECE_ENTRIES, Kill, killed, latched
from orchestrator.schedule_port import Schedule
from orchestrator.scheduling import Scheduling
from orchestrator.service import Service
from orchestrator.submission import Submission
from orchestrator.survey import Finding
from orchestrator.token_port import IssuedToken
from stages.flag_spec import FlagChange, change_value, to_document, to_value

Json = dict[str, Any]
Entries = list[Json]
ROLES = ("viewer", "operator", "approver", "admin")
SECRETS = {role: f"secret-of-{role}" for role in ROLES}
TOKENS = TokenStore(Token.of(secret, f"{role}-person", role, ("sre",)) for role, secret in SECRETS.items())


@dataclass(slots=True)
class FakeRun:
    name: str
    plan: str
    digest: str
    phase: str = "running"
    outcome: str | None = None
    holds: list[Json] = field(default_factory=list)
    gate: Json | None = None
    entries: list[Json] = field(default_factory=list)
    answers: dict[str, Json] = field(default_factory=dict)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    def summary(self) -> Json:
        at = "2026-03-01T12:00:00.000Z"
        return {
            "run": self.name, "plan": self.plan, "digest": self.digest, "phase": self.phase, "outcome": self.outcome,
            "environment": "production", "stage": "search", "step": "25", "started": at,
            "ended": at if self.outcome else None, "percentages": {"new-api": 25.0}, "holds": self.holds,
        }  # fmt: skip

    def status(self) -> Json:
        return {**self.summary(), "gate": self.gate, "seq": len(self.entries)}


class Kept(MemorySchedules):
    def add(self, schedule: Schedule) -> None:
        self._schedules[schedule.name] = schedule


class FakeService:
    def __init__(self) -> None:
        self.runs: dict[str, FakeRun] = {}
        self.documents: dict[tuple[str, str], FlagDocument] = {}
        self.killed: dict[str, str] = {}
        self.asked: list[tuple[str, Command, Actor]] = []
        self.submissions: list[Submission] = []
        self.lint_findings: list[Finding] = []
        self.kills: list[Kill] = []
        self.lifts: list[tuple[str | None, str | None, bool]] = []
        self.moves = 0
        self.moved = asyncio.Event()
        self.following = 0
        self.is_ready = True
        self.meter = Meter()
        self.sharing = None
        self.freezing = Freezing(MemoryFreezes(MemoryTokens()), SystemClock())
        self.kept = Kept(MemoryTokens())
        self.scheduling = Scheduling(
            self.kept, cast("World", SimpleNamespace(clock=SystemClock())), "me", is_alone=True
        )

    # --- moved by tests

    def add(self, name: str = "search-a1b2c3", plan: str = "search", entries: int = 0) -> FakeRun:
        run = self.runs[name] = FakeRun(name, plan, "d" * 64)
        for _ in range(entries):
            self._append(run, "HoldSet")
        return run

    async def append(self, name: str, kind: str, **data: object) -> None:
        run = self.runs[name]
        async with run.changed:
            self._append(run, kind, **data)
            if kind == "RunEnded":
                run.phase, run.outcome = "ended", str(data["outcome"])
            run.changed.notify_all()

    def _append(self, run: FakeRun, kind: str, **data: object) -> None:
        at = "2026-03-01T12:00:00.000Z"
        seq = len(run.entries) + 1
        run.entries.append({"seq": seq, "time": at, "type": kind, "by": "controller", "reason": "", "data": data})

    def put(self, document: FlagDocument) -> None:
        self.documents[document.environment, document.key] = document
        self.move()

    # --- as the API sees it

    async def ready(self) -> bool:
        return self.is_ready

    async def counts(self) -> Counts:
        phases = Counter(run.phase for run in self.runs.values())
        return Counts(phases, sum(len(run.entries) for run in self.runs.values()))

    def unwalked(self) -> int:
        return 0

    def walked(self) -> Iterator[RunNow]:
        return iter(())

    async def lint(self, submission: Submission) -> list[Finding]:
        return self.lint_findings

    async def start(self, submission: Submission, actor: Actor) -> tuple[str, bool]:
        self.submissions.append(submission)
        for run in self.runs.values():
            if run.plan == submission.plan and run.outcome is None:
                if run.digest == submission.digest:
                    return run.name, False
                raise TargetBusy(f"{run.name} holds flag new-api")
        run = self.add(f"{submission.plan}-000001", submission.plan)
        run.digest = submission.digest
        return run.name, True

    async def list(self, active: bool | None = None, limit: int = 100) -> Entries:
        found = [run for run in self.runs.values() if active in (None, run.outcome is None)]
        return [run.summary() for run in found[:limit]]

    async def offers(self, run: str, actor: Actor) -> Entries:
        command = Command.model_validate({"command": "pause"}).model_dump(mode="json", exclude={"reason", "key"})
        return [{**command, "what": f"hold {run}", "refused": None, "returns": [], "stays": []}]

    async def approvals(self, actor: Actor) -> Entries:
        return []

    async def foresee(self, submission: Submission) -> Sequence[Finding]:
        self.submissions.append(submission)
        return self.lint_findings

    async def resolve_name(self, text: str) -> str:
        for run in self.runs.values():
            if text in (run.name, run.plan) or run.name.startswith(text):
                return run.name
        raise NotFound(f"there is no run {text}")

    async def status(self, run: str) -> Json:
        return self.runs[run].status()

    async def history(self, run: str, after: int = 0, limit: int | None = None) -> Entries:
        return self.runs[run].entries[after:][:limit]

    async def pieces(self, run: str, after: int = 0, limit: int | None = None) -> AsyncIterator[Entries]:
        entries = await self.history(run, after, limit)
        for first in range(0, len(entries), PIECE_ENTRIES):
            yield entries[first : first + PIECE_ENTRIES]

    async def report(self, run: str) -> Json:
        status, history = await self.status(run), await self.history(run)
        return {"status": status, "history": history, "report": build(status, history)}

    async def journal_lines(self, run: str, after: int = 0, limit: int | None = None) -> Sequence[str]:
        return [json.dumps(entry) for entry in await self.history(run, after, limit)]

    async def follow(self, run: str, after: int = 0) -> AsyncGenerator[Json, None]:
        followed = self.runs[run]
        self.following += 1
        try:
            while True:
                for entry in followed.entries[after:]:
                    after = entry["seq"]
                    yield entry
                if followed.outcome is not None:
                    return
                async with followed.changed:
                    await followed.changed.wait_for(lambda: len(followed.entries) > after)  # noqa: B023
        finally:
            self.following -= 1

    async def elsewhere(self, run: str) -> None:
        return None

    async def command(self, run: str, command: Command, actor: Actor) -> Json:
        known = self.runs[run]
        if command.key is not None and command.key in known.answers:
            return known.answers[command.key]
        if known.outcome is not None:
            raise Refused(f"{run} is ended ({known.outcome}), and {command.command} makes no sense there")
        self.asked.append((run, command, actor))
        await self.append(run, "Commanded")
        seq = len(known.entries)
        answer = {"run": run, "command": str(command.command), "accepted": True, "seq": seq, "run_started": None}
        if command.key is not None:
            known.answers[command.key] = answer
        return answer

    async def flags(self, environment: str | None = None, full_for_seconds: float | None = None) -> Entries:
        return [self._shown(one) for one in self.documents.values() if environment in (None, one.environment)]

    async def flag(self, environment: str, key: str) -> Json:
        if (environment, key) not in self.documents:
            raise NotFound(f"there is no flag {key} in {environment}")
        return self._shown(self.documents[environment, key])

    async def flag_history(self, environment: str, key: str, limit: int) -> Entries:
        version = str(self.documents[environment, key].version)
        return [{"version": version, "at": "2026-03-01T12:00:00Z", "by": "ann", "reason": "", "run": None}]

    async def set_flag(self, environment: str, key: str, change: FlagChange, reason: str, actor: Actor) -> Json:
        known = self.documents.get((environment, key))
        value = change_value(to_value(known) if known is not None else None, change)
        version = known.version.number if known is not None else 0
        written = replace(to_document(value, key, environment), version=Version(1, version + 1))
        self.put(written)
        return {**self._shown(written), "by": actor.name, "reason": reason}

    async def disable_all(self, asked: Kill, actor: Actor) -> Json:
        self.kills.append(asked)
        self.killed[asked.environment or "*"] = asked.reason
        self.move()
        return killed(asked, [Latch(asked.environment or "*", actor.name, asked.reason, 1_772_366_400.0)])

    def latches(self) -> Entries:
        latches = [Latch(where, "somebody", why, 1_772_366_400.0) for where, why in self.killed.items()]
        return [latched(one) for one in latches]

    async def lift(
        self, environment: str | None, key: str | None, reason: str, actor: Actor, confirm: bool = False
    ) -> Json:
        self.lifts.append((environment, key, confirm))
        returns = {"/".join(where): one.percentage for where, one in self.documents.items()}
        if confirm:
            self.killed.pop(environment or "*", None)
            self.move()
        return {"lifted": confirm, "would_return": returns}

    async def schedule(self, schedule: Schedule, reason: str, actor: Actor) -> bool:
        known = await self.scheduling.of(schedule.name)
        await self.scheduling.put(replace(schedule, by=actor.name, at=SystemClock().now()), reason)
        return known is None or known.digest != schedule.digest

    async def unschedule(self, name: str, reason: str, actor: Actor) -> None:
        await self.scheduling.drop(name, actor.name, reason)

    async def freezes(self) -> Entries:
        return [one.shown() for one in self.freezing.standing()]

    async def freeze(self, asked: FreezeAsked, actor: Actor) -> Json:
        made = await self.freezing.freeze(asked, actor.name)
        return {**made.shown(), "runs": list(self.runs), "frozen": await self.freezes()}

    async def unfreeze(self, environment: str | None, reason: str, actor: Actor) -> Json:
        ended = await self.freezing.lift(environment, actor.name, reason)
        return {**ended.shown(), "frozen": await self.freezes()}

    def snapshot(self, environment: str) -> Snapshot:
        return self.standing(environment).snapshot

    def standing(self, environment: str) -> Standing:
        documents = tuple(one for one in self.documents.values() if one.environment == environment)
        version = FeedVersion(newest(documents), self.moves)
        return Standing(Feed(environment, version, documents, self._is_killed(environment)))

    async def changed(self, environment: str, since: FeedVersion | None) -> Standing:
        while (standing := self.standing(environment)).feed.version == since:
            await self.moved.wait()
        return standing

    def move(self) -> None:
        """Somebody wrote a flag, or moved the kill switch."""
        self.moves += 1
        self.moved.set()
        self.moved = asyncio.Event()

    def _is_killed(self, environment: str) -> bool:
        return "*" in self.killed or environment in self.killed

    def _shown(self, document: FlagDocument) -> Json:
        return {**document.to_json(), "killed": self._is_killed(document.environment), "run": None, "pinned": False}


def app_of(service: FakeService | Service, *, loopback: bool = True, rate_limit: RateLimit | None = None) -> FastAPI:
    return create_app(cast(Service, service), Credentials(TOKENS, kept_tokens()), loopback, rate_limit=rate_limit)


def kept_tokens() -> MemoryTokens:
    """With one of somebody named kim."""
    kept = MemoryTokens()
    kept._tokens["0a"] = IssuedToken("0a", "kim", "viewer", (), None, "1" * 64, 1_772_366_400.0, "ann")
    return kept


@asynccontextmanager
async def client_of(app: Callable[..., Awaitable[None]], role: str | None = None) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer {SECRETS[role]}"} if role is not None else {}
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=headers) as client:
        yield client
