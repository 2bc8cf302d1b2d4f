"""What one answer costs: `compiled.is_on(context)` for a rule by team and 30 % of all others, beside other systems.

Every contestant has the same rule in its own form, offline, in this process, and is first seen to give about the same
share. In each round each is asked, for some milliseconds, for users that it was never asked for before; what it takes
as arguments is made shortly before. Nothing keeps answers. The floor is what any evaluation in Python has to do: take
the key out of the context, make its canonical bytes and hash them, in one closure, and nothing else (`bare_floor_us`:
the key is at hand).

All times are microseconds of the thread's processor time for one answer, loop included, so that other work on the
machine disturbs little; ratios are medians over the rounds. Then the same with 1,000 flags found by their keys, and by
8 threads at once (there it is elapsed time, divided by all answers).
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from threading import Barrier, Thread
from typing import Any

from mmh3 import mmh3_32_uintdigest

from benchmarks._flag_peers import PEERS, PERCENTAGE, TEAMS, Contestant, User
from benchmarks._machine import load, machine, stated, versions
from flags import FlagDocument, Snapshot
from flags.bucketing import cbor_text
from flags.evaluate import TARGETING_KEY

FLAG = "new-api"
MANY = 1000
THREADS = 8
USERS_AT_ONCE = 1000
SPELL_SECONDS = 0.01
MOST_SPELLS = 20
CHECKED_USERS = 4000
SHARES = (0.27, 0.37)  # 30 % of all, and the teams, which are 4 % of the users; by chance somewhat less or more
LIMITS = {"ratio_to_best_peer": 0.7, "ratio_to_floor": 1.5}
OURS, FLOOR, BARE = "ours", "floor", "bare floor"


class Ours:
    distributions = ("staged-rollout", "mmh3")

    def __init__(self, flags: Sequence[str]) -> None:
        self._snapshot = Snapshot(
            FlagDocument(key, percentage=PERCENTAGE, targets={"team": tuple(TEAMS)}) for key in flags
        )

    def prepare(self, user: User) -> Any:
        return {"targetingKey": user[0], "team": user[1]}

    def run(self, flag: str, arguments: Sequence[Any]) -> None:
        compiled = self._snapshot.get(flag)
        assert compiled is not None
        for context in arguments:
            compiled.is_on(context)

    def run_many(self, questions: Sequence[tuple[str, Any]]) -> None:
        snapshot = self._snapshot
        for flag, context in questions:
            snapshot.get(flag).is_on(context)  # type: ignore[union-attr]  # all are there

    def is_on(self, flag: str, argument: Any) -> bool:
        compiled = self._snapshot.get(flag)
        return compiled is not None and compiled.is_on(argument)

    def close(self) -> None:
        pass


class Floor(Ours):
    """The least work, with nothing around it. `is_on` is that of the real thing: a floor has no answer."""

    def __init__(self, flags: Sequence[str]) -> None:
        super().__init__(flags)
        self._hashers = {key: _floor(key) for key in flags}

    def run(self, flag: str, arguments: Sequence[Any]) -> None:
        hash_of = self._hashers[flag]
        for context in arguments:
            hash_of(context)

    def run_many(self, questions: Sequence[tuple[str, Any]]) -> None:
        hashers = self._hashers
        for flag, context in questions:
            hashers[flag](context)


class BareFloor(Floor):
    def __init__(self, flags: Sequence[str]) -> None:
        super().__init__(flags)
        self._hashers = {key: _bare_floor(key) for key in flags}

    def prepare(self, user: User) -> Any:
        return user[0]

    def is_on(self, flag: str, argument: Any) -> bool:
        return super().is_on(flag, {"targetingKey": argument})


def _starts(flag: str) -> tuple[bytes, ...]:
    """What stands before a key of that many bytes. The users' keys are short, so their CBOR heads are of one byte."""
    prefix = b"\x82" + cbor_text(flag)
    return tuple(prefix + bytes((0x60 + length,)) for length in range(24))


def _floor(flag: str) -> Callable[[Any], int]:
    digest, starts = mmh3_32_uintdigest, _starts(flag)

    def hash_of(context: Any) -> int:
        encoded = context[TARGETING_KEY].encode()
        return digest(starts[len(encoded)] + encoded)

    return hash_of


