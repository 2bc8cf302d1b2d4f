"""Invariants of exposure: what the world answered before a percentage rose, how long it was good, what fired.

The world's own record is asked, never the core's evidence. A criterion's *answers* are those of its query in its
environment; good is what its bounds call a pass.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from orchestrator.core import events as ev
from orchestrator.ports import Recorded
from stages.cluster import SetVersion
from stages.effects import SetFlag
from stages.flag_spec import percentage_of
from tests.simulation.journal import Spec, Story, is_exposure, place_of, seconds
from tests.simulation.world import Asked

if TYPE_CHECKING:
    from tests.simulation.run import Simulation

Complaints = Iterator[str]
LOST_SECONDS = 75.0  # of a checkpoint: it is saved every 15 s, and a look counts for two of the slowest gate's looks
GRACE_SECONDS = 5.0 + 21.0  # what a look may be late by, and the longest that a query takes here


def _true_time(simulation: "Simulation", record: Recorded) -> float:
    return simulation.durable_at[(record.run, record.seq)]


def _answers(simulation: "Simulation", environment: str, query: str) -> list[Asked]:
    return [one for one in simulation.world.log.asked if one.environment == environment and one.query == query]


def _query(criterion: Spec) -> str:
    """What the world is asked for a criterion: its query, or the counts of a flag's arms under the criterion's name."""
    return str(criterion.get("query") or criterion["name"])


def _is_fine(answer: Asked, criterion: Spec) -> bool:
    """A test may pass on counts that are bad, until there are enough of them; never on none."""
    if "compare" in criterion:
        return answer.verdict != "none"
    return answer.verdict == "good" or (answer.verdict == "none" and criterion.get("empty") == "pass")


def raises(simulation: "Simulation", story: Story) -> Complaints:
    """A percentage is asked to rise only while the gate last reached was just seen passing, or after an advance.

    A raise that is done brings its own step's gate into force, also where the step is begun anew before it has baked.
    """
    reached: dict[str, tuple[int, int]] = {}
    acting: dict[str, tuple[int, int]] = {}
    raising: dict[str, tuple[str, tuple[int, int]]] = {}
    overridden: dict[str, bool] = {}
    cut: set[tuple[str, str]] = set()
    for record in story.records:
        event = record.event
        match event:
            case ev.LegEntered() if event.leg == "acting":
                acting[event.environment] = place_of(event)
            case ev.LegEntered() if event.leg == "baking":
                if reached.get(event.environment) != place_of(event):
                    reached[event.environment], overridden[event.environment] = place_of(event), False
            case ev.EffectFinished() if event.effect in raising and event.state == "done":
                environment, place = raising[event.effect]
                reached[environment], overridden[environment] = place, False
            case ev.StageEnded() if event.how == "cut":
                cut.add((event.environment, event.stage))
            case ev.Advanced():
                overridden = dict.fromkeys(reached, True)
            case ev.EffectRequested() if rises(event):
                environment = event.effect.environment
                if environment in reached:
                    place = reached[environment]
                    if (environment, story.stage(place[0])["name"]) not in cut:
                        words = f"(seq {record.seq}) {event.effect.label}"
                        yield from _gate_was_fine(simulation, story, record, place, overridden[environment], words)
                if is_exposure(story.stage(acting[environment][0])):
                    raising[event.effect.id] = environment, acting[environment]
            case _:
                pass


def levels(_: "Simulation", story: Story) -> Complaints:
    """A step of an exposure stage asks for the percentage that is written, or for what was there if that is more."""
    for record in story.of(ev.EffectRequested):
        event = record.event
        assert isinstance(event, ev.EffectRequested)
        operation = event.effect.operation
        if not rises(event) or not isinstance(operation, SetFlag):
            continue
        name, number = str(event.effect.walk).split("/")[1:]
        stage = next(one for one in story.plan["stages"] if one["name"] == name)
        if "flag" not in stage:
            continue
        level = stage["steps"][int(number)]["percentage"] if "steps" in stage else stage["percentages"][int(number)]
        if percentage_of(operation.value) != level:
            asked = percentage_of(operation.value)
            yield f"step {number} of {name} asks for {asked:g} %, not {level:g} % (seq {record.seq})"


def rises(event: ev.EffectRequested) -> bool:
    """Whether a step of an exposure stage raises its flag, or its version's share of the pods."""
    effect = event.effect
    if effect.node is not None or not str(effect.walk).startswith("step:"):
        return False
    if isinstance(effect.operation, SetVersion):
        return True
    if not isinstance(effect.operation, SetFlag):
        return False
    before = effect.before if isinstance(effect.before, dict) else None
    return percentage_of(effect.operation.value) > percentage_of(before)


