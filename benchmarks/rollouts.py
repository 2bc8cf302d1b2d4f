"""Whether rollouts end as they should: healthy ones promoted, those with twice the errors rolled back, and how soon.

Nothing is simulated. Each rollout has a real service (`_rollouts/service.py`) that counts the exposure of its flag,
under 200 requests a second (`_rollouts/load.py`), and a plan that raises the flag to 25 and 50 %, behind a gate with
one criterion: `compare: {}`, the errors of those with the flag against those without. One Prometheus reads all services
every second, and one `rollout serve` leads all runs; several go on at a time, healthy ones and regressed ones in turn.

Errors are drawn for each request by itself. A rollout during which the answers fell below 90 % of the wanted rate in
any ten seconds is refused: it is listed, but not counted. Bakes are short, so that forty rollouts take less than half
an hour; ``for`` of the gate is its default of a minute, so its test takes that long at least. The history before a run
is two minutes where a real service has a day, so more is allowed for which keys were drawn than would be there.
"""

import asyncio
import secrets
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any, Never

from benchmarks._machine import load, machine, stated, versions
from benchmarks._rollouts.outcome import HELD, Outcome
from benchmarks._rollouts.trial import Conditions, Trial, perform
from benchmarks._rollouts.world import World
from examples.demo.processes import ENDING

SLOTS = 10  # rollouts at a time: two cores carry these with everything around them
LEAST_SHARE = 0.9  # of the wanted rate
STAGGER_SECONDS = 2.0
KINDS = ("healthy", "regressed")


def run(quick: bool) -> dict[str, Any]:
    each = 2 if quick else 20
    conditions = Conditions()
    seed = secrets.randbits(32)
    trials = _trials(each, seed)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="bench-rollouts-") as folder:
        outcomes = _performed(trials, World(Path(folder), min(SLOTS, len(trials))), conditions)
    return {
        **summary(outcomes, conditions),
        "conditions": asdict(conditions),
        "at_a_time": min(SLOTS, len(trials)),
        "seed": seed,
        "seconds": round(time.monotonic() - began),
        "machine": machine(),
        "load": load()[0],
        "versions": versions("prometheus-client"),
    }


def table(result: dict[str, Any]) -> str:
    lines = [
        _title(result),
        stated(result),
        "",
        f"{'':<12}{'right':>8}{'wrong':>8}{'held':>8}{'refused':>9}",
    ]
    for kind, right in (("healthy", "promoted"), ("regressed", "rolled back")):
        found = result[kind]
        numbers = "".join(f"{found[name]:>8}" for name in ("right", "wrong", "held"))
        lines.append(f"{kind:<12}{numbers}{found['refused']:>9}   (right: {right})")
    found_at = ", ".join(f"{count} at {percentage} %" for percentage, count in result["rolled_back_at"].items())
    lines += ["", f"rolled back (regressed): {found_at or 'none'}", ""]
    lines += [f"{'seconds since the first raise':<44}{'median':>9}{'least':>9}{'most':>9}"]
    for name, words in _TIMES.items():
        spread = result["seconds_since_raise"][name]
        numbers = (
            "".join(f"{spread[which]:>9.1f}" for which in ("median", "least", "most")) if spread else "none".rjust(9)
        )
        lines.append(f"{words:<44}{numbers}")
    return "\n".join([*lines, "", _rates(result["rates"]), "", *(_line(one) for one in result["rollouts"])])


_TIMES = {
    "breach": "until the gate failed (regressed)",
    "zero": "until the flag was back at 0 (regressed)",
    "last_canary": "until the last answer with the flag (regressed)",
    "promoted": "until the end (healthy)",
}


def _title(result: dict[str, Any]) -> str:
    conditions = result["conditions"]
    made = (
        f"{result['healthy']['made']} healthy, {result['regressed']['made']} with {conditions['regression']:g}x errors"
    )
    how = f"{conditions['rate']:g} requests/s each, {result['at_a_time']} at a time"
    return f"Rollouts: {made}; {how}, {result['seconds'] / 60:.0f} minutes in all"


def _rates(rates: dict[str, float]) -> str:
    worst = f"lowest of a rollout {rates['least']:.1f}, in the worst ten seconds {rates['lowest']:.1f}"
    return f"answers a second: {rates['mean']:.1f}, {worst}"


def _line(one: dict[str, Any]) -> str:
    holds = "".join(f", {seconds:g} s on hold {hold}" for hold, seconds in one["holds"].items())
    open_holds = "".join(f", still on hold {hold}" for hold in one["open_holds"])
    crashes = f", CRASHED {one['crashes']} times" if one["crashes"] else ""
    breach = f" after {one['breach_seconds']:.1f} s" if one["breach_seconds"] is not None else ""
    ratio = f"{one['ratio']:.2f}x" if one["ratio"] is not None else "?"
    refused = "" if one["is_counted"] else f" REFUSED, {one['lowest_rate']:.0f}/s"
    return (
        f"{one['name']}: {one['ended']} at {one['percentage']:g} %{breach}{holds}{open_holds}{crashes}{refused}"
        f" (really {ratio}): {one['sentence']}"
    )


