"""A store in memory, for tests and the simulation. It forgets everything with the process.

Nothing in it waits, so every call is one atomic step of the event loop: checks come first and raise before anything is
changed. It reads no clock and draws nothing, so equal calls give equal journals, hashes included.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from flags.model import Version
from orchestrator.core.events import Event
from orchestrator.journal import chain, rules
from orchestrator.journal.memory_freezes import MemoryFreezes
from orchestrator.journal.memory_keeping import MemoryKeeping
from orchestrator.journal.memory_schedules import MemorySchedules
from orchestrator.journal.memory_tokens import MemoryTokens
from orchestrator.ports import Answer, Batch, FlagRecord, FlagWrite, Member, NewRun, Recorded, RunRow
from stages.values import Json

_Place = tuple[str, str]


@dataclass(slots=True)
class StoredRun:
    row: RunRow
    events: list[Recorded]
    answers: dict[str, Answer] = field(default_factory=dict)
    evidence: str | None = None
    refers_to: str | None = None

    @property
    def head(self) -> str:
        return self.events[-1].hash if self.events else chain.GENESIS


@dataclass(slots=True)
class _Lease:
    """``is_broken``: it had lapsed, and somebody took a claim of it."""

    member: Member
    until: float
    is_broken: bool = False


@dataclass(slots=True)
class _Members:
    leases: dict[str, _Lease] = field(default_factory=dict)  # by name
    owners: dict[str, str] = field(default_factory=dict)  # run -> name
    switch: str | None = None


@dataclass(slots=True)
class _Given:
    """The newest version of a flag that was given out."""

    generation: int
    number: int = 0


class MemoryStore:
    """Both the ``Journal`` and the ``FlagStore`` of :mod:`orchestrator.ports`. Closing it changes nothing."""

    def __init__(self, generation: int = rules.FIRST_GENERATION) -> None:
        self._given = _Given(generation)
        self._members = _Members()
        self._runs: dict[str, StoredRun] = {}
        self._claims: dict[str, tuple[str, str]] = {}  # claim -> run, words
        self._flags: dict[_Place, FlagRecord] = {}
        self._history: dict[_Place, list[FlagRecord]] = {}
        self.tokens = MemoryTokens()
        self.freezes = MemoryFreezes(self.tokens)
        self.schedules = MemorySchedules(self.tokens)
        self.keeping = MemoryKeeping(lambda: self._runs)

    # --- journal ---

    async def start(
        self, new: NewRun, epoch: int, at: float, events: Sequence[Event], summary: Mapping[str, Json]
    ) -> list[Recorded]:
        self._check_start(new)
        records = self._extended(new.run, 0, chain.GENESIS, at, events)
        self._move_claims(new)
        row = RunRow(new.run, new.plan, new.digest, len(records), epoch, True, float(at), dict(summary))
        self._runs[new.run] = StoredRun(row, list(records), refers_to=new.refers_to)
        return records

    async def append(self, batch: Batch) -> list[Recorded]:
        run = self._run(batch.run)
        rules.check_place(batch, run.row.rev, run.row.epoch)
        rules.check_whole(batch.run, run.row.kept)
        if batch.answer is not None and batch.answer.key in run.answers:
            raise rules.already_answered(batch.run, batch.answer.key)
        flags = self._staged(batch.flags, batch.at)
        records = self._extended(batch.run, batch.after, run.head, batch.at, batch.events)
        run.events.extend(records)
        rev = batch.after + len(records)
        run.row = replace(run.row, rev=rev, active=batch.active, summary=dict(batch.summary))
        if batch.answer is not None:
            run.answers[batch.answer.key] = batch.answer
        if batch.release:
            for claim in [claim for claim, held in self._claims.items() if held[0] == batch.run]:
                del self._claims[claim]
        self._keep(flags)
        return records

    async def take(self, run: str) -> int:
        found = self._run(run)
        found.row = replace(found.row, epoch=found.row.epoch + 1)
        return found.row.epoch

    async def row(self, run: str) -> RunRow | None:
        found = self._runs.get(run)
        return None if found is None else found.row

    async def rows(self, active: bool | None = None, limit: int = 1000, plan: str | None = None) -> list[RunRow]:
        rows = [run.row for run in reversed(self._runs.values()) if active is None or run.row.active == active]
        rows = [row for row in rows if plan is None or row.plan == plan]
        return sorted(rows, key=lambda row: row.created, reverse=True)[: max(limit, 0)]

    async def holders(self, claims: Collection[str]) -> dict[str, str]:
        held = {claim: self._claims[claim][0] for claim in claims if claim in self._claims}
        return {claim: run for claim, run in held.items() if self._runs[run].row.active}

    async def by_phase(self) -> list[tuple[str, int, int]]:
        rows = [run.row for run in self._runs.values()]
        phases = {row.run: str(row.summary.get("phase") or "") for row in rows}
        runs, events = Counter(phases.values()), Counter[str]()
        for row in rows:
            events[phases[row.run]] += row.rev
        return [(phase, count, events[phase]) for phase, count in runs.items()]

    async def read(self, run: str, after: int = 0, limit: int | None = None) -> list[Recorded]:
        if run not in self._runs:
            return []
        first = max(after, 0)
        last = None if limit is None else first + max(limit, 0)
        return self._runs[run].events[first:last]

    async def answer(self, run: str, key: str) -> Answer | None:
        return self._runs[run].answers.get(key) if run in self._runs else None

    async def save_evidence(self, seen: Mapping[str, tuple[int, str]]) -> None:
        for run, (epoch, text) in seen.items():
            found = self._runs.get(run)
            if found is not None and found.row.epoch == epoch:
                found.evidence = text

    async def evidence(self, run: str) -> str | None:
        return self._runs[run].evidence if run in self._runs else None

    async def close(self) -> None:
        """Nothing to give back."""

    # --- flags ---

    async def get(self, environment: str, key: str) -> FlagRecord | None:
        return self._flags.get((environment, key))

    async def all(self, environment: str | None = None) -> list[FlagRecord]:
        return [self._flags[place] for place in sorted(self._flags) if environment in {None, place[0]}]

    async def write(self, write: FlagWrite, at: float) -> FlagRecord:
        staged = self._staged((write,), at)
        self._keep(staged)
        return staged[0]

    async def history(self, environment: str, key: str, limit: int = 50) -> list[FlagRecord]:
        """Newest first, the present document included."""
        return self._history.get((environment, key), [])[::-1][: max(limit, 0)]

    async def version(self) -> Version:
        return Version(self._given.generation, self._given.number)

    async def new_generation(self) -> int:
        """To be called when the store was restored: versions given out from now on are above all earlier ones."""
        self._given.generation += 1
        return self._given.generation

    # --- inside ---

    def _run(self, run: str) -> StoredRun:
        if run not in self._runs:
            raise rules.no_run(run)
        return self._runs[run]

    def _check_start(self, new: NewRun) -> None:
        if new.run in self._runs:
            raise rules.name_taken(new.run)
        if new.inherits_from is not None:
            self._run(new.inherits_from)
        for claim in sorted(new.claims):
            holder, words = self._claims.get(claim, (None, ""))
            if holder is not None and holder != new.inherits_from and self._runs[holder].row.active:
                raise rules.busy(claim, words, holder)

    def _move_claims(self, new: NewRun) -> None:
        inherited = {claim: words for claim, (holder, words) in self._claims.items() if holder == new.inherits_from}
        self._claims.update({claim: (new.run, words) for claim, words in inherited.items()})
        self._claims.update({claim: (new.run, words) for claim, words in new.claims.items()})

    @staticmethod
    def _extended(run: str, after: int, head: str, at: float, events: Iterable[Event]) -> list[Recorded]:
        encoded = [chain.encode(event) for event in events]
        return [record for record, _ in chain.extend(run, after, head, at, encoded)]

    def _staged(self, writes: Sequence[FlagWrite], at: float) -> list[FlagRecord]:
        staged: list[FlagRecord] = []
        latest: dict[_Place, FlagRecord] = {}
        for write in writes:
            place = (write.document.environment, write.document.key)
            stored = latest.get(place) or self._flags.get(place)
            if write.run in self._runs:
                rules.check_epoch(write, self._runs[write.run].row.epoch)
            rules.check_version(write, None if stored is None else stored.document.version)
            version = Version(self._given.generation, self._given.number + len(staged) + 1)
            latest[place] = rules.numbered(write, version, at)
            staged.append(latest[place])
        return staged

    def _keep(self, records: Iterable[FlagRecord]) -> None:
        for record in records:
            place = (record.document.environment, record.document.key)
            self._given.number = record.document.version.number
            self._flags[place] = record
            self._history.setdefault(place, []).append(record)


class MemoryReplica(MemoryStore):
    """A store in memory as one of several controllers has it: its ``Journal``, ``FlagStore`` and ``Membership``.

    *now* is the store's own clock, the same for all of them.
    """

    def __init__(self, store: MemoryStore, me: Member, now: Callable[[], float]) -> None:
        super().__init__()
        vars(self).update(vars(store))  # what it holds is held in common
        self.me = me
        self._now = now
        self.tokens = store.tokens.of_replica(self._holds)

    async def start(
        self, new: NewRun, epoch: int, at: float, events: Sequence[Event], summary: Mapping[str, Json]
    ) -> list[Recorded]:
        records = await super().start(new, epoch, at, events, summary)
        self._members.owners[new.run] = self.me.name
        return records

    async def take(self, run: str) -> int:
        self._run(run)
        if self._members.owners.get(run) != self.me.name:
            raise rules.not_claimed(run, self.me.name)
        return await super().take(run)

    async def renew(self, lease_seconds: float) -> None:
        lease = self._members.leases.get(self.me.name)
        if lease is not None and lease.is_broken:
            raise rules.lapsed(self.me.name)
        self._members.leases[self.me.name] = _Lease(self.me, self._now() + lease_seconds)

    async def claim(self, most: int, *, only_lapsed: bool = False) -> list[str]:
        if not self._holds(self.me.name):
            raise rules.lapsed(self.me.name)
        free = [run for run in self._runs.values() if self._is_wanted(run.row) and not self._is_owned(run.row.run)]
        free = [run for run in free if not only_lapsed or run.row.run in self._members.owners]
        claimed = [run.row.run for run in sorted(free, key=lambda run: run.row.created)[: max(most, 0)]]
        for run in claimed:
            before = self._members.leases.get(self._members.owners.get(run, ""))
            if before is not None:
                before.is_broken = True
            self._members.owners[run] = self.me.name
            await super().take(run)
        return claimed

    async def owner(self, run: str) -> Member | None:
        return self._members.leases[self._members.owners[run]].member if self._is_owned(run) else None

    async def members(self) -> list[Member]:
        return [lease.member for name, lease in sorted(self._members.leases.items()) if self._holds(name)]

    async def shares(self) -> tuple[dict[str, int], int]:
        runs = [one.row.run for one in self._runs.values() if self._is_wanted(one.row)]
        counts = Counter(self._members.owners[run] if self._is_owned(run) else None for run in runs)
        return {one.name: counts[one.name] for one in await self.members()}, counts[None]

    async def release(self, runs: Sequence[str]) -> None:
        for run in runs:
            if self._members.owners.get(run) == self.me.name:
                del self._members.owners[run]

    async def leave(self) -> None:
        self._members.leases.pop(self.me.name, None)
        for run in [run for run, name in self._members.owners.items() if name == self.me.name]:
            del self._members.owners[run]

    async def switch(self) -> str | None:
        return self._members.switch

    async def put_switch(self, text: str, before: str | None) -> bool:
        if self._members.switch != before:
            return False
        self._members.switch = text
        return True

    def _holds(self, name: str) -> bool:
        lease = self._members.leases.get(name)
        return lease is not None and not lease.is_broken and self._now() < lease.until

    def _is_owned(self, run: str) -> bool:
        return run in self._members.owners and self._holds(self._members.owners[run])

    @staticmethod
    def _is_wanted(row: RunRow) -> bool:
        return row.active or not row.summary.get("settled", True)
