"""What a run leaves to the one that takes over: a reverse run, which takes an ended one back, or a superseding one."""

from orchestrator.core.commands import Command
from orchestrator.core.events import InheritedTarget
from orchestrator.core.returns import targets_to_return
from orchestrator.core.state import State
from orchestrator.errors import Refused


def inherited(state: State, *, reverse: bool = False) -> tuple[InheritedTarget, ...]:
    """Every target with what was there before, in order of touch."""
    returns = targets_to_return(state, "")
    return tuple(
        InheritedTarget(
            id=entry.target.id,
            kind=entry.target.kind,
            title=entry.target.title,
            before=entry.wanted if reverse else entry.target.before,
            value=entry.target.value,
            existed=entry.target.existed,
            environment=entry.environment,
            stage=entry.stage,
            also=tuple(stage for stage in entry.stages if stage != entry.stage),
            undo=entry.touch.undo,
            touched_at=entry.target.first_touch.at if entry.target.touched else None,
            cut_short=entry.target.cut_short,
        )
        for entry in returns
    )


def taken_back(state: State, command: Command) -> tuple[InheritedTarget, ...]:
    """What a rollback of an ended run takes back, also in environments that had passed. Raises ``Refused``."""
    if state.outcome == "rolled_back" and not command.with_schema:
        raise Refused(_is_back(state))
    found = inherited(reachable(state), reverse=True)
    if not found:
        raise Refused(f"{state.run} left nothing behind that could be taken back: nothing is to be done")
    return found


def reachable(state: State) -> State:
    """An ended run as its reverse run sees it: what lies in environments that had passed goes back too."""
    return state.with_changes(environments_passed=())


def _is_back(state: State) -> str:
    more = "rollback --with-schema would take its schema back too"
    if state.started.reverses is not None:
        return f"{state.run} was a way back itself, and it is through; {more}"
    return f"{state.run} was rolled back already; {more}"
