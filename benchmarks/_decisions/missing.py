"""What missing data does: an outage of the monitoring, restarts of counters, and nothing to divide by.

Theory of operation. The same traces are judged with the fault and without it. A rollback is *caused* by the fault if
the healthy release is rolled back only with it; an advance, if a release that is twice as bad is found within the hour
only without it. Rules that read a warehouse are not asked where a query goes unanswered.

What a query answers during a fault is as its window has it: ``rate[1m]`` needs two samples in the minute,
``irate[5m]`` two in five minutes. Argo Rollouts (9f8d111, ``analysis/analysis.go``) counts an unanswered or empty query
as an error, tries it again after 10 s and aborts at the fifth in a row (``consecutiveErrorLimit`` 4); Flagger (1.44.0)
counts it as a failed check.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from benchmarks._decisions import peers
from benchmarks._decisions.peers import MINUTE
from benchmarks._decisions.traffic import HOUR_TICKS, TICK_SECONDS, Arms, Flags, Numbers

ARGO_RETRY_SECONDS = 10
ARGO_ERRORS_IN_A_ROW = 4
_FIRST_MINUTE, _LAST_MINUTE, _LONGEST_MINUTES = 2, 45, 10


@dataclass(frozen=True, slots=True)
class Fault:
    """*arms*: what the counters tell. Both others (traces, HOUR_TICKS): *reached*, whether queries are answered at the
    end of a tick; *sampled*, whether counters were scraped there."""

    arms: Arms
    reached: Flags
    sampled: Flags

    @classmethod
    def none(cls, arms: Arms) -> "Fault":
        always = np.ones(arms.canary_bad.shape, np.bool_)
        return cls(arms, always, always)


FaultOf = Callable[[Arms, np.random.Generator], Fault]


def unreachable(arms: Arms, rng: np.random.Generator) -> Fault:
    """Queries fail for 1 to 10 minutes; scrapes go on."""
    usual = Fault.none(arms)
    return Fault(arms, ~_gap(arms, rng), usual.sampled)


def not_scraped(arms: Arms, rng: np.random.Generator) -> Fault:
    """Nothing is scraped for 1 to 10 minutes; counters go on in the processes."""
    usual = Fault.none(arms)
    return Fault(arms, usual.reached, ~_gap(arms, rng))


def resets(arms: Arms, rng: np.random.Generator) -> Fault:
    """The canary's processes restart every 5 minutes or so: what they counted since the last scrape is lost."""
    restarts = rng.random(arms.canary_bad.shape) < 1 / (5 * MINUTE)
    left = np.where(restarts, rng.random(restarts.shape), 1.0)
    bad = rng.binomial(arms.canary_bad.astype(np.int64), left).astype(np.float64)
    good = rng.binomial((arms.canary_total - arms.canary_bad).astype(np.int64), left)
    return Fault.none(Arms(bad, bad + good, arms.control_bad, arms.control_total))


def no_canary_requests(arms: Arms, rng: np.random.Generator) -> Fault:
    """Nobody asks the canary for 1 to 10 minutes: 0/0."""
    gap = _gap(arms, rng)
    return Fault.none(
        Arms(
            np.where(gap, 0.0, arms.canary_bad),
            np.where(gap, 0.0, arms.canary_total),
            arms.control_bad,
            arms.control_total,
        )
    )


def no_requests(arms: Arms, rng: np.random.Generator) -> Fault:
    """Nobody asks anything for 1 to 10 minutes."""
    gap = _gap(arms, rng)
    return Fault.none(
        Arms(
            *(
                np.where(gap, 0.0, counts)
                for counts in (arms.canary_bad, arms.canary_total, arms.control_bad, arms.control_total)
            )
        )
    )


FAULTS: dict[str, FaultOf] = {
    "Prometheus out of reach": unreachable,
    "targets not scraped": not_scraped,
    "counters reset": resets,
    "no requests to the canary": no_canary_requests,
    "no requests at all": no_requests,
}


