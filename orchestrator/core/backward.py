"""Walking the way back: which nodes of the graph are next, and what each of them does.

A node whose waits are over is *ready*. Pausing stops new undos and nothing else. A failing undo is tried again with
back-off for ever and blocks only what waits for it; ``resolve`` frees it.
"""

from collections.abc import Callable

from orchestrator.core import afterwards
from orchestrator.core.events import (
    DriftFound,
    Event,
    NodeFinished,
    NodesAdded,
    NodeStarted,
    RollbackFinished,
    RollbackNode,
    RunEnded,
    StageEnded,
    TargetResolved,
    WaitingAnswered,
    WaitingOpened,
)
from orchestrator.core.moment import Moment, request
from orchestrator.core.phases import Reason
from orchestrator.core.questions import Scope, all_settled, holds_of, record_answers
from orchestrator.core.returns import targets_to_return, what_stays
from orchestrator.core.rollback import (
    BEFORE_LIMIT_SECONDS,
    acts_of_node,
    late_nodes,
    question_of,
    schema_nodes,
    section_of,
    set_flag,
)
from orchestrator.core.state import NodeState, Rollback, State, TargetState
from orchestrator.core.walk import is_walked, next_events, walk_holds
from orchestrator.core.walk import verify_scope as walk_verify_scope
from stages.criteria.base import Verdict
from stages.criteria.threshold import Threshold
from stages.effects import Observation, ObserveFlag, SetFlag, Target, TargetKind
from stages.flag_spec import ABSENT, safer_value
from stages.values import Json

Holds = dict[tuple[Reason, str], str]
BACKOFF_LONGEST_SECONDS = 60.0
VERIFY_AGAIN_SECONDS = 5.0
ACT_KINDS = ("before", "after", "answer")  # nodes that walk a list of acts
AGAIN = "#2"  # behind the name of an undo that a person wants after all
PARAMETER_KEYS = ("parameters", "profiles", "profile")


def backoff_seconds(failures: int) -> float:
    """1, 2, 4 ... 60 seconds."""
    return float(min(2 ** max(failures - 1, 0), BACKOFF_LONGEST_SECONDS))


def rollback_of(state: State) -> Rollback:
    assert state.rollback is not None
    return state.rollback


def ready_nodes(state: State) -> list[NodeState]:
    """Unfinished nodes all of whose waits are over, in the order of the graph."""
    rollback = rollback_of(state)
    finished = {key for key, node in rollback.nodes.items() if node.finished}
    return [
        node
        for node in rollback.nodes.values()
        if not node.finished and all(wait in finished for wait in node.node.after if wait in rollback.nodes)
    ]


def events(m: Moment) -> list[Event]:
    """What comes next on the way back, for all ready nodes together: exposure goes all at once."""
    return [event for node in ready_nodes(m.state) for event in _WORK[node.node.kind](m, node)]


# --- acts: before, after, answer --------------------------------------------------------------------------------------


def _acts(m: Moment, node: NodeState) -> list[Event]:
    acts = acts_of_node(m.state, node.node)
    if is_walked(m.state, node.node.id, acts):
        return [NodeFinished(node=node.node.id, result="done")]
    if node.started_at is None:
        return [NodeStarted(node=node.node.id)]
    is_late = node.node.kind == "before" and m.passed_since(node.started_at) >= BEFORE_LIMIT_SECONDS
    if is_late:
        detail = node.detail or f"not done within {BEFORE_LIMIT_SECONDS:g} s"
        return [NodeFinished(node=node.node.id, result="failed", detail=detail)]
    if m.is_paused or _is_backing_off(m, node):
        return []
    return next_events(m, node.node.id, acts, node=node.node.id)


def _is_backing_off(m: Moment, node: NodeState) -> bool:
    return node.failed_at is not None and m.now - node.failed_at < backoff_seconds(node.failures)


# --- flags ------------------------------------------------------------------------------------------------------------


def _exposure(m: Moment, node: NodeState) -> list[Event]:
    target = _target(m.state, node)
    seen = m.seen(target.id, since=rollback_of(m.state).since)
    if target.id in m.state.outstanding or seen is None or m.is_paused or _is_backing_off(m, node):
        return []
    standing = seen.value if seen.exists else ABSENT
    wanted = exposure_wanted(m.state, target, node.node, standing)
    return _set(m, node, target, standing, wanted)


