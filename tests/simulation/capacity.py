"""Invariants of workloads: workers run while fed, scaling keeps to its bounds, nobody's edit is overwritten."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.core import events as ev
from orchestrator.core.effect import Effect
from orchestrator.ports import Recorded
from stages.cluster import ScaleWorkload, SetVersion, Version
from stages.effects import SetFlag, TargetKind
from tests.simulation.exposure import rises
from tests.simulation.journal import Story, seconds
from tests.simulation.restored import family_of
from tests.simulation.workloads import Workers, target_id
from tests.simulation.world import Change

if TYPE_CHECKING:
    from tests.simulation.run import Simulation

Complaints = Iterator[str]
USUAL_SETTLE = "30s"


def _effects(story: Story) -> Iterator[tuple[Recorded, Effect]]:
    for record in story.of(ev.EffectRequested):
        assert isinstance(record.event, ev.EffectRequested)
        yield record, record.event.effect


def _changes(simulation: "Simulation", target: str) -> list[Change]:
    return [change for change in simulation.world.log.changes if change.target == target]


def _workers_of(simulation: "Simulation", environment: str, target: str) -> Workers | None:
    for one in simulation.drawn.workloads.workers:
        if target == target_id("replicas", environment, f"deployment/{one.name}"):
            return one
    return None


# --- workers of a queue -----------------------------------------------------------------------------------------------


def workers_are_fed_when_they_run(simulation: "Simulation", story: Story) -> Complaints:
    """When a queue's flag rises, as many workers as it needs take work, unless people took them away or as they are."""
    taken: set[str] = set()
    for record in story.of(ev.EffectRequested, ev.TargetResolved):
        event = record.event
        if isinstance(event, ev.TargetResolved):
            taken.add(event.target)
        if not isinstance(event, ev.EffectRequested) or not rises(event):
            continue
        environment, stage = event.effect.environment, event.effect.stage
        for workers in simulation.drawn.workloads.workers:
            is_taken = target_id("replicas", environment, f"deployment/{workers.name}") in taken
            if workers.stage != stage or is_taken:
                continue
            times = [one.at for one in simulation.world.log.changes if one.effect == event.effect.id]
            if not all(_run(simulation, environment, workers, at) for at in times):
                yield f"{workers.name} does not run when {workers.flag} rises (seq {record.seq})"


def _run(simulation: "Simulation", environment: str, workers: Workers, at: float) -> bool:
    cluster = simulation.world.cluster
    written = [
        one for one in cluster.written if (one.environment, one.name) == (environment, workers.name) and one.at <= at
    ]
    if not written:
        return simulation.drawn.workloads.found[(environment, workers.name)].replicas >= workers.floor
    return written[-1].run is None or written[-1].ready_then(at) >= workers.floor


def workers_stay_while_they_are_fed(simulation: "Simulation", story: Story) -> Complaints:
    """Nothing that this run asks for on its way forward brings workers that it has started below what they need."""
    fed: set[tuple[str, str]] = set()
    for record, effect in _effects(story):
        if isinstance(effect.operation, SetFlag) and effect.node is None:
            fed.add((effect.environment, effect.stage))
        workers = _workers_of(simulation, effect.environment, effect.target)
        if workers is None or effect.node is not None or (effect.environment, workers.stage) not in fed:
            continue
        assert isinstance(effect.operation, ScaleWorkload)
        if effect.operation.replicas < workers.floor:
            yield f"{workers.name} is scaled to {effect.operation.replicas} while it is fed (seq {record.seq})"


def workers_go_last(simulation: "Simulation", story: Story) -> Complaints:
    """On the way back workers go only when their flag has gone, has settled, and the queue is empty or late."""
    for record, effect in _effects(story):
        workers = _workers_of(simulation, effect.environment, effect.target)
        if workers is None or effect.node != f"undo:{effect.target}" or not isinstance(effect.operation, ScaleWorkload):
            continue
        back = [one for one in story.of(ev.RollbackStarted) if one.seq < record.seq][-1]
        flag = f"flag:{effect.environment}/{workers.flag}"
        if not _has_raised(simulation, story, back, workers, flag):
            continue
        gone = _gone_at(simulation, story, back, record, f"exposure:{flag}")
        if gone is not None:
            yield from _settled_and_drained(simulation, story, record, workers, gone)
        elif effect.operation.replicas < workers.floor:
            yield f"{workers.name} goes back and {workers.flag} has not (seq {record.seq})"


