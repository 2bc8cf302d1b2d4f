"""The controller inside a cluster, put together: what is heard, what is looked at, and what is written."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any, assert_never

import structlog

from orchestrator.cluster import commands
from orchestrator.cluster.events import Telling, Told, refused
from orchestrator.cluster.guard import Guard
from orchestrator.cluster.lease import Holder, LeaseKeeper
from orchestrator.cluster.limits import CommandPolicy
from orchestrator.cluster.objects import FINALIZER, CommandObject, Rollout
from orchestrator.cluster.queue import WorkQueue
from orchestrator.cluster.reconcile import (
    End,
    Looked,
    Refusal,
    Rest,
    SetFinalizer,
    Show,
    Start,
    is_on_its_way_back,
    next_move,
    version_of,
)
from orchestrator.cluster.starting import Lint, Same, Starter
from orchestrator.cluster.status import how_it_ended, is_shown, merge_patch, project
from orchestrator.cluster_port import Kind, Objects
from orchestrator.core.commands import Actor, Command
from orchestrator.core.phases import CommandName
from orchestrator.core.times import iso
from orchestrator.errors import Forbidden, NotFound, Permanent, Refused, StoreError, Temporary
from orchestrator.ports import RunRow
from orchestrator.service import Service
from orchestrator.sharing import Sharing
from stages.values import Json

log = structlog.get_logger()

WORKERS = 8
SOON_SECONDS = 0.5
"""So long changes of a run are gathered before its object is written."""
REFRESH_SECONDS = 30.0
"""So often the status of an active run is looked at, for evidence changes without an entry in the journal."""
SIBLINGS_SECONDS = 2.0
"""So often it is looked what controllers of the same store leave to each other."""
COLLECT_SECONDS = 600.0
RESTART_SECONDS = 5.0
EVENTS_LAST_SECONDS = 3600.0
OBJECT_TO_COME_SECONDS = 3.0
"""A command may be heard of before its rollout is."""
MOST_RUNS = 1_000_000
MOST_ORIGINS = 10_000
DELETER = Actor("kubernetes", "operator")

_Key = tuple[str, str]
ROLLOUT, RUN, COMMAND, COLLECT = "rollout", "run", "command", "collect"


@dataclass(slots=True)
class _Known:
    """What is remembered of one object, by its uid. All of it can be found out again."""

    run: str | None = None
    name: str | None = None  # None: it was never seen in this life
    looked: Looked | None = None
    written: dict[str, Json] | None = None
    telling: Telling | None = None
    has_news: bool = False
    was_ours: bool = False  # when it was looked at last: the last look at a run is ours as well


class ClusterController:
    """Drives one namespace while ``run`` runs. *me* is who holds its lease then."""

    def __init__(
        self, service: Service, objects: Objects, lint: Lint, me: Holder, commands: CommandPolicy | None = None
    ) -> None:
        """*commands*: what plans may run; nothing if it is not given."""
        self.service = service
        self.objects = objects
        self._known: dict[str, _Known] = {}
        self._origins: dict[str, str | None] = {}  # run -> uid of its object
        self._untellable = False
        self._queue: WorkQueue[_Key] = WorkQueue(self._work, WORKERS)
        self._lease = LeaseKeeper(objects, me, service.clock, self._look_at_everything, _names_of(service.sharing))
        self._in_hand: frozenset[str] = frozenset()
        self._guard = Guard(objects, service.clock)
        self._starter = Starter(service, objects, lint, commands or CommandPolicy(), self._guard)
        self._rollouts = objects.cache(Kind.ROLLOUT, Rollout.of, self._rollout_changed, self._look_at_everything)
        self._commands = objects.cache(Kind.COMMAND, CommandObject.of, self._command_changed, self._look_at_everything)

    async def run(self) -> None:
        """Until it is cancelled; then the next controller need not wait."""
        await self._remember()
        await self._guard.look()
        self.service.listeners.append(self._run_changed)
        parts = {
            "lease": self._lease.run,
            "rollouts": self._rollouts.run,
            "commands": self._commands.run,
            "queue": self._queue.run,
            "runs in hand": self._watch_runs_in_hand,
        }
        try:
            async with asyncio.TaskGroup() as group:
                for name, part in parts.items():
                    group.create_task(_kept_up(name, part), name=f"cluster {name}")
        finally:
            self.service.listeners.remove(self._run_changed)
            await self._lease.release()

    async def _remember(self) -> None:
        """Which run each object has, from the journal."""
        for row in await self._every_row():
            uid = self._uid_of(row)
            if uid is not None and uid not in self._known:
                self._known[uid] = _Known(row.run)
                self._origins[row.run] = uid
        self._forget_origins()

    def _forget_origins(self) -> None:
        """The oldest, where there are very many: what is forgotten is looked up again."""
        while len(self._origins) > MOST_ORIGINS:
            del self._origins[next(iter(self._origins))]

    async def _every_row(self) -> list[RunRow]:
        while True:
            try:
                return await self.service.journal.rows(limit=MOST_RUNS)
            except StoreError as error:
                log.warning("cluster.journal_away", error=str(error))
                await self.service.clock.sleep(RESTART_SECONDS)

    def _uid_of(self, row: RunRow) -> str | None:
        origin = row.summary.get("origin")
        return str(origin["uid"]) if origin and origin["namespace"] == self.objects.namespace else None

    # --- what is heard --------------------------------------------------------------------------------------------

    def _rollout_changed(self, before: Rollout | None, after: Rollout | None) -> None:
        if before is not None and (after is None or after.uid != before.uid):
            self._queue.add((ROLLOUT, before.uid))
        if after is not None:
            known = self._known.setdefault(after.uid, _Known())
            known.name = after.name
            if known.written is not None and known.written == after.status:
                known.written = None
            self._queue.add((ROLLOUT, after.uid))

    def _command_changed(self, before: CommandObject | None, after: CommandObject | None) -> None:
        if after is not None and after.answered is None:
            self._queue.add((COMMAND, after.name))

    def _run_changed(self, run: str) -> None:
        if run not in self._origins:
            self._queue.add((RUN, run))
            return
        known = self._known.get(uid) if (uid := self._origins[run]) is not None else None
        if known is not None and uid is not None:
            known.has_news = True
            self._queue.add((ROLLOUT, uid), SOON_SECONDS)

    def _look_at_everything(self) -> None:
        """After a listing, and when the lease was got: what was heard of before may have been passed by."""
        has_duty = self._lease.is_ours or self._lease.is_siblings
        if not (has_duty and self._rollouts.is_whole and self._commands.is_whole):
            return
        for uid in self._known:
            self._queue.add((ROLLOUT, uid))
        for one in self._commands.objects.values():
            self._command_changed(None, one)
        self._queue.add((COLLECT, ""), COLLECT_SECONDS)

    async def _watch_runs_in_hand(self) -> None:
        """While a sibling has the lease: runs that we took over, and commands that may be for one of ours."""
        while True:
            await self.service.clock.sleep(SIBLINGS_SECONDS)
            before, self._in_hand = self._in_hand, self.service.in_hand()
            if not self._lease.is_siblings:
                continue
            for run in sorted(self._in_hand - before):
                self._run_changed(run)
            for one in self._commands.objects.values():
                self._command_changed(None, one)

    def _is_on_duty(self, kind: str, name: str) -> bool:
        """Who has the lease looks at everything; its siblings at what belongs to the runs that they act for."""
        if not self._rollouts.is_whole or self._lease.is_ours:
            return self._rollouts.is_whole
        if not self._lease.is_siblings or kind == COLLECT:
            return False
        if kind == COMMAND:
            one = self._commands.objects.get(name)
            rollout = self._rollouts.objects.get(one.rollout) if one is not None else None
            name = rollout.uid if rollout is not None else ""
        known = self._known.get(name)
        if kind == RUN or known is None:
            return kind == RUN
        was_ours, known.was_ours = known.was_ours, known.run in self.service.in_hand()
        return was_ours or known.was_ours

    async def _is_a_siblings(self, row: RunRow | None) -> bool:
        return row is not None and await self.service.elsewhere(row.run) is not None

    # --- one look -------------------------------------------------------------------------------------------------

    async def _work(self, key: _Key) -> float | None:
        kind, name = key
        if not self._is_on_duty(kind, name):
            return None  # everything is looked at when we are
        match kind:
            case "rollout":
                return await self._look(name)
            case "run":
                return await self._meet(name)
            case "command":
                return await self._obey(name)
            case _:
                return await self._collect()

    def _must_be_alone(self) -> None:
        if not (self._lease.is_held or self._lease.is_siblings):
            raise Temporary("the lease of the namespace could not be renewed in time; nothing is begun until it is")

    def _rollout(self, uid: str) -> Rollout | None:
        name = self._known[uid].name
        found = self._rollouts.objects.get(name) if name is not None else None
        return found if found is not None and found.uid == uid else None

    async def _row(self, uid: str) -> RunRow | None:
        run = self._known[uid].run
        return await self.service.journal.row(run) if run is not None else None

    async def _look(self, uid: str) -> float | None:
        if uid not in self._known:
            return None
        rollout, known, row = self._rollout(uid), self._known[uid], await self._row(uid)
        if await self._is_a_siblings(row):
            return REFRESH_SECONDS
        if rollout is None:
            return await self._look_at_orphan(uid, known, row)
        move = next_move(rollout, row, known.looked, self.service.clock.now())
        match move:
            case Rest():
                return None
            case Start():
                return await self._start(rollout, move)
            case End():
                await self._end(move, rollout.name, rollout.uid)
                return SOON_SECONDS
            case SetFinalizer():
                await self._set_finalizer(rollout, move.wanted)
                return REFRESH_SECONDS  # the change is heard of before
            case Show():
                return await self._show(rollout, row, move.refusal)
            case _:
                assert_never(move)

    async def _start(self, rollout: Rollout, move: Start) -> float | None:
        self._must_be_alone()
        known = self._known[rollout.uid]
        outcome = await self._starter.start(rollout, move.previous)
        match outcome:
            case Same():
                known.looked = Looked(version_of(rollout))
            case Refusal():
                known.looked = Looked(version_of(rollout), outcome)
            case str():
                known.run, known.looked, known.telling = outcome, None, None
                self._origins[outcome] = rollout.uid
            case _:
                assert_never(outcome)
        return 0.0

    async def _end(self, move: End, name: str, uid: str) -> None:
        self._must_be_alone()
        reason = f"StagedRollout {self.objects.namespace}/{name} was deleted"
        command = Command(command=move.command, reason=reason, key=f"deleted/{uid}/{move.command}")
        try:
            await self.service.command(move.run, command, DELETER)
        except Refused as error:
            raise Temporary(f"{move.run} can't be ended yet: {error}") from None

    async def _set_finalizer(self, rollout: Rollout, wanted: bool) -> None:
        others = [one for one in rollout.finalizers if one != FINALIZER]
        # a merge patch replaces the list as a whole: only if nobody changed it since
        metadata = {
            "resourceVersion": rollout.resource_version,
            "finalizers": [*others, *([FINALIZER] if wanted else [])],
        }
        await self.objects.patch(Kind.ROLLOUT, rollout.name, {"metadata": metadata})

    async def _show(self, rollout: Rollout, row: RunRow | None, refusal: Refusal | None) -> float | None:
        known, now = self._known[rollout.uid], self.service.clock.now()
        if row is None and refusal is None:
            return None
        if row is not None and refusal is None and not known.has_news and is_shown(rollout, row):
            return None
        known.has_news = False
        run = await self.service.status(row.run) if row is not None else None
        if run is not None:
            await self._tell_of_run(rollout, known, run)
        if refusal is not None:
            time = iso(now) or ""
            await self._tell(rollout, [refused(refusal.reason, refusal.message, version_of(rollout), time)])
        await self._write(rollout, known, project(rollout, run, refusal, now))
        if refusal is not None and refusal.again_at is not None:
            return max(refusal.again_at - now, 0.0)
        return REFRESH_SECONDS if row is not None and row.active else None

    async def _write(self, rollout: Rollout, known: _Known, status: dict[str, Json]) -> None:
        there = known.written if known.written is not None else rollout.status
        patch = merge_patch(there, status)
        if not patch:
            return
        known.written = None  # if this fails, nobody knows
        body = {"metadata": {"uid": rollout.uid}, "status": patch}
        written = await self.objects.patch(Kind.ROLLOUT, rollout.name, body, status=True)
        known.written = status if written is not None else None

    # --- what is told ---------------------------------------------------------------------------------------------

    async def _tell_of_run(self, rollout: Rollout, known: _Known, run: dict[str, Any]) -> None:
        telling = known.telling
        if telling is None or telling.run != run["run"]:
            telling = known.telling = Telling(str(run["run"]), run["stages"])
        entries = await self.service.history(telling.run, telling.after)
        end = how_it_ended(run) if run["outcome"] is not None else ""
        await self._tell(rollout, telling.read(entries, self.service.clock.now() - EVENTS_LAST_SECONDS, end))

    async def _tell(self, rollout: Rollout, events: Iterable[Told]) -> None:
        """Events are for people who look; what can't be told keeps nothing else back."""
        for one in events:
            try:
                await self._post(rollout, one)
            except (Temporary, Permanent) as error:
                if not self._untellable:
                    log.warning("cluster.events_lost", error=str(error))
                self._untellable = True
                return
            self._untellable = False

    async def _post(self, rollout: Rollout, one: Told) -> None:
        if await self.objects.create(Kind.EVENT, one.body(rollout)) is not None or not one.repeats:
            return
        name = one.name_of(rollout)
        there = await self.objects.read(Kind.EVENT, name)
        if there is None or str(there.get("lastTimestamp")) >= one.time:
            return
        again = {"count": int(there.get("count") or 1) + 1, "lastTimestamp": one.time, "message": one.message}
        await self.objects.patch(Kind.EVENT, name, again)

    # --- objects that went, runs that came ------------------------------------------------------------------------

    async def _look_at_orphan(self, uid: str, known: _Known, row: RunRow | None) -> float | None:
        """Its object is gone: what is under way ends, and the world stays as it is."""
        if row is None or not row.active:
            del self._known[uid]
            return None
        if is_on_its_way_back(row):
            return REFRESH_SECONDS
        name = known.name or str(row.summary["origin"]["name"])
        if known.name is None and not self._lease.has_history:
            log.warning("cluster.not_here", run=row.run, object=name, why="another cluster? the run goes on")
            return None
        await self._end(End(row.run, CommandName.STOP), name, uid)
        return SOON_SECONDS

    async def _meet(self, run: str) -> float | None:
        """A run that was begun elsewhere: by hand, or as the way back of one of ours."""
        row = await self.service.journal.row(run)
        uid = self._uid_of(row) if row is not None else None
        self._origins[run] = uid
        self._forget_origins()
        if uid is not None and row is not None:
            known = self._known.setdefault(uid, _Known())
            known.run, known.has_news = run, True
            self._queue.add((ROLLOUT, uid))
        return None

    # --- commands -------------------------------------------------------------------------------------------------

    async def _obey(self, name: str) -> float | None:
        one = self._commands.objects.get(name)
        if one is None or one.answered is not None or one.is_deleted:
            return None
        self._must_be_alone()
        now = self.service.clock.now()
        rollout = self._rollouts.objects.get(one.rollout)
        if rollout is None and now - one.created < OBJECT_TO_COME_SECONDS:
            return 1.0
        if rollout is not None and await self._is_a_siblings(await self._row(rollout.uid)):
            return SIBLINGS_SECONDS
        answer = await self._answer(one, rollout)
        body = {"metadata": {"uid": one.uid}, "status": answer}
        await self.objects.patch(Kind.COMMAND, one.name, body, status=True)
        self._queue.add((COLLECT, ""), SOON_SECONDS)
        return None

    async def _answer(self, one: CommandObject, rollout: Rollout | None) -> dict[str, Json]:
        """A command is taken up again after a crash: its uid is its key, and what was accepted is only told again."""
        row: RunRow | None = None
        try:
            asked = commands.asked(one)
            if rollout is None:
                raise NotFound(f"there is no StagedRollout {one.rollout} in {self.objects.namespace}")
            row = await self._row(rollout.uid)
            if row is None:
                raise Refused(f"StagedRollout {one.rollout} has no run yet; its conditions say why")
            commands.refuse_if_older(one, row.summary)
            answer = await self.service.command(row.run, asked.command, asked.actor)
        except (Refused, Forbidden, NotFound) as error:
            return commands.refused(str(error), row.run if row is not None else None, self.service.clock.now())
        if answer["run_started"] is not None:
            await self._meet(str(answer["run_started"]))
        return commands.accepted(answer, self.service.clock.now())

    async def _collect(self) -> float:
        for one in commands.to_collect(self._commands.objects.values(), self.service.clock.now()):
            await self.objects.delete(Kind.COMMAND, one.name, one.uid)
        return COLLECT_SECONDS


def _names_of(sharing: Sharing | None) -> Callable[[], Awaitable[Collection[str]]] | None:
    if sharing is None:
        return None

    async def names() -> Collection[str]:
        return [one.name for one in await sharing.membership.members()]

    return names


async def _kept_up(name: str, part: Callable[[], Awaitable[None]]) -> None:
    """A bug in one part must not end the runs of this process, nor leave the part dead in silence."""
    while True:
        try:
            await part()
        except Exception:
            log.exception("cluster.part_crashed", part=name)
        await asyncio.sleep(RESTART_SECONDS)
