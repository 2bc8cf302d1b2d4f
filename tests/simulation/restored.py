"""Invariants of the way back: after ``rolled_back`` everything stands as it did before, but for what is listed."""

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from orchestrator.core import events as ev
from stages.flag_spec import ABSENT, percentage_of, to_value
from tests.simulation.journal import Story
from tests.simulation.world import Change

if TYPE_CHECKING:
    from tests.simulation.run import Simulation

Complaints = Iterator[str]


def everything_is_back(simulation: "Simulation", story: Story) -> Complaints:
    if story.ended is None or story.ended.outcome != "rolled_back" or story.whole_rollback is None:
        return
    titles = _titles(story)
    for target, title in titles.items():
        if any(title in words for words in story.ended.exceptions):
            continue
        before = _before(simulation, story, target)
        if before is None:
            continue  # this run never changed it
        stands = _stands(simulation, story, target)
        if target.startswith("flag:"):
            stands = _found_back(simulation, story, target) or stands
            yield from _flag_is_back(simulation, story, target, before[0], stands)
        elif not _is_back(simulation, story, target, before[0]) and not _is_at_the_wall(simulation, story, target):
            yield f"rolled back, but {target} stands at {stands!r}; it was {before[0]!r} and no exception names it"


def _is_back(simulation: "Simulation", story: Story, target: str, before: Any) -> bool:
    stands = (one(simulation, story, target) for one in (_stands, _when_left, _at_the_end))
    return before in stands


def _titles(story: Story) -> dict[str, str]:
    found = {one.id: one.title for one in story.started.inherited}
    for record in story.of(ev.TargetObserved):
        assert isinstance(record.event, ev.TargetObserved)
        found[record.event.target] = record.event.title
    return found


def _changes(simulation: "Simulation", target: str) -> list[Change]:
    return [change for change in simulation.world.log.changes if change.target == target]


def family_of(simulation: "Simulation", story: Story) -> set[str]:
    """The run and those whose targets it took over."""
    found, runs = {story.run}, {run: simulation.store._runs[run].events[0].event for run in simulation.runs}
    before: Any = runs[story.run]
    while (older := before.supersedes or before.reverses) is not None:
        found.add(older)
        before = runs[older]
    return found


def _before(simulation: "Simulation", story: Story, target: str) -> tuple[Any] | None:
    """What was observed before the first touch (what can't be seen: the world's value before it). None if only
    actions of a rollback touched it: that stays as they left it."""
    family = family_of(simulation, story)
    if story.started.reverses is not None and all(one.id != target for one in story.started.inherited):
        family = {story.run}  # the run before had taken it back itself, or left it to people
    forward = {
        record.event.effect.id
        for run in family
        for record in simulation.store._runs[run].events
        if isinstance(record.event, ev.EffectRequested) and record.event.effect.node is None
    }
    own = [change for change in _changes(simulation, target) if change.run in family]
    if not any(change.effect in forward for change in own):
        return None
    seen = _observed(story, target)
    return (own[0].before,) if seen is None else (_as_in_the_world(target, seen),)


def _observed(story: Story, target: str) -> Any:
    inherited = next((one.before for one in story.started.inherited if one.id == target), None)
    if inherited is not None:
        return inherited
    for record in story.of(ev.TargetObserved):
        if isinstance(record.event, ev.TargetObserved) and record.event.target == target:
            return record.event.value
    return None


def _as_in_the_world(target: str, seen: Any) -> Any:
    if target.startswith("command:"):
        return seen["text"]
    return seen["applied"] if target.startswith("schema:") else seen


def _stands(simulation: "Simulation", story: Story, target: str) -> Any:
    """After the run's own last change; what others did afterwards is theirs."""
    family = family_of(simulation, story)
    own = [change for change in _changes(simulation, target) if change.run in family]
    return own[-1].after


def _at_the_end(simulation: "Simulation", story: Story, target: str) -> Any:
    """Where it stood when the run ended, whoever left it there: somebody else may have taken it back."""
    return _stood(simulation, target, simulation.durable_at[(story.run, next(story.of(ev.RunEnded)).seq)])


def _when_left(simulation: "Simulation", story: Story, target: str) -> Any:
    """Where it stood when the way back was through with it, which may have found it there; what others do afterwards
    is theirs."""
    back = story.whole_rollback
    assert back is not None
    done = [
        record
        for record in story.of(ev.EffectFinished, ev.NodeFinished)
        if record.seq > back.seq and target in (getattr(record.event, "target", None), _target_of(record.event))
    ]
    return _stood(simulation, target, simulation.durable_at[(story.run, done[-1].seq)]) if done else None


def _found_back(simulation: "Simulation", story: Story, target: str) -> Any:
    """Where it stood when the way back found it as it was before, which another run may have seen to; None if it did
    not."""
    for record in story.of(ev.NodeFinished):
        assert isinstance(record.event, ev.NodeFinished)
        if record.event.result == "as_it_was" and _target_of(record.event) == target:
            return _stood(simulation, target, simulation.durable_at[(story.run, record.seq)])
    return None


def _target_of(event: ev.Event) -> str | None:
    return event.node.partition(":")[2] if isinstance(event, ev.NodeFinished) else None


def _stood(simulation: "Simulation", target: str, at: float) -> Any:
    return [change.after for change in _changes(simulation, target) if change.at <= at][-1]