def _has_raised(simulation: "Simulation", story: Story, back: Recorded, workers: Workers, flag: str) -> bool:
    """Whether the stage had raised the flag, in this run or one that it took over, and no rollback before this one has
    taken it back."""
    raised = False
    older = sorted(family_of(simulation, story) - {story.run}, key=simulation.runs.index)
    before = [record for run in older for record in simulation.store._runs[run].events]
    for record in [*before, *story.between(0, back.seq)]:
        event = record.event
        if isinstance(event, ev.EffectRequested) and event.effect.target == flag:
            is_step = event.effect.stage == workers.stage and rises(event)
            raised = event.effect.node is None and (raised or is_step)
    return raised


def _settled_and_drained(
    simulation: "Simulation", story: Story, undo: Recorded, workers: Workers, gone: float
) -> Complaints:
    assert isinstance(undo.event, ev.EffectRequested)
    stage = next((one for one in story.plan["stages"] if one["name"] == workers.stage), None)
    if stage is None:
        return  # the plan that took them over says nothing of them
    waited = simulation.durable_at[(story.run, undo.seq)] - gone
    if waited < seconds(stage.get("settle", USUAL_SETTLE)) - 1.0:
        yield f"{workers.name} goes back {waited:.0f} s after {workers.flag} did (seq {undo.seq})"
    drain = stage.get("drain")
    span = (gone, gone + waited)
    if drain is not None and not _drained(simulation, undo.event.effect.environment, drain, span):
        yield f"{workers.name} goes back before its queue is empty (seq {undo.seq})"


def _gone_at(simulation: "Simulation", story: Story, back: Recorded, undo: Recorded, node: str) -> float | None:
    """When a node of the rollback was through before *undo* was asked for; None if it was not, or there is none."""
    effects = {effect.id for record, effect in _effects(story) if effect.node == node and record.seq > back.seq}
    for record in story.between(back.seq, undo.seq):
        event = record.event
        is_done = isinstance(event, ev.EffectFinished) and event.effect in effects and event.state == "done"
        if is_done or (isinstance(event, ev.NodeFinished) and event.node == node):
            return simulation.durable_at[(story.run, record.seq)]
    return None


def _drained(simulation: "Simulation", environment: str, drain: dict[str, Any], span: tuple[float, float]) -> bool:
    """By what the world answered while the flag was gone; or the limit is over."""
    gone, at = span
    if at - gone >= seconds(drain.get("timeout", "10m")) - 1.0:
        return True
    asked = (one for one in simulation.world.log.asked if gone <= one.at <= at)
    return any(
        one.query == drain["query"] and one.environment == environment and one.verdict == "good" for one in asked
    )


# --- scaling on load --------------------------------------------------------------------------------------------------


def scaling_keeps_to_its_bounds(simulation: "Simulation", story: Story) -> Complaints:
    """Between min and max, from when its workers were started, and never while anything is rolled back."""
    started: list[tuple[str, str]] = []
    is_back = False
    unsure: set[str] = set()  # where nobody knows what the last effect made of them, so that they are looked at first
    for record in story.records:
        event = record.event
        if isinstance(event, ev.RollbackStarted):
            is_back = True
        elif isinstance(event, ev.EffectFinished):
            (unsure.discard if event.state == "done" else unsure.add)(event.target)
        elif isinstance(event, ev.RollbackFinished):
            is_back = False
            started = started[: next((at for at, one in enumerate(started) if one[1] == event.scope), len(started))]
        elif isinstance(event, ev.LegEntered) and event.leg == "preparing":
            started.append((event.environment, story.stage(event.stage)["name"]))
        elif isinstance(event, ev.EffectRequested) and _is_scaling(event.effect):
            effect = event.effect
            workers = _workers_of(simulation, effect.environment, effect.target)
            if workers is None or not workers.is_scaled:
                yield f"{effect.target} does not follow a load, and is scaled (seq {record.seq})"
            elif is_back or (effect.environment, workers.stage) not in started:
                yield f"{workers.name} is scaled out of its time (seq {record.seq})"
            elif not _is_in_bounds(workers, effect, is_known=effect.target not in unsure):
                yield f"{effect.label}, and the bounds are {workers.least} and {workers.most} (seq {record.seq})"


def _is_scaling(effect: Effect) -> bool:
    return isinstance(effect.operation, ScaleWorkload) and effect.walk is None and effect.node is None


