"""What can be read of a store: runs, their journals, flags. With or without a controller beside it."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from flags.feed import FeedVersion
from flags.snapshot import Snapshot
from orchestrator.audit import kept_line, line
from orchestrator.core import evidence as ev
from orchestrator.core.commands import Actor
from orchestrator.core.events import to_json
from orchestrator.core.evidence import Evidence
from orchestrator.core.fold import apply, fold
from orchestrator.core.freeze import Freeze
from orchestrator.core.moment import Moment
from orchestrator.core.offers import Offer, offers
from orchestrator.core.state import State
from orchestrator.core.times import iso
from orchestrator.core.view import status, summary, waiting
from orchestrator.errors import KeptAsReport, NotFound
from orchestrator.flag_board import FlagBoard, Standing
from orchestrator.freeze_port import Freezes
from orchestrator.keeping_port import Kept, KeptReports
from orchestrator.kept import KEPT, kept_entry, kept_words, shown_kept
from orchestrator.ports import Clock, FlagRecord, Journal, KillSwitch, Latch, Recorded, RunRow
from stages.effects import flag_target_id

EVERYWHERE = "*"
MOST_HISTORY = 1000
MOST_RUNS = 1_000_000
MOST_ENTRIES = 1 << 53  # of one journal
PIECE_ENTRIES = 500
PIECE_FOLDED = 2000  # of a journal whose state is wanted
_SHOWN_WHEN_MADE = ("state", "percentage", "targets", "parameters", "profile")
Entries = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Kill:
    """What the kill switch is to hold: everything, or the flags of one *run* or of an *owner*'s runs."""

    environment: str | None = None
    run: str | None = None
    owner: str | None = None
    include_permanent: bool = False
    reason: str = ""


