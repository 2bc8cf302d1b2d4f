"""Many runs: starting them, taking them up again, commands, reading, flags. What the API and the command line talk to.

``runners`` walk what is unfinished. Where several controllers share the store, ``sharing`` says which runs are this
one's; all of them answer for all runs.
"""

import asyncio
import getpass
import secrets
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import structlog

from flags.model import FlagDocument
from orchestrator.allowance import Trust, acting_for
from orchestrator.core import evidence as ev
from orchestrator.core import reversing
from orchestrator.core.commands import Actor, Command
from orchestrator.core.events import Origin, PlanDocument, RunStarted
from orchestrator.core.fold import begin
from orchestrator.core.freeze import Freeze
from orchestrator.core.phases import CommandName, Phase
from orchestrator.core.state import State
from orchestrator.core.view import status, summary
from orchestrator.errors import (
    Conflict,
    Forbidden,
    NotFound,
    Refused,
    RolloutError,
    StoreError,
    TargetBusy,
    Temporary,
    Unreadable,
)
from orchestrator.failpoints import Point, reach
from orchestrator.flag_board import FlagBoard, Wanted
from orchestrator.following import Followers, entries_after
from orchestrator.freezing import FreezeAsked, Freezing
from orchestrator.metrics import Counts, Meter, RunNow
from orchestrator.others import Others
from orchestrator.ports import (
    FlagRecord,
    Journal,
    Latch,
    Member,
    NewRun,
    Recorded,
    RunRow,
    World,
)
from orchestrator.reading import EVERYWHERE, MOST_RUNS, Entries, Kill, Reading, is_unfinished, killed, latched
from orchestrator.runner import Runner
from orchestrator.runners import Runners
from orchestrator.schedule_port import Schedule
from orchestrator.scheduling import Scheduling
from orchestrator.sharing import MOVES_SECONDS, Sharing
from orchestrator.submission import Submission, new_name, require_allowed, require_startable
from orchestrator.survey import Finding, Level, lint_migrators, survey
from stages.effects import flag_target_id
from stages.flag_spec import ABSENT, FlagChange, change_value, percentage_of, to_document, to_value
from stages.load_schedule import from_raw_schedule
from stages.problems import InvalidPlan, Problem
from stages.step import Program

log = structlog.get_logger()

KILL_POLL_SECONDS = 1.0
SUPERSEDE_WAIT_SECONDS = 60.0
FOLLOW_POLL_SECONDS = 1.0  # for the journal of a run that another controller walks
ROLES = ("viewer", "operator", "approver", "admin")


Findings = list[Finding]


def _in_schedule(found: Problem) -> Problem:
    """A round is a stage of the plan that would ask it."""
    return replace(found, file="the document", path=found.path.replace("spec.stages", "spec.rounds"))


def local_actor() -> Actor:
    """The person at this machine: owner of the embedded controller."""
    return Actor(getpass.getuser(), "admin")


def _require(actor: Actor, role: str, what: str) -> None:
    if ROLES.index(actor.role) < ROLES.index(role):
        raise Forbidden(f"{what} needs the role {role}; {actor.name} is {actor.role}")


