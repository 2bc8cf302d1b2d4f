"""`make demo`, as a stranger runs it, and interrupted. Nothing may be left behind."""

import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.process import ROOT, Child, isolated_environment, wait_until

pytestmark = [pytest.mark.acceptance, pytest.mark.slow, pytest.mark.prometheus]
LIMIT_SECONDS = 240.0


@pytest.fixture
def demo(tmp_path: Path, prometheus_binary: Path) -> Iterator[Child]:
    """The demonstration, not started yet; everything it writes is under `tmp_path`."""
    environment = isolated_environment(tmp_path) | {
        "PYTHONPATH": str(ROOT),
        "ROLLOUT_PROMETHEUS": str(prometheus_binary),
        "TMPDIR": str(tmp_path),
    }
    child = Child([sys.executable, "-u", "-m", "examples.demo"], tmp_path, environment=environment)
    yield child
    child.kill()


def left_behind(folder: Path) -> list[str]:
    """Folders of the demonstration, and processes that know one."""
    processes = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = file.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue  # it ended meanwhile
        if "rollout-demo-" in command and str(folder) in command:
            processes.append(command)
    return processes + [str(found) for found in folder.glob("rollout-demo-*")]


@pytest.mark.timeout(400)
def test_one_release_goes_through_and_one_comes_back_within_four_minutes(demo: Child, tmp_path: Path) -> None:
    began = time.monotonic()
    assert demo.start().wait(LIMIT_SECONDS + 60) == 0, demo.output + demo.errors
    assert time.monotonic() - began < LIMIT_SECONDS
    assert "exit code 0: promoted" in demo.output
    assert "exit code 3: rolled back" in demo.output
    assert "Yes: flags and tables are the same" in demo.output
    for plan in ("embedding-enhancements", "embedding-fingerprints"):
        assert f"Report of {plan}" in demo.output
    assert left_behind(tmp_path) == []


@pytest.mark.parametrize("number", (signal.SIGINT, signal.SIGTERM))
def test_interrupted_in_the_middle_of_a_run_it_leaves_nothing(
    demo: Child, tmp_path: Path, number: signal.Signals
) -> None:
    demo.start()
    demo.wait_for("rollout start", 60)
    wait_until(lambda: demo.output.rpartition("rollout start")[2].count("|") > 3, what="the run to say something")
    assert left_behind(tmp_path) != []
    assert demo.stop(number, 60) == 128 + number
    assert left_behind(tmp_path) == []