class Reading:
    """What can be read of a store, with or without a controller."""

    def __init__(
        self,
        journal: Journal,
        board: FlagBoard,
        clock: Clock,
        kill_switch: KillSwitch,
        freezes: Freezes | None = None,
        keeping: KeptReports | None = None,
    ) -> None:
        self._keeping = keeping
        self._stored_freezes = freezes
        self.journal = journal
        self.board = board
        self.clock = clock
        self.kill_switch = kill_switch

    async def _state(self, run: str) -> tuple[State, str | None]:
        records = await self.journal.read(run, 0, PIECE_FOLDED)
        if not records:
            raise await self._gone(run)
        state = fold((record.event, record.at) for record in records)
        if len(records) == PIECE_FOLDED:
            state = await self._folded_on(run, state)
        return state, await self.journal.evidence(run)

    async def _folded_on(self, run: str, state: State) -> State:
        """The rest of a long journal, some events at a time: all of them at once are slow to collect, and large."""
        while records := await self.journal.read(run, state.seq, PIECE_FOLDED):
            for record in records:
                state = apply(state, record.event, record.at)
            await asyncio.sleep(0)  # others may have waited
        row = await self.journal.row(run)
        if row is None or row.kept is not None:  # it was cut meanwhile, maybe in the middle of what was read
            raise await self._gone(run)
        return state

    async def _gone(self, run: str) -> KeptAsReport | NotFound:
        """What to say of a run that has no journal."""
        kept = await self._kept(run)
        return NotFound(f"there is no run {run}") if kept is None else KeptAsReport(kept_words(kept))

    async def _kept(self, run: str) -> Kept | None:
        return await self._keeping.kept(run) if self._keeping is not None else None

    async def _has_controller(self, run: str) -> bool:
        return False

    def _now(self, run: str) -> float:
        """By the clock of *run*, which may be ahead of the wall's where a controller walks it."""
        return self.clock.now()

    async def status(self, run: str) -> dict[str, Any]:
        try:
            state, text = await self._state(run)
        except KeptAsReport:
            return await self._kept_status(run)
        evidence, now = await self._evidence(state, text), self.clock.now()
        return status(state, evidence, now, has_controller=await self._has_controller(run))

    async def _kept_status(self, run: str) -> dict[str, Any]:
        """How it stood when it was cut."""
        kept = await self._kept(run)
        assert kept is not None, "nobody takes away what is kept"
        return {**kept.document["status"], "kept": shown_kept(kept)}

    async def report(self, run: str) -> dict[str, Any]:
        """``status``, ``history`` and ``report``: everything about a run."""
        from orchestrator.core.report import build  # which those who only look at a status do not need

        now, past = await self.status(run), await self.history(run)
        kept = await self._kept(run) if not past or past[0]["type"] == KEPT else None
        if kept is not None:
            made = kept.document["report"]
        else:  # aside where it takes long: gates must not wait
            made = build(now, past) if len(past) <= PIECE_ENTRIES else await asyncio.to_thread(build, now, past)
        return {"status": now, "history": past, "report": made}

    async def offers(self, run: str, actor: Actor) -> Entries:
        """What *actor* could ask of a run now, and what would be refused (``core/offers.py``)."""
        try:
            state, text = await self._state(run)
        except KeptAsReport:
            return []
        moment = Moment(state, await self._evidence(state, text), self._now(run))
        return [_offered(one) for one in offers(moment, actor)]

    async def approvals(self, actor: Actor) -> Entries:
        """Whatever a person is asked, over all runs, what is due first coming first; with what *actor* could answer."""
        found: Entries = []
        for row in await self.journal.rows(limit=MOST_RUNS):
            if is_unfinished(row):
                state, text = await self._state(row.run)
                if asked := waiting(state):
                    moment = Moment(state, await self._evidence(state, text), self._now(row.run))
                    could = [_offered(one) for one in offers(moment, actor)]
                    found += [_asked(state, item, could) for item in asked]
        return sorted(found, key=lambda one: (one["until"] is None, one["until"] or one["since"]))

    async def _evidence(self, state: State, text: str | None) -> Evidence:
        """What was checkpointed, with the freezes as they are in the store now."""
        names = [entry.name for entry in state.program.environments]
        freezes = tuple(one for one in await self._freezes() if any(map(one.covers, names)))
        return ev.note_freezes(ev.from_text(text), freezes)

    async def list(self, active: bool | None = None, limit: int = 100) -> Entries:
        standing = await self.freezes()
        return [_listed(row, standing) for row in await self.journal.rows(active, limit)]

    async def freezes(self) -> Entries:
        """Those that stand now."""
        now = self.clock.now()
        return [one.shown() for one in await self._freezes() if one.stands(now)]

    async def _freezes(self) -> Sequence[Freeze]:
        """The newest of each place."""
        return await self._stored_freezes.newest() if self._stored_freezes is not None else ()

    async def history(self, run: str, after: int = 0, limit: int | None = None) -> Entries:
        """Of a run of which only the report is kept, one entry in the last one's place says so."""
        return [entry async for piece in self.pieces(run, after, limit) for entry in piece]

    async def pieces(self, run: str, after: int = 0, limit: int | None = None) -> AsyncIterator[Entries]:
        """``history``, some entries at a time: nobody else has to wait until a long journal is read."""
        if (kept := await self._kept_behind(run, after)) is not None:
            yield kept
            return
        left = limit if limit is not None else MOST_ENTRIES
        while left > 0:
            records = await self.journal.read(run, after, min(PIECE_ENTRIES, left))
            if records:
                yield [shown(record) for record in records]
            if len(records) < PIECE_ENTRIES:
                return
            after, left = records[-1].seq, left - len(records)

    async def _kept_behind(self, run: str, after: int) -> Entries | None:
        """None if the journal is there."""
        row = await self.journal.row(run)
        if row is None:
            raise NotFound(f"there is no run {run}")
        if row.kept is None:
            return None
        kept = await self._kept(run)
        return [kept_entry(kept)] if kept is not None and after < row.rev else []

    async def journal_lines(self, run: str, after: int = 0, limit: int | None = None) -> Sequence[str]:
        """The entries as they were written, each a line of JSON that can be verified (``audit.py``)."""
        row = await self.journal.row(run)
        if row is None:
            raise NotFound(f"there is no run {run}")
        if row.kept is None:
            return [line(record) for record in await self.journal.read(run, after, limit)]
        kept = await self._kept(run)
        if kept is None or after > 1:  # its first part was read when it was whole
            raise await self._gone(run)
        return [kept_line(kept)] if after == 0 else []

    async def resolve_name(self, text: str) -> str:
        """The run that *text* means: its name, a unique beginning of it, or a plan's newest run."""
        if await self.journal.row(text) is not None:
            return text
        rows = await self.journal.rows(limit=MOST_RUNS)
        by_plan = [row.run for row in rows if row.plan == text]
        if by_plan:
            return by_plan[0]
        matching = [row.run for row in rows if row.run.startswith(text)]
        if len(matching) == 1:
            return matching[0]
        if matching:
            raise NotFound(f"{text} may be {', '.join(matching[:5])}: say more of the name")
        raise NotFound(f"there is no run {text}")

    async def flags(self, environment: str | None = None, full_for_seconds: float | None = None) -> Entries:
        """With *full_for_seconds*, those that have stood at 100 % for so long, and ``full_since``: they could go."""
        holders = await self._holders()
        records = await self.board.all(environment)
        if full_for_seconds is None:
            return [self._flag_shown(record, holders) for record in records]
        since = [(record, await self._full_since(record)) for record in records if _is_full(record)]
        latest = self.clock.now() - full_for_seconds
        return [{**self._flag_shown(record, holders), "full_since": iso(at)} for record, at in since if at <= latest]

    async def _full_since(self, record: FlagRecord) -> float:
        """As far as the history goes back, which is the newest part of it."""
        history = await self.board.history(record.document.environment, record.document.key, MOST_HISTORY)
        return min((one.at for one in takewhile(_is_full, history)), default=record.at)

    async def flag_history(self, environment: str, key: str, limit: int = MOST_HISTORY) -> Entries:
        """Who changed what and why, newest first."""
        records = await self.board.history(environment, key, limit + 1)
        if not records:
            raise NotFound(f"there is no flag {key} in {environment}")
        befores = [*records[1:], None]
        return [_changed(record, before) for record, before in zip(records, befores, strict=True)][:limit]

    async def flag(self, environment: str, key: str) -> dict[str, Any]:
        record = await self.board.get(environment, key)
        if record is None:
            raise NotFound(f"there is no flag {key} in {environment}")
        return await self._flag_alone(record)

    async def _flag_alone(self, record: FlagRecord) -> dict[str, Any]:
        return self._flag_shown(record, await self._holder(_target(record)))

    async def _holders(self) -> Mapping[str, tuple[str, bool]]:
        """Flag target -> the active run that touches it, and whether it is pinned there."""
        return {}

    async def _holder(self, target: str) -> Mapping[str, tuple[str, bool]]:
        """Of this target alone."""
        return {}

    def _flag_shown(self, record: FlagRecord, holders: Mapping[str, tuple[str, bool]]) -> dict[str, Any]:
        document = record.document
        run, pinned = holders.get(_target(record), (None, False))
        data = document.to_json()
        killed = self.kill_switch.is_killed(document.environment, document.key, permanent=document.permanent)
        return {**data, "killed": killed, "run": run, "pinned": pinned, "by": record.by, "at": iso(record.at)}

    async def latches_for(self, asked: Kill, by: str) -> Sequence[Latch]:
        """The latches that the kill switch is to have. The store is asked only for a run's or an owner's flags."""
        at = self.clock.now()
        return [
            Latch(environment, by, asked.reason, at, keys, asked.include_permanent)
            for environment, keys in (await self._covered(asked)).items()
        ]

    async def _covered(self, asked: Kill) -> dict[str, tuple[str, ...]]:
        """Environment -> keys of the flags that are meant; without keys, all of them."""
        if asked.run is None and asked.owner is None:
            return {asked.environment or EVERYWHERE: ()}
        run = await self.resolve_name(asked.run) if asked.run is not None else None
        found: dict[str, set[str]] = {}
        for row in await self.journal.rows(limit=MOST_RUNS):
            if row.run == run or (run is None and row.summary.get("owner") == asked.owner):
                for environment, keys in row.summary.get("flags", {}).items():
                    found.setdefault(environment, set()).update(keys)
        meant = {where: tuple(sorted(keys)) for where, keys in found.items() if asked.environment in (None, where)}
        if not any(meant.values()):
            of = f"run {run}" if run is not None else f"any plan of owner {asked.owner}"
            place = f" in {asked.environment}" if asked.environment else ""
            raise NotFound(f"no flags of {of} are known{place}; nothing was disabled")
        return {where: keys for where, keys in meant.items() if keys}

    def snapshot(self, environment: str) -> Snapshot:
        return self.board.snapshot(environment)

    def standing(self, environment: str) -> Standing:
        """All flags of an environment as they are served now."""
        return self.board.standing(environment)

    async def changed(self, environment: str, since: FeedVersion | None) -> Standing:
        """See ``FlagBoard.changed``."""
        return await self.board.changed(environment, since)