def exposure_wanted(
    state: State, target: TargetState, node: RollbackNode, standing: dict[str, Json]
) -> dict[str, Json]:
    """Where a flag goes: to what was there; if it is pinned or somebody else changed it, to the safer of the two.

    A pinned one keeps its parameters until exposure has settled.
    """
    before = node.wanted if isinstance(node.wanted, dict) else ABSENT
    pins = [pin for pin in state.pins.values() if pin.flag == target.id]
    if not pins and standing == target.value:
        return before
    current = _with_pinned_changes(state, target, standing)
    safer = safer_value(current, before, before)
    if not pins:
        return safer
    return {**safer, **{key: current[key] for key in PARAMETER_KEYS}}


def _with_pinned_changes(state: State, target: TargetState, standing: dict[str, Json]) -> dict[str, Json]:
    """*standing* with what a firing trigger wants of the flag, in case its action has not been performed yet."""
    value = standing
    environment = state.program.environment(target.environment)
    for fired_in, trigger in state.fired:
        if fired_in != target.environment:
            continue
        for act in environment.trigger_acts.get(trigger, ()):
            if act.target is not None and act.target.id == target.id:
                operation = act.forward(value)
                value = operation.value if isinstance(operation, SetFlag) else value
    return value


def _parameters(m: Moment, node: NodeState) -> list[Event]:
    """The parameters of a pinned flag to what they were, now that nobody is exposed to them any more: who was by
    somebody's hand meanwhile is not after it."""
    target = _target(m.state, node)
    since = max(rollback_of(m.state).since, node.started_at or 0.0)
    if node.started_at is None:
        return [NodeStarted(node=node.node.id)]
    seen = m.seen(target.id, since=since)
    if target.id in m.state.outstanding or seen is None or m.is_paused or _is_backing_off(m, node):
        return []
    standing = seen.value if seen.exists else ABSENT
    before = node.node.wanted if isinstance(node.node.wanted, dict) else ABSENT
    exposure = exposure_wanted(m.state, target, node.node, standing)
    wanted = {**exposure, **{key: before[key] for key in PARAMETER_KEYS}}
    return _set(m, node, target, standing, wanted)


def _set(m: Moment, node: NodeState, target: TargetState, standing: Json, wanted: dict[str, Json]) -> list[Event]:
    if standing == wanted:
        return [NodeFinished(node=node.node.id, result="as_it_was")]
    return [
        request(
            Target(target.id, target.kind, target.title),
            set_flag(target.environment, target, wanted),
            f"{target.title} back",
            before=standing,
            environment=target.environment,
            stage=node.node.stage,
            node=node.node.id,
            attempt=node.failures + 1,
            reason=rollback_of(m.state).reason,
        )
    ]


# --- settle and drain -------------------------------------------------------------------------------------------------


def _settle(m: Moment, node: NodeState) -> list[Event]:
    if node.started_at is None:
        return [NodeStarted(node=node.node.id)]
    if m.passed_since(node.started_at) >= (node.node.seconds or 0.0):
        return [NodeFinished(node=node.node.id, result="done")]
    return []


def drain_criterion(state: State, node: RollbackNode) -> Threshold:
    stage = state.program.environment(node.environment).stage(node.stage)
    assert stage is not None
    assert stage.drain is not None
    drain = stage.drain
    return Threshold.model_validate(
        {"name": f"queue of {node.stage}", "query": drain.query, "pass": drain.until, "source": drain.source}
    )


def _drain(m: Moment, node: NodeState) -> list[Event]:
    if node.started_at is None:
        return [NodeStarted(node=node.node.id)]
    look = m.evidence.looks.get(node.node.id)
    if look is not None and look.at >= node.started_at and look.verdict is Verdict.PASS:
        return [NodeFinished(node=node.node.id, result="done", detail=look.sentence)]
    if m.passed_since(node.started_at) >= (node.node.seconds or 0.0):
        detail = look.sentence if look is not None else "it could not be measured"
        return [NodeFinished(node=node.node.id, result="failed", detail=f"not drained in time: {detail}")]
    return []


# --- everything else that was touched ---------------------------------------------------------------------------------


def _target(state: State, node: NodeState) -> TargetState:
    assert node.node.target is not None
    return state.targets[node.node.target]


