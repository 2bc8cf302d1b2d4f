"""`rollout start`: hands the plan to a controller, or becomes one, and shows the run.

The controller lives in the event loop of the main thread, where signals arrive and whose end ends its children. The
live view is a client of it in a thread of its own, the very one that watches a controller far away.
"""

import asyncio
import threading
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.cli import ask, plans
from orchestrator.cli.check import load_if_schedule
from orchestrator.cli.client import Client, Json
from orchestrator.cli.output import note
from orchestrator.cli.settings import Address, find_controller, means_cluster
from orchestrator.cli.sources import open_source
from orchestrator.cli.watching import Follower, Signals, farewell, watch_and_ask
from orchestrator.errors import RolloutError, StoreHeld

if TYPE_CHECKING:
    from stages.load import LoadedPlan

LOCKED_SECONDS = 5.0


def start(arguments: Namespace) -> int:
    if means_cluster(arguments):
        from orchestrator.cli import cluster

        return cluster.start(arguments)
    schedule = load_if_schedule(arguments.plan, arguments.settings)
    if schedule is not None:
        from orchestrator.cli import schedules

        return schedules.begin(schedule, arguments)
    plan, _ = plans.linted(plans.load(arguments.plan, arguments.settings), arguments.plan)
    plans.warn(plan)
    if arguments.supersede and not _may_supersede(arguments, plan):
        note("nothing was started")
        return 1
    submission = plans.submission(plan, arguments.plan, arguments.supersede, arguments.reason)
    address = find_controller(arguments.server)
    if address is not None:
        return hand_over(address, submission, arguments)
    if arguments.detach:
        return _detached(submission, arguments)
    try:
        return _embedded(submission, arguments)
    except StoreHeld:
        address = _one_that_starts()
        if address is None:
            raise
        return hand_over(address, submission, arguments)


def _may_supersede(arguments: Namespace, plan: "LoadedPlan") -> bool:
    """Shows how the plans differ; asks where somebody can be asked."""
    from orchestrator.cli.superseding import told

    lines = told(open_source(arguments.server), arguments.supersede, plan)
    if lines is None:
        return True
    note("\n".join(lines))
    return not ask.on_terminal() or ask.confirmed("Supersede it?", yes=arguments.yes, remedy="")


def _one_that_starts() -> Address | None:
    """Whoever holds the store may be about to serve it."""
    from orchestrator.cli.detach import wait_for_controller

    return wait_for_controller(LOCKED_SECONDS)


# --- a controller that runs already -----------------------------------------------------------------------------------


def hand_over(address: Address, submission: Json, arguments: Namespace) -> int:
    client = Client(address)
    if arguments.listen:
        note(f"the controller at {address.url} runs already, so --listen is not used")
    run = _begin(client, submission)
    if arguments.detach:
        print(run)
        return 0
    signals = Signals()
    with signals.handled():
        follower = Follower(client, run, signals, server=arguments.server)
        end = watch_and_ask(follower, signals, f"the controller at {address.url} goes on")
    if isinstance(end, dict):
        return farewell(run, end)
    note(f"{run} goes on at {address.url}; `rollout watch {run}` looks at it again")
    return 0 if end == "detach" else 128 + _signal(signals)


def _begin(client: Client, submission: Json) -> str:
    answer = client.start(submission)
    run = str(answer["run"])
    for warning in answer.get("warnings", ()):
        note(f"warning: {warning}")
    note(f"run {run} started" if answer["started"] else f"run {run} of this plan is under way already; watching it")
    return run


def _signal(signals: Signals) -> int:
    return signals.told_to_end or 2


def _detached(submission: Json, arguments: Namespace) -> int:
    from orchestrator.cli.detach import spawn_controller

    client = Client(spawn_controller(arguments.listen))
    run = _begin(client, submission)
    note(f"a controller in the background goes on with it at {client.address.url}; `rollout watch {run}` shows it")
    print(run)
    return 0


# --- the controller in this process -----------------------------------------------------------------------------------


@dataclass(slots=True)
class _End:
    """How the watching came to its end."""

    run: str | None = None
    how: Json | str | None = None
    error: BaseException | None = None


def _embedded(submission: Json, arguments: Namespace) -> int:
    from orchestrator.cli.hosting import log_to_file, waking_loop

    log_to_file()
    signals = Signals()
    with asyncio.Runner(loop_factory=waking_loop) as runner:
        end, others = runner.run(_host(submission, arguments, signals))
    if end.how == "detach" or others:
        return _leave_to_background(end, others)
    if end.error is not None:
        raise end.error
    if isinstance(end.how, dict):
        return farewell(str(end.run), end.how)
    _say_how_to_go_on(end.run, arguments)
    return 128 + _signal(signals)


async def _host(submission: Json, arguments: Namespace, signals: Signals) -> tuple[_End, list[str]]:
    """Runs the controller until the watching ends. Also which other runs are under way that need a controller then."""
    from orchestrator.cli.hosting import ENDING, bind, hosted

    loop = asyncio.get_running_loop()
    for number in ENDING:
        loop.add_signal_handler(number, signals.note, number)
    async with hosted(bind(arguments.listen)) as here:
        note(f"controller in this process at {here.address.url}")
        end = await _in_thread(lambda end: _watch(Client(here.address), submission, signals, end))
        if end.how == "end":
            return end, []
        active = await here.controller.service.list(active=True)
        return end, [str(one["run"]) for one in active if one["run"] != end.run]


async def _in_thread(watch: Callable[[_End], None]) -> _End:
    """A daemon, so that a question nobody answers keeps no process alive."""
    loop = asyncio.get_running_loop()
    done = asyncio.Event()
    end = _End()

    def work() -> None:
        try:
            watch(end)
        except BaseException as error:  # noqa: BLE001 - it is raised where the controller has ended
            end.error = error
        loop.call_soon_threadsafe(done.set)

    threading.Thread(target=work, name="live view", daemon=True).start()
    await done.wait()
    return end


def _watch(client: Client, submission: Json, signals: Signals, end: _End) -> None:
    end.run = _begin(client, submission)
    follower = Follower(client, end.run, signals, server=client.address.url)
    end.how = watch_and_ask(follower, signals, "a controller in the background goes on with it")


def _leave_to_background(end: _End, others: list[str]) -> int:
    from orchestrator.cli.detach import spawn_controller

    try:
        address = spawn_controller(None)
    except RolloutError as error:
        stranded = ", ".join([*others, *([str(end.run)] if end.how == "detach" else [])])
        raise RolloutError(f"nobody watches {stranded} now: {error}") from None
    going = [str(end.run)] if end.how == "detach" else others
    note(f"a controller in the background at {address.url} goes on with {', '.join(going)}; `rollout list` shows it")
    if end.error is not None:
        raise end.error
    return farewell(str(end.run), end.how) if isinstance(end.how, dict) else 0


def _say_how_to_go_on(run: str | None, arguments: Namespace) -> None:
    name = run or "the run"
    note(f"{name} stays where it is and nobody watches it now; go on with it: rollout start {arguments.plan}")
