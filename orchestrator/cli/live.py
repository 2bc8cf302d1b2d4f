"""What a follower shows: on a terminal the picture of the run, redrawn in place; elsewhere one line for each change.

The picture is drawn on the terminal's other screen, so that what was there before comes back at the end, with the
events below it. Each row is written only if it changed, all of them in one write, so nothing flickers.
"""

import contextlib
import os
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from orchestrator.cli.layout import Line, has_unicode, painted
from orchestrator.cli.output import clock, note, printable
from orchestrator.cli.picture import LEAST_ROWS, Scene, Size, event_line, picture

Json = dict[str, Any]
CLEAR = "\x1b[2J"
ENTER, LEAVE = f"\x1b[?1049h\x1b[?25l{CLEAR}", "\x1b[?25h\x1b[?1049l"
MOST_EVENTS = 200
MOST_KEPT = 20
_TIME_STANDS = ("killed", "inconclusive", "share_mismatch", "no_controller")  # a pause, or a window, holds no bake
ASLEEP_SECONDS = 2.0  # who was away for so long (Ctrl-Z) may find anything on the screen


class Screen(Protocol):
    is_live: bool

    def tell(self, entry: Json, sentence: str) -> None:
        """Something happened in the run."""

    def say(self, text: str, *, for_now: bool = False) -> None:
        """Something about the watching itself; *for_now*: it is so until ``show`` is called with *clear*."""

    def show(self, status: Json, offers: Json | None = None) -> None:
        """How the run stands now."""

    def clear(self) -> None:
        """What was said for now is over."""

    def tick(self) -> None:
        """Time goes by."""

    def close(self) -> None:
        """Leaves the terminal to others; the next ``show`` takes it again."""


def is_drawable() -> bool:
    return sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def make_screen(hint: str) -> Screen:
    return Live(hint) if is_drawable() else Lines()


class Lines:
    """For logs and pipes."""

    is_live = False

    def tell(self, entry: Json, sentence: str) -> None:
        print(_logged(entry, sentence), flush=True)

    def say(self, text: str, *, for_now: bool = False) -> None:
        note(text)

    def show(self, status: Json, offers: Json | None = None) -> None:
        pass

    def clear(self) -> None:
        pass

    def tick(self) -> None:
        pass

    def close(self) -> None:
        pass


def _logged(entry: Json, sentence: str) -> str:
    return f"{clock(entry['time'])}Z  {printable(sentence)}"


@dataclass(slots=True)
class _Meter:
    """A controller says how much of a bake has passed when something happens; between two such moments it goes on."""

    seen: tuple[object, ...] = ()
    at: float = 0.0

    def passed(self, status: Json, now: float) -> float:
        progress = status.get("progress") or {}
        seen = (status.get("stage"), status.get("step"), progress.get("what"), progress.get("passed_seconds"))
        if seen != self.seen:
            self.seen, self.at = seen, now
        gate = status.get("gate") or {}
        stands = any(hold["reason"] in _TIME_STANDS for hold in status.get("holds") or ())
        is_counting = not stands and gate.get("verdict", "pass") == "pass"
        return now - self.at if is_counting else 0.0


@dataclass(slots=True)
class Live:
    hint: str
    is_live: bool = True
    _status: Json | None = None
    _offers: Json | None = None
    _banner: str = ""
    _events: deque[Line] = field(default_factory=lambda: deque(maxlen=MOST_EVENTS))
    _kept: deque[str] = field(default_factory=lambda: deque(maxlen=MOST_KEPT))  # for below the picture
    _told: int = 0
    _shown: list[str] | None = None  # None: the terminal is not ours now
    _size: Size | None = None
    _drawn_at: float = 0.0
    _meter: _Meter = field(default_factory=_Meter)

    def tell(self, entry: Json, sentence: str) -> None:
        self._events.append(event_line(entry, sentence))
        self._kept.append(_logged(entry, sentence))
        self._told += 1

    def say(self, text: str, *, for_now: bool = False) -> None:
        if for_now and self._shown is not None:
            self._banner = text
            self.tick()
        elif self._shown is None:
            note(text)
        else:
            self._events.append(((printable(text), "bold"),))

    def show(self, status: Json, offers: Json | None = None) -> None:
        self._status = status
        self._offers = offers if offers is not None else self._offers
        self._draw()

    def clear(self) -> None:
        self._banner = ""

    def tick(self) -> None:
        if self._status is not None and self._shown is not None:
            self._draw()

    def close(self) -> None:
        if self._shown is not None:
            self._shown = None
            _write(LEAVE)
        if self._told > len(self._kept):
            run = f" {printable(self._status['run'])}" if self._status else ""
            print(f"... {self._told - len(self._kept)} entries before: rollout history{run}")
        if self._kept:
            print(*self._kept, sep="\n", flush=True)
        self._kept.clear()
        self._told = 0

    def _draw(self) -> None:
        assert self._status is not None
        size, now = terminal_size(), time.monotonic()
        if self._shown is None or size != self._size or now - self._drawn_at > ASLEEP_SECONDS:
            _write(ENTER if self._shown is None else CLEAR)
            self._shown, self._size = [], size
        self._drawn_at = now
        rows = [painted(line, unicode=has_unicode()) for line in picture(self._scene(now), size)]
        _write("".join(_changed(self._shown, rows)))
        self._shown = rows

    def _scene(self, now: float) -> Scene:
        assert self._status is not None
        offers = self._offers or {}
        return Scene(
            self._status,
            time.time(),
            offers.get("commands") or (),
            printable((offers.get("actor") or {}).get("name")),
            tuple(self._events),
            self._banner,
            self.hint,
            self._meter.passed(self._status, now),
        )


def _changed(before: Sequence[str], rows: Sequence[str]) -> list[str]:
    """Where to go and what to write there, of each row that is another than before."""
    found = []
    for number, row in enumerate(rows):
        if number >= len(before) or before[number] != row:
            found.append(f"\x1b[{number + 1};1H{row}\x1b[K")
    return found


def _write(text: str) -> None:
    """A terminal that is gone is no error: a signal that says so is on its way."""
    if not text:
        return
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.write(text)
        sys.stdout.flush()


def terminal_size() -> Size:
    """As the window is now, whatever it was when the shell began."""
    try:
        found = os.get_terminal_size(sys.stdout.fileno())
    except (OSError, ValueError):
        return Size()
    return Size(max(found.columns, 10) if found.columns else 80, max(found.lines, LEAST_ROWS) if found.lines else 24)