def _gate_was_fine(
    simulation: "Simulation", story: Story, record: Recorded, place: tuple[int, int], overridden: bool, words: str
) -> Complaints:
    now = simulation.decided_at[(record.run, record.seq)]  # what is answered while it is written is for the next one
    assert isinstance(record.event, ev.EffectRequested)
    for gate, criterion in story.criteria_of(story.gates_of(*place)):
        answers = [
            one for one in _answers(simulation, record.event.effect.environment, _query(criterion)) if one.at <= now
        ]
        newest = _known_then(simulation, answers, criterion)
        if newest is not None and newest.verdict == "bad" and not criterion.get("for") and "compare" not in criterion:
            yield f"{words} rises while {criterion['name']} fails"
        elif overridden:
            continue
        elif newest is None or not _is_fine(newest, criterion):
            yield f"{words} rises though {criterion['name']} was last {newest.verdict if newest else 'never asked'}"
        elif now - newest.at > 2 * seconds(gate["every"]) + GRACE_SECONDS:
            yield f"{words} rises though {criterion['name']} was last asked {now - newest.at:.0f} s ago"


def _known_then(simulation: "Simulation", answers: list[Asked], criterion: Spec) -> Asked | None:
    """The newest answer; but one that a life was told just before it died may have been lost with it."""
    if not answers:
        return None
    lost = [at for at in simulation.deaths if answers[-1].at <= at <= answers[-1].at + LOST_SECONDS]
    earlier = [one for one in answers if one.at < answers[-1].at]
    fine = [one for one in earlier if _is_fine(one, criterion) and answers[-1].at - one.at <= LOST_SECONDS]
    return fine[-1] if lost and fine and not _is_fine(answers[-1], criterion) else answers[-1]


def bakes(simulation: "Simulation", story: Story) -> Complaints:
    """A step is left only after its gate was seen passing for as long as the plan asks."""
    since: dict[tuple[str, int, int], float] = {}
    baking: tuple[str, int, int] | None = None
    fresh_from, advanced, cut = 0.0, False, False
    for record in story.records:
        event, at = record.event, _true_time(simulation, record)
        match event:
            case ev.Advanced():
                advanced = True
            case ev.StageEnded():
                cut = event.how == "cut"
            case ev.StepReentered():
                fresh_from, cut = at, True
            case ev.KillSwitched() if not event.on:
                fresh_from = at
            case ev.LegEntered():
                here = (event.environment, event.stage, event.step)
                if baking is not None and not advanced and not cut and event.leg != "baking":
                    begin = max(since[baking], fresh_from)
                    yield from _was_baked(simulation, story, baking, (begin, at), record.seq)
                if event.leg in ("acting", "baking"):
                    since[here] = at if event.leg == "acting" else since.get(here, at)
                baking, cut = (here if event.leg == "baking" else None), False
                advanced = False
            case ev.RollbackStarted() if not event.scope:
                return
            case _:
                pass


def _was_baked(
    simulation: "Simulation", story: Story, place: tuple[str, int, int], span: tuple[float, float], seq: int
) -> Complaints:
    environment, stage, step = place
    wanted = story.bake_seconds(environment, stage, step)
    criteria = story.criteria_of(story.gates_of(stage, step))
    begin, end = span
    if end - begin < wanted - 0.01:
        yield f"step {place} asks for {wanted:g} s of bake and is left after {end - begin:.1f} s (seq {seq})"
        return
    for gate, criterion in criteria:
        passing = _passing_seconds(simulation, environment, criterion, seconds(gate["every"]), span)
        if passing < wanted - 0.01:
            good = f"{criterion['name']} was good for {passing:.1f} s"
            yield f"step {place} asks for {wanted:g} s of bake; {good} (seq {seq})"


def _passing_seconds(
    simulation: "Simulation", environment: str, criterion: Spec, every: float, span: tuple[float, float]
) -> float:
    """How long at most: from each good answer to the next answer, as far as a look is fresh."""
    answers = [one for one in _answers(simulation, environment, _query(criterion)) if span[0] <= one.at <= span[1]]
    total = 0.0
    for index, answer in enumerate(answers):
        following = answers[index + 1].at if index + 1 < len(answers) else span[1]
        if _is_fine(answer, criterion):
            total += min(following - answer.at, 2 * every + GRACE_SECONDS)
    return total


def nothing_missing_decides(simulation: "Simulation", story: Story) -> Complaints:
    """What fails a gate or fires a trigger was measured bad, just now; missing data alone is not."""
    triggers = {trigger["name"]: trigger for trigger in story.plan.get("triggers", ())}
    for record in story.of(ev.GateFailed, ev.TriggerFired):
        event, now = record.event, _true_time(simulation, record)
        if isinstance(event, ev.TriggerFired):
            trigger = triggers[event.trigger]
            criteria = [(trigger, trigger)] if event.by == "controller" else []
        else:
            assert isinstance(event, ev.GateFailed)
            criteria = story.criteria_of((event.gate,))
        if criteria and not any(_was_bad(simulation, event.environment, *pair, now) for pair in criteria):
            yield f"{event.type_name} (seq {record.seq}) though nothing was measured bad"


def _was_bad(simulation: "Simulation", environment: str, gate: Spec, criterion: Spec, now: float) -> bool:
    """Within the time that looks and retries of the store may take."""
    if isinstance(criterion.get("on_missing"), dict):
        return True
    window = 3 * seconds(gate["every"]) + GRACE_SECONDS + seconds(criterion.get("for", "0s")) + 120.0
    answers = _answers(simulation, environment, _query(criterion))
    return any(one.verdict == "bad" and now - window <= one.at <= now for one in answers)


RULES = (raises, levels, bakes, nothing_missing_decides)
