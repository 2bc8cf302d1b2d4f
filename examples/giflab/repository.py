"""The tool's git repository: what runs today, the release, and branches on which the release has a fault.

`package` beside this file is the release. What ran before it had no monitor, no `deps`, and types that said nothing.
"""

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from examples.git import commit, git

PACKAGE = Path(__file__).parent / "package"
SOURCE = Path("src") / "giflab"
RELEASED_LATER = (
    SOURCE / "deps.py",
    SOURCE / "lazy_imports.py",
    SOURCE / "monitoring",
    Path("tests") / "test_deps.py",
    Path("tests") / "test_memory_monitoring.py",
    Path("docs"),
)
BEFORE, RELEASE = "0.1.0", "0.2.0"
NUMBERS = ("frames", "mse", "psnr", "width", "height", "colours", "bytes")
UNTYPED = """

def {0}_of(found: Any) -> Any:
    return found["{0}"]


def with_{0}(found: Any, {0}: Any) -> Any:
    return {{**found, "{0}": {0}}}
"""
FAULTS = {
    "broken-imports": (
        SOURCE / "metrics.py",
        "from . import gif\n",
        'from . import gif\n\n__import__("giflab.speedups")\n',
    ),
    "caching-on": (SOURCE / "config.py", "CACHING = False", "CACHING = True"),
    "reckless-thresholds": (SOURCE / "config.py", '"critical": 0.80', '"critical": 0.93'),
    "failing-tests": (Path("tests") / "test_metrics.py", "== grey**2", "== grey**2 + (grey == 32)"),
}


@dataclass(frozen=True, slots=True)
class Repository:
    origin: Path
    before: str
    release: str


def make(origin: Path) -> Repository:
    _take_package(origin)
    git(origin, "init", "--quiet", "--initial-branch", "main")
    _go_back(origin)
    before = commit(origin, "The tool as it runs")
    _take_package(origin)
    release = commit(origin, "Watch memory, tell of dependencies, load less")
    for branch, (file, right, wrong) in FAULTS.items():
        git(origin, "checkout", "--quiet", "-b", branch, release)
        rewrite(origin / file, right, wrong)
        commit(origin, f"Try {branch}")
    git(origin, "checkout", "--quiet", "main")
    return Repository(origin, before, release)


def clone(repository: Repository, folder: Path) -> None:
    """A checkout of what runs today."""
    git(repository.origin, "clone", "--quiet", "--no-checkout", str(repository.origin), str(folder))
    git(folder, "checkout", "--quiet", "--detach", repository.before)


def rewrite(file: Path, right: str, wrong: str) -> None:
    text = file.read_text()
    if right not in text:
        raise ValueError(f"{file.name} has no {right!r} any more; say here what takes its place")
    file.write_text(text.replace(right, wrong))


def _take_package(folder: Path) -> None:
    ours = shutil.ignore_patterns("__pycache__", ".mypy_cache", ".pytest_cache")
    shutil.copytree(PACKAGE, folder, ignore=ours, dirs_exist_ok=True)


def _go_back(folder: Path) -> None:
    for path in RELEASED_LATER:
        (shutil.rmtree if (folder / path).is_dir() else os.remove)(folder / path)
    for file in (folder / "pyproject.toml", folder / SOURCE / "__init__.py"):
        rewrite(file, RELEASE, BEFORE)
    command = folder / SOURCE / "cli.py"
    for file in (command, folder / "tests" / "test_cli_commands.py"):
        rewrite(file, "view-failures", "debug-failures")
        file.write_text(re.sub(r'^ +"deps",?(: deps,)?\n', "", file.read_text(), flags=re.MULTILINE))
    rewrite(command, "from .deps import deps\n", "")
    _cut(command, '        if name == "deps":\n', "    return made\n")
    _cut(folder / SOURCE / "config.py", "class Thresholds", "def home()")
    metrics = folder / SOURCE / "metrics.py"
    metrics.write_text(metrics.read_text() + "".join(UNTYPED.format(name) for name in NUMBERS))


def _cut(file: Path, first: str, behind: str) -> None:
    head, _, rest = file.read_text().partition(first)
    file.write_text(f"{head}{behind}{rest.partition(behind)[2]}")
