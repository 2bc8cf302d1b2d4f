"""Why a run stands, in words of people: what each hold means, what would end it, who can do that, and what to type.

Made of the status document alone, so it is the same beside a controller, far from it, and without one.
"""

import shlex
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from orchestrator.cli.output import clock, printable

Json = dict[str, Any]
REASON = "--reason TEXT"


class Ending(NamedTuple):  # no dataclass: making one takes a millisecond of every `rollout status`
    """*ends*: what would end a hold. *who* can do it, and the *commands* for it; by itself if there are none."""

    ends: str
    who: str = ""
    commands: tuple[str, ...] = ()


def command_line(command: str, run: str, *words: str, reason: bool = True) -> str:
    """As it is typed in a shell."""
    typed = ["rollout", *command.split(), *([run] if run else []), *words]
    return " ".join([*(shlex.quote(printable(word)) for word in typed), *([REASON] if reason else [])])


def ending_of(hold: Json, status: Json) -> Ending:
    """Of a hold that a later version knows and this one does not, the little that is true of every one."""
    made = _ENDINGS.get(str(hold.get("reason")))
    if made is None:
        return Ending("what is said there is no longer so")
    ending = made(hold, status)
    if not status.get("object"):
        return ending
    run = str(status["run"])  # of a cluster: what speaks of the run asks its API server
    lines = (f"{one} --context NAME" if f" {shlex.quote(run)} " in one else one for one in ending.commands)
    return ending._replace(commands=tuple(lines))


def title(hold: Json) -> str:
    """``effect failing``, ``no controller``."""
    return printable(hold.get("reason")).replace("_", " ")


def first_things(status: Json) -> list[Json]:
    """Holds in the order in which they matter: those that only a person ends first, ``no_controller`` before all."""
    return sorted(status.get("holds") or (), key=lambda hold: _ORDER.get(str(hold.get("reason")), 50))


# --- one function for each reason -------------------------------------------------------------------------------------


def _item(hold: Json) -> str:
    return str(hold.get("item") or "")


def _waiting(hold: Json, status: Json) -> Json:
    return next((one for one in status.get("waiting") or () if one.get("item") == _item(hold)), {})


def _paused(hold: Json, status: Json) -> Ending:
    run = str(status["run"])
    if hold.get("by") == "controller":  # on_fail: pause
        ends = "a person decides: resume looks at it anew, rollback takes everything back"
        return Ending(ends, "an operator", (command_line("resume", run), command_line("rollback", run)))
    return Ending("somebody resumes", "an operator", (command_line("resume", run),))


def _failing(_hold: Json, status: Json) -> Ending:
    ends = "it passes: it is asked again by itself, and at once by a resume"
    return Ending(ends, "an operator", (command_line("resume", str(status["run"])),))


def _inconclusive(_hold: Json, status: Json) -> Ending:
    run = str(status["run"])
    ends = "it is seen to pass; missing data alone never rolls back, unless the plan says so"
    return Ending(ends, "an approver, past it", (command_line("advance", run),))


def _share_mismatch(_hold: Json, status: Json) -> Ending:
    ends = "the share of users that arrives is the one that was set; look at how the service evaluates its flags"
    return Ending(ends, "an approver, past it", (command_line("advance", str(status["run"])),))


def _answer(hold: Json, status: Json) -> Ending:
    """Named are those whose yes is missing, where the controller says so; else all who may."""
    waiting = _waiting(hold, status)
    who = ", ".join(map(printable, waiting.get("missing") or waiting.get("by") or ())) or "an operator"
    until = f", by {clock(waiting['until'])} UTC at the latest" if waiting.get("until") else ""
    given = waiting.get("approved_by") or ()
    so_far = f" ({', '.join(map(printable, given))} did already)" if given else ""
    which = ("--item", _item(hold)) if len(status.get("waiting") or ()) != 1 else ()
    lines = tuple(command_line(one, str(status["run"]), *which) for one in ("approve", "reject"))
    return Ending(f"{who} says yes{so_far}{until}", who, lines)


def _window(hold: Json, status: Json) -> Ending:
    kind, _, where = _item(hold).partition(":")
    if kind == "freeze":
        words = () if where == "*" else ("--environment", where)
        return Ending("the freeze is over", "an approver, before its time", (command_line("unfreeze", "", *words),))
    at = (status.get("next") or {}).get("at")
    return Ending(f"the window opens, at {clock(at)} UTC" if at else "the window opens")


