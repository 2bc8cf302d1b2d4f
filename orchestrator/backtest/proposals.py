"""Bounds that would have been quiet: what the past suggests, replayed like the plan's own before it is proposed.

A criterion that failed or held on nothing can be changed in several ways: a wider bound, a longer ``for``, a longer
warm-up. Of each way the smallest step that is quiet is looked for: first on the releases that were not quiet, for most
candidates fall there soon, then on all. Proposed is what neither failed nor held; where nothing is so quiet, what did
not fail.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.backtest import bounds
from orchestrator.backtest.replay import Bench, Replayed
from stages.criteria import AnyCriterion, Change, Compare, Latency, Ratio, Threshold
from stages.values import Bound, format_duration

INCREASES = (0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)
LONGER_SECONDS = (60.0, 120.0, 180.0, 300.0, 600.0, 900.0)
WARMUPS_SECONDS = (120.0, 180.0, 300.0, 600.0)
SHARES = tuple(round(digit * 10.0**power, 7) for power in range(-5, 0) for digit in (1, 1.5, 2, 3, 5, 7))
MOST_FULL_REPLAYS = 3  # of one way

Changed = Mapping[str, str]
"""Fields of the criterion and what to write there; ``warmup`` is its gate's."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """*failed* and *held*: of how many of the *replayed* releases, with the change."""

    change: Changed
    replayed: int
    failed: int
    held: int

    @property
    def quiet(self) -> bool:
        return not self.failed and not self.held


@dataclass(frozen=True, slots=True)
class _Candidate:
    change: Changed
    bench: Bench


@dataclass(frozen=True, slots=True)
class _Outcome:
    failed: int
    held: int


async def proposals(bench: Bench, replays: Sequence[Replayed]) -> list[Proposal]:
    """One of each way that helps; of a threshold that was quiet, how tight its bound could have been."""
    known = [one for one in replays if one.measurable]
    begins = [one.begin for one in known]
    noisy = [one.begin for one in known if not one.quiet]
    has_failed = any(one.failed_at is not None for one in known)
    found: list[Proposal] = []
    for way in _ways(bench, known):
        if way and any(one.quiet and one.change.keys() <= way[0].change.keys() for one in found):
            continue  # less of a change was quiet already
        proposal = await _best(way, noisy, begins, has_failed)
        found += [proposal] if proposal is not None else []
    return sorted(found, key=lambda one: not one.quiet)


async def _best(
    way: Sequence[_Candidate], noisy: Sequence[float], begins: Sequence[float], has_failed: bool
) -> Proposal | None:
    only_holds: _Candidate | None = None
    full_replays = 0
    for candidate in way:
        seen = await _outcome(candidate.bench, noisy)
        if seen.failed:
            continue
        if seen.held:
            only_holds = only_holds or candidate
            continue
        proposal = await _replayed(candidate, begins)
        if proposal.quiet:
            return proposal
        full_replays += 1
        if full_replays == MOST_FULL_REPLAYS:
            break
    if only_holds is None or not has_failed:
        return None
    proposal = await _replayed(only_holds, begins)
    return None if proposal.failed else proposal


async def _replayed(candidate: _Candidate, begins: Sequence[float]) -> Proposal:
    outcome = await _outcome(candidate.bench, begins, stop_at_failure=False)
    return Proposal(candidate.change, len(begins), outcome.failed, outcome.held)


async def _outcome(bench: Bench, begins: Sequence[float], *, stop_at_failure: bool = True) -> _Outcome:
    failed = held = 0
    for begin in begins:
        one = await bench.release(begin)
        failed += one.failed_at is not None
        held += one.failed_at is None and bool(one.holds)
        if failed and stop_at_failure:
            break
    return _Outcome(failed, held)


# --- ways -------------------------------------------------------------------------------------------------------------


def _ways(bench: Bench, known: Sequence[Replayed]) -> Iterator[list[_Candidate]]:
    criterion = bench.criterion
    if isinstance(criterion, Threshold):
        yield from _of_threshold(bench, criterion, known)
        return
    if all(one.quiet for one in known):
        return
    match criterion:
        case Ratio():
            yield [_nested(bench, "ratio", "at_most", share) for share in SHARES if share > criterion.ratio.at_most]
        case Compare():
            yield _increases(bench, "compare", criterion.compare.max_increase)
            yield from _times(bench, criterion)
        case Latency():
            yield _increases(bench, "latency", criterion.latency.max_increase)
            yield from _times(bench, criterion)
        case Change():
            yield _increases(bench, "change", criterion.change.max_increase)
        case _:
            pass  # an objective is promised to others


def _of_threshold(bench: Bench, criterion: Threshold, known: Sequence[Replayed]) -> Iterator[list[_Candidate]]:
    for change in bounds.bound_changes(criterion, known):
        update = {("pass_" if name == "pass" else name): bound for name, bound in change.items()}
        yield [_with(bench, {name: str(bound) for name, bound in change.items()}, update)]
    seconds = bounds.longest_breach_seconds(criterion, known, bench.course.gate.every)
    if any(one.failed_at is not None for one in known) and seconds < LONGER_SECONDS[-1]:
        yield [_for(bench, one) for one in LONGER_SECONDS if one > max(seconds, criterion.for_seconds)]


def _increases(bench: Bench, field: str, known: float) -> list[_Candidate]:
    return [_nested(bench, field, "max_increase", one) for one in INCREASES if one > known]


def _times(bench: Bench, criterion: AnyCriterion) -> Iterator[list[_Candidate]]:
    yield [_for(bench, one) for one in LONGER_SECONDS if one > max(criterion.for_seconds, 60.0)]
    longer = [one for one in WARMUPS_SECONDS if one > bench.warmup_seconds]
    yield [_Candidate({"warmup": format_duration(one)}, replace(bench, warmup_seconds=one)) for one in longer]


def _for(bench: Bench, seconds: float) -> _Candidate:
    return _with(bench, {"for": format_duration(seconds)}, {"for_": seconds})


def _nested(bench: Bench, field: str, name: str, share: float) -> _Candidate:
    part = getattr(bench.criterion, field).model_copy(update={name: share})
    return _with(bench, {name: f"{share * 100:g}%"}, {field: part})


def _with(bench: Bench, change: Changed, update: Mapping[str, Bound | float | Any]) -> _Candidate:
    return _Candidate(change, replace(bench, criterion=bench.criterion.model_copy(update=dict(update))))