# --- numbers ----------------------------------------------------------------------------------------------------------


def summary(outcomes: Sequence[Outcome], conditions: Conditions) -> dict[str, Any]:
    """Counts of right and wrong, and spreads of times, over the outcomes that count."""
    counted = [one for one in outcomes if is_counted(one, conditions)]
    bad = [one for one in counted if one.regressed]
    good = [one for one in counted if not one.regressed]
    return {
        "healthy": _counts([one for one in outcomes if not one.regressed], conditions),
        "regressed": _counts([one for one in outcomes if one.regressed], conditions),
        "seconds_since_raise": {
            "breach": _spread([one.breach_seconds for one in bad]),
            "zero": _spread([one.zero_seconds for one in bad]),
            "last_canary": _spread([one.last_canary_seconds for one in bad]),
            "promoted": _spread([one.end_seconds for one in good if one.ended == "promoted"]),
        },
        "rolled_back_at": _by_percentage([one for one in bad if one.ended == "rolled_back"]),
        "rates": {
            "mean": round(statistics.fmean(one.rate for one in outcomes), 1),
            "least": min(one.rate for one in outcomes),
            "lowest": min(one.lowest_rate for one in outcomes),
        },
        "counted_by_prometheus": _spread([one.counted for one in outcomes]),
        "rollouts": [asdict(one) | {"is_counted": is_counted(one, conditions)} for one in outcomes],
    }


def is_counted(one: Outcome, conditions: Conditions) -> bool:
    return one.lowest_rate >= LEAST_SHARE * conditions.rate


def _counts(outcomes: Sequence[Outcome], conditions: Conditions) -> dict[str, int]:
    counted = [one for one in outcomes if is_counted(one, conditions)]
    right = sum(one.is_right for one in counted)
    held = sum(one.ended == HELD for one in counted)
    return {
        "made": len(outcomes),
        "right": right,
        "wrong": len(counted) - right - held,
        "held": held,
        "refused": len(outcomes) - len(counted),
    }


def _by_percentage(outcomes: Sequence[Outcome]) -> dict[str, int]:
    """How many were found at which percentage: the lower, the fewer users had it."""
    counts = Counter(one.percentage for one in outcomes)
    return {f"{percentage:g}": counts[percentage] for percentage in sorted(counts)}


def _spread(values: Sequence[float | None]) -> dict[str, float] | None:
    known = [value for value in values if value is not None]
    if not known:
        return None
    return {"median": statistics.median(known), "least": min(known), "most": max(known)}


# --- making them ------------------------------------------------------------------------------------------------------


def _trials(each: int, seed: int) -> list[Trial]:
    """Healthy ones and regressed ones in turn, so that both meet the same weather."""
    kinds = [(f"{kind}-{number + 1:02}", kind == "regressed") for number in range(each) for kind in KINDS]
    return [Trial(name, regressed, seed + 2 * number) for number, (name, regressed) in enumerate(kinds)]


def _performed(trials: Sequence[Trial], world: World, conditions: Conditions) -> list[Outcome]:
    heard = [number for number in ENDING if signal.getsignal(number) is not signal.SIG_IGN]  # nohup is respected
    kept = {number: signal.signal(number, _interrupt) for number in heard}
    try:
        world.start()
        return asyncio.run(_in_slots(trials, world, conditions))
    finally:
        for number in heard:
            signal.signal(number, signal.SIG_IGN)  # ending processes is not interrupted
        world.stop()
        for number, handler in kept.items():
            signal.signal(number, handler)


def _interrupt(number: int, _frame: FrameType | None) -> Never:
    print(f"ended by {signal.Signals(number).name}", file=sys.stderr, flush=True)
    raise SystemExit(128 + number)


async def _in_slots(trials: Sequence[Trial], world: World, conditions: Conditions) -> list[Outcome]:
    """One rollout after the other in each slot; outcomes in the order of the trials."""
    waiting = deque(enumerate(trials))
    outcomes: dict[int, Outcome] = {}

    async def fill(port: int, delay_seconds: float) -> None:
        await asyncio.sleep(delay_seconds)
        while waiting:
            number, trial = waiting.popleft()
            outcomes[number] = await perform(trial, port, world, conditions)
            told = _line(asdict(outcomes[number]) | {"is_counted": is_counted(outcomes[number], conditions)})
            print(f"[{len(outcomes)} of {len(trials)}] {told}", file=sys.stderr, flush=True)

    async with asyncio.TaskGroup() as group:
        for place, port in enumerate(world.slots):
            group.create_task(fill(port, place * STAGGER_SECONDS))
    return [outcomes[number] for number in sorted(outcomes)]
