"""Six metrics over five steps of a healthy release: the rule is asked for every metric, again at every step.

Each metric has traffic of its own, so nothing helps that errors would come together. Ours shares one error budget as
the core does: it fails if the mean of the evidences reaches ``1/alpha``, or one alone ``6/alpha``. The others have no
such budget: a release is rolled back when any metric says so (Kayenta: a critical one).
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from benchmarks._decisions import ours
from benchmarks._decisions.traffic import HOUR_TICKS, Arms, Law, Numbers, Traffic, draw

BAD_SHARES = (0.003, 0.005, 0.01, 0.01, 0.02, 0.02)
STEPS = 5
BANDS_AT_STEPS = (2, 4, 5, 6, 7)  # of a flag's keys: 1, 5, 10, 25 and 50 %
STEP_TICKS = HOUR_TICKS // STEPS


def metrics(rng: np.random.Generator, traces: int) -> list[Traffic]:
    canary_groups = np.repeat(np.array(BANDS_AT_STEPS), STEP_TICKS)
    return [replace(draw(Law(bad_share=share), rng, traces), canary_groups=canary_groups) for share in BAD_SHARES]


def ours_failed_at(traffics: list[Traffic], warmup_seconds: float) -> Numbers:
    size = len(traffics)
    setup = ours.Setup(ours.ALPHA / size, warmup_seconds)
    against = np.stack([ours.paths_of(traffic, setup).against for traffic in traffics])
    largest = against.max(axis=0)
    log_mean = largest + np.log(np.exp(against - largest).mean(axis=0))
    bar = -np.log(ours.ALPHA)
    return ours.seconds_of((log_mean >= bar) | (largest >= bar + np.log(size)))


def others_failed_at(decide: Callable[[Arms], Numbers], traffics: list[Traffic]) -> Numbers:
    found: Numbers = np.min([decide(traffic.arms()) for traffic in traffics], axis=0)
    return found
