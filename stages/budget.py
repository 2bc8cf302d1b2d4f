"""How the error budget of a run is shared among its tests.

Theory of operation. Each tested criterion is an e-process: on a healthy release it reaches ``x`` at any time with
probability 1/x at most. The mean of several e-processes is one as well, whatever they have to do with each other. So
all tests of a pool together keep its ``alpha`` for the whole run, over all looks, steps and metrics, if the pool fails
when the mean of its ``size`` values reaches ``1/alpha``; and a criterion that reaches ``size/alpha`` does so alone.
All gates are one pool, but for those that name an ``alpha`` of their own. Averaging of e-values: Vovk and Wang (2021),
"E-values: calibration, combination and applications".
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from stages.criteria.base import Criterion

ALPHA = 0.01  # the probability with which tests ever fail a healthy run, unless gates say otherwise


@dataclass(frozen=True, slots=True)
class Pool:
    """Tests that share one budget: the keys of their looks."""

    alpha: float
    keys: tuple[str, ...]

    @property
    def share(self) -> float:
        """What of it falls to one test."""
        return self.alpha / max(len(self.keys), 1)


@dataclass(frozen=True, slots=True)
class Budget:
    """Pools by the gate's name; the empty name is that of all gates without an ``alpha`` of their own."""

    pools: Mapping[str, Pool] = field(default_factory=dict)

    def pool(self, gate: str) -> Pool:
        return self.pools.get(gate) or self.pools.get("") or Pool(ALPHA, ())


def look_key(environment: str, gate: str, criterion: Criterion, stage_flag: str | None) -> str:
    """The name under which looks at a criterion are kept. Arms of another flag are another matter."""
    subject = criterion.subject(stage_flag)
    return f"gate:{environment}/{gate}/{criterion.name}" + (f"@{subject}" if subject is not None else "")
