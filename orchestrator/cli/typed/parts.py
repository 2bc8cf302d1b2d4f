"""What the commands are made of: a parser whose errors are sentences, and the options that many of them have."""

from __future__ import annotations

import argparse
import re
import textwrap
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, NoReturn

OUTPUTS = ("table", "json", "yaml")

_UNKNOWN = re.compile(r"argument (COMMAND|ACTION): invalid choice: '(.*?)' \(choose from (.*)\)", re.DOTALL)


def _suggest(found: re.Match[str]) -> str:
    """argparse lists everything that is known; the nearest word helps more."""
    from difflib import get_close_matches

    kind, word, known = found.groups()
    near = get_close_matches(word, re.findall(r"[\w-]+", known), 1)
    return f"there is no {kind.lower()} {word!r}" + (f"; did you mean {near[0]!r}?" if near else "")


class Parser(argparse.ArgumentParser):
    """argparse with errors as one sentence. No abbreviations: the next option would break those that people use."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **{"allow_abbrev": False, **kwargs})  # type: ignore[arg-type]

    def error(self, message: str) -> NoReturn:
        message = _UNKNOWN.sub(_suggest, message)
        self.exit(2, f"rollout: {message} (see `{self.prog} --help`)\n")


if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[Parser]  # noqa: SLF001 - argparse has no public name for it


def performer(where: str) -> Callable[[argparse.Namespace], int]:
    """Calls ``module.function`` of this package, imported when it is called."""

    def perform(arguments: argparse.Namespace) -> int:
        module, _, function = where.partition(".")
        code: int = getattr(import_module(f"orchestrator.cli.{module}"), function)(arguments)
        return code

    return perform


def command(commands: Commands, name: str, perform: str, what: str, details: str = "") -> Parser:
    description = what if not details else f"{what}\n\n{textwrap.dedent(details).strip()}"
    made = commands.add_parser(name, description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    assert isinstance(made, Parser)
    made.set_defaults(perform=performer(perform))
    return made


def with_server(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--server", metavar="URL", help="the controller (else ROLLOUT_SERVER, else your own)")
    parser.add_argument(
        "--cacert", metavar="FILE", help="whom to trust with its certificate (else ROLLOUT_CACERT, else the system)"
    )


def with_cluster(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--context", metavar="NAME", help="a cluster of your kubeconfig in the controller's place: ask its API server"
    )
    parser.add_argument("--namespace", metavar="NAME", help="with --context: which one (else the context's)")


def with_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output", choices=OUTPUTS, default="table", help="how to print (table)")


def with_reason(parser: argparse.ArgumentParser, *, required: bool) -> None:
    what = "why; kept in the journal (asked for on a terminal)"
    parser.add_argument("--reason", metavar="TEXT", default="", help=what)
    parser.set_defaults(wants_reason=required)


def with_variables(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("plan", metavar="PLAN", help="the file")
    with_settings(parser)


def with_settings(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--set", dest="settings", metavar="a.b=c", action="append", default=[],
        help="replace a value of the document, by its path (may be repeated)",
    )  # fmt: skip