def _gap(arms: Arms, rng: np.random.Generator) -> Flags:
    shape = (arms.traces, 1)
    begin = rng.uniform(_FIRST_MINUTE, _LAST_MINUTE - _LONGEST_MINUTES, shape) * MINUTE
    ticks = rng.uniform(1, _LONGEST_MINUTES, shape) * MINUTE
    at = np.arange(HOUR_TICKS)
    return np.asarray((at >= begin) & (at < begin + ticks), np.bool_)


def has_two_samples(sampled: Flags, window_ticks: int) -> Flags:
    """Whether a window that ends at each tick holds two samples or more. One was taken at the step."""
    with_first = np.concatenate((np.ones((len(sampled), 1), np.bool_), sampled), axis=1)
    seen = np.cumsum(with_first, axis=1)
    before = np.zeros_like(seen)
    before[:, window_ticks:] = seen[:, :-window_ticks]
    enough: Flags = ((seen - before) >= 2)[:, 1:]
    return enough


def argo_walked(failed: Flags, answered: Flags, every_ticks: int, failure_limit: int = 3) -> Numbers:
    """As ``peers.argo``, trace by trace, with queries that may go unanswered."""
    return np.array(
        [_argo_walk(one, there, every_ticks, failure_limit) for one, there in zip(failed, answered, strict=True)]
    )


def _argo_walk(failed: Flags, answered: Flags, every_ticks: int, failure_limit: int) -> float:
    seconds, failures, errors = TICK_SECONDS, 0, 0
    while seconds <= HOUR_TICKS * TICK_SECONDS:
        tick = seconds // TICK_SECONDS - 1
        if not answered[tick]:
            errors += 1
            if errors > ARGO_ERRORS_IN_A_ROW:
                return float(seconds)
            seconds += ARGO_RETRY_SECONDS
            continue
        errors = 0
        failures += bool(failed[tick])
        if failures > failure_limit:
            return float(seconds)
        seconds += every_ticks * TICK_SECONDS
    return float("inf")


def _argo(failed_of: Callable[[Arms], Flags], window_ticks: int, every_ticks: int) -> Callable[[Fault], Numbers]:
    def decide(fault: Fault) -> Numbers:
        answered = fault.reached & has_two_samples(fault.sampled, window_ticks)
        return argo_walked(failed_of(fault.arms), answered, every_ticks)

    return decide


def _flagger(failed_of: Callable[[Arms], Flags], threshold: int) -> Callable[[Fault], Numbers]:
    def decide(fault: Fault) -> Numbers:
        answered = fault.reached & has_two_samples(fault.sampled, MINUTE)
        return peers.flagger(failed_of(fault.arms) | ~answered, threshold)

    return decide


CONTROLLERS: dict[str, Callable[[Fault], Numbers]] = {
    "argo_documented": _argo(peers.argo_failed_documented, 5 * MINUTE, 5 * MINUTE),
    "argo_tuned": _argo(peers.argo_failed_tuned, MINUTE, MINUTE),
    "argo_fast": _argo(peers.argo_failed_tuned, MINUTE, 1),
    "flagger_documented": _flagger(peers.flagger_failed_documented, 5),
    "flagger_tuned": _flagger(peers.flagger_failed_tuned, 10),
}


@dataclass(frozen=True, slots=True)
class Caused:
    """Shares of traces."""

    rollbacks: float
    advances: float


def caused(decide: Callable[[Fault], Numbers], healthy: tuple[Fault, Fault], worse: tuple[Fault, Fault]) -> Caused:
    """Both pairs: with the fault, and the same traces without it."""
    (faulty, sound), (faulty_worse, sound_worse) = healthy, worse
    rolled_back = np.isfinite(decide(faulty)) & ~np.isfinite(decide(sound))
    let_through = ~np.isfinite(decide(faulty_worse)) & np.isfinite(decide(sound_worse))
    return Caused(float(rolled_back.mean()), float(let_through.mean()))
