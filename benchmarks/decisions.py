"""How well rules decide: false rollbacks of healthy releases, and minutes until a bad one is found.

Simulated traffic of a service in families (`benchmarks._decisions.families`), 200 requests a second with 1 % of errors
and a canary of 5 % unless a family says otherwise, looked at every 15 s for one hour. In the same run, on the same
traces, stand our rule (the functions that judge a live gate) and ports of what others do
(`benchmarks._decisions.peers`).
Without an option 500 traces a family are drawn; `--quick` draws 200, `--full` 2,000, and 1,000 of each clustered row.

What is `null` was not found in half of the traces, or does not go with that rule.
"""

import sys
import time
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks._decisions import clustered, live, missing, multiple, ours, peers, real
from benchmarks._decisions.families import BEGINS_AT, FACTOR_KNOWN, HEALTHY, REGRESSED, UNTUNED
from benchmarks._decisions.table import table
from benchmarks._decisions.traffic import Arms, Law, Numbers, Traffic, draw
from benchmarks._machine import machine, versions

__all__ = ["run", "table"]

SEED = 20_261_126
OURS = {
    "ours": ours.Setup(),
    "ours_without_warmup": ours.Setup(warmup_seconds=0.0),
    "ours_by_flag": ours.Setup(by_flag=True),
}
"""By selectors of counters, with and without the usual warm-up; and by a flag's exposure counters, with it."""
SAID = {
    "ours": "ours, by series",
    "ours_without_warmup": "ours, no warm-up",
    "ours_by_flag": "ours, by flag",
    **{rule.name: rule.said for rule in peers.RULES},
    "oracle": "told what and when",
}


@dataclass(frozen=True, slots=True)
class Sizes:
    """Numbers of traces: of a family, of a clustered row, and of a release with missing data."""

    family: int
    clustered: int
    missing: int


QUICK, USUAL, FULL = Sizes(200, 100, 10), Sizes(500, 300, 40), Sizes(2000, 1000, 100)


def run(quick: bool, full: bool = False) -> dict[str, Any]:
    sizes = FULL if full else QUICK if quick else USUAL
    began = time.perf_counter()
    result = {
        "healthy": _healthy(sizes.family),
        **_regressed(sizes.family),
        "advance": _advance(sizes.family),
        "multiple": _multiple(sizes.family),
        "missing": _missing(sizes.missing),
        "clustered": _clustered(sizes.clustered),
        "real": _real(sizes.family),
    }
    return result | {
        "rules": SAID,
        "untuned": list(UNTUNED),
        "traces": sizes.family,
        "traces_clustered": sizes.clustered,
        "traces_missing": sizes.missing,
        "seconds": round(time.perf_counter() - began, 1),
        "machine": machine(),
        "versions": versions("numpy"),
    }


def _rng(*names: str) -> np.random.Generator:
    """The same of the same names, whatever else is run."""
    return np.random.default_rng([SEED, zlib.crc32("/".join(names).encode())])


def _say(what: str) -> None:
    print(f"decisions: {what}", file=sys.stderr, flush=True)


def _failed_at(traffic: Traffic, factor: float = 2.0, from_seconds: float = 0.0) -> dict[str, Numbers]:
    """Of every rule, seconds after the step. The oracle is told *factor* and *from_seconds*."""
    arms = traffic.arms()
    found = {name: ours.failed_at(ours.paths_of(traffic, setup)) for name, setup in _ours(traffic).items()}
    found |= {rule.name: rule.decide(arms) for rule in peers.RULES}
    return found | {"oracle": peers.oracle(arms, factor, from_seconds)}


def _ours(traffic: Traffic) -> dict[str, ours.Setup]:
    """A flag draws keys, not pods."""
    return {name: setup for name, setup in OURS.items() if not (setup.by_flag and traffic.pods)}


def _share(failed_at: Numbers) -> float:
    return round(float(np.isfinite(failed_at).mean()), 5)


def _healthy(traces: int) -> dict[str, dict[str, float | None]]:
    result: dict[str, dict[str, float | None]] = {}
    for family, law in HEALTHY.items():
        _say(f"healthy, {family}")
        failed_at = _failed_at(draw(law, _rng("healthy", family), traces))
        shares = {rule: _share(seconds) for rule, seconds in failed_at.items()}
        result[family] = {rule: shares.get(rule) for rule in SAID}
    return result


def _regressed(traces: int) -> dict[str, dict[str, dict[str, float | None]]]:
    minutes: dict[str, dict[str, float | None]] = {}
    shares: dict[str, dict[str, float | None]] = {}
    early: dict[str, dict[str, float | None]] = {}
    for name, law in REGRESSED.items():
        _say(f"worse, {name}")
        onset = BEGINS_AT.get(name, 0.0)
        failed_at = _failed_at(draw(law, _rng("worse", name), traces), FACTOR_KNOWN[name], onset)
        minutes[name] = {rule: _median_minutes(seconds, onset) for rule, seconds in failed_at.items()}
        shares[name] = {rule: _found_share(seconds, onset) for rule, seconds in failed_at.items()}
        if onset:
            early[name] = {rule: round(float((seconds <= onset).mean()), 5) for rule, seconds in failed_at.items()}
    return {"minutes_to_fail": minutes, "failed": shares, "failed_before_it_began": early}


