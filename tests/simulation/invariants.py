"""What must always hold, checked after a seed from its journals and from the world's own log.

Nothing here asks the core: each rule reads events and what the world remembers, and says in one sentence what is not
so. ``CHECKS`` is the list; a rule takes the whole simulation or one run's story.
"""

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import TYPE_CHECKING

from orchestrator.core import events as ev
from orchestrator.core.fold import fold
from orchestrator.journal import chain
from orchestrator.ports import Recorded
from stages.cluster import RestartWorkload
from stages.effects import AnyOperation, repeatable
from tests.simulation.journal import Story, is_forward

if TYPE_CHECKING:
    from tests.simulation.run import Simulation

Complaints = Iterator[str]
AFTER_THE_END = (
    ev.SuccessBaseline, ev.SuccessJudged, ev.WaitingOpened, ev.WaitingAnswered, ev.NoticeRequested, ev.NoticeDelivered,
    ev.ChannelFailing, ev.Acknowledged,
)  # fmt: skip


def check(simulation: "Simulation") -> list[str]:
    from tests.simulation import capacity, exposure, freezes, restored

    found: list[str] = []
    stories = [story_of(simulation, run) for run in simulation.runs]
    for story in stories:
        for rule in (*RULES, *exposure.RULES, *restored.RULES, *capacity.RULES, *freezes.RULES):
            found += [f"{story.run}: {words}" for words in rule(simulation, story)]
    for whole in (_commands, _ran_once, _versions):
        found += whole(simulation)
    return found


def story_of(simulation: "Simulation", run: str) -> Story:
    records = simulation.store._runs[run].events
    started = records[0].event
    assert isinstance(started, ev.RunStarted)
    return Story(run, records, dict(started.documents[0].plan["spec"]))


# --- the journal itself ----------------------------------------------------------------------------------------------


def _chain(_: "Simulation", story: Story) -> Complaints:
    broken = chain.verify(story.records)
    if broken is not None:
        yield f"the chain breaks at event {broken}"


def _folds(simulation: "Simulation", story: Story) -> Complaints:
    """What the last controller held is what the journal says."""
    state = fold((record.event, record.at) for record in story.records)
    for seat in simulation.seats:
        runner = seat.service.runners.get(story.run) if seat.service is not None else None
        if runner is not None and runner._goes_on() and runner.state != state:
            yield "the state in memory is not the fold of the journal"


def _ends(simulation: "Simulation", story: Story) -> Complaints:
    if story.ended is None:
        last = story.records[-1]
        yield f"it never ended; its last event is {last.event.type_name} (seq {last.seq})"
        return
    end = next(story.of(ev.RunEnded))
    for record in story.records[end.seq :]:
        if not isinstance(record.event, AFTER_THE_END):
            yield f"{record.event.type_name} (seq {record.seq}) stands after the end"
    if not any(simulation.store._runs[story.run].row.run == holder for holder, _ in simulation.store._claims.values()):
        return
    yield "it ended and still holds claims"


# --- order and what stops it -----------------------------------------------------------------------------------------


def _order(_: "Simulation", story: Story) -> Complaints:
    """Steps in order, none twice unless a pin was released, none skipped."""
    stages = story.plan["stages"]
    environments = [document.environment for document in story.started.documents]
    newest = (-1, -1, -1)
    reentered = False
    ended: set[tuple[str, str]] = set()
    for record in story.records:
        event = record.event
        if isinstance(event, ev.StageEnded):
            ended.add((event.environment, event.stage))
        elif isinstance(event, ev.StepReentered):
            reentered = True
        elif isinstance(event, ev.LegEntered) and event.leg == "acting":
            place = (environments.index(event.environment), event.stage, event.step)
            if place < newest or (place == newest and not reentered):
                yield f"step {place} is entered after {newest} (seq {record.seq})"
            missing = [
                stage["name"] for stage in stages[: event.stage] if (event.environment, stage["name"]) not in ended
            ]
            if missing:
                yield f"stage {event.stage} is entered though {missing} is not over (seq {record.seq})"
            same = newest[:2] == place[:2]
            if place[2] > (newest[2] + 1 if same else 0):
                yield f"step {place} follows {newest}: one was skipped (seq {record.seq})"
            newest, reentered = place, False
    if story.ended is not None and story.ended.outcome == "promoted":
        everything = {(environment, stage["name"]) for environment in environments for stage in stages}
        if everything - ended:
            yield f"it was promoted without {sorted(everything - ended)}"


