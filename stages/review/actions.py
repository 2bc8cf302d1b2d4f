"""Actions: the way back of each is known, declared or declared away, and no field of one is ignored."""

from collections.abc import Iterator
from typing import Any

from stages.actions import Action, CommandAction, FlagAction, HttpAction, JobAction, NotifyAction, SqlAction, WaitAction
from stages.actions.base import BEFORE, FILLED
from stages.actions.passive import Passive
from stages.checks import HttpRequest
from stages.flag_spec import FlagChange
from stages.kinds.base import Backup, Stage
from stages.kinds.migration import AskBeforeDown, Migration
from stages.problems import Path
from stages.questions import Question, RollbackSection
from stages.review.view import Finding, Undo, View
from stages.sentences import complaints
from stages.triggers import Trigger
from stages.walk import Place

_NO_TIMEOUT: dict[type[Action], str] = {
    FlagAction: "a flag is set at once; there is no timeout to give",
    SqlAction: "SQL has lock_timeout and statement_timeout instead of timeout",
    HttpAction: "the timeout of a request stands inside http",
    WaitAction: "a wait lasts as long as it says; there is no timeout to give",
    NotifyAction: "a notification is tried on its own; there is no timeout to give",
}


def review_actions(view: View) -> Iterator[Finding]:
    for path, error in view.undo_errors.items():
        yield from (((*path, *below), message) for below, message, _ in complaints(Undo, error))
    for place in view.places:
        if isinstance(place.part, Action):
            yield from _action(place, place.part)
        elif isinstance(place.part, FlagChange) and not place.part.keys:
            yield place.path, "nothing is set; name state, percentage, targets, parameters or profile"
        elif isinstance(place.part, HttpRequest):
            yield from _request(place, place.part)
    yield from _shared_targets(view)


def _action(place: Place, action: Action) -> Iterator[Finding]:
    if not action.has_undo and not _is_on_the_way_back(place):
        message = "the way back is not known: declare undo (a command, or an action), or undo: none"
        yield place.path, message
    yield from _undo(place, action)
    sentence = next((text for kind, text in _NO_TIMEOUT.items() if isinstance(action, kind)), None)
    if action.timeout is not None and sentence is not None:
        yield (*place.path, "timeout"), sentence
    if isinstance(action, FlagAction) and not action.change.keys:
        yield place.path, "nothing is set; name state, percentage, targets, parameters or profile"


def _is_on_the_way_back(place: Place) -> bool:
    """Inside a rollback, a question or another action's undo nothing has to be undone."""
    return any(isinstance(part, RollbackSection | Question | AskBeforeDown | Backup | Action) for part in place.around)


def _undo(place: Place, action: Action) -> Iterator[Finding]:
    path = (*place.path, "undo")
    if action.undo is None:
        return
    if place.around and isinstance(place.around[-1], Action):
        yield path, "an undo has no undo of its own"
    if isinstance(action, FlagAction):
        yield path, "a flag goes back by itself, to what it was before; leave undo out"
    elif isinstance(action, Passive) and action.undo != "none":
        yield path, "nothing is changed here that could be undone; put what is to be done into rollback"
    elif isinstance(action, SqlAction) and action.down is not None:
        yield path, "down is the way back already; leave undo out"
    yield from _undo_form(action, path)


def _undo_form(action: Action, path: Path) -> Iterator[Finding]:
    undo, filled = action.undo, list[str]()
    if isinstance(undo, tuple):
        if not undo or not undo[0].strip():
            yield path, "a command is expected, such as [./deploy.sh, v1]"
        filled = list(undo)
    elif isinstance(undo, dict):
        filled = [text for key in FILLED for text in _texts(undo.get(key))]
        if any(BEFORE in text for key, value in undo.items() if key not in FILLED for text in _texts(value)):
            yield path, f"{BEFORE} is filled in among the words of a command and of its probe only"
        if any(word in undo for word in ("wait", "manual", "notify")):
            yield path, "an undo changes something; put what a person is asked or told into rollback"
    observes = isinstance(action, CommandAction) and action.observe is not None
    if any(BEFORE in word for word in filled) and not observes:
        yield path, f"{BEFORE} is what observe printed, but there is no observe"


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for entry in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _texts(entry)


def _request(place: Place, request: HttpRequest) -> Iterator[Finding]:
    if request.value is not None and place.around and isinstance(place.around[-1], Action):
        yield (*place.path, "value"), "value picks a number for a criterion; an action has none to judge"


def _shared_targets(view: View) -> Iterator[Finding]:
    """Two actions that look alike would be one target with one way back."""
    seen: dict[tuple[str, str], Path] = {}
    for place in view.places:
        part = place.part
        if isinstance(part, CommandAction | HttpAction | JobAction) and not _is_on_the_way_back(place):
            if isinstance(part, CommandAction) and part.target_name:
                continue
            owner = place.inside(Stage) or place.inside(Trigger)
            key = (getattr(owner, "name", ""), part.label)
            if key in seen:
                yield place.path, f"the same as another action of {key[0]!r}; give each a name of its own"
            seen.setdefault(key, place.path)
        if isinstance(part, SqlAction | Migration):
            file = part.sql if isinstance(part, SqlAction) else part.up
            if file is not None and ("", file) in seen and not _is_on_the_way_back(place):
                yield place.path, f"{file} is run twice; a file is applied once"
            seen.setdefault(("", file or ""), place.path)
