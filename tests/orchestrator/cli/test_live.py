"""Following on a terminal and elsewhere: what is written, and what is left behind at the end."""

import io
import re
import signal

import pytest

from orchestrator.cli import live
from orchestrator.cli.picture import Size
from orchestrator.cli.watching import Follower, Signals
from tests.orchestrator.cli.conftest import Cli, FakeController, a_status, an_entry

ROW = re.compile(r"\x1b\[(\d+);1H(.*?)\x1b\[K", re.DOTALL)
HOLD = {"reason": "paused", "item": "run", "since": "2026-03-01T12:01:00.000Z", "by": "ada", "detail": "lunch"}


class Terminal(io.StringIO):
    encoding = "utf-8"

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self._monkeypatch = monkeypatch

    def attach(self) -> None:
        """In the test itself: pytest takes standard output back when it begins."""
        self._monkeypatch.setattr("sys.stdout", self)

    def screen(self) -> live.Screen:
        self.attach()
        return live.make_screen("hint")

    def isatty(self) -> bool:
        return True

    def taken(self) -> str:
        """What was written since this was asked last."""
        text = self.getvalue()
        self.seek(0)
        self.truncate()
        return text


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    terminal = Terminal(monkeypatch)
    for name in ("NO_COLOR", "LC_ALL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(live, "terminal_size", lambda: Size(80, 24))
    return terminal


def rows(text: str) -> dict[int, str]:
    return {int(row): content for row, content in ROW.findall(text)}


def test_the_first_picture_takes_the_other_screen_and_every_row(terminal: Terminal) -> None:
    terminal.screen().show(a_status())
    text = terminal.taken()
    assert text.startswith(live.ENTER)
    assert sorted(rows(text)) == list(range(1, 25))
    assert "search-1a2b3c" in rows(text)[1]


def test_only_rows_that_changed_are_written_again(terminal: Terminal) -> None:
    screen = terminal.screen()
    still = {"progress": None, "ended": "2026-03-01T12:01:00.000Z"}  # nothing that goes by itself
    screen.show(a_status(**still))
    terminal.taken()
    screen.show(a_status(**still))
    assert terminal.taken() == ""
    screen.tell(an_entry(3, "Paused", by="ada"), "paused (by ada)")
    screen.show(a_status(**still))
    changed = rows(terminal.taken())
    assert len(changed) <= 3
    assert any("paused (by ada)" in row for row in changed.values())


def test_a_window_of_another_size_is_drawn_whole(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = terminal.screen()
    screen.show(a_status())
    terminal.taken()
    monkeypatch.setattr(live, "terminal_size", lambda: Size(40, 10))
    screen.tick()
    text = terminal.taken()
    assert text.startswith(live.CLEAR)
    assert sorted(rows(text)) == list(range(1, 11))


def test_at_the_end_the_terminal_is_as_it_was_with_the_newest_events_below(terminal: Terminal) -> None:
    screen = terminal.screen()
    screen.show(a_status())
    for number in range(30):
        screen.tell(an_entry(number % 60, "StageEnded"), f"event {number}")
    terminal.taken()
    screen.close()
    text = terminal.taken()
    assert text.startswith(live.LEAVE)
    lines = text.removeprefix(live.LEAVE).splitlines()
    assert lines[0] == "... 10 entries before: rollout history search-1a2b3c"
    assert [line.rpartition("  ")[2] for line in lines[1:]] == [f"event {number}" for number in range(10, 30)]
    screen.close()
    assert terminal.taken() == ""


def test_of_a_run_that_has_ended_before_nothing_is_drawn(terminal: Terminal) -> None:
    screen = terminal.screen()
    screen.tell(an_entry(3, "RunEnded", outcome="promoted"), "promoted")
    screen.close()
    assert terminal.taken() == "2026-03-01 12:00:03Z  promoted\n"


def test_after_a_question_the_picture_comes_back(terminal: Terminal) -> None:
    screen = terminal.screen()
    screen.show(a_status())
    screen.close()
    terminal.taken()
    screen.tick()
    assert terminal.taken() == ""
    screen.show(a_status())
    assert terminal.taken().startswith(live.ENTER)


def test_what_is_wrong_with_the_watching_is_in_the_picture_until_it_is_over(terminal: Terminal) -> None:
    screen = terminal.screen()
    screen.show(a_status())
    terminal.taken()
    screen.say("no controller answers", for_now=True)
    assert rows(terminal.taken())[2] == "\x1b[1;31m! no controller answers\x1b[0m"
    screen.clear()
    screen.tick()
    assert "no controller answers" not in "".join(rows(terminal.taken()).values())


def test_without_colour_there_is_none_and_without_utf_8_only_ascii(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("LC_ALL", "C")
    terminal.screen().show(a_status(holds=[HOLD], run="búho"))
    written = rows(terminal.taken())
    assert all("\x1b" not in row and row.isascii() for row in written.values())
    assert written[1].startswith("b?ho  running")


@pytest.mark.parametrize("term", ("dumb", None))
def test_a_dumb_terminal_gets_lines(terminal: Terminal, monkeypatch: pytest.MonkeyPatch, term: str | None) -> None:
    monkeypatch.setenv("TERM", term) if term else monkeypatch.delenv("TERM")
    screen = terminal.screen()
    assert not screen.is_live
    screen.show(a_status())
    screen.tell(an_entry(3, "Paused"), "paused")
    screen.close()
    assert terminal.taken() == "2026-03-01 12:00:03Z  paused\n"


def test_a_follower_draws_what_may_be_done_and_asks_for_it_only_when_something_happened(
    controller: FakeController, terminal: Terminal, cli: Cli
) -> None:
    from orchestrator.cli.client import Client
    from orchestrator.cli.settings import find_controller

    address = find_controller()
    assert address is not None
    same = [a_status(seq=4), a_status(seq=4), a_status(seq=4)]
    controller.statuses = [*same, a_status(seq=5), a_status(seq=6, phase="ended", outcome="promoted")]
    fields = dict.fromkeys(("item", "stage", "flag", "pin", "target", "trigger"))
    pause = {"command": "pause", **fields, "what": "hold it", "refused": None}
    controller.offers = {"actor": {"name": "ada", "role": "admin", "groups": []}, "commands": [pause]}
    terminal.attach()
    status = Follower(Client(address), "search-1a2b3c", Signals()).follow()
    assert status is not None
    assert len(controller.sent_to("GET", "/api/v1/runs/search-1a2b3c/commands")) == 2
    text = terminal.taken()
    assert "rollout pause search-1a2b3c" in text
    assert "ada may" in text
    assert live.LEAVE in text


def test_ctrl_z_gives_the_terminal_to_the_shell_before_the_process_stops(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen, signals, stopped = terminal.screen(), Signals(), []
    monkeypatch.setattr("os.kill", lambda _pid, number: stopped.append((number, terminal.taken())))
    screen.show(a_status())
    terminal.taken()
    with signals.handled():
        signal.raise_signal(signal.SIGTSTP)
        signals.pause(60.0)
        signals.stop_if_asked(screen.close)
        signals.stop_if_asked(screen.close)
    assert stopped == [(signal.SIGSTOP, live.LEAVE)]
    assert signals.came == []
