"""What is under way in a run and what it wants to know: lists of acts that are walked, checks, flags not seen yet."""

from orchestrator.core import backward, entry, forward, rollback, triggers, watching
from orchestrator.core.moment import Moment
from orchestrator.core.phases import Phase
from orchestrator.core.questions import Scope
from orchestrator.core.state import State
from orchestrator.core.walk import verify_scope
from stages.effects import flag_target_id
from stages.step import Act


def is_over(m: Moment) -> bool:
    """Whether the run has ended or is being stopped: nothing is asked for any more."""
    return m.state.ended or m.state.stop_requested is not None


def unseen_flags(state: State) -> tuple[str, ...]:
    """Flags of the plan that were not observed yet in the environment where the run stands."""
    if state.rollback is not None or state.phase not in (Phase.CHECKING, Phase.RUNNING):
        return ()
    environment = state.cursor.environment
    wanted = (flag_target_id(environment, key) for key in state.environment.flags)
    return tuple(target for target in wanted if target not in state.targets)


def walks_under_way(m: Moment) -> list[tuple[str, tuple[Act, ...]]]:
    """Every list of acts that is being walked now, with its key."""
    state = m.state
    current = forward.walk_of_leg(state) if state.forward else None
    found = [current] if current is not None else []
    found += [(key, acts) for key, acts, _ in triggers.walks(state)]
    if state.rollback is not None:
        found += [
            (node.node.id, rollback.acts_of_node(state, node.node))
            for node in backward.ready_nodes(state)
            if node.node.kind in backward.ACT_KINDS
        ]
    return found


def scopes(m: Moment) -> list[Scope]:
    """All checks that are to be asked now."""
    if is_over(m):
        return []
    verifying = [verify_scope(m.state, key, acts) for key, acts in walks_under_way(m)]
    return [scope for scope in verifying if scope is not None] + _scopes_of_place(m)


def _scopes_of_place(m: Moment) -> list[Scope]:
    state = m.state
    if state.rollback is not None:
        return backward.scopes(m)
    if state.phase is Phase.CHECKING:
        return entry.active_scopes(m)
    if state.phase is Phase.WATCHING:
        return watching.scopes(m)
    return forward.scopes(m)
