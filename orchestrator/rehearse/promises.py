"""What must hold in every walk, read from its journal and from what the world has now; the core is not asked.

Each rule yields one sentence for what is not so.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from orchestrator.core import events as ev
from orchestrator.journal import chain
from orchestrator.ports import Recorded
from orchestrator.rehearse.trouble import Away
from orchestrator.rehearse.walk import Place, Walk
from stages.cluster import SetVersion
from stages.effects import AnyOperation, SetFlag, flag_of, repeatable
from stages.flag_spec import percentage_of
from stages.step import Program
from stages.values import Json

Complaints = Iterator[str]


@dataclass(frozen=True, slots=True)
class Ending:
    """A walk with how it ended, in a word."""

    walk: Walk
    outcome: str


def broken(ending: Ending) -> tuple[str, ...]:
    return tuple(words for rule in RULES for words in rule(ending))


def _chain(ending: Ending) -> Complaints:
    """From where the walk began; what came before is the way forward's, which is verified by itself."""
    walk = ending.walk
    known = len(walk.records) - len(walk.new_records)
    seq = chain.verify(walk.new_records, walk.records[known - 1].hash if known else chain.GENESIS, known)
    if seq is not None:
        yield f"the journal's chain breaks at event {seq}"


def _everything_is_back(ending: Ending) -> Complaints:
    walk, ended = ending.walk, ending.walk.ended
    if ended is None or ended.outcome not in ("rolled_back", "rollback_failed"):
        return
    for target, title in touched(walk.records).items():
        before, stands = walk.before.get(target), walk.stands(target)
        is_listed = any(title in words for words in (*ended.exceptions, *left(walk.records)))
        if not is_listed and not _is_back(target, before, stands):
            yield f"{title} did not come back, and nothing says so"


def touched(records: Sequence[Recorded]) -> dict[str, str]:
    """Targets that were changed on the way forward, with their titles."""
    titles = {one.event.target: one.event.title for one in records if isinstance(one.event, ev.TargetObserved)}
    changed = [one.event.effect for one in records if isinstance(one.event, ev.EffectRequested)]
    return {
        effect.target: titles.get(effect.target, effect.label)
        for effect in changed
        if effect.node is None and effect.target_kind != "backup"
    }


def left(records: Sequence[Recorded]) -> tuple[str, ...]:
    """What the way back said that it would leave."""
    return tuple(words for one in records if isinstance(one.event, ev.RollbackStarted) for words in one.event.left)


def _is_back(target: str, before: Json, stands: Json) -> bool:
    if flag_of(target) is not None:
        return percentage_of(stands) <= percentage_of(before if isinstance(before, dict) else None)
    if stands is None:  # as nobody ever touched it
        return True
    return bool(stands == before or _revision(before) == stands)


def _revision(value: Json) -> Json:
    """Alembic is observed with what is pending up to a revision; where it stands is what counts."""
    return value.get("current", value) if isinstance(value, dict) else value


def _exposure_first(ending: Ending) -> Complaints:
    """On the way back nothing is undone that serves what is still exposed."""
    nodes: dict[str, ev.RollbackNode] = {}
    of_effect: dict[str, str] = {}
    finished: set[str] = set()
    for record in ending.walk.records:
        match record.event:
            case ev.RollbackStarted():
                nodes = {node.id: node for node in record.event.nodes}
            case ev.NodeFinished():
                finished.add(record.event.node)
            case ev.EffectFinished() if record.event.state == "done" and record.event.effect in of_effect:
                finished.add(of_effect[record.event.effect])
            case ev.EffectRequested() if record.event.effect.node in nodes:
                node = nodes[record.event.effect.node]
                of_effect[record.event.effect.id] = node.id
                early = [other for other in node.after if other in nodes and other not in finished]
                if node.kind in ("undo", "schema") and early:
                    yield f"{node.detail} is undone before {nodes[early[0]].detail or early[0]} is over"


def _nothing_rises(ending: Ending) -> Complaints:
    """While a gate fails, or can't be measured, what users meet does not grow."""
    walk = ending.walk
    if not walk.trouble.gates_fail and walk.trouble.away is not Away.PROMETHEUS:
        return
    until = walk.back_at if walk.trouble.away is not None else float("inf")
    program = walk.plan.program
    is_gated = walk.fork is not None and bool(gates_at(program, walk.fork.place))
    for record in walk.new_records:
        event = record.event
        if isinstance(event, ev.LegEntered) and event.leg == "baking":
            is_gated |= bool(program.environment(event.environment).stages[event.stage].steps[event.step].gate)
        elif is_gated and isinstance(event, ev.EffectRequested) and walk.began_at < record.at < until:
            yield from [f"{event.effect.label} though the gate reached before was not passing"] if _rises(event) else ()


def gates_at(program: Program, place: Place) -> tuple[str, ...]:
    """The gates that are judged while a run stands there."""
    entry = program.environment(place.environment)
    stage = entry.stage(place.stage)
    if stage is None:
        return tuple(dict.fromkeys(name for phase in entry.watch for name in phase.gate))
    return next((step.gate for step in stage.steps if step.name == place.step), ())


def _rises(event: ev.EffectRequested) -> bool:
    effect = event.effect
    if effect.node is not None or not str(effect.walk).startswith("step:"):
        return False
    if isinstance(effect.operation, SetVersion):
        return True
    before = effect.before if isinstance(effect.before, dict) else None
    return isinstance(effect.operation, SetFlag) and percentage_of(effect.operation.value) > percentage_of(before)


def _back_is_back(ending: Ending) -> Complaints:
    """The way back never turns forward."""
    has_begun = False
    for record in ending.walk.records:
        event = record.event
        if has_begun and isinstance(event, ev.EnvironmentPassed | ev.StageEnded | ev.LegEntered):
            yield f"{event.type_name} (event {record.seq}) after the way back began"
        has_begun |= isinstance(event, ev.RollbackStarted) and not event.scope


def _done_once(ending: Ending) -> Complaints:
    once = {
        one.event.effect.id: one.event.effect.label
        for one in ending.walk.records
        if isinstance(one.event, ev.EffectRequested) and _happens_once(one.event.effect.operation)
    }
    for effect, count in ending.walk.world.ran.items():
        if effect in once and count > 1:
            yield f"{once[effect]} was done {count} times"


def _happens_once(operation: AnyOperation) -> bool:
    return not repeatable(operation)


RULES: tuple[Callable[[Ending], Complaints], ...] = (
    _chain, _everything_is_back, _exposure_first, _nothing_rises, _back_is_back, _done_once,
)  # fmt: skip
