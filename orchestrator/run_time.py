"""A run's own time: the wall clock, but that it never goes back.

What a run decides hangs on spans (bake, deadlines, back-off, how old a look is), and a wall clock may be set. So while
a controller lives, time passes at least as fast as the monotonic clock says. A new life begins no earlier than the
newest event and the newest look: else a look from before the clock was set back would seem to be newer than what the
run has changed since. After a clock was set back, a run's time is *ahead* of the wall clock by as much, until the wall
clock has caught up. Windows and what is asked of servers go by the wall clock.
"""

from orchestrator.ports import Clock

NOT_AHEAD_SECONDS = 1.0  # clocks that are read one after the other always differ a little


class RunTime:
    def __init__(self, clock: Clock, newest: float) -> None:
        self._clock = clock
        self._now = max(clock.now(), newest)
        self._at = clock.monotonic()
        self._counted_at = self._at

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

    def passed_seconds(self) -> float:
        """What really passed since this was asked last, whatever was done to the wall clock meanwhile."""
        before, self._counted_at = self._counted_at, self._clock.monotonic()
        return self._counted_at - before