def _is_at_the_wall(simulation: "Simulation", story: Story, target: str) -> bool:
    """Whether it stands as it did when a point of no return was passed, or begun: what came before that stays."""
    walls = [simulation.durable_at[(story.run, one.seq)] for one in story.of(ev.PointOfNoReturnPassed)]
    back = story.whole_rollback
    assert back is not None
    assert isinstance(back.event, ev.RollbackStarted)
    if back.event.no_return is not None:
        effects = list(story.of(ev.EffectRequested))
        walls.append(simulation.durable_at[(story.run, effects[back.event.no_return[1] - 1].seq)])
    then = [change.after for change in _changes(simulation, target) if walls and change.at <= walls[-1]]
    return bool(then) and then[-1] == _at_the_end(simulation, story, target)


def _flag_is_back(simulation: "Simulation", story: Story, target: str, before: Any, stands: Any) -> Complaints:
    """A flag that nobody else touched is what it was; any other is no more exposed than it was."""
    was = before if before is not None else dict(ABSENT)
    if percentage_of(stands) > percentage_of(was):
        yield f"rolled back, but {target} stands at {percentage_of(stands):g} %; it was {percentage_of(was):g} %"
    began = min(simulation.durable_at[(run, 1)] for run in family_of(simulation, story))
    others = [change for change in _changes(simulation, target) if change.run is None and change.at >= began - 30.0]
    pinned = any(
        target in record.event.pins for record in story.of(ev.TriggerFired) if isinstance(record.event, ev.TriggerFired)
    )
    if not others and not pinned and stands != was:
        yield f"rolled back, but {target} stands at {stands!r}; it was {was!r}"


def last_touched_goes_first(simulation: "Simulation", story: Story) -> Complaints:
    """Within a stage undos are asked for in the opposite order of the touches; never before exposure has gone."""
    back = story.whole_rollback
    if back is None:
        return
    began = story.records[0].event
    assert isinstance(began, ev.RunStarted)
    touched = {one.id: at - len(began.inherited) for at, one in enumerate(began.inherited)}  # by the run before
    newest: dict[str, int] = {}
    places = {(one.id, stage) for one in began.inherited for stage in (one.stage, *one.also)}
    exposure = {node.target for node in back.event.nodes if node.kind == "exposure"}  # type: ignore[attr-defined]
    for record in story.records:
        event = record.event
        if isinstance(event, ev.NodeFinished) and event.node.startswith("exposure:"):
            exposure.discard(event.node.removeprefix("exposure:"))
        elif isinstance(event, ev.EffectFinished) and event.state == "done" and record.seq > back.seq:
            exposure.discard(event.target)
        if not isinstance(event, ev.EffectRequested):
            continue
        effect = event.effect
        if effect.node is None and record.seq < back.seq:
            is_scaling = effect.walk is None and effect.target_kind == "workload"
            if is_scaling and (effect.target, effect.stage) in places:
                continue  # it keeps the place of its stage
            places.add((effect.target, effect.stage))
            touched[effect.target] = record.seq
        elif record.seq < back.seq:
            continue  # of a partial rollback before
        elif effect.node == f"undo:{effect.target}" and effect.attempt == 1 and effect.target in touched:
            place = f"{effect.environment}/{effect.stage}"
            if touched[effect.target] > newest.get(place, touched[effect.target]):
                yield f"{effect.target} goes back after what was touched before it (seq {record.seq})"
            newest[place] = touched[effect.target]
            late = [flag for flag in exposure if touched.get(str(flag), 0) > touched[effect.target]]
            if late:
                yield f"{effect.target} goes back before {late} did (seq {record.seq})"


def what_a_rollback_asks_for_is_done(_: "Simulation", story: Story) -> Complaints:
    """Its ``before`` and ``after``, each action once: what the rollback of a stage did is not done again by that of the
    whole run. People may give an action up."""
    back = story.whole_rollback
    if back is None or any(story.of(ev.TargetResolved)):
        return
    done: Counter[str] = Counter()
    nodes: dict[str, str] = {}  # effect -> node
    for record in story.records:
        event = record.event
        if isinstance(event, ev.EffectRequested) and event.effect.node is not None:
            nodes[event.effect.id] = event.effect.node
        elif isinstance(event, ev.EffectFinished) and event.state == "done":
            done[nodes.get(event.effect, "")] += 1
        elif isinstance(event, ev.ActFinished):
            done[event.walk] += 1
        elif isinstance(event, ev.NodeFinished) and event.result == "done" and event.node.startswith("rollback."):
            if record.seq < back.seq:
                continue
            wanted = _rollback_section(story, event.node)
            if done[event.node] != wanted:
                yield f"{event.node} is done with {done[event.node]} of {wanted} actions (seq {record.seq})"


def _rollback_section(story: Story, node: str) -> int:
    """How many actions the plan has there: ``rollback.before:production/queue`` is of a stage."""
    part, _, place = node.removeprefix("rollback.").partition(":")
    stage = next((one for one in story.plan["stages"] if one["name"] == place.partition("/")[2]), story.plan)
    return len(stage["rollback"][part])


def the_world_agrees(simulation: "Simulation", story: Story) -> Complaints:
    """A flag's document in the store is what the world's log says; nothing was written past it."""
    for (environment, key), record in simulation.store._flags.items():
        changes = _changes(simulation, f"flag:{environment}/{key}")
        if not changes or changes[-1].after != to_value(record.document):
            yield f"flag {environment}/{key} was written by nobody"


RULES = (everything_is_back, last_touched_goes_first, what_a_rollback_asks_for_is_done, the_world_agrees)
