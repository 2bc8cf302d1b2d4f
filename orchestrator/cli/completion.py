"""`rollout completion SHELL`, and what the scripts that it prints ask back: `rollout __complete SHELL WORD...`.

What can be typed is read off the parser, so nothing is written down twice. Names of runs, flags, stages and of what
waits come from the controller, or from the store if none runs, within ``MOST_SECONDS``; whoever does not answer by then
gives nothing, and no completion ever says an error.
"""

import argparse
import os
import re
import shlex
import signal
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

from orchestrator.cli.output import printable
from orchestrator.errors import RolloutError

Json = dict[str, Any]
Found = tuple[str, str]  # what is typed, and what it is
MOST_SECONDS = 0.25
FILES = ":files"  # for the scripts: names of files are asked for, which shells know best
NAME = "__complete"

BASH = """\
_rollout() {
    local reply
    COMPREPLY=()
    while IFS= read -r reply; do
        if [[ $reply == :files ]]; then
            compopt -o default
        else
            COMPREPLY+=("$reply")
        fi
    done < <("${1/#\\~/$HOME}" __complete bash "${COMP_LINE:0:COMP_POINT}" 2>/dev/null)
}
complete -F _rollout rollout
"""

ZSH = """\
#compdef rollout
_rollout() {
    local -a found
    found=("${(@f)$("${~words[1]}" __complete zsh "${(@Q)words[2,CURRENT]}" 2>/dev/null)}")
    if [[ $found[1] == :files ]]; then
        _files
    elif [[ -n $found[1] ]]; then
        _describe -V rollout found
    fi
}
if [[ $funcstack[1] == _rollout ]]; then
    _rollout "$@"
elif (( $+functions[compdef] )); then
    compdef _rollout rollout
fi
"""

FISH = """\
function __rollout_complete
    set -l words (commandline -opc) (commandline -ct)
    set -l found ($words[1] __complete fish $words[2..-1] 2>/dev/null)
    if test "$found[1]" = :files
        __fish_complete_path (commandline -ct)
    else
        printf '%s\\n' $found
    end
end
complete -c rollout -f -a '(__rollout_complete)'
"""

SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}


def script(arguments: Namespace) -> int:
    print(SCRIPTS[arguments.shell], end="")
    return 0


def answer(words: Sequence[str]) -> int:
    """*words*: the shell, and what was typed: for bash the line, else its words without the first; the last one is
    what is being completed. Prints what it could be, a line each."""
    with in_time():
        try:
            lines = list(_answer(*words))
        except (RolloutError, OSError, ValueError, KeyError, TypeError, SystemExit):
            lines = []
    print("".join(f"{line}\n" for line in lines), end="")
    return 0


@contextmanager
def in_time() -> Iterator[None]:
    """Who is late says nothing: the process ends, whatever it waits for."""
    signal.signal(signal.SIGALRM, lambda *_: os._exit(0))
    signal.setitimer(signal.ITIMER_REAL, MOST_SECONDS)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)


def _answer(shell: str = "", *typed: str) -> Iterator[str]:
    words = _split(typed[0]) if shell == "bash" and typed else list(typed)
    found = completed(words)
    if found is None:
        yield FILES
        return
    kept = [(name, what) for name, what in found if name.startswith(words[-1])]
    shown = [(name, what) for name, what in kept if name.isprintable()]
    if shell == "bash":
        yield from (_for_bash(name, typed[0]) for name, _ in shown)
    elif shell == "zsh":
        yield from (name.replace(":", r"\:") + (f":{printable(what)}" if what else "") for name, what in shown)
    else:
        yield from (name + (f"\t{printable(what)}" if what else "") for name, what in shown)


# --- bash -------------------------------------------------------------------------------------------------------------


def _split(line: str) -> list[str]:
    """The words behind the command, the last one being what is typed right now, though its quote may be open."""
    for closing in ("", "'", '"'):
        try:
            words = shlex.split(line + closing)
        except ValueError:
            continue
        is_new = line[-1:].isspace() and not closing
        return [*words[1:], *([""] if is_new or len(words) < 2 else [])]
    return [""]


def _for_bash(name: str, line: str) -> str:
    """As bash puts it into the line: it replaces only what stands behind the last sign at which it parts words."""
    if _has_open_quote(line):
        return name
    quoted = re.sub(r"([^\w@%+:,./=-])", r"\\\1", name)
    typed = re.split(r"(?<!\\)\s", line)[-1]
    parted = max(typed.rfind(sign) for sign in ":=")
    return quoted[parted + 1 :]


def _has_open_quote(line: str) -> bool:
    try:
        shlex.split(line)
    except ValueError:
        return not line.endswith("\\")
    return False


# --- what could be typed ----------------------------------------------------------------------------------------------


def completed(words: list[str]) -> list[Found] | None:
    """Everything that could stand in the place of the last word; None if that is a file."""
    from orchestrator.cli.parser import make_parser

    if len(words) == 1:
        return sorted(_subcommands(make_parser()))
    parser: argparse.ArgumentParser = make_parser(words[0])
    rest = words
    while (inner := _subparsers(parser)) is not None:
        if len(rest) == 1:
            return sorted(_subcommands(parser))
        if rest[0] not in inner:
            return []
        parser, rest = inner[rest[0]], rest[1:]
    place = _place(parser, rest[:-1])
    if rest[-1].startswith("-") and (place is None or not place.option_strings):
        return _options(parser, rest[:-1])
    return [] if place is None else _values(place, words)


