"""A failing seed in words: its plan, its faults, what people asked, every journal with one line an event."""

import json
from collections.abc import Iterator
from typing import Any

from orchestrator.core.events import to_json
from orchestrator.ports import Recorded
from tests.simulation.loop import START
from tests.simulation.run import Result

_LONGEST = 300


def explain(result: Result) -> Iterator[str]:
    simulation = result.simulation
    yield f"seed {result.seed}"
    yield from ("  " + line for line in simulation.faults.describe())
    yield "plan"
    yield from ("  " + line for line in _plan(simulation.drawn.spec))
    for key, value in simulation.drawn.flags.items():
        yield f"  {key[0]}/{key[1]} stands at {value['state']} {value['percentage']:g} % with {value['parameters']}"
    for metric in simulation.drawn.metrics.values():
        if metric.regresses_at is not None:
            where = metric.environment or "everywhere"
            yield f"  {metric.name} is bad from {metric.flag} at {metric.regresses_at:g} % on, {where}"
    if simulation.drawn.never:
        yield f"  never yes: {', '.join(sorted(simulation.drawn.never))}"
    yield "lives"
    yield from ("  " + line for line in simulation.lives)
    yield "commands"
    for sent in simulation.sent:
        yield f"  {sent.at:9.3f} {sent.run} {sent.actor} {sent.command}: {sent.refused or 'accepted'}"
    for name in simulation.runs:
        yield f"journal of {name}"
        records = simulation.store._runs[name].events
        yield from ("  " + line(record) for record in records)
    yield "violated" if result.violations else "nothing was violated"
    yield from ("  " + violation for violation in result.violations)


def line(record: Recorded) -> str:
    data = to_json(record.event)
    kind = str(data.pop("type"))
    by, reason = data.pop("by", "controller"), data.pop("reason", "")
    data.pop("documents", None)
    data.pop("files", None)
    words = ", ".join(f"{key}={_short(value)}" for key, value in data.items())
    who = "" if by == "controller" else f" by {by}"
    why = f" because {reason}" if reason else ""
    return f"{record.seq:4d} {record.at - START:10.3f} {kind:20s} {words}{who}{why}"[:_LONGEST]


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= 120 else text[:117] + "..."


def _plan(spec: dict[str, Any]) -> Iterator[str]:
    for key, value in spec.items():
        if isinstance(value, list) and value:
            yield f"{key}:"
            yield from (f"  - {json.dumps(entry)}" for entry in value)
        elif value:
            yield f"{key}: {json.dumps(value)}"