def _undo(m: Moment, node: NodeState) -> list[Event]:
    target = _target(m.state, node)
    if target.id in m.state.outstanding or m.is_paused or _is_backing_off(m, node):
        return []
    standing = target.value
    if observation_of(m.state, target) is not None:
        seen = m.seen(target.id, since=rollback_of(m.state).since)
        if seen is None:
            return []
        if _stands(seen.value) == _stands(node.node.wanted) and not _may_still_change(target):
            return [NodeFinished(node=node.node.id, result="as_it_was")]
        if "#" in node.node.id or target.is_uncertain:
            standing = seen.value  # a person wants it back from wherever it is; or the run before left it anywhere
        elif _stands(seen.value) != _stands(target.value) and not target.cut_short:
            return _left_as_drifted(m, node, target, seen.value)
    assert node.node.undo is not None
    return [
        request(
            Target(target.id, target.kind, target.title),
            node.node.undo,
            f"{target.title} back",
            before=standing,
            environment=target.environment,
            stage=node.node.stage,
            node=node.node.id,
            attempt=node.failures + 1,
            reason=rollback_of(m.state).reason,
        )
    ]


def _may_still_change(target: TargetState) -> bool:
    """What was cut short may be on its way to the cluster yet; the undo itself sees to it that it arrives in vain."""
    return target.cut_short and target.kind is TargetKind.WORKLOAD


def _stands(value: Json) -> Json:
    """Where a target stands; what is still to come of it is another matter, and may change without anybody's doing."""
    return {key: entry for key, entry in value.items() if key != "pending"} if isinstance(value, dict) else value


def observation_of(state: State, target: TargetState) -> Observation | None:
    """How a target is looked at: as the act that touches it says; None if nothing can be seen."""
    if target.kind is TargetKind.FLAG:
        return ObserveFlag(environment=target.environment, key=target.id.partition("/")[2])
    act = state.program.environment(target.environment).act_on(target.id)
    return act.observation_back if act is not None else None


def _left_as_drifted(m: Moment, node: NodeState, target: TargetState, found: Json) -> list[Event]:
    """Somebody else changed it: left, listed, and asked about. It blocks nothing."""
    question = RollbackNode(
        id=f"question:{target.id}/drift",
        kind="question",
        target=target.id,
        environment=target.environment,
        stage=node.node.stage,
        wanted=node.node.wanted,
        undo=node.node.undo,
        seconds=86400.0,
        detail=f"{target.title} was changed by somebody else; take it back to what was there before the run?",
    )
    return [
        DriftFound(target=target.id, expected=target.value, found=found),
        NodeFinished(node=node.node.id, result="left", detail=f"{target.title} was changed by somebody else"),
        NodesAdded(nodes=(question,)),
    ]


def _no_return(m: Moment, node: NodeState) -> list[Event]:
    return []  # a person resolves it; holds() says so


# --- verify, questions ------------------------------------------------------------------------------------------------


def verify_scope(state: State, node: NodeState) -> Scope:
    if node.node.id.startswith("verify:question:") and "#" not in node.node.id:
        question = question_of(state, node.node)
        checks = question.verify if question is not None else ()
    else:
        checks = section_of(state, node.node).verify
    since = node.started_at if node.started_at is not None else state.at
    item, environment = f"rollback:{node.node.id}", node.node.environment
    return Scope(item, checks, since, again_seconds=VERIFY_AGAIN_SECONDS, environment=environment)


def _verify(m: Moment, node: NodeState) -> list[Event]:
    if node.started_at is None:
        return [NodeStarted(node=node.node.id)]
    scope = verify_scope(m.state, node)
    recorded = record_answers(m, scope)
    if recorded:
        return recorded
    if all_settled(m, scope):
        return [NodeFinished(node=node.node.id, result="done")]
    return []


def _question(m: Moment, node: NodeState) -> list[Event]:
    item = m.state.waiting.get(node.node.id)
    if item is None:
        question = question_of(m.state, node.node)
        until = m.now + (node.node.seconds or 86400.0)
        who = question.by if question is not None else ()
        text = node.node.detail
        return [WaitingOpened(item=node.node.id, kind="question", text=text, who=who, until=until)]
    if item.open and item.until is not None and m.now >= item.until:
        return [WaitingAnswered(item=node.node.id, answer="timeout", reason="nobody answered in time: no")]
    if item.open:
        return []
    if item.answer != "approve":
        return [NodeFinished(node=node.node.id, result="no", detail=item.note, by=item.by or "controller")]
    return [
        NodeFinished(node=node.node.id, result="yes", detail=item.note, by=item.by),
        *_after_a_yes(m, node),
    ]


