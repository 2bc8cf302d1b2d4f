"""`make seeds`: teams' plans, walked through their worlds.

python -m tests.teams                             all of them: back, incidents, forward, kills, and the tables
python -m tests.teams taskerino --only incidents  a part
python -m tests.teams taskerino --by-hand         only the world: you roll out
python -m tests.teams --check --documents FOLDER  only hold tables against plans, and the checklists in FOLDER
"""

import argparse
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from tests.support.cluster import Cluster, ControlPlane, provide_programs
from tests.support.ports import free_port
from tests.support.postgres import PostgresServer
from tests.support.process import ROOT
from tests.teams import coverage
from tests.teams.control import Control, url_at
from tests.teams.team import Team, Tools
from tests.teams.walk import Walker, walker_for

TEAMS = ("taskerino", "enrichment", "tool_history", "giflab", "embeddings")
PARTS = ("back", "incidents", "forward", "kills")
BY_HAND = """
Everything runs. In another terminal, in this folder:

{settings}

    .venv/bin/rollout start {plan}
    .venv/bin/rollout status {name}

Ctrl-C here ends it all.
"""


def team_named(name: str) -> Team[Any]:
    team: Team[Any] = import_module(f"tests.teams.{name}").TEAM
    return team


class Teller:
    def __init__(self, name: str) -> None:
        self._name, self._began = name, time.monotonic()

    def __call__(self, text: str) -> None:
        minutes, seconds = divmod(int(time.monotonic() - self._began), 60)
        print(f"{minutes:02}:{seconds:02}  {self._name}  {text}", flush=True)


@contextmanager
def toolbox() -> Iterator[Callable[[str], Tools]]:
    """Real ones, each started once, when somebody needs it; they end with the context."""
    provider = ROOT / ".ci" / "provide" / "prometheus"
    found = subprocess.run([sys.executable, provider], stdout=subprocess.PIPE, text=True, check=True)
    prometheus = Path(found.stdout.strip().splitlines()[-1])
    with ExitStack() as stack:
        planes: list[Cluster] = []

        def cluster() -> Cluster:
            if not planes:
                planes.append(stack.enter_context(ControlPlane(provide_programs())))
            return planes[0]

        postgres = stack.enter_context(PostgresServer())
        yield lambda controller: Tools(controller, prometheus, postgres, cluster)


def walk(walker: Walker[Any], parts: Sequence[str], kills: int, seed: int) -> list[str]:
    """What is amiss; each walk begins in a world that is as it was, so one that goes wrong ends all."""
    team = walker.team
    if "back" in parts:
        walker.back_from_every_stage()
    if "incidents" in parts:
        for incident in team.incidents:
            walker.meets(incident)
    promoted = walker.forward() if "forward" in parts else None
    if "kills" in parts:
        standing = walker.forward(kills=kills, seed=seed)
        if promoted is not None and standing != promoted:
            return [f"with a controller that died it ended otherwise: {promoted} and {standing}"]
        walker.killed_back(kills, seed + 1)
    return []


def run(team: Team[Any], tools: Callable[[str], Tools], given: argparse.Namespace) -> list[str]:
    """Problems, in words."""
    said = Teller(team.name)
    parts = PARTS if given.only is None else (given.only,)
    items = coverage.coverage_of(team)
    problems = list(coverage.check_plan(team, items))
    with tempfile.TemporaryDirectory(prefix=f"rollout-{team.name}-") as folder:
        try:
            with walker_for(team, Path(folder), tools, said) as walker:
                problems += walk(walker, parts, given.kills, given.seed)
        except Exception as error:  # noqa: BLE001 - the other teams are walked all the same
            traceback.print_exc()
            return [*problems, f"{type(error).__name__}: {error}"]
        if parts == PARTS:
            problems += coverage.unseen(items, walker.evidence)
            problems += [f"trigger {name} was never fired" for name in sorted(triggers_of(team) - walker.fired)]
            (team.folder / coverage.TABLE).write_text(coverage.table(team, items, walker.evidence))
            said(f"every item is in {team.folder.relative_to(ROOT) / coverage.TABLE}")
    return problems


def triggers_of(team: Team[Any]) -> set[str]:
    return {one["name"] for one in team.document["spec"].get("triggers") or ()}


def check(team: Team[Any], documents: Path | None) -> list[str]:
    items = coverage.coverage_of(team)
    problems = list(coverage.check_plan(team, items))
    return problems + (list(coverage.check_lines(items, documents)) if documents is not None else [])


def wait_by_hand(team: Team[Any], tools: Callable[[str], Tools]) -> None:
    """The world, until somebody presses Ctrl-C; `rollout start` is the controller."""
    with tempfile.TemporaryDirectory(prefix=f"rollout-{team.name}-") as folder:
        port = free_port()
        with team.world(Path(folder) / "world", tools(url_at(port))) as world:
            control = Control(Path(folder) / "control", world.environment, team.people, port)
            control.start()
            try:
                first = control.settings(team.people[0]) | dict(world.environment)
                settings = "\n".join(f"    export {name}='{value}'" for name, value in first.items())
                plan = (team.folder / team.plan).relative_to(ROOT)
                print(BY_HAND.format(settings=settings, plan=plan, name=team.document["metadata"]["name"]))
                while True:
                    time.sleep(3600)
            finally:
                control.end()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.teams", description="Walks the teams' plans.")
    parser.add_argument("teams", nargs="*", metavar="TEAM", help=f"of {', '.join(TEAMS)}; all of them if none is named")
    parser.add_argument("--only", choices=PARTS)
    parser.add_argument("--kills", type=int, default=10, help="how often the controller dies in a walk")
    parser.add_argument("--seed", type=int, default=1, help="when it does")
    parser.add_argument("--check", action="store_true", help="start nothing")
    parser.add_argument("--documents", type=Path, metavar="FOLDER", help="the checklists themselves")
    parser.add_argument("--by-hand", action="store_true", help="only start the world of one team")
    given = parser.parse_args()
    teams = [team_named(name) for name in given.teams or TEAMS]
    if given.check:
        found = {team.name: check(team, given.documents) for team in teams}
    else:
        with toolbox() as tools:
            if given.by_hand:
                wait_by_hand(teams[0], tools)
            found = {team.name: run(team, tools, given) for team in teams}
    for name, problems in found.items():
        print(f"{name}: {'nothing is amiss' if not problems else f'{len(problems)} problems'}")
        print("".join(f"  {one}\n" for one in problems), end="")
    return 1 if any(found.values()) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
