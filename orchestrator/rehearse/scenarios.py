"""The scenarios: a table. Each says where on the way forward it begins, what goes wrong there, and what is promised.

Places come from the journal of the way forward (``walk.Fork``), whatever the kinds of the stages; a later kind of stage
or action is rehearsed without a word here.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from orchestrator.core import events as ev
from orchestrator.core.commands import Command
from orchestrator.core.phases import CommandName
from orchestrator.rehearse.promises import gates_at
from orchestrator.rehearse.trouble import NONE, Away, Trouble
from orchestrator.rehearse.walk import Fork, Until, Walk, goes_on
from stages.checks import Source
from stages.effects import TargetKind
from stages.step import Program

GOES_ON, WAITS, UNSEEN = "goes on", "waits for a person", "not seen"
BACK = frozenset({"rolled_back"})


@dataclass(frozen=True, slots=True)
class Case:
    """One scenario at one place. *at*: what is meant, where the place alone does not say it."""

    fork: Fork | None
    trouble: Trouble
    at: str = ""


@dataclass(frozen=True, slots=True)
class Scenario:
    """*promised*: the ends that are as promised. *until*: None, to the end of the run. *is_moot*: whether a walk never
    came to what was to go wrong."""

    name: str
    title: str
    promised: frozenset[str]
    cases: Callable[[Program, Sequence[Fork]], Iterator[Case]]
    until: Until | None = None
    is_moot: Callable[[Walk], bool] = lambda _: False


# --- places -----------------------------------------------------------------------------------------------------------


def _steps(forks: Sequence[Fork]) -> Iterator[Fork]:
    """Where a step was reached, and where the watch began."""
    return (fork for fork in forks if isinstance(fork.event, ev.LegEntered))


def _last_steps(forks: Sequence[Fork]) -> list[Fork]:
    """The last step before the watch, of each environment: there everything has been touched."""
    found = {fork.place.environment: fork for fork in _steps(forks) if fork.place.stage != "watch"}
    return list(found.values())


def _effects(forks: Sequence[Fork]) -> Iterator[tuple[Fork, ev.EffectRequested]]:
    for fork in forks:
        if isinstance(fork.event, ev.EffectRequested):
            yield fork, fork.event


def _sources(program: Program, fork: Fork) -> Iterator[Source]:
    """Everything that is measured while the run stands there."""
    entry = program.environment(fork.place.environment)
    for name in gates_at(program, fork.place):
        yield from entry.gates[name].criteria
    yield from (trigger for trigger in entry.triggers if not trigger.by_hand)


def _asks_prometheus(program: Program, fork: Fork) -> bool:
    return any(source.kind in ("query", "") for source in _sources(program, fork))


def _asks_database(program: Program, fork: Fork) -> bool:
    return any(source.kind in ("sql", "health") for source in _sources(program, fork))


# --- cases ------------------------------------------------------------------------------------------------------------


def _forward(_: Program, __: Sequence[Fork]) -> Iterator[Case]:
    yield Case(None, NONE)


def _back(_: Program, forks: Sequence[Fork]) -> Iterator[Case]:
    asked = Trouble(command=Command(command=CommandName.ROLLBACK, reason="rehearsed"))
    yield from (Case(fork, asked) for fork in _steps(forks))


def _gate_fails(program: Program, forks: Sequence[Fork]) -> Iterator[Case]:
    for fork in _steps(forks):
        if gates_at(program, fork.place):
            yield Case(fork, Trouble(gates_fail=True))


def _triggers(program: Program, forks: Sequence[Fork]) -> Iterator[Case]:
    for fork in _last_steps(forks):
        for trigger in program.environment(fork.place.environment).triggers:
            asked = Command(command=CommandName.FIRE, trigger=trigger.name, reason="rehearsed")
            yield Case(
                fork,
                Trouble(command=asked) if trigger.by_hand else Trouble(trigger=trigger.name),
                f"{trigger.name}, then {trigger.then}",
            )


def _prometheus(program: Program, forks: Sequence[Fork]) -> Iterator[Case]:
    yield from (Case(fork, Trouble(away=Away.PROMETHEUS)) for fork in _steps(forks) if _asks_prometheus(program, fork))


def _database(program: Program, forks: Sequence[Fork]) -> Iterator[Case]:
    trouble = Trouble(away=Away.DATABASE)
    for fork in forks:
        if isinstance(fork.event, ev.LegEntered) and _asks_database(program, fork):
            yield Case(fork, trouble)
        elif isinstance(fork.event, ev.EffectRequested) and fork.event.effect.target_kind is TargetKind.SCHEMA:
            yield Case(fork, trouble, fork.event.effect.label)


def _store(_: Program, forks: Sequence[Fork]) -> Iterator[Case]:
    yield from (Case(fork, Trouble(away=Away.STORE)) for fork in _steps(forks))


def _killed(_: Program, forks: Sequence[Fork]) -> Iterator[Case]:
    yield from (Case(fork, Trouble(is_killed=True)) for fork in _steps(forks))


def _killed_before(_: Program, forks: Sequence[Fork]) -> Iterator[Case]:
    for fork, event in _effects(forks):
        yield Case(fork, Trouble(is_killed=True), event.effect.label)


def _killed_after(_: Program, forks: Sequence[Fork]) -> Iterator[Case]:
    for fork, event in _effects(forks):
        yield Case(fork, Trouble(dies_after=event.effect.id), event.effect.label)


def _refused(_: Program, forks: Sequence[Fork]) -> Iterator[Case]:
    """What the plan asks for itself; workers that do not follow their load hold nothing."""
    for fork, event in _effects(forks):
        if event.effect.walk is not None:
            yield Case(fork, Trouble(refuses=event.effect.id), event.effect.label)


def _refused_back(program: Program, forks: Sequence[Fork]) -> Iterator[Case]:
    """Every target that was touched when the last step is reached."""
    asked = Command(command=CommandName.ROLLBACK, reason="rehearsed")
    for last in _last_steps(forks):
        here = program.environment(last.place.environment)
        effects = (event.effect for fork, event in _effects(forks) if fork.at <= last.at)
        for target in dict.fromkeys(one.target for one in effects if one.environment == here.name):
            act = here.act_on(target)
            title = act.target.title if act is not None and act.target is not None else target
            yield Case(last, Trouble(command=asked, refuses_back=target), title)


def _never_drains(program: Program, forks: Sequence[Fork]) -> Iterator[Case]:
    asked = Command(command=CommandName.ROLLBACK, reason="rehearsed")
    for fork in _last_steps(forks):
        stages = [stage for stage in program.environment(fork.place.environment).stages if stage.drain is not None]
        if stages:
            names = ", ".join(stage.name for stage in stages)
            yield Case(fork, Trouble(command=asked, never_drains=True), f"the queue of {names}")


def _paused(_: Program, forks: Sequence[Fork]) -> Iterator[Case]:
    asked = Command(command=CommandName.PAUSE, reason="rehearsed")
    yield from (Case(fork, Trouble(command=asked, resumes=True)) for fork in _steps(forks))


def _stopped(_: Program, forks: Sequence[Fork]) -> Iterator[Case]:
    asked = Command(command=CommandName.STOP, reason="rehearsed")
    yield from (Case(fork, Trouble(command=asked)) for fork in _steps(forks))


def _waiting(forks: Sequence[Fork]) -> Iterator[tuple[Fork, ev.WaitingOpened]]:
    for fork in forks:
        if isinstance(fork.event, ev.WaitingOpened):
            yield fork, fork.event


def _rejected(_: Program, forks: Sequence[Fork]) -> Iterator[Case]:
    for fork, event in _waiting(forks):
        yield Case(fork, Trouble(rejects=event.item), event.text)


def _unanswered(_: Program, forks: Sequence[Fork]) -> Iterator[Case]:
    for fork, event in _waiting(forks):
        yield Case(fork, Trouble(nobody_answers=True), event.text)


# --- ends -------------------------------------------------------------------------------------------------------------


def _trigger_is_over(walk: Walk) -> bool:
    """It fired, what it does is done, and the run goes on."""
    has_fired = any(isinstance(one.event, ev.TriggerFired) for one in walk.new_records)
    return has_fired and goes_on(walk)


def _effect_is_over(walk: Walk) -> bool:
    """It has an outcome, and the run has left the place where it was asked for."""
    fork = walk.fork
    if fork is None or not isinstance(fork.event, ev.EffectRequested):
        return goes_on(walk)
    effect, is_done = fork.event.effect.id, False
    for record in walk.new_records:
        is_done |= isinstance(record.event, ev.EffectFinished) and record.event.effect == effect
        if is_done and isinstance(record.event, ev.LegEntered | ev.StageEnded | ev.EffectRequested):
            return True
    return False


def _away_is_over(walk: Walk) -> bool:
    return walk.world.is_over and (_effect_is_over(walk) if _at_an_effect(walk) else goes_on(walk))


def _at_an_effect(walk: Walk) -> bool:
    return walk.fork is not None and isinstance(walk.fork.event, ev.EffectRequested)


def _was_not_undone(walk: Walk) -> bool:
    asked = (one.event.effect for one in walk.new_records if isinstance(one.event, ev.EffectRequested))
    return not any(effect.node is not None and effect.target == walk.trouble.refuses_back for effect in asked)


FORWARD = Scenario("forward", "The way forward", frozenset({"promoted"}), _forward)

TABLE: tuple[Scenario, ...] = (
    Scenario("back", "A person rolls back", BACK, _back),
    Scenario("gate", "The gate fails", BACK | {WAITS, UNSEEN}, _gate_fails),
    Scenario("trigger", "A trigger fires", BACK | {WAITS, GOES_ON}, _triggers, _trigger_is_over),
    Scenario("prometheus", "Prometheus is away for 15 minutes", BACK | {GOES_ON}, _prometheus, _away_is_over),
    Scenario("database", "The database is away for 15 minutes", BACK | {GOES_ON}, _database, _away_is_over),
    Scenario("store", "The controller's store is away for 3 minutes", frozenset({GOES_ON}), _store, _away_is_over),
    Scenario("kill", "The controller is killed at a step", frozenset({GOES_ON}), _killed, goes_on),
    Scenario(
        "kill-before", "The controller is killed right before a write", frozenset({GOES_ON, WAITS}),
        _killed_before, _effect_is_over,
    ),
    Scenario(
        "kill-after", "The controller is killed right after a write", frozenset({GOES_ON, WAITS}),
        _killed_after, _effect_is_over,
    ),
    Scenario("refused", "A change is refused for good", BACK | {WAITS, "rollback_failed"}, _refused),
    Scenario(
        "stuck", "A way back is refused for good", BACK | {"rollback_failed"}, _refused_back, is_moot=_was_not_undone
    ),
    Scenario("drain", "A queue never drains", BACK, _never_drains),
    Scenario("pause", "A person pauses, and goes on 10 minutes later", frozenset({GOES_ON}), _paused, goes_on),
    Scenario("stop", "A person stops", frozenset({"stopped"}), _stopped),
    Scenario("reject", "A person says no", BACK | {WAITS}, _rejected),
    Scenario("unanswered", "Nobody answers", BACK | {WAITS}, _unanswered),
)  # fmt: skip
"""What a rehearsal walks after the way forward, in the order in which it is worth walking."""