def _median_minutes(failed_at: Numbers, onset: float = 0.0) -> float | None:
    """From when it began, of those not rolled back before; None if fewer than half of them are found."""
    left = failed_at[failed_at > onset]
    if not left.size:
        return None
    median = float(np.sort(left)[(left.size - 1) // 2])
    return round((median - onset) / 60, 2) if np.isfinite(median) else None


def _found_share(failed_at: Numbers, onset: float) -> float | None:
    left = failed_at[failed_at > onset]
    return _share(left) if left.size else None


def _advance(traces: int) -> dict[str, dict[str, float | None]]:
    _say("advance on evidence")
    healthy = draw(HEALTHY["steady"], _rng("advance", "healthy"), traces)
    worse = draw(REGRESSED["1.5"], _rng("advance", "1.5"), traces)
    result: dict[str, dict[str, float | None]] = {}
    for name, setup in OURS.items():
        good, bad = (ours.advanced_at(ours.paths_of(traffic, setup), setup) for traffic in (healthy, worse))
        result[name] = {
            "minutes": _median_minutes(good),
            "advanced": _share(good),
            "wrongly_on_1.5": _share(bad),
        }
    return result


def _multiple(traces: int) -> dict[str, float]:
    _say(f"{len(multiple.BAD_SHARES)} metrics, {multiple.STEPS} steps")
    traffics = multiple.metrics(_rng("multiple"), traces)
    found = {
        name: multiple.ours_failed_at(traffics, setup.warmup_seconds)
        for name, setup in OURS.items()
        if not setup.by_flag
    }
    found |= {rule.name: multiple.others_failed_at(rule.decide, traffics) for rule in peers.RULES}
    return {rule: _share(seconds) for rule, seconds in found.items()}


def _missing(traces: int) -> dict[str, dict[str, dict[str, float]]]:
    result: dict[str, dict[str, dict[str, float]]] = {}
    for name, fault_of in missing.FAULTS.items():
        _say(f"missing data, {name}")
        pairs = []
        for kind, law in (("healthy", Law()), ("worse", REGRESSED["2"])):
            arms = draw(law, _rng("missing", kind), traces).arms()
            pairs.append((fault_of(arms, _rng("missing", kind, name)), missing.Fault.none(arms)))
        caused = {"ours": live.caused(pairs[0], pairs[1], ours.ALPHA, ours.WARMUP_SECONDS)}
        caused |= {rule: missing.caused(decide, pairs[0], pairs[1]) for rule, decide in missing.CONTROLLERS.items()}
        result[name] = {rule: {"rollbacks": one.rollbacks, "advances": one.advances} for rule, one in caused.items()}
    return result


def _clustered(traces: int) -> dict[str, dict[str, dict[str, Any]]]:
    """By row and rule: share of healthy hours failed; of a canary 2 and 3 times worse, share found, median minutes."""
    result: dict[str, dict[str, dict[str, Any]]] = {}
    for row, keys in clustered.ROWS.items():
        _say(f"clustered, {row}")
        rng = _rng("clustered", row)
        healthy = clustered.draw(keys, rng, traces)
        found = {"healthy": _clustered_failed_at(healthy)}
        for factor in (2, 3):
            found[str(factor)] = _clustered_failed_at(clustered.worse(healthy, factor, rng))
        result[row] = {
            rule: {
                "healthy": _share(found["healthy"][rule]),
                **{name: [_share(found[name][rule]), _median_minutes(found[name][rule])] for name in ("2", "3")},
            }
            for rule in found["healthy"]
        }
    return result


def _clustered_failed_at(traffic: Traffic) -> dict[str, Numbers]:
    arms: Arms = traffic.arms()
    found = {
        "ours_by_flag": ours.failed_at(ours.paths_of(traffic, ours.Setup(by_flag=True))),
        "ours": ours.failed_at(ours.paths_of(traffic, ours.Setup())),
    }
    return found | {rule.name: rule.decide(arms) for rule in peers.RULES}


def _real(traces: int) -> dict[str, Any]:
    _say("real level swings")
    try:
        counts = real.counts_a_minute()
    except real.Unavailable as error:
        return {"unavailable": str(error)}
    failed_at = _failed_at(real.draw(counts, _rng("real"), traces))
    return {
        "source": real.PACKAGE,
        "hours": counts.size // 60,
        "healthy": {rule: _share(seconds) for rule, seconds in failed_at.items()},
    }
