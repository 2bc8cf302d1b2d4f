"""Alembic, through a team's own environment: asked and told by its command, never re-implemented.

``history`` gives the graph of revisions and where the database stands; ``upgrade`` and ``downgrade`` move it.
Each call is a supervised process; the two that change something hold the effect's lock, so a later life of the
controller knows when an earlier one's migration is over; and where the plan names a PostgreSQL database, a session of
ours holds the lock of migrators there meanwhile. Whatever became of it is then read from Alembic's own version
table: at the revision that is wanted it is done; where it was, or on the way (Alembic commits revision by revision,
where the team set it so), it goes on; anywhere else somebody else moved it.
"""

import re
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import cached_property

from orchestrator.adapters.process import READ_BYTES, CommandLost, CommandResult, ProcessRunner, StillRunning
from orchestrator.adapters.sql.migrators import MigratorLock
from orchestrator.core.effect import Effect, EffectState, Outcome
from orchestrator.errors import Permanent, RolloutError, Temporary
from orchestrator.ports import Scene, Seen
from stages.data_loss import losses
from stages.effects import AlembicCall, AnyObservation, ObserveAlembic, RunAlembic, RunCommand
from stages.values import Json

ASK_SECONDS = 60.0
BASE = "base"
HEAD = "head"
VERSION_TABLE = "alembic_version"
SAID_CHARACTERS = 600
_REVISION = re.compile(r"(<base>|[^\s()][^()]*?)(?: \(([^()]*)\))? -> ([^\s(),]+)((?: \([^()]*\))*)(?:, .*)?")
_CURRENT = re.compile(r"([^\s(),]+)(?: \([^()]*\))*")
_RAISED = re.compile(r"(?:[A-Za-z_]\w*\.)*[A-Za-z_]\w*(?:Error|Exception|Timeout|Failed|Aborted|NotAvailable)\b.*")
_LOGGED = re.compile(r"(?:FAILED|ERROR)\b\W*(?:\[[\w.]+\]\s*)?(.*)")
_PASSING = re.compile(
    r"lock timeout|database (?:table )?is locked|deadlock detected|connection (?:refused|reset|failed|timed out)|"
    r"could not connect|server closed the connection|the database system is|too many clients|"
    r"no space left on device|disk is full",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class History:
    """The graph of revisions: revision -> those right below it, newest first."""

    parents: dict[str, tuple[str, ...]]

    @cached_property
    def heads(self) -> tuple[str, ...]:
        below = {parent for parents in self.parents.values() for parent in parents}
        return tuple(revision for revision in self.parents if revision not in below)

    def head(self) -> str:
        if len(self.heads) > 1:
            names = ", ".join(sorted(self.heads))
            raise Permanent(f"Alembic's history has several heads ({names}); merge them with `alembic merge` first")
        return self.heads[0]

    def find(self, name: str) -> str:
        """The revision that *name* means: ``head``, a whole name or the only one that begins so."""
        if name == HEAD:
            return self.head()
        if name in self.parents:
            return name
        found = [revision for revision in self.parents if revision.startswith(name)]
        if len(found) == 1:
            return found[0]
        why = f"several begin so: {', '.join(sorted(found))}" if found else f"the newest is {', '.join(self.heads)}"
        raise Permanent(f"Alembic's history has no revision {name!r}; {why}")

    def upto(self, revision: str | None) -> frozenset[str]:
        """*revision* and all that lies below it; nothing for the base."""
        found: set[str] = set()
        ahead = [revision] if revision is not None else []
        while ahead:
            one = ahead.pop()
            if one not in found:
                found.add(one)
                ahead += self.parents.get(one, ())
        return frozenset(found)

    def leads(self, lower: str | None, upper: str | None) -> bool:
        """Whether *upper* is *lower* or lies above it."""
        return lower is None or lower in self.upto(upper)

    def between(self, lower: str | None, upper: str | None) -> list[str]:
        """What lies above *lower* up to *upper*, oldest first."""
        wanted = self.upto(upper) - self.upto(lower)
        return [revision for revision in reversed(self.parents) if revision in wanted]


def read_history(text: str) -> History:
    """Raises ``Permanent`` if nothing of it is a revision, or it has several heads."""
    parents: dict[str, tuple[str, ...]] = {}
    for line in text.splitlines():
        found = _REVISION.fullmatch(line.strip())
        if found is not None:
            below = ", ".join(part for part in (found[1], found[2]) if part)
            parents[found[3]] = tuple(one for one in re.split(r",\s*", below) if one != "<base>")
    if not parents:
        raise Permanent("Alembic's history has no revisions; does its config name the right script_location?")
    history = History(parents)
    history.head()
    return history


def read_current(text: str, history: History) -> str | None:
    lines = [_CURRENT.fullmatch(line.strip()) for line in text.splitlines()]
    return _one_of([match[1] for match in lines if match is not None and match[1] in history.parents])


def read_indicated(text: str) -> str | None:
    """The revision that ``history --indicate-current`` marks, if it marks one."""
    lines = [_REVISION.fullmatch(line.strip()) for line in text.splitlines()]
    return _one_of([match[3] for match in lines if match is not None and "(current)" in match[4]])


def _one_of(found: list[str]) -> str | None:
    if len(found) > 1:
        raise Permanent(f"the database stands at several revisions ({', '.join(sorted(found))}); merge them first")
    return found[0] if found else None


@dataclass(frozen=True, slots=True)
class _Look:
    history: History
    current: str | None

    @property
    def words(self) -> str:
        return f"revision {self.current}" if self.current is not None else "its base, before the first revision"

    def value(self, goal: str) -> dict[str, Json]:
        return {"current": self.current, "pending": self.history.between(self.current, goal)}


class AlembicPerformer:
    """``run_alembic`` and ``observe_alembic``. It always looks first, so it may be repeated at will."""

    def __init__(self, runner: ProcessRunner, lock: MigratorLock) -> None:
        self._runner = runner
        self._lock = lock

    # --- looking ------------------------------------------------------------------------------------------------------

    async def observe(self, observation: AnyObservation, scene: Scene) -> Seen:
        assert isinstance(observation, ObserveAlembic), f"{observation.op} is not for the Alembic adapter"
        look = await self._look(observation, scene)
        goal = _goal(observation, look)
        _expected(observation, look)
        value = look.value(goal)
        _in_order(observation, look, value["pending"])
        if observation.guard_data_loss and value["pending"]:
            await self._guard(observation, scene, look.current, goal)
        return Seen(value=value)

    async def upgrade_sql(self, observation: ObserveAlembic, scene: Scene) -> str:
        """The SQL of what is still to be applied, by ``upgrade --sql``; empty if nothing is. Raises ``Permanent``."""
        look = await self._look(observation, scene)
        goal = _goal(observation, look)
        if look.history.leads(goal, look.current):
            return ""
        span = f"{look.current}:{goal}" if look.current is not None else goal
        return await self._said(observation, scene, "upgrade", span, "--sql")

    async def _guard(self, call: AlembicCall, scene: Scene, current: str | None, goal: str) -> None:
        remedy = "say allow_data_loss: true if that is meant, or on_rollback: keep or {ask: ...}"
        try:
            sql = await self._said(call, scene, "downgrade", f"{goal}:{current or BASE}", "--sql")
        except RolloutError as error:
            message = f"whether the downgrade from {goal} drops data can't be told, for {error}; {remedy}"
            raise Permanent(message) from error
        lost = losses(sql, ignored=(VERSION_TABLE,))
        if lost:
            raise Permanent(f"on_rollback is down, and the downgrade from {goal} drops {', '.join(lost)}; {remedy}")

    async def _look(self, call: AlembicCall, scene: Scene) -> _Look:
        listed = await self._said(call, scene, "history", "--indicate-current")
        history, current = read_history(listed), read_indicated(listed)
        if current is None:  # its base, or a revision that the scripts do not have: then this fails, and says so
            current = read_current(await self._said(call, scene, "current"), history)
        return _Look(history, current)

    async def _said(self, call: AlembicCall, scene: Scene, *words: str) -> str:
        limit = min(call.timeout_seconds, ASK_SECONDS)
        result = await self._runner.read(_command(call, words, limit), scene)
        if result.timed_out:
            raise Temporary(f"`alembic {' '.join(words)}` did not answer within {limit:g} s")
        if result.exit_code != 0:
            raise Permanent(f"`alembic {' '.join(words)}` ended with exit code {result.exit_code}{_reason(result)}")
        if len(result.stdout.encode()) >= READ_BYTES:
            raise Permanent(f"`alembic {' '.join(words)}` prints more than {READ_BYTES >> 20} MiB")
        return result.stdout

    # --- moving -------------------------------------------------------------------------------------------------------

    async def perform(self, effect: Effect, scene: Scene, resumed: bool) -> Outcome:
        operation = effect.operation
        assert isinstance(operation, RunAlembic), f"{operation.op} is not for the Alembic adapter"
        scene = replace(scene, environment=effect.environment, stage=effect.stage, effect_id=effect.id)
        if not await self._runner.end_earlier(scene):
            return Outcome(state=EffectState.UNKNOWN, detail="an earlier try of Alembic still runs and can't be ended")
        held = self._lock.held(operation.database, scene.directory, "Alembic", operation.lock_timeout_seconds)
        async with AsyncExitStack() as stack:
            try:
                await stack.enter_async_context(held)
            except RolloutError as problem:
                state = EffectState.UNKNOWN if resumed else EffectState.TEMPORARY
                return Outcome(state=state, detail=str(problem))
            return await self._perform(operation, effect.before, scene, resumed)

    async def _perform(self, operation: RunAlembic, before: Json, scene: Scene, resumed: bool) -> Outcome:
        try:
            look = await self._look(operation, scene)
            goal = look.history.find(operation.revision)
            wanted = goal if operation.direction == "up" else operation.to
            refused = _no_way(operation, look, before)
        except RolloutError as problem:
            state = EffectState.UNKNOWN if resumed else EffectState.TEMPORARY
            return Outcome(state=state, detail=str(problem))
        if look.current == wanted or (operation.direction == "up" and look.history.leads(goal, look.current)):
            return Outcome(
                state=EffectState.DONE, detail=f"the database stands at {look.words}", observed=look.value(goal)
            )
        if refused is not None:
            state = EffectState.UNKNOWN if resumed else EffectState.REFUSED
            return Outcome(state=state, detail=refused, observed=look.value(goal))
        return await self._move(operation, scene, look, wanted)

    async def _move(self, operation: RunAlembic, scene: Scene, look: _Look, wanted: str | None) -> Outcome:
        verb = "upgrade" if operation.direction == "up" else "downgrade"
        command = _command(operation, (verb, wanted or BASE), operation.timeout_seconds)
        try:
            result = await self._runner.run_once(command, scene)
        except (StillRunning, CommandLost) as problem:
            return Outcome(state=EffectState.UNKNOWN, detail=str(problem))
        except Temporary as problem:
            return Outcome(state=EffectState.TEMPORARY, detail=str(problem))
        except RolloutError as problem:
            return Outcome(state=EffectState.REFUSED, detail=str(problem), observed=None)
        name = f"`alembic {verb} {wanted or BASE}`"
        if result.timed_out or result.exit_code < 0:
            how = f"was ended after {result.duration_seconds:.0f} s" if result.timed_out else "was killed"
            return Outcome(state=EffectState.UNKNOWN, detail=f"{name} {how}{_reason(result)}")
        try:
            after = await self._look(operation, scene)
        except RolloutError as problem:
            detail = f"{name} ended with exit code {result.exit_code}, and where the database stands is not known: "
            return Outcome(state=EffectState.UNKNOWN, detail=f"{detail}{problem}")
        return _outcome(name, result, look, after, wanted, after.value(after.history.find(operation.revision)))


def _outcome(
    name: str, result: CommandResult, before: _Look, after: _Look, wanted: str | None, observed: Json
) -> Outcome:
    moved = f"from {before.words} to {after.words}"
    if after.current == wanted:
        return Outcome(state=EffectState.DONE, detail=f"{name} moved the database {moved}", observed=observed)
    if result.exit_code == 0:
        detail = f"{name} ended well, but the database stands at {after.words}"
        return Outcome(state=EffectState.REFUSED, detail=detail, observed=observed)
    detail = f"{name} ended with exit code {result.exit_code}{_reason(result)}"
    detail += f"; it moved the database {moved}" if after.current != before.current else "; nothing was changed"
    is_passing = _PASSING.search(result.stderr) is not None
    state = EffectState.TEMPORARY if is_passing else EffectState.REFUSED
    return Outcome(state=state, detail=detail, observed=observed)


def _no_way(operation: RunAlembic, look: _Look, before: Json) -> str | None:
    """Why the database must not be moved from where it stands; None if it may."""
    history, goal = look.history, look.history.find(operation.revision)
    if operation.direction == "up":
        began = before.get("current") if isinstance(before, dict) else None
        if history.leads(began, look.current) and history.leads(look.current, goal):
            return None
        return f"the database stands at {look.words}; it was at {began or BASE} before: somebody else moved it"
    if not (history.leads(operation.to, look.current) and history.leads(look.current, goal)):
        return (
            f"the database stands at {look.words}, which is not between {operation.to or BASE} and {goal}, "
            "where this step left it"
        )
    walls = {history.find(name): reason for name, reason in operation.walls.items()}
    for revision in reversed(history.between(operation.to, look.current)):
        if revision in walls:
            return f"revision {revision} lies on the way down and never goes: {walls[revision]}"
    return None


def _goal(call: AlembicCall, look: _Look) -> str:
    history = look.history
    goal, final = history.find(call.revision), history.find(call.final)
    if not history.leads(goal, final):
        raise Permanent(f"revision {goal} is not on the way to {final}, where the stage ends")
    if not history.leads(look.current, final):
        raise Permanent(f"the database stands at {look.words}, which is not on the way to {final}")
    return goal


def _expected(observation: ObserveAlembic, look: _Look) -> None:
    if observation.expect_current is None:
        return
    final = look.history.find(observation.final)
    name = observation.expect_current
    expected = None if name == BASE else look.history.find(name)
    if look.current not in (expected, final):
        raise Permanent(f"the database stands at {look.words}; {name} is expected (expect_current), or {final}")


def _in_order(observation: ObserveAlembic, look: _Look, pending: list[str]) -> None:
    """A way back past a revision that never goes would fail when it is needed."""
    for name in observation.walls:
        wall = look.history.find(name)
        if wall in pending:
            message = f"revision {wall} never goes and lies below {pending[-1]}; name it first in the plan"
            raise Permanent(message)


def _command(call: AlembicCall, words: tuple[str, ...], timeout_seconds: float) -> RunCommand:
    argv = (*call.argv, "-c", call.config, *words)
    return RunCommand(argv=argv, dir=call.dir, vars=call.vars, timeout_seconds=timeout_seconds)


def _reason(result: CommandResult) -> str:
    """Why Alembic failed, of all that it printed: the newest error that was raised or logged, else the last line."""
    lines = [line.strip() for line in result.stderr.splitlines() if line.strip()]
    lines = lines or [line.strip() for line in result.stdout.splitlines() if line.strip()]
    raised = [line for line in lines if _RAISED.fullmatch(line)]
    logged = [match[1] for line in lines if (match := _LOGGED.fullmatch(line)) and match[1]]
    said = (raised[-1:] or logged[-1:] or lines[-1:] or ["and said nothing"])[0]
    return f": {said[:SAID_CHARACTERS]}" if lines else f", {said}"
