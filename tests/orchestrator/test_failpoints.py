"""The places at which a crash can be asked for: how they are armed, and what happens there."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from orchestrator import failpoints
from orchestrator.core.events import Paused, RunStarted
from orchestrator.errors import StoreError, Temporary, UsageError
from orchestrator.failpoints import COMMITS, Point, reach
from tests.support.journals import began
from tests.support.process import ROOT, wait_until


@pytest.fixture(autouse=True)
def _disarmed() -> Iterator[None]:
    yield
    failpoints.arm("")


def process_with(text: str) -> subprocess.Popen[str]:
    """Arms, passes one point three times, and says each time that it got past it."""
    program = (
        "import sys; from orchestrator import failpoints as f; f.arm(sys.argv[1])\n"
        "for _ in range(3): f.reach(f.Point.CALL_BEFORE); print('past', flush=True)"
    )
    return subprocess.Popen(
        [sys.executable, "-c", program, text], cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def test_there_are_at_least_forty_five_points_and_no_name_twice() -> None:
    assert len({str(point) for point in Point}) == len(Point.__members__) >= 45


def test_nothing_happens_where_nothing_is_armed() -> None:
    for point in Point:
        reach(point)


def test_a_process_is_killed_at_the_time_that_was_asked_for_and_says_so() -> None:
    with process_with("call.before=kill@3,call.after=kill") as child:
        said, errors = child.communicate(timeout=60)
    assert child.returncode == -signal.SIGKILL
    assert said.split().count("past") == 2
    assert "failpoint call.before: kill" in errors
    assert "failpoints.armed" in said + errors


def test_a_process_is_stopped_until_it_is_told_to_go_on() -> None:
    with process_with("call.before=stop@1") as child:
        wait_until(lambda: "T" in _state(child.pid), what="the process to be stopped")
        child.send_signal(signal.SIGCONT)
        assert child.wait(60) == 0


def _state(pid: int) -> str:
    with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123 - of the kernel
        return file.read().rpartition(")")[2].split()[0]


def test_an_error_is_one_of_a_store_that_is_away_and_one_that_passes() -> None:
    failpoints.arm("call.before=error@2")
    reach(Point.CALL_BEFORE)
    with pytest.raises(StoreError) as raised:
        reach(Point.CALL_BEFORE)
    assert isinstance(raised.value, Temporary)
    reach(Point.CALL_BEFORE)


def test_a_delay_takes_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    failpoints.arm("call.before=delay:2.5")
    reach(Point.CALL_BEFORE)
    assert slept == [2.5]


def test_events_are_told_apart_by_their_kind(capfd: pytest.CaptureFixture[str]) -> None:
    failpoints.arm("end.before=note,run.created=note,leg.after=note")
    failpoints.before([Paused(by="bob", reason="look"), began("r")])
    failpoints.after([Paused(by="bob", reason="look")])
    assert "failpoint" not in capfd.readouterr().err.replace("failpoints.armed", "")


def test_every_commit_that_has_points_is_of_an_event_that_there_is() -> None:
    from orchestrator.core import events

    assert all(issubclass(getattr(events, name), events.Event) for name in COMMITS)
    assert RunStarted.__name__ not in COMMITS  # it is not appended: the run is made with it


@pytest.mark.parametrize(
    ("text", "told"),
    (
        ("call.befor=kill", "call.before"),
        ("nonsense=kill", "there is no failpoint"),
        ("call.before", "a failpoint can kill"),
        ("call.before=explode", "a failpoint can kill"),
        ("call.before=kill@0", "whole number after @"),
        ("call.before=kill@x", "whole number after @"),
        ("call.before=delay", "needs its seconds"),
        ("call.before=delay:-1", "needs its seconds"),
        ("call.before=delay:nan", "needs its seconds"),
        ("call.before=kill:3", "only a delay has"),
        ("call.after=error", "nothing can fail any more"),
    ),
)
def test_what_can_not_be_armed_is_refused_with_what_can(text: str, told: str) -> None:
    failpoints.arm("call.after=note")
    with pytest.raises(UsageError, match=f"ROLLOUT_FAILPOINTS: .*{told}"):
        failpoints.arm(text)
    assert list(failpoints._armed) == [Point.CALL_AFTER]  # as it was