def _trigger(hold: Json, status: Json) -> Ending:
    run, item = str(status["run"]), _item(hold)
    if item.startswith("pin:"):
        return _pin(status, item.rpartition("/")[2])
    pins = [one["flag"] for one in status.get("pins") or () if one["source"] == f"trigger {item}" and not one["kept"]]
    if pins:
        return _pin(status, str(pins[0]))
    ends = "somebody looks at it and resumes, or rolls back"
    return Ending(ends, "an operator", (command_line("resume", run), command_line("rollback", run)))


def _pin(status: Json, flag: str) -> Ending:
    lines = [command_line("resume", str(status["run"]), "--flag", flag, one) for one in ("--keep", "--release")]
    if status.get("phase") == "watching":  # its stage is behind the run
        return Ending(f"somebody says that {flag} stays as it is", "an operator", (lines[0],))
    ends = f"somebody says what becomes of {flag}: it stays as it is, or gets the plan's value again"
    return Ending(ends, "an operator", tuple(lines))


def _killed(hold: Json, status: Json) -> Ending:
    where = _item(hold) or str(status.get("environment"))
    return Ending(
        "the kill switch is lifted; it shows first what returns to which percentage",
        "an approver",
        (command_line("flag lift", "", "--environment", where),),
    )


def _changed_elsewhere(hold: Json, status: Json) -> Ending:
    run, item = str(status["run"]), _item(hold)
    if item.startswith("flag:"):
        return _pin(status, item.rpartition("/")[2])
    ends = "it is put back to what the run made of it, or somebody takes it as it is"
    return Ending(ends, "an operator", (command_line("resolve", run, item),))


def _resolve(hold: Json, status: Json) -> tuple[str, ...]:
    """Nothing where the controller says that there is no target to resolve."""
    target = hold.get("target", _item(hold))
    return (command_line("resolve", str(status["run"]), str(target)),) if target else ()


def _effect_failing(hold: Json, status: Json) -> Ending:
    ends = "it works: it is tried again by itself, with longer and longer pauses"
    lines = _resolve(hold, status)
    if not lines:
        return Ending(ends, "an operator, going back", (command_line("rollback", str(status["run"])),))
    return Ending(ends, "an operator, taking it as it is", lines)


def _unknown_outcome(hold: Json, status: Json) -> Ending:
    run, item = str(status["run"]), _item(hold)
    lines = tuple(command_line("resolve", run, item, "--as", one) for one in ("done", "not_done"))
    return Ending("somebody looks whether it happened, and says so", "an operator", lines)


def _undo_failing(hold: Json, status: Json) -> Ending:
    ends = "it works: it is tried again by itself; giving it up ends the run as rollback failed"
    lines = _resolve(hold, status)
    return Ending(ends, "an operator, giving it up" if lines else "", lines)


def _point_of_no_return(hold: Json, status: Json) -> Ending:
    ends = "somebody takes what lies behind it as it is: it can't go back"
    return Ending(ends, "an operator", (command_line("resolve", str(status["run"]), _item(hold)),))


def _no_controller(_hold: Json, _status: Json) -> Ending:
    return Ending(
        "a controller goes on with it; until then no gate, no trigger and no person moves anything",
        "whoever may start one",
        (command_line("serve", "", reason=False),),
    )


_ENDINGS: Mapping[str, Callable[[Json, Json], Ending]] = {
    "paused": _paused,
    "failing": _failing,
    "inconclusive": _inconclusive,
    "share_mismatch": _share_mismatch,
    "approval": _answer,
    "manual": _answer,
    "window": _window,
    "trigger": _trigger,
    "killed": _killed,
    "changed_elsewhere": _changed_elsewhere,
    "effect_failing": _effect_failing,
    "unknown_outcome": _unknown_outcome,
    "undo_failing": _undo_failing,
    "point_of_no_return": _point_of_no_return,
    "no_controller": _no_controller,
}
_FIRST = ("no_controller", "killed", "undo_failing", "point_of_no_return", "unknown_outcome", "changed_elsewhere")
_ORDER = {reason: number for number, reason in enumerate(_FIRST)} | {"window": 90}


# --- what somebody may do ---------------------------------------------------------------------------------------------


def offered_line(offer: Json, run: str) -> str:
    """An offer of the controller's as it is typed."""
    words: list[str] = []
    if offer["command"] in ("resolve", "fire"):
        words += [str(offer[name]) for name in ("target", "trigger") if offer.get(name)]
    for name in ("item", "stage", "flag"):
        if offer.get(name):
            words += [f"--{name}", str(offer[name])]
    if offer.get("pin"):
        words.append(f"--{offer['pin']}")
    if offer["command"] == "resolve" and offer.get("taken_as", "as_is") != "as_is":
        words += ["--as", str(offer["taken_as"])]
    words += [f"--{name.replace('_', '-')}" for name in ("with_schema", "not_applicable") if offer.get(name)]
    return command_line(str(offer["command"]), run, *words)
