"""Actions: what a plan asks for in a step, a trigger or an undo. One file a kind."""

from typing import Annotated, Any

from pydantic import Discriminator, Tag, TypeAdapter

from stages.actions.base import Action, Site
from stages.actions.command import CommandAction
from stages.actions.flag import FlagAction
from stages.actions.http import HttpAction
from stages.actions.passive import ManualAction, NotifyAction, WaitAction
from stages.actions.sql import SqlAction
from stages.actions.workload import ApplyAction, ImageAction, JobAction, RestartAction, ScaleAction

KINDS: dict[str, type[Action]] = {
    "flag": FlagAction,
    "scale": ScaleAction,
    "image": ImageAction,
    "apply": ApplyAction,
    "restart": RestartAction,
    "job": JobAction,
    "sql": SqlAction,
    "command": CommandAction,
    "http": HttpAction,
    "wait": WaitAction,
    "manual": ManualAction,
    "notify": NotifyAction,
}


def kind_of(value: Any) -> str | None:
    if isinstance(value, dict):
        return next((name for name in KINDS if name in value), None)
    return next((name for name, kind in KINDS.items() if isinstance(value, kind)), None)


AnyAction = Annotated[
    Annotated[FlagAction, Tag("flag")]
    | Annotated[ScaleAction, Tag("scale")]
    | Annotated[ImageAction, Tag("image")]
    | Annotated[ApplyAction, Tag("apply")]
    | Annotated[RestartAction, Tag("restart")]
    | Annotated[JobAction, Tag("job")]
    | Annotated[SqlAction, Tag("sql")]
    | Annotated[CommandAction, Tag("command")]
    | Annotated[HttpAction, Tag("http")]
    | Annotated[WaitAction, Tag("wait")]
    | Annotated[ManualAction, Tag("manual")]
    | Annotated[NotifyAction, Tag("notify")],
    Discriminator(kind_of),
]

_ACTION: TypeAdapter[Action] = TypeAdapter(AnyAction)


def parse_action(value: Any) -> Action:
    return _ACTION.validate_python(value)


__all__ = [
    "KINDS",
    "Action",
    "AnyAction",
    "ApplyAction",
    "CommandAction",
    "FlagAction",
    "HttpAction",
    "ImageAction",
    "JobAction",
    "ManualAction",
    "NotifyAction",
    "RestartAction",
    "ScaleAction",
    "Site",
    "SqlAction",
    "WaitAction",
    "kind_of",
    "parse_action",
]