def _is_in_bounds(workers: Workers, effect: Effect, *, is_known: bool) -> bool:
    assert isinstance(effect.operation, ScaleWorkload)
    assert isinstance(effect.before, dict)
    assert workers.most is not None
    wanted, current = effect.operation.replicas, int(effect.before["replicas"])
    is_within = workers.least <= wanted and (wanted <= workers.most or wanted < current)
    return is_within and (wanted != current or not is_known)


# --- versions ---------------------------------------------------------------------------------------------------------


def versions_keep_their_pods(simulation: "Simulation", story: Story) -> Complaints:
    """A step moves pods from one Deployment to the other, to within one pod of its share, and never lowers it."""
    for record, effect in _effects(story):
        operation = effect.operation
        if not isinstance(operation, SetVersion) or effect.node is not None:
            continue
        before = Version.model_validate(effect.before)
        arms = [arm for arm in (before.stable, before.canary) if arm is not None]
        asked = [arm for arm in (operation.stable, operation.canary) if arm is not None]
        total, wanted = _pods_at_first(before), sum(arm.replicas for arm in asked)
        stage, number = str(effect.walk).split("/")[1:]
        level = next(one for one in story.plan["stages"] if one["name"] == stage)["percentages"][int(number)]
        if wanted != total and not (total == 1 and wanted == 2 and level < 100):  # one alone would be none on one side
            yield f"{effect.label} makes {wanted} pods of {total} (seq {record.seq})"
        if level == 100 and any(arm.replicas for arm in asked[1:]):
            yield f"{effect.label} leaves pods beside {operation.workload} (seq {record.seq})"
        image = simulation.drawn.workloads.versions[0].image
        had = min(sum(arm.replicas for arm in arms if arm.image == image), wanted)  # a copy of a lone pod goes at last
        new = sum(arm.replicas for arm in asked if arm.image == image)
        share = wanted * level / 100
        if new < max(had, share - 1) or new > max(had, share + 1):
            yield f"{effect.label} gives the new image to {new} of {wanted} pods (seq {record.seq})"


def _pods_at_first(before: Version) -> int:
    arms = [arm.replicas for arm in (before.stable, before.canary) if arm is not None]
    return 1 if before.total == 1 and arms == [1, 1] else sum(arms)


def copies_go(simulation: "Simulation", story: Story) -> Complaints:
    """When a version that needed no canary is everywhere, or all is as before, there is no copy: unless there was one
    before, or somebody else had a hand in it."""
    versions = [one for one in simulation.drawn.workloads.versions if one.is_made]
    if story.ended is None or story.ended.outcome not in ("promoted", "rolled_back") or story.ended.exceptions:
        return
    end = simulation.durable_at[(story.run, next(story.of(ev.RunEnded)).seq)]
    for version in versions:
        stage = next((one for one in story.plan["stages"] if one["name"] == version.stage), None)
        if stage is None:  # a corrected plan does without it
            continue
        for place in {environment for environment, _ in simulation.drawn.workloads.found}:
            target = target_id("version", place, f"deployment/{version.stable}")
            changes = [one for one in _changes(simulation, target) if one.at <= end]
            is_last = bool(changes) and changes[-1].run == story.run
            is_at_all = story.ended.outcome == "rolled_back" or stage["percentages"][-1] == 100
            by_others = any(one.run != story.run for one in changes)
            if is_last and is_at_all and not by_others and "canary" in changes[-1].after:
                yield f"{version.canary} is still there at the end: {changes[-1].after}"


# --- somebody else ----------------------------------------------------------------------------------------------------


def drift_is_somebody_elses(simulation: "Simulation", story: Story) -> Complaints:
    """What is called somebody else's change of a workload was one, since the run knew the workload, be it that they
    wrote what stood there already; or people said that the run did not do it."""
    for record in story.of(ev.DriftFound):
        assert isinstance(record.event, ev.DriftFound)
        target, at = record.event.target, simulation.durable_at[(story.run, record.seq)]
        said = [one.event for one in story.of(ev.TargetResolved) if one.seq < record.seq]
        is_denied = any(one.target == target and one.taken_as == "not_done" for one in said)  # type: ignore[attr-defined]
        if target.startswith("flag:") or is_denied:
            continue
        place, _, name = target.partition(":")[2].rpartition("/")
        hands = [one for one in simulation.world.log.by_hand if one[1] == place.partition("/")[0] and one[2] == name]
        times = [one.at for one in _changes(simulation, target) if one.run is None] + [one[0] for one in hands]
        if not any(_known_since(simulation, story, target) <= when <= at for when in times):
            yield f"{target} is said to be changed by somebody else, and was not (seq {record.seq})"


