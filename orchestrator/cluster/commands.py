"""StagedRolloutCommands: what each asks of which run, the answer, and which old ones may go. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from orchestrator.cluster.objects import COMMAND_KIND, CommandObject, seconds
from orchestrator.cluster_port import Identity
from orchestrator.core.commands import Actor, Command
from orchestrator.core.phases import CommandName
from orchestrator.crd.objects import MOST_GROUPS, CommandSpec, CommandStatus, Condition, cut, to_command
from orchestrator.errors import Refused, UsageError
from stages.plan import API_VERSION
from stages.values import Json

KEPT_SECONDS = 86_400.0
MOST_KEPT = 200
"""Of each rollout. What goes first is what was answered first."""
ROLE = "approver"
"""Which commands somebody may give was asked of RBAC when the object was made; the role covers them all."""
_ANSWERS = (CommandName.APPROVE, CommandName.REJECT)
CLOCKS_APART_SECONDS = 5.0
"""The API server writes whole seconds, and its clock is another one."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A command as the service takes it."""

    command: Command
    actor: Actor


def command_body(rollout: str, asked: Mapping[str, Json], me: Identity) -> dict[str, Any]:
    """The object of a command, as the command line writes it: *asked* as the API of a controller takes it. Groups count
    where somebody answers for one. Raises ``UsageError`` for a reason or a name that is too long for one."""
    arguments = {name: value for name, value in asked.items() if name not in ("command", "reason")}
    groups = [group for group in me.groups if not group.startswith("system:")] if asked["command"] in _ANSWERS else []
    fields = {"rollout": rollout, "command": asked["command"], "requested_by": me.name, "groups": groups[:MOST_GROUPS]}
    reason = str(asked.get("reason") or "") or "no reason given"
    try:
        spec = CommandSpec.model_validate({**fields, "reason": reason, "arguments": arguments or None})
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    return {
        "apiVersion": API_VERSION,
        "kind": COMMAND_KIND,
        "metadata": {"generateName": f"{rollout[:40]}-{asked['command']}-"},
        "spec": spec.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=True),
    }


def asked(one: CommandObject) -> Asked:
    """Raises ``Refused`` for a spec that is none: of a cluster without our definitions, or with newer ones."""
    try:
        spec = CommandSpec.model_validate_json(one.spec_text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise Refused(f"spec.{where}: {first['msg']}") from None
    return Asked(to_command(spec, one.uid), Actor(spec.requested_by, ROLE, spec.groups))


def refuse_if_older(one: CommandObject, run: Mapping[str, Any]) -> None:
    """Raises ``Refused`` for a command that was given before the run began: it can't have been meant for this one."""
    started = seconds(run.get("started"))
    if started is not None and one.created < started - CLOCKS_APART_SECONDS:
        raise Refused(f"it was given before {run['run']} began, so it was not meant for it; give it anew if it was")


def accepted(answer: Mapping[str, Any], now: float) -> dict[str, Json]:
    """The status of one that was accepted, from what the service answered."""
    started = answer.get("run_started")
    message = f"accepted; run {started} takes it back" if started else "accepted"
    return _status(message, now, accepted=True, run=answer["run"], seq=answer["seq"] or None)


def refused(why: str, run: str | None, now: float) -> dict[str, Json]:
    return _status(cut(why), now, refused=True, run=run)


def _status(message: str, now: float, **fields: Any) -> dict[str, Json]:
    at, is_accepted = datetime.fromtimestamp(int(now), UTC), "accepted" in fields
    condition = Condition(
        type="Accepted",
        status="True" if is_accepted else "False",
        last_transition_time=at,
        reason="Accepted" if is_accepted else "Refused",
        message=message,
    )
    status = CommandStatus(at=at, message=message, conditions=(condition,), **fields)
    return status.model_dump(mode="json", by_alias=True, exclude_none=True)


def to_collect(commands: Iterable[CommandObject], now: float) -> list[CommandObject]:
    """Those that were answered long ago, or are too many."""
    answered: dict[str, list[CommandObject]] = {}
    for one in commands:
        if one.answered is not None and not one.is_deleted:
            answered.setdefault(one.rollout, []).append(one)
    found: list[CommandObject] = []
    for ones in answered.values():
        newest_first = sorted(ones, key=lambda one: (one.answered or 0.0, one.name), reverse=True)
        kept = [one for one in newest_first[:MOST_KEPT] if now - (one.answered or 0.0) < KEPT_SECONDS]
        found += newest_first[len(kept) :]
    return found
