"""A stand-in for Go, for what provides programs out of Go modules: it notes how it is called, and builds nothing."""

import subprocess
import sys
from pathlib import Path

from tests.support.providing import provided

GO = """#!{python}
import json, os, pathlib, sys

arguments = sys.argv[1:]
with open(os.environ["GO_CALLS"], "a") as calls:
    print(*arguments, file=calls)
if arguments[0] == "env":
    print("go1.99.0")
elif arguments[0] == "list":
    print("fmt", "k8s.io/api")
elif arguments[0] == "build":
    if os.environ.get("GO_FAILS"):
        sys.exit("k8s.io/api\\nmain.go:1:1: syntax error")
    binary = pathlib.Path(arguments[arguments.index("-o") + 1])
    binary.write_text("#!/bin/sh\\necho 1.0\\n")
    binary.chmod(0o755)
else:
    sums = dict(line.split()[:2] for line in open(os.environ["GO_SUMS"]))
    print(json.dumps({{"Dir": os.environ["GO_MODULES"], "Sum": sums.get(arguments[-1], "h1:other")}}))
"""


class GoMachine:
    """A machine with an empty cache folder, and on PATH nothing but that Go. *modules* is where it says that modules
    are; *sums* has the checksum of each that it knows: ``MODULE CHECKSUM`` in a line."""

    def __init__(self, folder: Path, sums: Path) -> None:
        self.folder, self.sums = folder, sums
        self.modules = folder / "modules"
        self.calls = folder / "calls"
        self.calls.touch()
        self.go = folder / "bin" / "go"
        self.go.parent.mkdir()
        self.go.write_text(GO.format(python=sys.executable))
        self.go.chmod(0o755)

    def run(self, provider: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        ours = {
            "PATH": str(self.go.parent),
            "HOME": str(self.folder),
            "XDG_CACHE_HOME": str(self.folder / "cache"),
            "GO_CALLS": str(self.calls),
            "GO_SUMS": str(self.sums),
            "GO_MODULES": str(self.modules),
        }
        return provided(provider, *arguments, environment=ours | environment)

    def builds(self) -> int:
        return sum(line.startswith("build") for line in self.calls.read_text().splitlines())


def last_line(text: str) -> str:
    return text.strip().splitlines()[-1]