def _after_a_yes(m: Moment, node: NodeState) -> list[Event]:
    """The answer's actions, the schema if that was the question, the drifted target, and verifying once more."""
    added: list[RollbackNode] = []
    if node.node.id.endswith("/drift"):
        kind = "undo"
        again = node.node.model_copy(update={"id": f"{kind}:{node.node.target}{AGAIN}", "kind": kind, "after": ()})
        added.append(again)
    question = question_of(m.state, node.node)
    if question is not None and question.actions:
        added.append(
            node.node.model_copy(
                update={"id": f"{node.node.id}#answer", "kind": "answer", "after": (), "seconds": None}
            )
        )
    is_schema = node.node.id.endswith("/schema")
    if is_schema:
        waits = (*(one.id for one in added), *_ids(m.state, "undo", "settle", "drain"))
        added += schema_nodes(m.state, waits)
    done = tuple(one.id for one in added)
    if question is not None and question.verify:
        verify = {"id": f"verify:{node.node.id}", "kind": "verify", "after": done, "seconds": None}
        added.append(node.node.model_copy(update=verify))
    added += _verified_again(m.state, done, node.node.id)
    return [NodesAdded(nodes=tuple(added), with_schema=is_schema)] if added else []


def _ids(state: State, *kinds: str) -> tuple[str, ...]:
    return tuple(key for key, node in rollback_of(state).nodes.items() if node.node.kind in kinds)


def _verified_again(state: State, after: tuple[str, ...], because: str) -> list[RollbackNode]:
    if not after:
        return []
    nodes = [node.node for node in rollback_of(state).nodes.values() if node.node.kind == "verify"]
    return [
        node.model_copy(update={"id": f"{node.id}#{because}", "after": (*node.after, node.id, *after)})
        for node in nodes
        if "#" not in node.id
    ]


def with_schema_added(state: State) -> NodesAdded:
    """A person asks for the schema to go back too, while the rollback runs."""
    nodes = schema_nodes(state, _ids(state, "undo", "settle", "drain"))
    again = _verified_again(state, tuple(node.id for node in nodes), "with-schema")
    return NodesAdded(nodes=(*nodes, *again), with_schema=True)


Work = Callable[[Moment, NodeState], list[Event]]
_WORK: dict[str, Work] = {
    "before": _acts,
    "after": _acts,
    "answer": _acts,
    "exposure": _exposure,
    "parameters": _parameters,
    "settle": _settle,
    "drain": _drain,
    "undo": _undo,
    "schema": _undo,
    "no_return": _no_return,
    "verify": _verify,
    "question": _question,
}


# --- the end, and why nothing moves -----------------------------------------------------------------------------------


def finish(m: Moment, *, acting: bool) -> list[Event]:
    """The end, once every node is; *acting*: triggers still are. What their actions touched meanwhile goes back too."""
    rollback = rollback_of(m.state)
    if not rollback.finished or m.is_paused or m.state.outstanding:
        return []
    if rollback.scope:
        return _finish_partial(m, rollback)
    if acting:
        return []
    late = late_nodes(m.state)
    if late:
        return [NodesAdded(nodes=late)]
    given_up = any(node.result == "given_up" for node in rollback.nodes.values())
    outcome = "rollback_failed" if given_up else "rolled_back"
    ended = RunEnded.model_validate({"type": "RunEnded", "outcome": outcome, "exceptions": exceptions(m.state)})
    return [ended, *afterwards.follow_ups(m, "rolled_back")]


def _finish_partial(m: Moment, rollback: Rollback) -> list[Event]:
    environment = m.state.environment
    names = [stage.name for stage in environment.stages]
    undone = names[names.index(rollback.scope) :]
    cut = [
        StageEnded(environment=environment.name, stage=name, how="cut", by=rollback.by, reason=rollback.reason)
        for name in undone
        if m.state.stages.get((environment.name, name)) not in ("cut", "skipped")
    ]
    return [*cut, RollbackFinished(scope=rollback.scope, by=rollback.by, reason=rollback.reason)]