def _acts_once(_: "Simulation", story: Story) -> Complaints:
    """An act of the plan's own way is done once; again only after its step was entered anew, or tried anew."""
    done: dict[tuple[str, str], int] = {}
    walks: dict[str, str] = {}
    for record in story.records:
        event = record.event
        if isinstance(event, ev.StepReentered):
            done = {}
        elif isinstance(event, ev.EffectRequested):
            walks[event.effect.id] = f"{event.effect.walk}|{event.effect.label}"
        elif (
            isinstance(event, ev.EffectFinished)
            and event.state == "done"
            and not walks[event.effect].startswith("None")
        ):
            key = (walks[event.effect], event.target)
            if key in done and not walks[event.effect].startswith(("trigger", "answer", "question", "rollback.")):
                yield f"{event.target} was acted on twice in {walks[event.effect]} (seq {record.seq}, {done[key]})"
            done[key] = record.seq


def _back_is_back(_: "Simulation", story: Story) -> Complaints:
    """Rolling back never turns forward."""
    back = story.whole_rollback
    if back is None:
        return
    for record in story.records[back.seq :]:
        if isinstance(record.event, ev.LegEntered | ev.StageEnded | ev.EnvironmentPassed) or is_forward(record):
            yield f"{record.event.type_name} (seq {record.seq}) after the way back began"
    if story.ended is not None and story.ended.outcome == "promoted":
        yield "it was promoted though the way back had begun"


def _paused(_: "Simulation", story: Story) -> Complaints:
    """No forward intent between a pause and a resume, nor after a stop."""
    paused = stopped = cut = False
    for record in story.records:
        event = record.event
        match event:
            case ev.Paused() | ev.OnFailPaused() | ev.RollbackFinished():
                paused = True
            case ev.Resumed():
                paused = False
            case ev.StopRequested():
                stopped = True
            case ev.StageEnded():
                cut = event.how == "cut"
            case ev.LegEntered():
                if (paused and not (cut and event.leg in (None, "entering"))) and "released" not in event.reason:
                    yield f"{event.phase}.{event.leg} is entered while paused (seq {record.seq})"
            case _:
                pass
        if paused and is_forward(record):
            yield f"an effect is asked for while paused (seq {record.seq})"
        if stopped and isinstance(event, ev.EffectRequested):
            yield f"an effect is asked for after the stop (seq {record.seq})"


def _windows(simulation: "Simulation", story: Story) -> Complaints:
    """By the wall clock: a run's own time may be ahead of it."""
    from stages.windows import Window

    for record in story.records:
        if not is_forward(record):
            continue
        assert isinstance(record.event, ev.EffectRequested)
        written = [story.plan.get("window")]
        kind, _, rest = str(record.event.effect.walk).partition(":")
        _, name, *number = rest.split("/")
        stage = next(one for one in story.plan["stages"] if one["name"] == name)
        written.append(stage.get("window"))
        if kind == "step" and "steps" in stage and "flag" in stage:
            written.append(stage["steps"][int(number[0])].get("window"))
        for window in written:
            if window is not None and not Window.model_validate(window).is_open(
                simulation.durable_wall[(record.run, record.seq)]
            ):
                yield f"an effect is asked for outside its window (seq {record.seq})"


def _approvals(_: "Simulation", story: Story) -> Complaints:
    """What closes an approval or a sign-off is what people said and have not taken back, as many as it takes."""
    standing: dict[str, dict[str, None]] = {}
    kinds: dict[str, str] = {}
    for record in story.of(ev.WaitingOpened, ev.WaitingAnswered, ev.ApprovalWithdrawn):
        event = record.event
        if isinstance(event, ev.WaitingOpened):
            kinds[event.item], standing[event.item] = event.kind, {}
            continue
        assert isinstance(event, ev.WaitingAnswered | ev.ApprovalWithdrawn)
        if kinds[event.item] in ("approval", "sign_off"):
            yield from _said(record, standing)


def _said(record: Recorded, standing: dict[str, dict[str, None]]) -> Complaints:
    event = record.event
    assert isinstance(event, ev.WaitingAnswered | ev.ApprovalWithdrawn)
    if isinstance(event, ev.ApprovalWithdrawn) or (event.answer == "reject" and not event.closes):
        standing[event.item].pop(event.by, None)
    elif event.answer == "approve" and not event.closes:
        standing[event.item].pop(event.by, None)
        standing[event.item][event.by] = None
    elif event.answer == "approve" and event.by != ", ".join(standing[event.item]):
        told = ", ".join(standing[event.item]) or "nobody"
        yield f"{event.item} is closed by {event.by} (seq {record.seq}), and the approvals of {told} stand"


