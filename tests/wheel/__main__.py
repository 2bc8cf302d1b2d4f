"""Builds the wheels into dist/, installs each into an empty environment, and runs what is there.

    python -m tests.wheel [--build-only]

It needs what pip needs to get the dependencies. Nothing of this clone is on the path of what is run.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
import venv
import zipfile
from pathlib import Path

from tests.support.process import ROOT, isolated_environment

DIST = ROOT / "dist"
PLAN = """\
apiVersion: stagedrollout.io/v1alpha1
kind: StagedRollout
metadata: {name: installed}
spec:
  flags: {installed: {}}
  stages: [{name: open, kind: batch, flag: installed, percentages: [50, 100], bake: 0s, settle: 0s}]
"""
FLAGS = """\
from flags.client import FlagClient
with FlagClient("http://127.0.0.1:9", defaults={"installed": True}) as flags:
    assert flags.is_on("installed", {"targetingKey": "somebody"})
"""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.wheel")
    parser.add_argument("--build-only", action="store_true")
    whole, flags = build(ROOT), build(ROOT / "flags")
    if parser.parse_args().build_only:
        return
    check_contents(whole)
    with tempfile.TemporaryDirectory(prefix="wheel-") as folder:
        check_rollout(install(Path(folder, "whole"), whole), Path(folder))
        python = install(Path(folder, "flags"), flags) / "python"
        run([python, "-I", "-c", FLAGS], Path(folder))


def build(project: Path) -> Path:
    DIST.mkdir(exist_ok=True)
    before = {path: path.stat().st_mtime_ns for path in DIST.glob("*.whl")}
    run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", DIST], project)
    (made,) = [path for path in DIST.glob("*.whl") if before.get(path) != path.stat().st_mtime_ns]
    print(f"{made.relative_to(ROOT)}: {made.stat().st_size / 1024:.0f} KiB")
    return made


def check_contents(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert any(name.startswith("orchestrator/web/dist/") for name in names), "the pages are missing: `make page`"
    strangers = [name for name in names if name.partition("/")[0] in ("tests", "examples", "benchmarks")]
    assert not strangers, strangers
    assert not [name for name in names if "/node_modules/" in name or "/web/src/" in name]


def install(folder: Path, wheel: Path) -> Path:
    """The folder of its programs."""
    began = time.monotonic()
    venv.create(folder, with_pip=True)
    run([folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wheel], folder)
    print(f"{wheel.name} installed in {time.monotonic() - began:.0f} s")
    return folder / "bin"


def check_rollout(programs: Path, folder: Path) -> None:
    plan = folder / "plan.yaml"
    plan.write_text(PLAN)
    rollout = programs / "rollout"
    assert "start PLAN" in run([rollout, "--help"], folder)
    assert "is valid" in run([rollout, "validate", plan], folder)
    run([rollout, "start", plan], folder)
    assert '"promoted"' in run([rollout, "status", "installed", "--output", "json"], folder)
    run([programs / "python", "-m", "pip", "check"], folder)
    print("rollout --help, validate, start and status work from an empty environment")


def run(words: list[str | Path], folder: Path) -> str:
    environment = isolated_environment(folder) if folder != ROOT and ROOT not in folder.parents else dict(os.environ)
    done = subprocess.run(
        [str(word) for word in words], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{words[0]} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    main()
