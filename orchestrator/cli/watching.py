"""Following a run to its end, and what Ctrl-C does meanwhile. How it looks is said in ``live``.

It asks the controller twice a second over HTTP, also where the controller lives in this process. So there is one way
of watching, and a controller that comes back (another port, another token) is found again.
"""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from orchestrator.cli import ask
from orchestrator.cli.client import Client, Json, NoController, Unauthorized
from orchestrator.cli.live import make_screen
from orchestrator.cli.output import duration, note
from orchestrator.cli.picture import seconds_of
from orchestrator.cli.reading import exit_code
from orchestrator.cli.settings import find_controller
from orchestrator.cli.sources import Source, StoreSource
from orchestrator.core.telling import Teller
from orchestrator.errors import RolloutError

EVERY_SECONDS = 0.4
PATIENCE_SECONDS = 600.0
SLICE_SECONDS = 0.05
OFFERS_SECONDS = 5.0
LEAVES = "Ctrl-C leaves; the run goes on"
ASKS = "Ctrl-C asks: detach, pause, roll back or keep watching"
STANDS_STILL = "The run stands still until a controller goes on with it: `rollout serve`"


class Signals:
    """Which signals came. Handlers only take note; whoever watches asks for it."""

    def __init__(self) -> None:
        self.came: list[int] = []
        self._is_to_stop = False

    def note(self, number: int, _frame: Any = None) -> None:
        self.came.append(number)

    @property
    def told_to_end(self) -> int | None:
        """The first signal that is no Ctrl-C."""
        return next((number for number in self.came if number != signal.SIGINT), None)

    def take_interrupt(self) -> bool:
        """Whether Ctrl-C was pressed since this was asked last."""
        found = signal.SIGINT in self.came
        self.came = [number for number in self.came if number != signal.SIGINT]
        return found

    def note_stop(self, _number: int, _frame: Any = None) -> None:
        self._is_to_stop = True

    def stop_if_asked(self, before: Callable[[], None]) -> None:
        """Ctrl-Z: *before* is done first, then the shell has the terminal until it says ``fg``."""
        if self._is_to_stop:
            self._is_to_stop = False
            before()
            os.kill(os.getpid(), signal.SIGSTOP)

    def pause(self, seconds: float) -> None:
        """Sleeps, but not past a signal."""
        until = time.monotonic() + seconds
        while not self.came and not self._is_to_stop and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, SLICE_SECONDS))

    @contextmanager
    def handled(self) -> Iterator[None]:
        """In the main thread, where no event loop does it."""
        kept = {number: signal.signal(number, self.note) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
        kept[signal.SIGTSTP] = signal.signal(signal.SIGTSTP, self.note_stop)
        try:
            yield
        finally:
            for number, handler in kept.items():
                signal.signal(number, handler)


class Follower:
    """One run, as it goes on. *server* is what was named on the command line, to find a controller again. *hint*: what
    Ctrl-C does, for whoever looks at the picture."""

    def __init__(
        self, source: Source, run: str, signals: Signals, *, server: str | None = None, hint: str = ASKS
    ) -> None:
        self.source = source
        self.run = run
        self.screen = make_screen(hint)
        self._signals = signals
        self._server = server
        self._teller: Teller | None = None
        self._after = 0
        self._lost_at: float | None = None
        self._store_error: str | None = None
        self._offered: tuple[object, float] = (None, 0.0)

    def follow(self) -> Json | None:
        """The status at the end; None if a signal came before. Raises ``NoController`` after ten minutes of silence."""
        try:
            while not self._signals.came:
                status = self._look()
                if status is not None and status["phase"] == "ended":
                    return status
                self._signals.pause(EVERY_SECONDS / 2)
                self._signals.stop_if_asked(self.screen.close)
                self.screen.tick()
                self._signals.pause(EVERY_SECONDS / 2)
        finally:
            self.screen.close()
        return None

    def _look(self) -> Json | None:
        """One look; the status is from before the entries are read, so none is missed at the end."""
        try:
            status = self.source.status(self.run)
            entries = self.source.history(self.run, self._after)
            offers = self._offers(status)
        except NoController as error:
            self._lost(error)
            return None
        except Unauthorized:
            if not self._is_own_controller():
                raise
            self._lost(NoController("another controller took the place of the one that was watched"))
            return None
        if self._lost_at is not None:
            self._lost_at = None
            self.screen.clear()
            if isinstance(self.source, Client):
                self.screen.say("the controller answers again")
        self._tell(status, entries)
        self._tell_of_store(status.get("store_error"))
        if status["phase"] != "ended":  # of an end there is a line, not a picture
            self.screen.show(status, offers)
        return status

    def _offers(self, status: Json) -> Json | None:
        """What may be done now; asked again when something has happened, and now and then. None: as it was."""
        now = time.monotonic()
        seq, at = self._offered
        is_known = seq == status.get("seq") and now - at < OFFERS_SECONDS
        if not self.screen.is_live or not isinstance(self.source, Client) or is_known or status["phase"] == "ended":
            return None
        self._offered = (status.get("seq"), now)
        try:
            return self.source.offers(self.run)
        except (NoController, Unauthorized):
            raise
        except RolloutError:  # an older controller does not know the question
            return None

    def _tell(self, status: Json, entries: list[Json]) -> None:
        if self._teller is None:
            self._teller = Teller(status.get("stages") or ())
        for entry in entries:
            self._after = entry["seq"]
            sentence = self._teller.tell(entry)
            if sentence is not None:
                self.screen.tell(entry, sentence)

    def _tell_of_store(self, error: str | None) -> None:
        if (error is None) == (self._store_error is None):
            return
        self._store_error = error
        going = f"{self.run} goes on: its journal can be written again"
        self.screen.say(f"{self.run} stands still: {error}" if error else going)

    def _is_own_controller(self) -> bool:
        """Whether its token was left for its user, so that the one of its successor is found in the same place."""
        return isinstance(self.source, Client) and self.source.address.pid is not None

    def _has_ended_with_its_controller(self) -> bool:
        """One inside another `rollout start` ends with its run, maybe before we saw that."""
        if not self._is_own_controller() or find_controller(self._server) is not None:
            return False
        try:
            return bool(StoreSource().status(self.run)["phase"] == "ended")
        except RolloutError:
            return False

    def _lost(self, error: NoController) -> None:
        if self._has_ended_with_its_controller():
            self.source = StoreSource()
            return
        now = time.monotonic()
        if self._lost_at is None:
            self._lost_at = now
            self.screen.say(f"{error}; waiting for it. {STANDS_STILL}", for_now=True)
        if now - self._lost_at > PATIENCE_SECONDS:
            raise error
        address = find_controller(self._server)
        if address is not None:
            self.source = Client(address)


def farewell(run: str, status: Json, *, report: bool = True) -> int:
    """The last words about a run that has ended, and the exit code that they mean."""
    took = seconds_of(status.get("ended")) - seconds_of(status.get("started"))
    after = f" after {duration(took)}" if status.get("ended") and status.get("started") else ""
    more = f"; `rollout report {run}` has the whole story" if report else ""
    note(f"{run}: {str(status['outcome']).replace('_', ' ')}{after}{more}")
    return exit_code(status)


def watch_run(source: Source, run: str, *, server: str | None) -> int:
    """`rollout watch`: Ctrl-C ends the watching, not the run."""
    signals = Signals()
    with signals.handled():
        status = Follower(source, run, signals, server=server, hint=LEAVES).follow()
    if status is not None:
        return farewell(run, status)
    note(f"{run} goes on; `rollout watch {run}` looks at it again")
    return 128 + signals.came[0]


# --- Ctrl-C in `rollout start` ----------------------------------------------------------------------------------------

QUESTION = """
What shall become of {run}?
  d  detach: {detach}
  p  pause: it holds in place, gates and triggers stay watched
  r  roll back: everything returns to what was there before
  k  keep watching
"""


def ask_what_next(run: str, signals: Signals, detach: str) -> str:
    """``d``, ``p``, ``r`` or ``k``. Ctrl-C asks again, the end of input keeps watching, a signal to end is ``""``."""
    import select

    while True:
        print(QUESTION.format(run=run, detach=detach) + "d, p, r or k? ", end="", file=sys.stderr, flush=True)
        while not signals.came:
            if select.select([sys.stdin], [], [], 4 * SLICE_SECONDS)[0]:
                break
        if signals.told_to_end is not None:
            return ""
        if signals.take_interrupt():
            continue
        typed = os.read(sys.stdin.fileno(), 1024).decode(errors="replace")
        if not typed:
            return "k"
        if typed.strip().lower()[:1] in ("d", "p", "r", "k"):
            return typed.strip().lower()[:1]


def watch_and_ask(follower: Follower, signals: Signals, detach: str) -> Json | str:
    """Follows a run to its end and answers with its status; with ``detach`` or ``end`` if that is asked for first."""
    while True:
        status = follower.follow()
        if status is not None:
            return status
        if signals.told_to_end is not None or not ask.on_terminal():
            return "end"
        signals.take_interrupt()
        choice = ask_what_next(follower.run, signals, detach)
        if choice in ("d", ""):
            return "detach" if choice else "end"
        if choice in ("p", "r"):
            _command(follower, "pause" if choice == "p" else "rollback")


def _command(follower: Follower, command: str) -> None:
    assert isinstance(follower.source, Client)
    try:
        follower.source.command(follower.run, {"command": command, "reason": "asked for with Ctrl-C"})
    except RolloutError as error:
        note(f"rollout: {error}")
        return
    if command == "pause":
        note(f"paused; `rollout resume {follower.run}` goes on. Ctrl-C asks again, also to leave it to the background")
