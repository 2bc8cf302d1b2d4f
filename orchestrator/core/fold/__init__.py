"""``apply(state, event, at) -> state``: what each event means. The only way in which state changes.

Folding never decides: an old journal folds to the same state whatever the rules of today would have decided. One small
function an event, in tables by its class: one file a subject, put together here.
"""

from collections.abc import Iterable

from orchestrator.core import events as ev
from orchestrator.core.fold import backward, beside, effects, people, place
from orchestrator.core.fold.handler import BrokenJournal, Handler
from orchestrator.core.phases import Phase
from orchestrator.core.state import Cursor, State, TargetState, Touch
from stages.compile import compile_plan
from stages.plan import StagedRollout
from stages.step import Program

HANDLERS: dict[type[ev.Event], Handler] = {
    **place.HANDLERS,
    **people.HANDLERS,
    **effects.HANDLERS,
    **beside.HANDLERS,
    **backward.HANDLERS,
}


def program_of(started: ev.RunStarted) -> Program:
    documents = [(entry.environment, StagedRollout.model_validate(entry.plan)) for entry in started.documents]
    return compile_plan(documents, started.digest, started.files, started.directory)


def begin(started: ev.RunStarted, at: float, program: Program | None = None) -> State:
    """The state after a journal's first event. *program* saves compiling the plan again where it is at hand."""
    program = program or program_of(started)
    targets = {entry.id: _inherited(entry, order, at) for order, entry in enumerate(started.inherited)}
    return State(
        started=started.model_copy(update={"documents": ()}),
        program=program,
        author=started.by,
        started_at=at,
        seq=1,
        at=at,
        phase=Phase.CHECKING,
        leg=None,
        cursor=Cursor(program.environments[0].name),
        entered_at=at,
        entered_seq=1,
        entry_at=at,
        targets=targets,
        first_effect_at=at if targets else None,
    )


def _inherited(entry: ev.InheritedTarget, order: int, at: float) -> TargetState:
    """A target of the run before: touched already, so that its way back is this run's too."""
    touched_at = at if entry.touched_at is None else entry.touched_at
    order -= 1_000_000  # before everything that this run touches itself
    touch = Touch(entry.before, entry.undo, order, touched_at)
    return TargetState(
        id=entry.id,
        kind=entry.kind,
        title=entry.title,
        environment=entry.environment,
        stage=entry.stage,
        before=entry.before,
        existed=entry.existed,
        value=entry.value,
        touches={f"{entry.environment}/{stage}": touch for stage in (entry.stage, *entry.also)},
        cut_short=entry.cut_short,
    )


def apply(state: State, event: ev.Event, at: float) -> State:
    handler = HANDLERS.get(type(event))
    if handler is None:
        raise BrokenJournal(f"{event.type_name} can't stand after the first event")
    return handler(state, event, at).with_changes(seq=state.seq + 1, at=at)


def fold(entries: Iterable[tuple[ev.Event, float]], program: Program | None = None) -> State:
    """The state after all *entries*, pairs of an event and its time; the first is ``RunStarted``."""
    iterator = iter(entries)
    first, at = next(iterator)
    if not isinstance(first, ev.RunStarted):
        raise BrokenJournal(f"a journal begins with RunStarted, not with {first.type_name}")
    state = begin(first, at, program)
    for event, when in iterator:
        state = apply(state, event, when)
    return state
