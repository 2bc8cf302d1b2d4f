"""Simulated looks at two arms: 200 requests a second, 1 % of them bad, one in twenty the canary's."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from stages.statistics.dispersion import Spread
from stages.statistics.two_arms import Counts, Test, begin, cap_looks, log_evidence, look

Numbers = NDArray[np.float64]
LOOK_SECONDS = 15.0
HOUR_LOOKS = 240
ALPHA = 0.01
AGAINST = Test(1.05, ALPHA, cap_looks(60.0, LOOK_SECONDS))


@dataclass(frozen=True, slots=True)
class Looks:
    """Counts of shape (traces, looks): of the canary, and of both arms."""

    bad: Numbers
    total: Numbers
    bad_both: Numbers
    total_both: Numbers

    @property
    def shape(self) -> tuple[int, int]:
        return self.bad.shape[0], self.bad.shape[1]

    def at(self, index: int) -> Counts:
        return Counts(self.bad[:, index], self.total[:, index], self.bad_both[:, index], self.total_both[:, index])

    def with_canary(self, added: Numbers) -> "Looks":
        """With more bad events in the canary, of the requests that it has."""
        bad = np.minimum(self.bad + added, self.total)
        return replace(self, bad=bad, bad_both=self.bad_both - self.bad + bad)


def drawn(
    random: np.random.Generator, traces: int, *, factor: float = 1.0, from_look: int = 0, level: Numbers | float = 1.0,
    batch: int = 1, share: float = 0.01, rate: float = 200.0, width: float = 0.05, looks: int = HOUR_LOOKS,
) -> Looks:  # fmt: skip
    """*factor*: how much worse the canary is, from *from_look* on. *level*: of bad events in both arms, of shape
    (traces, looks) or less. Bad events come *batch* at a time, all of a batch in one arm."""
    requests = rate * LOOK_SECONDS
    worse = np.where(np.arange(looks) >= from_look, factor, 1.0)
    canary_share, control_share = (np.minimum(share * level * one, 1.0) for one in (worse, np.ones(looks)))
    total = random.poisson(requests * width, (traces, looks)).astype(np.float64)
    rest = random.poisson(requests * (1 - width), (traces, looks)).astype(np.float64)
    bad = np.minimum(random.poisson(total * canary_share / batch) * float(batch), total)
    rest_bad = np.minimum(random.poisson(rest * control_share / batch) * float(batch), rest)
    return Looks(bad, total, bad + rest_bad, total + rest)


def path(test: Test, looks: Looks, *, learns: bool = True, odds: Numbers | None = None) -> Numbers:
    """The logarithm of the evidence at each look, (traces, looks). *learns*: the dispersion, from the looks before."""
    traces, number = looks.shape
    state, spread = begin((traces,)), Spread.begin((traces,))
    found = np.zeros((traces, number))
    for index in range(number):
        counts = replace(looks.at(index), dispersion=spread.phi if learns else 1.0)
        if odds is not None:
            counts = replace(counts, odds=odds * looks.total[:, index] / (looks.total_both - looks.total)[:, index])
        state = look(test, state, counts, index * LOOK_SECONDS)
        control = looks.bad_both - looks.bad, looks.total_both - looks.total
        spread = spread.learn(
            np.stack((looks.bad[:, index], control[0][:, index]), -1),
            np.stack((looks.total[:, index], control[1][:, index]), -1),
        )
        found[:, index] = log_evidence(test, state)
    return found


def minutes(reached: NDArray[np.bool_]) -> Numbers:
    """After how many minutes each trace has *reached* something, of shape (traces, looks); infinite: it has not."""
    first = (reached.argmax(1) + 1) * LOOK_SECONDS / 60
    return np.where(reached.any(1), first, np.inf)
