"""Whether the cluster holds names to be true. Without its admission policies anybody who may write an object could put
another's name on it, and a run would do what that one may do: so none is started.
"""

import structlog

from orchestrator.cluster_port import Objects
from orchestrator.errors import Permanent, Temporary
from orchestrator.ports import Clock

log = structlog.get_logger()

HOLDS_SECONDS = 60.0
"""So long what was seen to hold is taken to hold."""
REMEDY = (
    "nobody holds the names on objects to be true here, so no run is started. Who administers the cluster applies "
    "manifests/base/policies.yaml again"
)


class Guard:
    def __init__(self, objects: Objects, clock: Clock) -> None:
        self._objects = objects
        self._clock = clock
        self._seen_at: float | None = None
        self._warned = False

    async def look(self) -> None:
        """Says in the log what is missing, when the controller begins."""
        try:
            words = await self.missing()
        except Temporary as error:
            log.warning("cluster.policies_unseen", error=str(error))
            return
        if words is not None:
            log.warning("cluster.unguarded", why=words)

    async def missing(self) -> str | None:
        """Why no run may start, with the remedy; None if all is well, or if we may not see whether it is, which is
        warned of. Raises ``Temporary``.
        """
        now = self._clock.monotonic()
        if self._seen_at is not None and now - self._seen_at < HOLDS_SECONDS:
            return None
        try:
            found = await self._objects.unguarded()
        except Permanent as error:
            if not self._warned:
                log.warning("cluster.policies_unseen", error=str(error))
            self._warned = True
            return None
        if found:
            return f"{'; '.join(found)}: {REMEDY}"
        self._seen_at = now
        return None
