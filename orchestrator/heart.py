"""The sign of life of a run's loop: a call every so often while it decides, and one when nothing is left to decide.

Whoever waits for it raises the alarm when it stays away: that the controller is gone, it can't tell itself.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from orchestrator.errors import RolloutError
from orchestrator.ports import Pulse, Scene
from stages.notify import Heartbeat

log = structlog.get_logger()


@dataclass(slots=True)
class Heart:
    heartbeat: Heartbeat
    pulse: Pulse
    due_at: float = 0.0
    is_over: bool = False

    def wants(self, now: float, *, ended: bool) -> bool:
        """Whether it is to beat now; it counts as done."""
        if self.is_over or (now < self.due_at and not ended):
            return False
        self.due_at, self.is_over = now + self.heartbeat.every, ended
        return True

    async def beat(self, scene: Callable[[], Scene], *, ended: bool) -> None:
        """Raises nothing: whoever waits for it notices."""
        try:
            await self.pulse.beat(self.heartbeat, scene(), ended=ended)
        except RolloutError as error:
            log.warning("heartbeat.failed", error=str(error))
        except asyncio.CancelledError:
            raise
        except Exception:
            log.exception("heartbeat.crashed")
