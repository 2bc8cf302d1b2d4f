"""The way back of a run as a person would go it, for the day when no controller does.

It is the graph of the rollback, the one under way or the one that a rollback now would be, put into one order that it
allows. ``build`` gives plain data, ``to_markdown`` and ``to_script`` write it down.
"""

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from orchestrator.core import by_hand, rollback
from orchestrator.core.backward import exceptions
from orchestrator.core.events import RollbackNode
from orchestrator.core.phases import Phase
from orchestrator.core.state import State
from stages.actions.passive import ManualAction, NotifyAction, VerifyAction, WaitAction
from stages.effects import TargetKind
from stages.flag_spec import ABSENT, percentage_of
from stages.flag_systems import place_of
from stages.step import Act, EnvironmentProgram
from stages.values import Json, format_duration

Found = dict[str, Any]


def build(state: State) -> Found:
    """``{run, plan, digest, directory, phase, outcome, steps: [{what, environment, stage, commands}], stays: [...]}``.

    A *command* that begins with ``#`` is for a person to read. Of a run that went all the way it is what a reverse run
    would do.
    """
    nodes, stays = _way_back(state)
    return {
        "run": state.run,
        "plan": state.program.name,
        "digest": state.started.digest,
        "directory": state.started.directory or "",
        "phase": str(state.phase),
        "outcome": state.outcome,
        "steps": [
            {"what": what, "environment": node.environment, "stage": node.stage, "commands": commands}
            for node in _in_order(_waiting_once(nodes))
            for what, commands in _KINDS[node.kind](state, node)
        ],
        "stays": list(stays),
    }


def _way_back(state: State) -> tuple[Sequence[RollbackNode], Sequence[str]]:
    if state.rollback is not None and not state.ended:
        left = [one.node for one in state.rollback.nodes.values() if not one.finished]
        return left, _left_so_far(state)
    if state.outcome == "rolled_back":
        return (), _left_so_far(state)
    planned = rollback.plan(replace(state, environments_passed=()), rollback.Why("command", "by hand"))
    return planned.nodes, planned.left


def _left_so_far(state: State) -> Sequence[str]:
    return exceptions(state) if state.rollback is not None else ()


def _waiting_once(nodes: Sequence[RollbackNode]) -> list[RollbackNode]:
    """Stages settle side by side; somebody who does one thing after the other waits the longest of it, once."""
    settling = {node.id: node for node in nodes if node.kind == "settle"}
    if not settling:
        return list(nodes)
    first = next(iter(settling))
    whole = {
        "seconds": max(node.seconds or 0.0 for node in settling.values()),
        "after": tuple(dict.fromkeys(one for node in settling.values() for one in node.after)),
    }
    found = [node.model_copy(update=whole) if node.id == first else node for node in nodes]
    return [_renamed(node, settling, first) for node in found if node.kind != "settle" or node.id == first]


def _renamed(node: RollbackNode, names: Mapping[str, Any], one: str) -> RollbackNode:
    """*node*, waiting for *one* where it waits for any of *names*."""
    return node.model_copy(update={"after": tuple(one if wait in names else wait for wait in node.after)})


def _in_order(nodes: Sequence[RollbackNode]) -> Iterator[RollbackNode]:
    """What comes first in the graph comes first here, as soon as nothing that it waits for is left."""
    waiting = {node.id: node for node in nodes}
    while waiting:
        free = [node for node in waiting.values() if not any(one in waiting for one in node.after)]
        node = next(iter(free or waiting.values()))
        del waiting[node.id]
        yield node


# --- kinds of nodes ---------------------------------------------------------------------------------------------------

Steps = Iterator[tuple[str, list[str]]]


def _flag(state: State, node: RollbackNode) -> Steps:
    assert node.target is not None
    target = state.targets[node.target]
    value = node.wanted if isinstance(node.wanted, dict) else ABSENT
    operation = rollback.set_flag(node.environment, target, value)
    place = place_of(_flags_of(state.program.environment(node.environment)), operation.key)
    lines = by_hand.lines(operation) if place is None else by_hand.flag_elsewhere(place, operation.key, value)
    more = ", with its parameters" if node.kind == "parameters" else ""
    yield f"{target.title} back to {value['state']}, {percentage_of(value):g} %{more}", lines


def _flags_of(environment: EnvironmentProgram) -> Mapping[str, Any]:
    return environment.site.flags


def _settle(_: State, node: RollbackNode) -> Steps:
    seconds = node.seconds or 0.0
    if seconds:
        yield f"wait {format_duration(seconds)}, until everybody has heard of it", [f"sleep {seconds:g}"]


