"""A rollout that goes through, and one that comes back by itself. `make demo` runs this.

python -m examples.demo             both, in under four minutes
python -m examples.demo --by-hand   only the service, its users, Prometheus and a controller: you roll out
"""

import argparse
import re
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Timer
from types import FrameType
from typing import Never

from examples.demo.processes import ENDING, end
from examples.demo.world import NotReady, Standing, World, find_prometheus

HERE = Path(__file__).resolve().parent
RUN_SECONDS = 170.0  # far more than a run takes; then it hangs, and the demonstration says so
BEGINS = re.compile(r"Z +(\w+)(?: \S+)? is next$")  # how `rollout` says that a stage or a step of it begins
BY_HAND = """
Everything runs. In another terminal, in this folder:

{settings}

    .venv/bin/rollout start examples/demo/good.yaml      .venv/bin/rollout list
    .venv/bin/rollout pause RUN --reason "let me look"   .venv/bin/rollout resume RUN --reason "looks good"
    .venv/bin/rollout start examples/demo/bad.yaml       .venv/bin/rollout rollback RUN --reason "I saw enough"

Prometheus is at {prometheus}, the service at {service}. Ctrl-C here ends it all.
"""


@dataclass(frozen=True, slots=True)
class Act:
    """One of the two rollouts, and how it has to end."""

    file: str
    plan: str
    story: str
    notes: Mapping[str, str]  # stage -> what it does, said when it begins
    exit_code: int
    outcome: str


ACTS = (
    Act(
        "good.yaml",
        "embedding-enhancements",
        "The first release measures embeddings, queues them, and imports side by side. It is sound: it should\n"
        "go through.",
        {
            "infrastructure": "Two new tables. Nobody uses them yet.",
            "monitoring": "First flag: every answer is measured. A step is left when its gate has passed for three\n"
            "seconds, and a pass counts once all that it looks back on, seven seconds, lies after the change.",
            "queue": "Second flag: documents wait in a queue, and users no longer wait for the model.",
            "batch": "Third flag: teams' imports run side by side, two at a time, then four.",
        },
        0,
        "promoted",
    ),
    Act(
        "bad.yaml",
        "embedding-fingerprints",
        "The second release looks up texts that it has seen before. At 25 % of the users its lookups run out of\n"
        "connections, which nobody knows yet. That should be found, and the release come back by itself.",
        {
            "fingerprints": "One new table, which the plan allows to go again.",
            "monitoring": "First flag: fingerprints of texts are collected, nothing more. That is sound.",
            "lookup": "Second flag: texts are looked up. At 5 % of the users one connection is in use at a time,\n"
            "at 25 % five are wanted, and there are three.",
        },
        3,
        "rolled back",
    ),
)


class Teller:
    """Says what happens, with the time since the beginning."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    def say(self, text: str) -> None:
        minutes, seconds = divmod(int(self.seconds), 60)
        print(f"{minutes:02}:{seconds:02}  " + text.replace("\n", "\n       "), flush=True)

    def quote(self, text: str) -> None:
        """What a program said."""
        for line in text.splitlines():
            print(f"       | {line}".rstrip(), flush=True)

    def title(self, text: str) -> None:
        print(f"\n=== {text} ===\n", flush=True)


def perform(act: Act, world: World, teller: Teller) -> bool:
    """Rolls one release out and tells how it goes; whether it ended as it should."""
    teller.title(f"{act.file}: {act.plan}")
    teller.say(act.story)
    before = world.standing()
    teller.say(f"$ rollout start examples/demo/{act.file}")
    code = follow(act, world, teller)
    well = code == act.exit_code
    teller.say(f"rollout ended with exit code {code}" + (f": {act.outcome}." if well else f", not {act.exit_code}."))
    if act.exit_code:
        well = compare(before, world.standing(), teller) and well
    return well


def follow(act: Act, world: World, teller: Teller) -> int:
    """Shows what `rollout start` says, line by line; its exit code."""
    listen = f"127.0.0.1:{world.controller_port}"
    command = world.rollout("start", str(HERE / act.file), "--listen", listen)
    process = world.processes.start(act.plan, command, read=True)
    notes = dict(act.notes)
    limit = Timer(RUN_SECONDS, end, [process])
    limit.start()
    try:
        assert process.stdout is not None, "started with read=True"
        with process.stdout as lines:
            for line in lines:
                if (begun := BEGINS.search(line)) and (note := notes.pop(begun[1], "")):
                    teller.say(note)
                teller.quote(line)
        return process.wait()
    finally:
        limit.cancel()


def compare(before: Standing, after: Standing, teller: Teller) -> bool:
    """Shows what was there before the run beside what is there now; whether it is the same."""
    teller.say("Is everything as it was before this release?")
    for flag in sorted({*before.flags, *after.flags}):
        was, now = before.flags.get(flag, "off"), after.flags.get(flag, "off")
        teller.quote(f"flag {flag}: {was}" if was == now else f"flag {flag}: was {was}, is {now}  <-- differs")
    for table in sorted({*before.tables, *after.tables}):
        same = before.tables.get(table) == after.tables.get(table)
        teller.quote(f"table {table}" if same else f"table {table}  <-- differs")
    same = before == after
    teller.say("Yes: flags and tables are the same." if same else "No: something did not come back.")
    return same


def show(world: World, teller: Teller) -> bool:
    """Both rollouts and their reports; whether both ended as they should."""
    results = [perform(act, world, teller) for act in ACTS]
    for act in ACTS:
        teller.title(f"Report of {act.plan}")
        teller.quote(world.report(act.plan))
    print()
    if all(results):
        teller.say("One release went through, and one came back by itself.")
    else:
        teller.say("This did not go as it should: see the lines above.")
    return all(results)


def wait_by_hand(world: World) -> Never:
    """A controller beside the service, until somebody presses Ctrl-C."""
    world.serve()
    settings = "\n".join(f"    export {name}={value}" for name, value in {**world.settings, **world.urls}.items())
    urls = world.urls
    print(BY_HAND.format(settings=settings, prometheus=urls["PROMETHEUS_URL"], service=urls["APP_URL"]), flush=True)
    while True:
        time.sleep(3600)


def run(by_hand: bool, folder: Path) -> bool:
    teller = Teller()
    teller.say("Looking for Prometheus")
    prometheus = find_prometheus()
    world = World(folder)
    try:
        teller.say("Starting a service that embeds documents, its 80 users, and Prometheus, which reads its metrics")
        world.start(prometheus)
        answers = world.measure("rate(embedding_answer_seconds_count[5s])") or 0.0
        teller.say(f"The service answers {answers:.0f} documents a second, and no flag is set")
        if by_hand:
            wait_by_hand(world)
        return show(world, teller)
    finally:
        for number in ENDING:
            signal.signal(number, signal.SIG_IGN)  # cleaning up is not interrupted
        world.stop()


def interrupt(number: int, _frame: FrameType | None) -> Never:
    raise SystemExit(128 + number)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m examples.demo", description=__doc__.splitlines()[0])
    parser.add_argument("--by-hand", action="store_true", help="only start what a rollout needs; you roll out")
    given = parser.parse_args()
    for number in ENDING:
        signal.signal(number, interrupt)
    try:
        with tempfile.TemporaryDirectory(prefix="rollout-demo-") as folder:
            return 0 if run(given.by_hand, Path(folder)) else 1
    except (NotReady, RuntimeError) as error:
        print(f"The demonstration stopped: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
