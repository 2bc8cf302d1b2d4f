"""A run's own time: the wall clock, but that it never goes back.

What a run decides hangs on spans (bake, deadlines, back-off, how old a look is), and a wall clock may be set. So while
a controller lives, time passes at least as fast as the monotonic clock says. A new life begins no earlier than the
newest event and the newest look: else a look from before the clock was set back would seem to be newer than what the
run has changed since. After a clock was set back, a run's time is *ahead* of the wall clock by as much, until the wall
clock has caught up. Windows and what is asked of servers go by the wall clock.

A clock that is set ahead takes a run's time along: it *jumps*. What must really have passed before something is done,
such as the time that a change takes to reach everybody, is counted without jumps.
"""

from orchestrator.ports import Clock
from stages.lean import dataclass

NOT_AHEAD_SECONDS = 1.0  # clocks that are read one after the other always differ a little


@dataclass(frozen=True, slots=True)
class Passed:
    """Until *now*, by the run's time: the *seconds* that really passed, and by how much more its time went on."""

    now: float
    seconds: float
    jumped_seconds: float


class RunTime:
    def __init__(self, clock: Clock, newest: float) -> None:
        self._clock = clock
        self._now = max(clock.now(), newest)
        self._at = clock.monotonic()
        self._counted = (self._now, self._at)

    def now(self) -> float:
        at = self._clock.monotonic()
        self._now = max(self._clock.now(), self._now + at - self._at)
        self._at = at
        return self._now

    @property
    def ahead_seconds(self) -> float:
        """By how much the run's time is ahead of the wall clock."""
        ahead = self.now() - self._clock.now()
        return ahead if ahead > NOT_AHEAD_SECONDS else 0.0

    def passed(self) -> Passed:
        """Since this was asked last."""
        now, (before, counted_at) = self.now(), self._counted
        self._counted = (now, self._at)
        seconds = self._at - counted_at
        return Passed(now, seconds, now - before - seconds)
