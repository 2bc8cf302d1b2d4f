"""Gates as they are written: criteria that must hold before a step is left."""

from collections.abc import Iterable
from functools import cached_property
from typing import Literal
from zlib import crc32

from pydantic import Field

from stages.criteria import AnyCriterion
from stages.criteria.base import Criterion
from stages.values import Duration, Environments, Part


class Hold(Part):
    """How long an inconclusive hold may last, and what comes then."""

    deadline: Duration = 86400.0
    then: Literal["escalate", "rollback"] = "escalate"


class Gate(Part):
    """Criteria that must hold before a step is left, judged every look."""

    every: Duration = Field(default=15.0, gt=0)
    alpha: float | None = Field(default=None, gt=0, lt=1)
    warmup: Duration | None = None
    criteria: tuple[AnyCriterion, ...] = Field(min_length=1)
    on_fail: Literal["rollback", "pause"] = "rollback"
    hold: Hold = Hold()
    environments: Environments = ()

    @cached_property
    def beat(self) -> int:
        """See ``beat_of``."""
        return beat_of(self.criteria)

    def warmup_seconds(self, criterion: Criterion) -> float:
        """How long after a change a criterion counts nothing: as the gate says, or what its kind needs."""
        return criterion.usual_warmup_seconds if self.warmup is None else self.warmup


def beat_of(criteria: Iterable[Criterion]) -> int:
    """Where in an interval looks fall, in whole seconds, modulo the interval: the same for the same questions, so that
    all who ask them ask together, and else anything, so that a server is not asked everything at once."""
    return crc32("\n".join(sorted(one.query or "" for one in criteria)).encode())