def _drain(_: State, node: RollbackNode) -> Steps:
    limit = format_duration(node.seconds or 0.0)
    yield f"wait until the queue of {node.stage} is empty, {limit} at most", [f"# look: {node.detail}"]


def _undo(state: State, node: RollbackNode) -> Steps:
    assert node.undo is not None
    target = state.targets.get(node.target or "")
    is_shared = target is not None and target.kind is TargetKind.WORKLOAD
    first = ["# look first whether somebody else has changed it meanwhile"] if is_shared else []
    yield f"{node.detail or node.target} back", [*first, *by_hand.lines(node.undo)]


def _acts(state: State, node: RollbackNode) -> Steps:
    for act in rollback.acts_of_node(state, node):
        yield act.label, _act_lines(state, act)


def _act_lines(state: State, act: Act) -> list[str]:
    match act.action:
        case WaitAction():
            return [f"sleep {act.action.wait:g}"]
        case ManualAction():
            return [f"# by {', '.join(act.action.by) or 'anybody'}: {act.action.manual}"]
        case NotifyAction():
            return [f"# tell {act.action.notify}: {act.action.message}"]
        case VerifyAction():
            return [line for check in act.action.checks for line in by_hand.check_lines(check, act.site.database)]
        case _:
            target = act.target
            known = state.targets.get(target.id) if target is not None else None
            return by_hand.lines(act.forward(known.value if known is not None else None))


def _question(state: State, node: RollbackNode) -> Steps:
    question = rollback.question_of(state, node)
    lines = [f"# by {', '.join(question.by) or 'anybody'}; only if the answer is yes:"] if question is not None else []
    if node.undo is not None:
        lines += by_hand.lines(node.undo)
    for act in rollback.acts_of_question(state, node):
        lines += _act_lines(state, act)
    yield node.detail, lines


def _verify(state: State, node: RollbackNode) -> Steps:
    environment = state.program.environment(node.environment)
    for check in rollback.section_of(state, node).verify:
        yield f"check: {check.name}", by_hand.check_lines(check, environment.site.database)


def _no_return(_: State, node: RollbackNode) -> Steps:
    yield f"behind the point of no return, and stays: {node.detail}", []


_KINDS: dict[str, Callable[[State, RollbackNode], Steps]] = {
    "before": _acts,
    "exposure": _flag,
    "settle": _settle,
    "drain": _drain,
    "parameters": _flag,
    "undo": _undo,
    "schema": _undo,
    "no_return": _no_return,
    "question": _question,
    "answer": _acts,
    "after": _acts,
    "verify": _verify,
}


# --- written down -----------------------------------------------------------------------------------------------------

_AT_ONCE = "rollout flag disable-all --reason 'by hand'"


def to_markdown(made: Mapping[str, Json]) -> str:
    steps: Any = made["steps"]
    lines = [f"# The way back of {made['run']}, by hand", "", *_head(made), ""]
    for number, step in enumerate(steps, 1):
        where = "/".join(part for part in (step["environment"], step["stage"]) if part)
        lines += [f"{number}. {step['what']} ({where})", ""]
        if step["commands"]:
            lines += ["   ```sh", *(f"   {line}" for line in step["commands"]), "   ```", ""]
    stays: Any = made["stays"]
    if stays:
        lines += ["What stays:", "", *(f"- {one}" for one in stays), ""]
    return "\n".join(lines)


def _head(made: Mapping[str, Json]) -> list[str]:
    if not made["steps"]:
        return ["There is nothing to take back."]
    folder = f", {made['directory']}" if made["directory"] else ""
    digest = str(made["digest"])[:12]
    origin = (
        f"Of the plan {made['plan']}, digest {digest}, as the journal has it. Commands begin in its folder{folder}."
    )
    if made["phase"] == Phase.ENDED:
        return [origin]
    whole = f"While a controller lives, `rollout rollback {made['run']} --reason TEXT` does all of this, in this order."
    return [origin, "", f"{whole} All flags of the store at once, also without one: `{_AT_ONCE}`."]


def to_script(made: Mapping[str, Json]) -> str:
    """For ``sh``, after somebody has read it. Questions are left as comments."""
    steps: Any = made["steps"]
    lines = ["#!/bin/sh", f"# the way back of {made['run']}; read it before you run it", "set -eux"]
    if made["directory"]:
        lines.append(f"cd {shlex.quote(str(made['directory']))}")
    for step in steps:
        lines += ["", f"# {step['what']}"]
        is_asked = any(line.startswith("# by ") for line in step["commands"])
        lines += [f"# {line}" if is_asked and not line.startswith("#") else line for line in step["commands"]]
    lines += [f"# stays: {one}" for one in made["stays"]]
    return "\n".join([*lines, ""])