def _subparsers(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser] | None:
    for action in parser._actions:  # noqa: SLF001 - argparse has no public way to ask what can be typed
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            found: dict[str, argparse.ArgumentParser] = action.choices
            return found
    return None


def _subcommands(parser: argparse.ArgumentParser) -> Iterator[Found]:
    for name, inner in (_subparsers(parser) or {}).items():
        yield name, str(inner.description or "").partition("\n")[0]


def _options(parser: argparse.ArgumentParser, before: list[str]) -> list[Found]:
    """The long ones, but for what was typed already and can't be repeated."""
    found = []
    for action in parser._actions:  # noqa: SLF001
        is_there = any(option in before for option in action.option_strings)
        is_list = isinstance(action, argparse._AppendAction)  # noqa: SLF001
        if action.help is not argparse.SUPPRESS and (is_list or not is_there):
            what = str(action.help or "").replace("%%", "%")
            found += [(option, what) for option in action.option_strings if option.startswith("--")]
    return found


def _place(parser: argparse.ArgumentParser, before: list[str]) -> argparse.Action | None:
    """Which argument the next word is: the value of the option before it, or the next one by its place."""
    options = {name: action for action in parser._actions for name in action.option_strings}  # noqa: SLF001
    positional = [action for action in parser._actions if not action.option_strings]  # noqa: SLF001
    waiting: argparse.Action | None = None
    seen = 0
    for word in before:
        if waiting is not None:
            waiting = None
        elif word in options:
            waiting = options[word] if options[word].nargs != 0 else None
        elif not word.startswith("-"):
            seen += 1
    if waiting is not None:
        return waiting
    return positional[seen] if seen < len(positional) else None


def _values(place: argparse.Action, words: list[str]) -> list[Found] | None:
    if place.choices is not None:
        return [(str(one), "") for one in place.choices]
    if place.metavar is not None and "FILE" in str(place.metavar) and place.dest != "run":
        return None
    if place.dest in ("plan", "search", "file", "report"):
        return None
    made = _NAMES.get(place.dest)
    return made(words) if made is not None else []


# --- names ------------------------------------------------------------------------------------------------------------


def _given(words: list[str], option: str) -> str | None:
    return next((value for name, value in pairwise(words) if name == option), None)


def _source(words: list[str]) -> Any:
    from orchestrator.cli.sources import open_source

    if "--context" in words:
        raise ValueError("a cluster does not answer in time")
    return open_source(_given(words, "--server"))


def _runs(words: list[str]) -> list[Found]:
    """Runs, newest first, and then the names of their plans."""
    from orchestrator.cli.sources import StoreSource

    source = _source(words)
    if isinstance(source, StoreSource):
        from orchestrator.cli.settings import store_url
        from orchestrator.journal import glance_at

        rows = [(one.run, one.plan, "") for one in glance_at(store_url())]
    else:
        rows = [(str(one["run"]), str(one["plan"]), _standing(one)) for one in source.runs(None)]
    plans = {plan: (plan, f"newest run: {run}") for run, plan, _ in reversed(rows)}
    return [*((run, what) for run, _, what in rows), *reversed(plans.values())]


def _standing(run: Json) -> str:
    return str(run["outcome"] or run["phase"]).replace("_", " ")


def _run_of(words: list[str]) -> str:
    """The one that the line is about: what stands behind the command."""
    return next(word for word in words[1:] if word and not word.startswith("-"))


def _status(words: list[str]) -> Json:
    found: Json = _source(words).status(_run_of(words))
    return found


def _offered(field: str, command: str) -> Callable[[list[str]], list[Found]]:
    """What the controller would take there now."""

    def look(words: list[str]) -> list[Found]:
        offers = _source(words).offers(_run_of(words))["commands"]
        mine = [one for one in offers if one["command"] == command and one.get(field) and one["refused"] is None]
        return list({str(one[field]): (str(one[field]), str(one["what"])) for one in mine}.values())

    return look


def _items(words: list[str]) -> list[Found]:
    return [(str(one["item"]), str(one.get("text") or "")) for one in _status(words)["waiting"]]


def _stages(words: list[str]) -> list[Found]:
    return [(str(one["name"]), str(one["kind"])) for one in _status(words)["stages"]]


def _flags(words: list[str]) -> list[Found]:
    found = _source(words).flags(_given(words, "--environment"))
    return list({one["key"]: (str(one["key"]), f"{one['percentage']:g} %") for one in found}.values())


def _flags_or_pins(words: list[str]) -> list[Found]:
    return _offered("flag", "resume")(words) if words[0] == "resume" else _flags(words)


def _environments(words: list[str]) -> list[Found]:
    flags = _source(words).flags(None)
    return sorted({(str(one["environment"]), "") for one in flags})


_NAMES: dict[str, Callable[[list[str]], list[Found]]] = {
    "run": _runs,
    "supersede": _runs,
    "item": _items,
    "stage": _stages,
    "key": _flags,
    "flag": _flags_or_pins,
    "target": _offered("target", "resolve"),
    "trigger": _offered("trigger", "fire"),
    "environment": _environments,
}
