"""``giflab COMMAND``. What a command needs is imported by it, so that the others do without."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from .config import home, settings
from .deps import deps
from .results import opened

Command = Callable[[argparse.Namespace], int]


def cache(_: argparse.Namespace) -> int:
    """how many results are kept"""
    with opened(_database()) as results:
        print(f"{len(results)} results are kept")
    return 0


def metrics(given: argparse.Namespace) -> int:
    """measure one GIF"""
    from .metrics import summary
    from .parallel_metrics import measure

    print(summary(measure(_gif(given))))
    return 0


def organize_directories(_: argparse.Namespace) -> int:
    """make the folders that are missing"""
    for name in ("inbox", "collector"):
        (home() / name).mkdir(exist_ok=True)
    return 0


def run(_: argparse.Namespace) -> int:
    """measure all that is in the inbox"""
    from .parallel_metrics import failures, measure_all

    found = measure_all(sorted((home() / "inbox").glob("*.gif")))
    failed = failures(found)
    with opened(_database()) as results:
        for file, error in failed.items():
            results.fail(file.name, str(error))
            print(f"giflab: {error}", file=sys.stderr)
        for file, what in found.items():
            if not isinstance(what, Exception):
                results.save(file.name, what["frames"], what["mse"], what["psnr"])
        results.forget_failures({file.name for file in found})
    print(f"{len(found) - len(failed)} measured, {len(failed)} failed")
    return 1 if failed else 0


def select_pipelines(_: argparse.Namespace) -> int:
    """the GIFs that compression spares most"""
    with opened(_database()) as results:
        for gif, psnr in results.best(3):
            print(f"{gif} {psnr}")
    return 0


def tag(_: argparse.Namespace) -> int:
    """tell good results from poor ones"""
    with opened(_database()) as results:
        print(f"{results.tag()} are tagged")
    return 0


def validate(_: argparse.Namespace) -> int:
    """whether results are what was written"""
    with opened(_database()) as results:
        spoilt = results.spoilt()
    print(f"{len(spoilt)} spoilt")
    return 1 if spoilt else 0


def view_failures(_: argparse.Namespace) -> int:
    """what could not be measured, and why"""
    with opened(_database()) as results:
        for gif, error in results.failures():
            print(f"{gif}: {error}")
    return 0


COMMANDS: dict[str, Command] = {
    "cache": cache,
    "deps": deps,
    "metrics": metrics,
    "organize-directories": organize_directories,
    "run": run,
    "select-pipelines": select_pipelines,
    "tag": tag,
    "validate": validate,
    "view-failures": view_failures,
}


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="giflab", description=sys.modules["giflab"].__doc__)
    commands = made.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        one = commands.add_parser(name, help=command.__doc__, description=command.__doc__)
        if name == "metrics":
            one.add_argument("gif", nargs="?", help="a file of the inbox; its first one if none is named")
        if name == "deps":
            one.add_argument("action", choices=("check", "install-help", "status"))
            one.add_argument("name", nargs="?", help="of what install-help is about")
            one.add_argument("--json", action="store_true")
            one.add_argument("--verbose", action="store_true")
    return made


def main(words: Sequence[str]) -> int:
    given = parser().parse_args(words)
    try:
        settings()
        return COMMANDS[given.command](given)
    except (OSError, ValueError) as error:
        print(f"giflab: {error}", file=sys.stderr)
        return 1


def _database() -> Path:
    return home() / "results.db"


def _gif(given: argparse.Namespace) -> Path:
    inbox = home() / "inbox"
    return inbox / str(given.gif) if given.gif else min(inbox.glob("*.gif"), default=inbox / "anything.gif")
