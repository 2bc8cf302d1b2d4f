"""`python -m benchmarks NAME... [--quick | --full] [--json] [--into FOLDER]`: some of the benchmarks, or `all` of them.

Each is a module of this package with ``run(quick) -> result`` and ``table(result) -> text``; one that can also measure
at greater length than is usual has ``run(quick, full)``. The table goes to standard output; with ``--json`` the last
line there is the result as one JSON object (of several: by name). *FOLDER* gets each result as it is there: its JSON,
its table, and the growth plot of `scale`. Of several, one that fails is told and the others go on; the exit code is 1
then.
"""

import argparse
import json
import pkgutil
import sys
import traceback
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any

import benchmarks


def names() -> list[str]:
    return sorted(
        module.name for module in pkgutil.iter_modules(benchmarks.__path__) if not module.name.startswith("_")
    )


def main(argv: list[str] | None = None) -> int:
    known = names()
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Speed and scale, measured here and now.")
    words = f"{', '.join(known)}, or all"
    parser.add_argument("names", metavar="NAME", nargs="+", choices=[*known, "all"], help=words)
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--quick", action="store_true", help="fewer rounds: a rough look, not for comparing")
    length.add_argument(
        "--full", action="store_true", help="more rounds where a benchmark knows of more: for publishing"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    parser.add_argument("--into", metavar="FOLDER", type=Path, help="each result as JSON and as a table, and the plot")
    arguments = parser.parse_args(argv)
    chosen = known if "all" in arguments.names else arguments.names
    results: dict[str, Any] = {}
    failed: list[str] = []
    for name in chosen:
        try:
            results[name], table = _measured(name, quick=arguments.quick, full=arguments.full)
        except Exception:
            if len(chosen) == 1:
                raise
            failed.append(name)
            print(f"{name} failed:\n{traceback.format_exc()}", file=sys.stderr, flush=True)
            continue
        print(table, end="\n\n" if name != chosen[-1] else "\n", flush=True)
        if arguments.into is not None:
            _put(arguments.into, name, results[name], table)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    if arguments.json:
        print(json.dumps(results if len(chosen) > 1 else results[chosen[0]]))
    return 1 if failed else 0


def _measured(name: str, *, quick: bool, full: bool) -> tuple[dict[str, Any], str]:
    module = import_module(f"benchmarks.{name}")
    takes_full = "full" in signature(module.run).parameters
    result = module.run(quick, **({"full": True} if full and takes_full else {}))
    return result, module.table(result)


def _put(folder: Path, name: str, result: dict[str, Any], table: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    (folder / f"{name}.txt").write_text(table + "\n", encoding="utf-8")
    if name == "scale":
        from benchmarks._growth import draw

        draw(result, folder / "growth.svg")


if __name__ == "__main__":
    sys.exit(main())