def exceptions(state: State) -> tuple[str, ...]:
    """What did not come back, and why."""
    rollback = rollback_of(state)
    found = what_stays(state, targets_to_return(state, ""), "", rollback.with_schema)
    for node in rollback.nodes.values():
        again = rollback.nodes.get(f"{node.node.id}{AGAIN}")
        if again is not None and again.result in ("done", "as_it_was"):
            continue  # left at first, and taken back when a person said so
        if node.result in ("left", "given_up", "resolved"):
            found.append(f"{node.node.detail or node.node.target}: {node.detail}")
        elif node.result == "failed":
            found.append(f"{node.node.id}: {node.detail}")
    found += [
        f"{target.title}: taken as it is: {target.resolved}" for target in state.targets.values() if target.resolved
    ]
    return tuple(dict.fromkeys(found))


def holds(m: Moment) -> Holds:
    found: Holds = {}
    for node in ready_nodes(m.state):
        found |= _node_holds(m, node)
    return found


def _node_holds(m: Moment, node: NodeState) -> Holds:
    kind, item = node.node.kind, node.node.target or node.node.id
    if kind == "no_return":
        return {(Reason.POINT_OF_NO_RETURN, "no_return"): f"behind a point of no return: {node.node.detail}"}
    if kind == "question":
        waiting = m.state.waiting.get(node.node.id)
        return {(Reason.MANUAL, node.node.id): waiting.text} if waiting is not None and waiting.open else {}
    if kind == "verify" and node.started_at is not None:
        is_late = m.now - node.started_at >= (node.node.seconds or 0.0)
        return holds_of(m, verify_scope(m.state, node), Reason.UNDO_FAILING) if is_late else {}
    if kind in ACT_KINDS:
        found = {_undoing(key): words for key, words in _act_holds(m, node).items()}
        return found | ({(Reason.UNDO_FAILING, node.node.id): node.detail} if node.failures else {})
    if node.failures:
        return {(Reason.UNDO_FAILING, item): f"{node.node.detail}: {node.detail}"}
    seen = m.evidence.seen.get(item)
    if kind in ("exposure", "parameters", "undo", "schema") and seen is not None and seen.failure is not None:
        return {(Reason.UNDO_FAILING, item): f"{node.node.detail} can't be looked at: {seen.failure}"}
    return {}


def _act_holds(m: Moment, node: NodeState) -> Holds:
    acts = acts_of_node(m.state, node.node)
    scope = walk_verify_scope(m.state, node.node.id, acts)
    return holds_of(m, scope) if scope is not None else walk_holds(m, node.node.id, acts)


def _undoing(key: tuple[Reason, str]) -> tuple[Reason, str]:
    reason, item = key
    return (Reason.MANUAL if reason is Reason.MANUAL else Reason.UNDO_FAILING, item)


def scopes(m: Moment) -> list[Scope]:
    return [
        verify_scope(m.state, node)
        for node in ready_nodes(m.state)
        if node.node.kind == "verify" and node.started_at is not None
    ]


def resolve(state: State, target: str, taken_as: str, by: str, reason: str) -> list[Event]:
    """A person takes a target as it is: failing undos end the run ``rollback_failed``, all else with an exception.

    An undo of which nobody knows whether it happened is through with ``done``; with ``not_done`` it is tried again.
    """
    found: list[Event] = []
    entry = state.outstanding.get(target)
    was_unknown = entry is not None and entry.unknown
    if target in state.targets:
        what = f"{target} taken {taken_as.replace('_', ' ')}"
        resolved = TargetResolved.model_validate(
            {"type": "TargetResolved", "target": target, "what": what, "taken_as": taken_as, "by": by, "reason": reason}
        )
        found.append(resolved)
    if was_unknown and taken_as == "not_done":
        return found
    for key, node in rollback_of(state).nodes.items():
        if node.finished or (node.node.target or key) != target:
            continue
        failing = node.failures > 0 or (entry is not None and entry.failing is not None and not entry.unknown)
        result = "done" if was_unknown and taken_as == "done" else "given_up" if failing else "resolved"
        found.append(NodeFinished(node=key, result=result, detail=reason, by=by, reason=reason))
    return found
