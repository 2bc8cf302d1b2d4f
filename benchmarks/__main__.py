"""`python -m benchmarks NAME [--quick | --full] [--json]`: one of the benchmarks, or `all` of them.

Each is a module of this package with ``run(quick) -> result`` and ``table(result) -> text``; one that can also measure
at greater length than is usual has ``run(quick, full)``. The table goes to standard
output; with ``--json`` the last line there is the result as one JSON object (of `all`: by name).
"""

import argparse
import json
import pkgutil
import sys
from importlib import import_module
from inspect import signature
from typing import Any

import benchmarks


def names() -> list[str]:
    return sorted(
        module.name for module in pkgutil.iter_modules(benchmarks.__path__) if not module.name.startswith("_")
    )


def main(argv: list[str] | None = None) -> int:
    known = names()
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Speed and scale, measured here and now.")
    parser.add_argument("name", metavar="NAME", choices=[*known, "all"], help=f"{', '.join(known)}, or all")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--quick", action="store_true", help="fewer rounds: a rough look, not for comparing")
    length.add_argument(
        "--full", action="store_true", help="more rounds where a benchmark knows of more: for publishing"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    arguments = parser.parse_args(argv)
    chosen = known if arguments.name == "all" else [arguments.name]
    results: dict[str, Any] = {}
    for name in chosen:
        module = import_module(f"benchmarks.{name}")
        takes_full = "full" in signature(module.run).parameters
        results[name] = module.run(arguments.quick, **({"full": True} if arguments.full and takes_full else {}))
        print(module.table(results[name]), end="\n\n" if name != chosen[-1] else "\n", flush=True)
    if arguments.json:
        print(json.dumps(results if arguments.name == "all" else results[arguments.name]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