def _listed(row: RunRow, standing: Entries) -> dict[str, Any]:
    """With the freezes that stand over environments of a run that has not ended."""
    summary = {key: value for key, value in row.summary.items() if key != "settled"}
    places = {EVERYWHERE, *row.summary.get("flags", {})} if row.active else set()
    frozen = [one for one in standing if one["environment"] in places]
    return {**summary, "seq": row.rev, "active": row.active, "frozen": frozen, "kept_since": iso(row.kept)}


def is_unfinished(row: RunRow) -> bool:
    """Whether a controller has to do with it: it goes on, or something of it is still to be answered or measured."""
    return row.active or not row.summary.get("settled", True)


def _asked(state: State, shown: dict[str, Any], could: Entries) -> dict[str, Any]:
    """*shown*: the item as the run's status has it. *could*: the offers of the run, for whoever looks."""
    item, short = state.waiting[shown["item"]], summary(state)
    return {
        **{name: short[name] for name in ("run", "plan", "environment", "stage", "step", "phase", "outcome")},
        **shown,
        "since": iso(item.since),
        "author": state.author,
        "rejected": {"by": item.by, "reason": item.note} if item.is_rejected else None,
        "answers": [one for one in could if one["item"] == item.item],
    }


def _offered(offer: Offer) -> dict[str, Any]:
    command = offer.command.model_dump(mode="json", exclude={"reason", "key"})
    return {
        **command,
        "what": offer.what,
        "refused": offer.refused,
        "returns": list(offer.returns),
        "stays": list(offer.stays),
    }