def _guards(simulation: "Simulation", story: Story) -> Complaints:
    """An approval that guards an entry was given by somebody else than the author before the entry was left."""
    approved: dict[str, Recorded] = {}
    for record in story.of(ev.WaitingAnswered):
        answered = record.event
        if isinstance(answered, ev.WaitingAnswered) and answered.answer == "approve" and answered.closes:
            approved.setdefault(answered.item, record)
    for record in story.of(ev.LegEntered):
        event = record.event
        assert isinstance(event, ev.LegEntered)
        if event.leg not in ("preparing", "acting"):
            continue
        stage = story.stage(event.stage)
        wanted: list[tuple[str, dict[str, object]]] = []
        if event.leg == "preparing" and "approval" in stage:
            wanted.append((f"approval:{event.environment}/stage:{stage['name']}", stage["approval"]))
        step = story.step(event.stage, event.step)
        if "approval" in step and (event.leg == "preparing" or event.step > 0):
            item = f"approval:{event.environment}/step:{stage['name']}/{event.step + 1}"
            wanted.append((item, step["approval"]))
        for item, approval in wanted:
            yield from _approved(story, record, item, approval, approved)


def _approved(
    story: Story, record: Recorded, item: str, approval: dict[str, object], approved: dict[str, Recorded]
) -> Complaints:
    answer = approved.get(item)
    if answer is None or answer.seq > record.seq:
        yield f"seq {record.seq} passes {item}, which nobody approved"
        return
    assert isinstance(answer.event, ev.WaitingAnswered)
    people = answer.event.by.split(", ")
    if "author" in people:
        yield f"the author approved {item}"
    if len(people) < int(str(approval.get("count", 1))):
        yield f"seq {record.seq} passes {item} with {len(people)} approvals"


# --- effects and commands --------------------------------------------------------------------------------------------


def _ran_once(simulation: "Simulation") -> Complaints:
    once = {
        record.event.effect.id
        for run in simulation.runs
        for record in simulation.store._runs[run].events
        if isinstance(record.event, ev.EffectRequested) and _happens_once(record.event.effect.operation)
    }
    for effect, count in simulation.world.log.ran.items():
        if effect in once and count > 1:
            yield f"{effect} may happen only once, and was carried out {count} times"


def _happens_once(operation: AnyOperation) -> bool:
    """What can be neither repeated nor probed; and a restart, which can be seen."""
    return not repeatable(operation) or isinstance(operation, RestartWorkload)


def _commands(simulation: "Simulation") -> Complaints:
    """An acknowledged command is in the journal; the same key is answered alike; what it forbids did not happen."""
    answers: dict[str, object] = {}
    for sent in simulation.sent:
        if sent.answer is None:
            continue
        known = answers.setdefault(sent.key, sent.answer)
        if known != sent.answer:
            yield f"{sent.key} was answered with {known} and with {sent.answer}"
        if sent.answer.get("run_started") is not None:
            continue
        records = simulation.store._runs[sent.run].events
        written = [record for record in records if record.event.by == sent.actor]
        if not written and int(str(sent.answer["seq"])) > 0:
            yield f"{sent.actor}'s {sent.command} was accepted, and the journal of {sent.run} does not know it"
        elif written and sent.answer["seq"] not in [record.seq for record in written]:
            answered, at = sent.answer["seq"], written[0].seq
            yield f"{sent.actor}'s {sent.command} was answered with seq {answered}, and written at {at}"


def _versions(simulation: "Simulation") -> Complaints:
    for place, records in simulation.store._history.items():
        versions = [record.document.version for record in records]
        if any(later <= earlier for earlier, later in pairwise(versions)):
            yield f"the version of {place} goes back: {versions}"


def _follow_ups(simulation: "Simulation", story: Story) -> Complaints:
    """Who has to do something after an end that the plan speaks of is asked to, once."""
    outcome = story.ended.outcome if story.ended is not None else None
    end = "rolled_back" if outcome == "rollback_failed" else outcome
    asked = [one.event.item for one in story.of(ev.WaitingOpened) if isinstance(one.event, ev.WaitingOpened)]
    touched = any(story.of(ev.RollbackStarted)) or outcome == "promoted"
    for entry in story.plan.get("follow_up") or ():
        is_due = touched and entry.get("when", "promoted") == end
        if asked.count(f"follow_up:{entry['name']}") != int(is_due):
            yield f"it ended {outcome}, and follow-up {entry['name']} was asked for {asked}"


RULES: tuple[Callable[["Simulation", Story], Complaints], ...] = (
    _chain, _folds, _ends, _order, _acts_once, _back_is_back, _paused, _windows, _approvals, _guards,
    _follow_ups,
)  # fmt: skip
