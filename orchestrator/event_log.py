"""The journal in the log: one line for each event, for whoever collects logs and looks for a run or an effect there.

Names and ids only: texts (reasons, details, evidence) stand in the journal, which is where they are asked for.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import structlog

from orchestrator.core.effect import Effect
from orchestrator.core.events import Event
from orchestrator.ports import Recorded

log = structlog.get_logger()

SAID: Final = ("environment", "stage", "step", "target", "item", "hold", "trigger", "node", "state", "how", "outcome")
LOUD: Final = frozenset(
    {"GateFailed", "TriggerFired", "RollbackStarted", "EffectFailed", "DriftFound", "ChannelFailing"}
)


def write(recorded: Sequence[Recorded]) -> None:
    for record in recorded:
        say = log.warning if record.event.type_name in LOUD else log.info
        say("journal", run=record.run, seq=record.seq, **dict(_fields(record.event)))


def _fields(event: Event) -> Iterator[tuple[str, Any]]:
    yield "type", event.type_name
    yield "by", event.by
    effect = getattr(event, "effect", None)
    if isinstance(effect, Effect):
        yield from (("effect", effect.id), ("target", effect.target))
    elif isinstance(effect, str):
        yield "effect", effect
    for name in SAID:
        value = getattr(event, name, None)
        if isinstance(value, str | int) and value != "" and not (name == "target" and isinstance(effect, Effect)):
            yield name, str(value) if isinstance(value, str) else value
