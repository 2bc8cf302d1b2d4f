"""The layers of the architecture: the sentences are in .importlinter."""

import shutil
import subprocess
import sys
from pathlib import Path

import grimp
import pytest

from tests.support.process import ROOT

FLAGS_MAY_USE = {"mmh3"}


def check_contracts(root: Path) -> subprocess.CompletedProcess[str]:
    command: list[str | Path] = [Path(sys.executable).with_name("lint-imports"), "--no-cache", "--no-logo"]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=120, check=False)


def test_every_import_keeps_to_the_layers() -> None:
    done = check_contracts(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert ", 0 broken" in done.stdout


@pytest.mark.parametrize(
    ("file", "line", "sentence"),
    (
        ("flags/a.py", "import stages", "Flags know nothing of stages"),
        ("stages/a.py", "import orchestrator.core", "stages nothing of the orchestrator"),
        ("stages/a.py", "import time", "Stages and the core are pure"),
        ("orchestrator/core/a.py", "import orchestrator.ports", "the core knows nobody"),
        ("orchestrator/core/a.py", "import random", "Stages and the core are pure"),
        ("orchestrator/runner.py", "import orchestrator.adapters.clock", "Only the composition root names concrete"),
        ("orchestrator/cli/a.py", "import orchestrator.journal.sqlite", "Only the composition root names concrete"),
        ("orchestrator/runner.py", "import kubernetes.client", "Kubernetes is spoken to in its adapter alone"),
        ("orchestrator/app.py", "def late():\n    import apsw", "SQLite is opened by"),
        ("orchestrator/api/a.py", "from rich.table import Table", "Only the command line draws on a terminal"),
        ("orchestrator/misplaced.py", "", "not listed as layers"),
    ),
)
def test_an_import_across_the_layers_is_found(tmp_path: Path, file: str, line: str, sentence: str) -> None:
    shutil.copy(ROOT / ".importlinter", tmp_path)
    modules = ["flags/model.py", "stages/plan.py", "orchestrator/core/state.py", "orchestrator/ports.py"]
    modules += ["orchestrator/adapters/clock.py", "orchestrator/journal/sqlite.py", "orchestrator/app.py"]
    for name in [*modules, "orchestrator/cli/a.py", "orchestrator/api/a.py"]:
        make_module(tmp_path, name)
    assert check_contracts(tmp_path).returncode == 0
    make_module(tmp_path, file, f"{line}\n")

    done = check_contracts(tmp_path)
    assert done.returncode == 1
    assert sentence in " ".join(done.stdout.split())


def make_module(root: Path, name: str, text: str = "") -> None:
    file = root / name
    file.parent.mkdir(parents=True, exist_ok=True)
    for package in file.relative_to(root).parents[:-1]:
        (root / package / "__init__.py").touch()
    file.write_text(text)


def test_flags_need_the_standard_library_and_the_hash_alone() -> None:
    graph = grimp.build_graph("flags", include_external_packages=True, cache_dir=None)
    outside = {name for name in graph.modules if graph.is_module_squashed(name)}
    wanted = {
        name: sorted(graph.find_modules_that_directly_import(name))
        for name in outside - sys.stdlib_module_names - FLAGS_MAY_USE
    }
    # for applications that have these packages; nothing else of ours imports those modules
    assert wanted == {
        "openfeature": ["flags.exposure_hook", "flags.openfeature"],
        "prometheus_client": ["flags.exposure"],
    }