def _known_since(simulation: "Simulation", story: Story, target: str) -> float:
    """When the run, or the one whose target it took over, first saw it; less what a look at it takes."""
    times = [
        simulation.durable_at[(run, record.seq)]
        for run in family_of(simulation, story)
        for record in simulation.store._runs[run].events
        if isinstance(record.event, ev.TargetObserved) and record.event.target == target
    ]
    return min(times) - 60.0


def nobodys_edit_is_overwritten(simulation: "Simulation", story: Story) -> Complaints:
    """A workload that somebody changed is written again only if a person said so, or by what a trigger does."""
    known = {effect.id: (record, effect) for record, effect in _effects(story)}
    newest: dict[str, Change] = {}
    for change in simulation.world.log.changes:
        before = newest.get(change.target)
        newest[change.target] = change
        if change.kind != "workload" or change.effect not in known or before is None or before.run is not None:
            continue
        record, effect = known[change.effect]
        if before.after != effect.before or _may_overwrite(simulation, story, effect, before):
            continue
        yield f"{change.target} was set to {before.after} by hand, and {effect.label} overwrote it (seq {record.seq})"


def _may_overwrite(simulation: "Simulation", story: Story, effect: Effect, edit: Change) -> bool:
    """Whether a person took the edit as it is, or one like it before, or said yes; or the edit was what the run found
    there, or wanted, or had left there: then nobody can tell whose it is."""
    if str(effect.walk).startswith("trigger:") or "#2" in str(effect.node):
        return True
    records = [one for run in family_of(simulation, story) for one in simulation.store._runs[run].events]
    return _was_taken_before(simulation, records, effect.target, edit) or any(
        _explains(record.event, edit, is_later=simulation.durable_at[(record.run, record.seq)] >= edit.at)
        for record in records
        if getattr(record.event, "target", None) == effect.target
    )


def _was_taken_before(simulation: "Simulation", records: Sequence[Recorded], target: str, edit: Change) -> bool:
    """Whether a person took what somebody had set as it was, before it was set so once more."""
    found = False
    for record in records:
        event, at = record.event, simulation.durable_at[(record.run, record.seq)]
        if getattr(event, "target", None) != target or at >= edit.at:
            continue
        if isinstance(event, ev.DriftFound):
            found = event.found == edit.after
        elif isinstance(event, ev.TargetResolved) and found:
            return True
    return False


def _explains(event: ev.Event, edit: Change, *, is_later: bool) -> bool:
    match event:
        case ev.TargetResolved():
            return is_later
        case ev.EffectFinished(state="done"):
            return bool(event.observed == edit.after)
        case ev.TargetObserved():
            return bool(event.value == edit.after)
        case _:
            return False


def what_is_left_is_asked_about(_: "Simulation", story: Story) -> Complaints:
    """A drifted workload on the way back is listed at the end, unless somebody had it taken back."""
    if story.ended is None or story.ended.outcome != "rolled_back":
        return
    titles = {
        one.event.target: one.event.title
        for one in story.of(ev.TargetObserved)
        if isinstance(one.event, ev.TargetObserved) and one.event.kind is TargetKind.WORKLOAD
    }
    for record in story.of(ev.NodeFinished):
        event = record.event
        assert isinstance(event, ev.NodeFinished)
        title = titles.get(event.node.partition(":")[2])
        if event.result != "left" or title is None or _is_taken_back(story, f"{event.node}#2"):
            continue
        if not any(title in words for words in story.ended.exceptions):
            yield f"{title} was left (seq {record.seq}) and is not listed"


def _is_taken_back(story: Story, node: str) -> bool:
    asked = {effect.id for _, effect in _effects(story) if effect.node == node}
    done = (one.event.effect for one in story.of(ev.EffectFinished) if one.event.state == "done")  # type: ignore[attr-defined]
    same = (one.event.node for one in story.of(ev.NodeFinished) if one.event.result == "as_it_was")  # type: ignore[attr-defined]
    return node in same or any(effect in asked for effect in done)


RULES = (
    workers_are_fed_when_they_run,
    workers_stay_while_they_are_fed,
    workers_go_last,
    scaling_keeps_to_its_bounds,
    versions_keep_their_pods,
    copies_go,
    drift_is_somebody_elses,
    nobodys_edit_is_overwritten,
    what_is_left_is_asked_about,
)