def shown(record: Recorded) -> dict[str, Any]:
    """A journal entry as everybody is shown it."""
    data = to_json(record.event)
    kind = data.pop("type")
    data.pop("by", None)
    data.pop("reason", None)
    if kind == "RunStarted":
        data.pop("documents", None)
        data["files"] = sorted(data.get("files", {}))
    event = record.event
    return {
        "seq": record.seq,
        "time": iso(record.at),
        "type": kind,
        "by": event.by,
        "reason": event.reason,
        "data": data,
        "hash": record.hash,
    }


def _target(record: FlagRecord) -> str:
    return flag_target_id(record.document.environment, record.document.key)


def _is_full(record: FlagRecord) -> bool:
    """Everybody has it, and nobody said that it is to stay a flag."""
    document = record.document
    return document.standing_percentage == 100 and not document.permanent


def _changed(record: FlagRecord, before: FlagRecord | None) -> dict[str, Any]:
    """One version of a flag: the fields that are others than in the one *before*; None: it was made."""
    data = record.document.to_json()
    known = before.document.to_json() if before is not None else {}
    changed = {name: value for name, value in data.items() if name != "version" and known.get(name) != value}
    return {
        "version": data["version"],
        "at": iso(record.at),
        "by": record.by,
        "reason": record.reason,
        "run": record.run,
        "changed": {name: changed[name] for name in changed if before is not None or name in _SHOWN_WHEN_MADE},
    }


def killed(asked: Kill, latches: Sequence[Latch]) -> dict[str, Any]:
    """What the kill switch holds now, as everybody is told it."""
    newest = latched(latches[0])
    return {**newest, "environment": asked.environment or EVERYWHERE, "latches": [latched(one) for one in latches]}


def latched(latch: Latch) -> dict[str, Any]:
    return {
        "environment": latch.environment,
        "by": latch.by,
        "reason": latch.reason,
        "at": iso(latch.at),
        "flags": list(latch.keys),
        "include_permanent": latch.include_permanent,
    }