def _bare_floor(flag: str) -> Callable[[Any], int]:
    digest, starts = mmh3_32_uintdigest, _starts(flag)

    def hash_of(key: Any) -> int:
        encoded = key.encode()
        return digest(starts[len(encoded)] + encoded)

    return hash_of


def run(quick: bool) -> dict[str, Any]:
    rounds = 10 if quick else 60
    flags = [FLAG, *(f"flag-{number}" for number in range(MANY - 1))]
    contestants, left_out, shares = _contestants(flags)
    gc.collect()
    gc.disable()
    try:
        one = _measure(contestants, rounds, _one_flag)
        many = _measure(contestants, max(rounds // 4, 3), lambda who, users: _many_flags(who, flags, users))
        threads = _measure(contestants, max(rounds // 10, 3), _threads)
    finally:
        gc.enable()
        for contestant in contestants.values():
            contestant.close()
    return {
        **_figures(one),
        f"flags_{MANY}_us": _medians(many),
        f"threads_{THREADS}_us": _medians(threads),
        "shares": shares,
        "left_out": left_out,
        "rounds": rounds,
        "users_at_once": USERS_AT_ONCE,
        "machine": machine(),
        "load": load()[0],
        "versions": versions(**_versions(contestants)),
    }


def _contestants(flags: Sequence[str]) -> tuple[dict[str, Contestant], dict[str, str], dict[str, float]]:
    """Those that are installed and answer right; why others do not take part; the share that each gives."""
    makers: dict[str, Callable[[Sequence[str]], Contestant]] = {OURS: Ours, FLOOR: Floor, BARE: BareFloor, **PEERS}
    found: dict[str, Contestant] = {}
    left_out: dict[str, str] = {}
    shares: dict[str, float] = {}
    for name, make in makers.items():
        try:
            contestant = make(flags)
        except ImportError as problem:
            left_out[name] = f"not installed ({problem})"
            continue
        if name in (FLOOR, BARE):
            found[name] = contestant
            continue
        share, in_team = _share(contestant)
        if not in_team or not SHARES[0] < share < SHARES[1]:
            left_out[name] = f"answers another rule: {share:.1%} of all, and the team {'on' if in_team else 'off'}"
            contestant.close()
            continue
        found[name], shares[name] = contestant, round(share, 4)
    return found, left_out, shares


def _share(contestant: Contestant) -> tuple[float, bool]:
    asked = [contestant.is_on(FLAG, contestant.prepare(user)) for user in _users("checked", 0, CHECKED_USERS)]
    return sum(asked) / len(asked), contestant.is_on(FLAG, contestant.prepare(("somebody", TEAMS[0])))


def _users(prefix: str, first: int, count: int = USERS_AT_ONCE) -> list[User]:
    """One in 25 is of a team that has the flag."""
    teams = [*(f"team-{number}" for number in range(24)), TEAMS[0]]
    return [(f"{prefix}-{number}", teams[number % 25]) for number in range(first, first + count)]


Spans = dict[str, list[float]]
Spell = Callable[[Contestant, list[User]], float]


def _measure(contestants: dict[str, Contestant], rounds: int, spell: Spell) -> Spans:
    """Microseconds of one answer, of each contestant in each round. `spell` gives the seconds that some users take; how
    many of them make a round is found out while warming up, in a round that does not count."""
    spans: Spans = {name: [] for name in contestants}
    spells: dict[str, int] = {}
    for name, contestant in contestants.items():
        spell(contestant, _users("warm", 0))
        seconds = spell(contestant, _users("warm", USERS_AT_ONCE))
        spells[name] = max(1, min(MOST_SPELLS, round(SPELL_SECONDS / seconds)))
    for number in range(rounds):
        for name, contestant in contestants.items():
            first = number * MOST_SPELLS
            batches = range(first, first + spells[name])
            seconds = sum(spell(contestant, _users("user", batch * USERS_AT_ONCE)) for batch in batches)
            spans[name].append(seconds / (spells[name] * USERS_AT_ONCE) * 1e6)
            gc.collect(0)
    return spans


def _one_flag(contestant: Contestant, users: list[User]) -> float:
    arguments = [contestant.prepare(user) for user in users]
    began = time.thread_time()
    contestant.run(FLAG, arguments)
    return time.thread_time() - began


def _many_flags(contestant: Contestant, flags: Sequence[str], users: list[User]) -> float:
    questions = [(flag, contestant.prepare(user)) for flag, user in zip(flags, users, strict=True)]
    began = time.thread_time()
    contestant.run_many(questions)
    return time.thread_time() - began


def _threads(contestant: Contestant, users: list[User]) -> float:
    """Seconds by the clock for as many users in each thread, divided by the number of threads."""
    arguments = [[contestant.prepare((f"{key}-{thread}", team)) for key, team in users] for thread in range(THREADS)]
    start = Barrier(THREADS + 1)

    def ask(own: list[Any]) -> None:
        start.wait()
        contestant.run(FLAG, own)

    threads = [Thread(target=ask, args=(own,)) for own in arguments]
    for thread in threads:
        thread.start()
    began = time.perf_counter()
    start.wait()
    for thread in threads:
        thread.join()
    return (time.perf_counter() - began) / THREADS


def _figures(spans: Spans) -> dict[str, Any]:
    medians = _medians(spans)
    peers = {name: span for name, span in medians.items() if name in PEERS}
    best = min(peers, key=peers.__getitem__, default=None)
    figures: dict[str, Any] = {
        "ours_us": medians[OURS],
        "floor_us": medians[FLOOR],
        "bare_floor_us": medians[BARE],
        "peers": peers,
        "ratio_to_floor": _ratio(spans, FLOOR),
        "ratio_to_bare_floor": _ratio(spans, BARE),
        "spread_us": {name: [round(min(measured), 3), round(max(measured), 3)] for name, measured in spans.items()},
    }
    if best is not None:
        figures |= {"best_peer": best, "ratio_to_best_peer": _ratio(spans, best)}
    return figures


def _medians(spans: Spans) -> dict[str, float]:
    return {name: round(statistics.median(measured), 3) for name, measured in spans.items()}


def _ratio(spans: Spans, other: str) -> float:
    pairs = zip(spans[OURS], spans[other], strict=True)
    return round(statistics.median(ours / theirs for ours, theirs in pairs), 3)


def _versions(contestants: dict[str, Contestant]) -> dict[str, str]:
    found = {}
    for maker in (Ours, *(PEERS[name] for name in contestants if name in PEERS)):
        for distribution in getattr(maker, "distributions", ()):
            try:
                found[distribution] = version(distribution)
            except PackageNotFoundError:
                found[distribution] = "not installed as a distribution"
    return found


def table(result: dict[str, Any]) -> str:
    one = {OURS: result["ours_us"], FLOOR: result["floor_us"], BARE: result["bare_floor_us"], **result["peers"]}
    many, threads = result[f"flags_{MANY}_us"], result[f"threads_{THREADS}_us"]
    lines = [
        f"Evaluation: microseconds for one answer, teams {' and '.join(TEAMS)} and {PERCENTAGE} % of all others",
        f"{result['rounds']} rounds, taking turns, all keys different; the load is the machine's besides",
        stated(result),
        "",
        f"{'':<16}{'one flag':>10}{'least':>9}{'most':>9}{f'{MANY:,} flags':>13}{f'{THREADS} threads':>12}{'share':>9}",
    ]
    for name, median in sorted(one.items(), key=lambda item: item[1]):
        least, most = result["spread_us"][name]
        share = f"{result['shares'][name]:.1%}" if name in result["shares"] else ""
        lines.append(
            f"{name:<16}{median:>10.3f}{least:>9.3f}{most:>9.3f}{many[name]:>13.3f}{threads[name]:>12.3f}{share:>9}"
        )
    lines += ["", *(f"NOT MEASURED: {name}: {why}" for name, why in result["left_out"].items())]
    best = f"to {result['best_peer']}, the best of {len(result['peers'])} peers" if "best_peer" in result else ""
    for name, words in (("ratio_to_best_peer", best), ("ratio_to_floor", "to the floor")):
        if name in result:
            lines.append(f"ours {words}: {result[name]:.2f} (wanted: at most {LIMITS[name]})")
    return "\n".join(lines)
