"""Whether everything about a finished run is settled, so that no more of it than its report has to be kept.

What is not as it was before the run is settled when the plan says so (a schema that stays), when a person took a target
as it is, left it or gave its undo up, or when a later run took the targets over or back. Whatever nobody has decided
keeps the journal whole, for only that says what was there before.
"""

from collections.abc import Iterator

from orchestrator.core.afterwards import is_settled
from orchestrator.core.backward import AGAIN
from orchestrator.core.state import State

_BACK = ("rolled_back", "rollback_failed")


def why_whole(state: State, *, is_taken_on: bool) -> str | None:
    """Why the journal of a run has to stay; None if it need not. *is_taken_on*: a later run, which is over as well,
    superseded this one or took it back."""
    if not state.ended:
        return "it has not ended"
    if state.outstanding:
        return f"effect {min(state.outstanding)} has no outcome"
    if not is_settled(state):
        return "something of it is still to be judged or told"
    waiting = next((item.item for item in state.waiting.values() if item.open), None)
    if waiting is not None:
        return f"{waiting} waits for an answer"
    return None if is_taken_on else next(_undecided(state), None)


def _undecided(state: State) -> Iterator[str]:
    """What stands otherwise than before, or is fixed, and nobody has said that it may."""
    for target in state.targets.values():
        if target.cut_short and target.resolved is None:
            yield f"{target.title} was cut short"
    if state.outcome not in _BACK:
        yield from (f"{pin.flag} stays pinned by {pin.source}" for pin in state.pins.values())
    if state.outcome == "stopped":
        yield from (f"{target.title} stays as it is" for target in state.targets.values() if target.touched)
    nodes = state.rollback.nodes if state.rollback is not None else {}
    for key, node in nodes.items():
        again, asked = nodes.get(f"{key}{AGAIN}"), state.waiting.get(f"question:{node.node.target}/drift")
        is_back_after_all = again is not None and again.result in ("done", "as_it_was")
        is_left_by_a_person = asked is not None and asked.answer == "reject"
        did_not = node.node.target and node.result in ("left", "failed")
        if did_not and not is_back_after_all and not is_left_by_a_person:
            yield f"{node.node.target} did not come back: {node.detail}"
