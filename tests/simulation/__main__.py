"""``python -m tests.simulation --seeds N --from M``: run seeds, print those that fail, with everything they did.

``--seed N`` runs one and prints it whether it fails or not.
"""

import argparse
import sys
import time
from collections import Counter

from tests.simulation.batch import Verdict, judge_all
from tests.simulation.report import explain
from tests.simulation.run import run_seed

MOST_EXPLAINED = 3


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=2000, help="how many")
    parser.add_argument("--from", type=int, default=0, dest="first", help="the first one")
    parser.add_argument("--seed", type=int, help="this one alone, told in full")
    parser.add_argument("--processes", type=int, help="as many as there are cores, unless said otherwise")
    given = parser.parse_args()
    if given.seed is not None:
        return _one(given.seed)
    return _many(range(given.first, given.first + given.seeds), given.processes)


def _one(seed: int) -> int:
    result = run_seed(seed)
    print("\n".join(explain(result)))
    return 1 if result.violations else 0


def _many(seeds: range, processes: int | None) -> int:
    begun, failed, outcomes, events = time.monotonic(), [], Counter[str](), 0
    for number, verdict in enumerate(judge_all(seeds, processes), 1):
        outcomes.update(verdict.outcomes)
        events += verdict.events
        if verdict.violations:
            failed.append(verdict)
            print(f"seed {verdict.seed} fails: {verdict.violations[0].strip().splitlines()[-1]}", flush=True)
        if number % 500 == 0:
            print(f"{number} of {len(seeds)} seeds, {len(failed)} failed", file=sys.stderr, flush=True)
    spent = time.monotonic() - begun
    ends = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.most_common())
    print(f"{len(seeds)} seeds in {spent:.0f} s ({len(seeds) / spent:.1f} a second), {events} events; {ends}")
    _explain(failed)
    return 1 if failed else 0


def _explain(failed: list[Verdict]) -> None:
    if not failed:
        print("nothing was violated")
        return
    for verdict in sorted(failed, key=lambda one: one.seed)[:MOST_EXPLAINED]:
        print("\n".join(explain(run_seed(verdict.seed))))
    names = " ".join(str(verdict.seed) for verdict in sorted(failed, key=lambda one: one.seed))
    print(f"{len(failed)} failed: {names}")
    print("Keep them in tests/simulation/seeds.txt; `python -m tests.simulation --seed N` tells one in full.")


if __name__ == "__main__":
    sys.exit(main())