class Service(Reading):
    """The controller: it acts. ``open`` takes up what is unfinished; ``close`` hands it to the next one."""

    def __init__(
        self,
        journal: Journal,
        board: FlagBoard,
        world: World,
        meter: Meter | None = None,
        sharing: Sharing | None = None,
    ) -> None:
        """*sharing*: how the store is shared with other controllers; None if it is this one's alone."""
        super().__init__(journal, board, world.clock, world.kill_switch, world.freezes, world.keeping)
        self.world = world
        self.sharing = sharing
        self._others = Others(sharing.membership, journal, board, world.kill_switch, world.clock) if sharing else None
        self._watches: list[asyncio.Task[None]] = []
        self._is_closed = False
        self.meter = meter or Meter()
        self._starting = asyncio.Lock()
        self._followers = Followers()
        self.freezing = Freezing(world.freezes, world.clock)
        self.runners = Runners(journal, world, self.freezing, self._publish, sharing)
        me = sharing.me.name if sharing is not None else f"controller-{secrets.token_hex(3)}"
        self.scheduling = Scheduling(world.schedules, world, me, is_alone=sharing is None)
        self._latches: tuple[Latch, ...] = ()  # that every runner knows of
        self.listeners: list[Callable[[str], None]] = []  # told the name of each run whose journal grew
        self.readers: list[Callable[[Sequence[Recorded]], None]] = []  # told what it grew by
        board.listeners.append(self._flag_changed)

    # --- life -----------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        await self.board.load()
        await self.freezing.look()
        self._watch(self._watch_kill_switch(), "kill switch")  # before runs are taken up: the first walk meanwhile
        self._watch(self.freezing.watch(self.runners.spread_freezes), "freezes")
        try:
            if self.sharing is not None and self._others is not None:
                await self._others.share_switch()
                await self.sharing.open(self.runners)
                self._watch(self._others.watch(), "other controllers")
            else:
                await self.runners.take_all_up()
        except BaseException:
            self._watch_no_more()
            raise
        self._watch(self.scheduling.watch(), "schedules")

    def _watch(self, work: Coroutine[Any, Any, None], what: str) -> None:
        self._watches.append(asyncio.create_task(work, name=what))

    def _watch_no_more(self) -> None:
        for task in self._watches:
            task.cancel()

    async def close(self, grace_seconds: float = 10.0) -> None:
        if not self._is_closed:
            reach(Point.SHUTDOWN_BEGUN)
        self._is_closed = True
        self._watch_no_more()
        if self.sharing is not None:
            await self.sharing.stop_finding()
        await self.runners.close(grace_seconds)
        reach(Point.SHUTDOWN_LET_GO)
        if self.sharing is not None:
            await self.sharing.close()
        self._followers.end()

    async def ready(self) -> bool:
        """Whether the store answers."""
        try:
            await self.journal.rows(limit=1)
        except RolloutError:
            return False
        return True

    async def counts(self) -> Counts:
        """For monitoring. The journals' events are counted by the runs' rows, without reading them."""
        found = await self.journal.by_phase()
        return Counts({phase: runs for phase, runs, _ in found}, sum(events for _, _, events in found))

    def walked(self) -> Iterator[RunNow]:
        """Every run that this controller walks, as it stands now. For monitoring."""
        return self.runners.now()

    def unwalked(self) -> int:
        """How many runs this controller should walk and can't: see ``Runners``. For monitoring."""
        return self.runners.unwalked

    async def until_idle(self) -> None:
        """Returns when no run is unfinished any more."""
        await self.runners.until_idle()

    # --- sharing the store with other controllers -----------------------------------------------------------------

    def in_hand(self) -> frozenset[str]:
        return self.runners.in_hand()

    async def elsewhere(self, run: str) -> Member | None:
        """The other controller that acts for a run; None if this one does, or nobody has to. Raises ``Temporary`` if
        nobody does yet."""
        if self.sharing is None or run in self.runners:
            return None
        owner = await self.sharing.elsewhere(run)
        row = await self.journal.row(run)
        if row is None or not is_unfinished(row):
            return None
        if owner is None and not self.runners.is_in_hand(run):
            raise Temporary(f"no controller acts for {run} now; one takes it up within seconds", MOVES_SECONDS)
        return owner

    async def _runner(self, row: RunRow) -> Runner | None:
        """Taken up now if it is still to be; None if the run has ended and is settled. Raises ``Temporary`` if another
        controller may have it."""
        runner = self.runners.get(row.run)
        if runner is not None or not is_unfinished(row):
            return runner
        if self.sharing is not None and not self.runners.is_in_hand(row.run):
            raise Temporary(f"this controller does not act for {row.run} now; ask again", MOVES_SECONDS)
        return await self.runners.take_up(row.run)

    async def _active_states(self) -> Sequence[State]:
        """Of every active run, whoever walks it."""
        await self.runners.all_taken_up()
        here = self.runners.active()
        if self._others is None:
            return here
        rows = await self.journal.rows(active=True, limit=MOST_RUNS)
        return [*here, *await self._others.states([row for row in rows if row.run not in self.runners])]

    async def _has_controller(self, run: str) -> bool:
        if run in self.runners or self.runners.is_coming(run):
            return True
        return self.sharing is not None and await self.sharing.owner(run) is not None

    async def _state(self, run: str) -> tuple[State, str | None]:
        runner = self.runners.get(run)
        if runner is None:
            return await super()._state(run)
        return runner.state, ev.to_text(runner.evidence)

    def _now(self, run: str) -> float:
        runner = self.runners.get(run)
        return runner.time.now() if runner is not None else super()._now(run)

    async def status(self, run: str) -> dict[str, Any]:
        runner = self.runners.get(run)
        if runner is None:
            shown = await super().status(run)
        else:
            shown = {**status(runner.state, runner.evidence, runner.time.now()), "store_error": runner.unwritable}
        if self.sharing is None:
            return shown
        owner = self.sharing.me if runner is not None else await self.sharing.owner(run)
        return {**shown, "controller": owner.name if owner is not None else None}

    # --- starting -------------------------------------------------------------------------------------------------

    async def start(self, submission: Submission, actor: Actor) -> tuple[str, bool]:
        """The run's name, and whether it was started now (an active run of the same plan is attached to)."""
        _require(actor, "operator", "starting a run")
        with acting_for(submission.trust):
            return await self._start(submission, actor)

    async def _start(self, submission: Submission, actor: Actor) -> tuple[str, bool]:
        if self.sharing is not None:
            self.sharing.must_act()
        async with self._starting:
            if submission.supersede is not None:
                await require_startable(submission, submission.read(), self.world)
                return await self._supersede(submission, actor), True
            known = await self._known(submission)
            if known is not None:
                return known, False
            await require_startable(submission, submission.read(), self.world)
            try:
                return await self._begin(submission.started(actor)), True
            except (Conflict, TargetBusy):
                known = await self._known(submission)  # another controller started it between
                if known is None:
                    raise
                return known, False

    async def _known(self, submission: Submission) -> str | None:
        """The run that a plan has already: by its key, else an active run of the same plan."""
        if submission.key is None:
            return await self._attached(submission)
        name = submission.new_run()
        row = await self.journal.row(name)
        if row is not None and row.summary.get("origin") != _dumped(submission.origin):
            raise Conflict(f"{name} is the name of another run already")
        return None if row is None else name

    async def lint(self, submission: Submission) -> Findings:
        """What the rules warn of in the SQL that a plan's own migrator would run, which is asked, and takes seconds.

        Nothing for a plan that ``start`` would attach to. Raises ``InvalidPlan`` for what it does not accept.
        """
        documents = submission.read()
        program = submission.compiled(documents)
        if await self._known(submission) is not None:
            return []
        with acting_for(submission.trust):
            require_allowed(submission, documents, self.world)
            found = await lint_migrators(documents, submission.files, program, self.world)
        errors = [Problem(one.where, 0, 0, "", one.sentence) for one in found if one.level is Level.ERROR]
        if errors:
            raise InvalidPlan(errors)
        return found

    async def foresee(self, submission: Submission) -> Findings:
        """What a plan that somebody hands in would meet, as far as can be seen without running a command of it. Raises
        ``InvalidPlan`` for what he may not have the controller reach or read."""
        documents = submission.read()
        program = submission.compiled(documents)
        with acting_for(submission.trust):
            await require_startable(submission, documents, self.world)
            return await self.survey(program)

    async def _attached(self, submission: Submission) -> str | None:
        rows = await self.journal.rows(active=True, limit=MOST_RUNS, plan=submission.plan)
        return next((row.run for row in rows if row.digest == submission.digest), None)

    # --- scheduled checks -----------------------------------------------------------------------------------------

    async def schedule(self, schedule: Schedule, reason: str, actor: Actor) -> bool:
        """From now on its rounds are asked at their times. Whether that is new: False if the very same document was
        there. Raises ``InvalidPlan`` for what it may not have the controller reach or read."""
        _require(actor, "operator", "scheduling checks")
        plan = from_raw_schedule(dict(schedule.raw), schedule.files).plan
        documents = tuple(PlanDocument(environment=where, plan=raw) for where, raw in plan.raw)
        handed = Submission(schedule.name, schedule.digest, documents, schedule.files, schedule.directory)
        try:
            with acting_for(Trust.OWNER if schedule.is_owners else Trust.HANDED):
                await require_startable(handed, handed.read(), self.world)
        except InvalidPlan as error:
            raise InvalidPlan(map(_in_schedule, error.problems)) from None
        known = await self.scheduling.of(schedule.name)
        if known is not None and (known.digest, known.is_owners) == (schedule.digest, schedule.is_owners):
            return False
        await self.scheduling.put(replace(schedule, by=actor.name, at=self.clock.now()), reason)
        return True

    async def unschedule(self, name: str, reason: str, actor: Actor) -> None:
        _require(actor, "operator", "ending scheduled checks")
        await self.scheduling.drop(name, actor.name, reason)

    async def survey(self, program: Program) -> Findings:
        """What the plan would meet: its targets in other runs' hands, and what :mod:`orchestrator.survey` finds."""
        claims = program.claims()
        holders = await self.journal.holders(claims)
        rows = [await self.journal.row(run) for run in set(holders.values())]
        own = (program.name, program.digest)
        others = {row.run for row in rows if row is not None and (row.plan, row.digest) != own}
        found = [
            Finding(Level.ERROR, claims[claim], f"the active run {run} holds it")
            for claim, run in sorted(holders.items())
            if run in others
        ]
        return found + await survey(program, self.world)

    async def _begin(self, started: RunStarted, inherits_from: str | None = None) -> str:
        state = begin(started, self.clock.now())
        refers_to = started.reverses or started.supersedes
        new = NewRun(started.run, started.plan, started.digest, state.program.claims(), inherits_from, refers_to)
        row = {**summary(state), "settled": False}
        reach(Point.RUN_CREATING)
        await self.journal.start(new, 1, self.clock.now(), [started], row)
        reach(Point.RUN_CREATED)
        if self.sharing is not None:
            self.sharing.note_started(started.run)
        for reader in self.readers:
            reader(await self.journal.read(started.run, 0, 1))
        await self.runners.take_up(started.run)
        return started.run

    async def _supersede(self, submission: Submission, actor: Actor) -> str:
        """A corrected plan takes over targets and their values before; the old run ends ``stopped``."""
        old = await self.resolve_name(str(submission.supersede))
        row = await self.journal.row(old)
        runner = await self._runner(row) if row is not None else None
        if runner is None or runner.state.ended:
            raise Refused(f"{old} has ended; only an active run can be superseded. Start the plan as it is")
        if runner.state.phase is Phase.ROLLING_BACK and not _exposure_is_back(runner.state):
            raise Refused(f"{old} is taking exposure back right now; supersede it when that has read back")
        started = submission.started(actor, supersedes=old)
        await self._refuse_foreign_targets(started, old)
        known = {entry.environment for entry in submission.documents}
        lost = {target.environment for target in runner.state.targets.values() if target.touched} - known
        if lost:
            raise Refused(f"{old} touched targets in {', '.join(sorted(lost))}, which the new plan has no word for")
        command = Command(command=CommandName.STOP, reason=f"superseded by {started.run}")
        await runner.command(command, actor)
        async with asyncio.timeout(SUPERSEDE_WAIT_SECONDS):
            await self._ended(runner)
        return await self._begin(started.model_copy(update={"inherited": reversing.inherited(runner.state)}))

    async def _refuse_foreign_targets(self, started: RunStarted, old: str) -> None:
        """Before the old run is stopped: nothing of the new plan may belong to a third one."""
        claims = begin(started, self.clock.now()).program.claims()
        held = {claim: run for claim, run in (await self.journal.holders(claims)).items() if run != old}
        if held:
            claim = min(held)
            raise TargetBusy(f"{held[claim]} holds {claims[claim]}; nothing was stopped")

    async def _ended(self, runner: Runner) -> None:
        done = asyncio.Event()
        runner.listeners.append(lambda _: done.set() if runner.state.ended else None)
        if runner.state.ended:
            return
        await done.wait()

    async def _reverse(self, run: str, command: Command, actor: Actor) -> str:
        """A rollback of an ended run is a run of its own, that begins with the way back."""
        state, _ = await self._state(run)
        name = new_name(state.started.plan, f"{run}/{command.key}" if command.key is not None else None)
        if await self.journal.row(name) is not None:
            return name  # the same command again
        inherited = reversing.taken_back(state, command)
        first = (await self.journal.read(run, limit=1))[0].event
        assert isinstance(first, RunStarted)
        started = first.model_copy(
            update={
                "run": name,
                "by": actor.name,
                "reason": command.reason,
                "reverses": run,
                "supersedes": None,
                "inherited": inherited,
                "with_schema": command.with_schema,
            }
        )
        async with self._starting:
            return await self._begin(started)

    # --- commands -------------------------------------------------------------------------------------------------

    async def command(self, run: str, command: Command, actor: Actor) -> dict[str, Any]:
        with self.meter.commanded(command.command):
            return await self._command(run, command, actor)

    async def _command(self, run: str, command: Command, actor: Actor) -> dict[str, Any]:
        row = await self.journal.row(run)
        if row is None:
            raise NotFound(f"there is no run {run}")
        if row.kept is not None:
            raise await self._gone(run)
        runner = await self._runner(row)
        ended = runner is None or runner.state.ended
        if ended and command.command is CommandName.ROLLBACK:
            return await self._command_reverse(run, command, actor)
        if runner is None:
            runner = await self.runners.take_up(run)  # ended and settled: it answers for itself, and is done again
        answer = await runner.command(command, actor)
        return {**answer, "run_started": None}

    async def _command_reverse(self, run: str, command: Command, actor: Actor) -> dict[str, Any]:
        _require(actor, "operator", "a rollback")
        name = await self._reverse(run, command, actor)
        return {"run": run, "command": "rollback", "accepted": True, "seq": 0, "run_started": name}

    # --- following ------------------------------------------------------------------------------------------------

    def _publish(self, run: str, recorded: Sequence[Recorded]) -> None:
        self.meter.recorded(record.event for record in recorded)
        for listener in self.listeners:
            listener(run)
        for reader in self.readers:
            reader(recorded)
        self._followers.tell(run, recorded)

    async def follow(self, run: str, after: int = 0) -> AsyncIterator[dict[str, Any]]:
        """What was, then what comes; ends after the run has ended. One who reads too slowly reads the store again."""
        with self._followers.following(run) as news:
            while True:
                async for piece in self.pieces(run, after):
                    for entry in piece:
                        after = entry["seq"]
                        yield entry
                row = await self.journal.row(run)
                if row is None or not row.active or self._is_closed:
                    return
                if run not in self.runners:
                    if self.sharing is None and not self.runners.is_in_hand(run):
                        return
                    await self.clock.sleep(FOLLOW_POLL_SECONDS)
                    continue
                async for entry in entries_after(after, news):
                    after = entry["seq"]
                    yield entry

    # --- flags ----------------------------------------------------------------------------------------------------

    def _flag_changed(self, environment: str, key: str) -> None:
        target = flag_target_id(environment, key)
        self.runners.target_changed(target)

    async def _holders(self) -> Mapping[str, tuple[str, bool]]:
        states = await self._active_states()
        return {target: (state.run, _is_pinned(state, target)) for state in states for target in state.program.claims()}

    async def _holder(self, target: str) -> Mapping[str, tuple[str, bool]]:
        run = (await self.journal.holders((target,))).get(target)
        if run is None:
            return {}
        try:
            state, _ = await self._state(run)
        except Unreadable:  # whoever is to walk it says so
            return {target: (run, False)}
        return {target: (run, _is_pinned(state, target))}

    async def set_flag(
        self, environment: str, key: str, change: FlagChange, reason: str, actor: Actor
    ) -> dict[str, Any]:
        """A person's own edit. A run that moves the flag holds ``changed_elsewhere`` until somebody decides."""
        _require(actor, "operator", "setting a flag")

        def changed(record: FlagRecord | None) -> FlagDocument:
            value = change_value(to_value(record.document) if record is not None else {**ABSENT}, change)
            return to_document(value, key, environment)

        written = await self._change((environment, key), changed, reason, actor)
        assert written is not None
        return await self._flag_alone(written)

    async def put_flag(self, document: FlagDocument, reason: str, actor: Actor) -> bool:
        """A whole document, as a person has it from elsewhere. False if the flag is like that already."""
        _require(actor, "operator", "setting a flag")

        def wanted(record: FlagRecord | None) -> FlagDocument | None:
            is_same = record is not None and replace(document, version=record.document.version) == record.document
            return None if is_same else document

        return await self._change((document.environment, document.key), wanted, reason, actor) is not None

    async def _change(self, place: tuple[str, str], wanted: Wanted, reason: str, actor: Actor) -> FlagRecord | None:
        return await self.board.change(place, wanted, by=actor.name, reason=reason, at=self.clock.now())

    async def disable_all(self, asked: Kill, actor: Actor) -> dict[str, Any]:
        """The kill switch. Over a whole environment, or all of them, it works while the store is away."""
        _require(actor, "operator", "the kill switch")
        latches = await self.latches_for(asked, actor.name)
        for latch in latches:
            self.kill_switch.disable_all(latch)
        self._spread_kill()
        if self._others is not None:
            await self._others.share_switch_now()
        return killed(asked, latches)

    async def lift(
        self, environment: str | None, key: str | None, reason: str, actor: Actor, confirm: bool = False
    ) -> dict[str, Any]:
        """Lifts the kill latch, or (without *confirm*) shows which percentage each flag would return to."""
        _require(actor, "approver", "lifting the kill switch")
        where = environment or EVERYWHERE
        records = await self.board.all(environment)
        returns = {
            f"{one.document.environment}/{one.document.key}": percentage_of(to_value(one.document))
            for one in records
            if key in (None, one.document.key)
            and self.kill_switch.is_killed(one.document.environment, one.document.key, permanent=one.document.permanent)
        }
        if confirm:
            self.kill_switch.lift(where, actor.name, reason, self.clock.now(), key)
            self._spread_kill()
            if self._others is not None:
                await self._others.share_switch_now()
        return {"environment": where, "flag": key, "lifted": confirm, "would_return": returns}

    def latches(self) -> Entries:
        return [latched(one) for one in self.kill_switch.latches()]

    def _spread_kill(self) -> None:
        self.board.look_at_kill_switch()
        self._latches = self.kill_switch.latches()
        self.runners.spread_kill()

    # --- freezes --------------------------------------------------------------------------------------------------

    async def freeze(self, asked: FreezeAsked, actor: Actor) -> dict[str, Any]:
        """Nothing goes forward in an environment, or in any: here at once, within two seconds on every controller."""
        _require(actor, "operator", "freezing")
        made = await self.freezing.freeze(asked, actor.name)
        self.runners.spread_freezes()
        rows = await self.journal.rows(active=True, limit=MOST_RUNS)
        held = [row.run for row in rows if made.covers(str(row.summary.get("environment")))]
        return {**made.shown(), "runs": held, "frozen": [one.shown() for one in self.freezing.standing()]}

    async def unfreeze(self, environment: str | None, reason: str, actor: Actor) -> dict[str, Any]:
        _require(actor, "approver", "unfreezing")
        ended = await self.freezing.lift(environment, actor.name, reason)
        self.runners.spread_freezes()
        return {**ended.shown(), "frozen": [one.shown() for one in self.freezing.standing()]}

    async def _freezes(self) -> list[Freeze]:
        return self.freezing.known()

    async def _watch_kill_switch(self) -> None:
        """The latch may be set by another process of this user: it is a file."""
        while True:
            await self.clock.sleep(KILL_POLL_SECONDS)
            try:
                self.board.look_at_kill_switch()
                if self.kill_switch.latches() != self._latches:
                    self._spread_kill()
            except StoreError as error:
                log.warning("kill_switch.unreadable", error=str(error))


def _dumped(origin: Origin | None) -> dict[str, Any] | None:
    return origin.model_dump(mode="json") if origin is not None else None


def _exposure_is_back(state: State) -> bool:
    nodes = state.rollback.nodes.values() if state.rollback is not None else ()
    return all(node.finished for node in nodes if node.node.kind == "exposure")


def _is_pinned(state: State, target: str) -> bool:
    return any(pin.flag == target for pin in state.pins.values())
