"""`rollout serve`: a controller until it is told to end."""

import asyncio
import contextlib
import resource
import sys
from argparse import Namespace
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

from orchestrator.cli.access import Access, access_of
from orchestrator.cli.collecting import rare_collection
from orchestrator.cli.hosting import Hosted, bind, ending_signals, hosted, log_to_errors, waking_loop
from orchestrator.cli.output import note
from orchestrator.cli.settings import DEFAULT_LISTEN, checked_url, parse_listen, store_url
from orchestrator.errors import RolloutError, UsageError
from orchestrator.journal import shown
from orchestrator.retention import Keep
from stages.values import parse_duration

FIRST_RUN_SECONDS = 30.0
MOST_FILES = 65_536
IDLE_SECONDS = 2.0
SWITCH_SECONDS = 0.0001
"""After which a thread that waits for the interpreter asks for it. Python's own 5 ms begin again whenever the event
loop calls the system, and a busy one does so every few hundred microseconds: what writes to the store waited for tenths
of a second, and commands with it."""
KEEP_FINISHED = "30d"
FOREVER = "forever"


def serve(arguments: Namespace) -> int:
    log_to_errors()
    _allow_many_files()
    listen = arguments.listen or (None if arguments.until_idle else DEFAULT_LISTEN)
    access = access_of(arguments)
    if arguments.namespace is not None and not arguments.in_cluster:
        raise UsageError("--namespace belongs to --in-cluster: without it, plans come over HTTP alone")
    wanted = Served(
        listen,
        access,
        arguments.flagd_listen,
        arguments.in_cluster,
        arguments.namespace,
        checked_url(arguments.advertise) if arguments.advertise else None,
        keep_of(arguments),
    )
    with asyncio.Runner(loop_factory=waking_loop) as runner:
        return runner.run(_serve(wanted, until_idle=arguments.until_idle))


def keep_of(arguments: Namespace) -> Keep | None:
    """For ever where nothing was said to a controller that is there for a while only, as `rollout start` makes it."""
    usual = FOREVER if arguments.until_idle else KEEP_FINISHED
    given = arguments.keep_finished if arguments.keep_finished is not None else usual
    if given == FOREVER:
        return None
    try:
        return Keep(float(parse_duration(given)))
    except ValueError as problem:
        raise UsageError(f"--keep-finished: {problem}; or {FOREVER}") from None


@contextlib.contextmanager
def prompt_threads() -> Iterator[None]:
    """For as long as a controller is there; then all is as it was."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        yield
    finally:
        sys.setswitchinterval(usual)


def _allow_many_files() -> None:
    """Each stream of flags is one. A soft limit is for programs that could not count beyond it, which this one can."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and (soft < hard or hard == resource.RLIM_INFINITY):
        most = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))


@dataclass(frozen=True, slots=True)
class Served:
    """What is listened on, and for whom; and which namespace of a cluster drives the controller, if one does."""

    listen: str | None
    access: Access
    flagd_listen: str | None
    in_cluster: bool = False
    namespace: str | None = None
    advertise: str | None = None
    keep: Keep | None = None


async def _serve(wanted: Served, *, until_idle: bool) -> int:
    told_to_end = asyncio.Event()
    with ending_signals(told_to_end), prompt_threads(), rare_collection():
        async with (
            _hosted(wanted) as here,
            _serving_flagd(here, wanted) as flagd,
            _driven_by_cluster(here, wanted) as namespace,
        ):
            store = shown(store_url())
            note(f"controller at {here.address.url}, store {store}; Ctrl-C ends it, and runs stay resumable")
            if flagd is not None:
                note(f"flags for flagd's providers at port {flagd}")
            if namespace is not None:
                note(f"driven by the StagedRollouts of namespace {namespace}")
            waits: list[asyncio.Task[Any]] = [asyncio.create_task(told_to_end.wait())]
            if until_idle:
                waits.append(asyncio.create_task(_idle(here)))
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for task in waits:
                task.cancel()
            left = await here.controller.service.list(active=True)
    note(_farewell([str(one["run"]) for one in left]))
    return 0


def _hosted(wanted: Served) -> contextlib.AbstractAsyncContextManager[Hosted]:
    bound = bind(wanted.listen)
    return hosted(
        bound,
        wanted.access,
        in_cluster=wanted.in_cluster,
        namespace=wanted.namespace,
        advertise=wanted.advertise,
        keep=wanted.keep,
    )


@contextlib.asynccontextmanager
async def _serving_flagd(here: Hosted, wanted: Served) -> AsyncIterator[int | None]:
    """The port, if it is wanted."""
    listen, tls = wanted.flagd_listen, wanted.access.tls
    if listen is None:
        yield None
        return
    from orchestrator.flagd_sync import serving_flagd

    async with serving_flagd(here.controller.service, *parse_listen(listen), here.credentials, certificate=tls) as port:
        yield port


@contextlib.asynccontextmanager
async def _driven_by_cluster(here: Hosted, wanted: Served) -> AsyncIterator[str | None]:
    """The namespace, if one is wanted."""
    if not wanted.in_cluster:
        yield None
        return
    from orchestrator.app import driven_by_cluster

    async with driven_by_cluster(here.controller, here.settings) as namespace:
        yield namespace


def _farewell(runs: list[str]) -> str:
    if not runs:
        return "controller ended; no run is under way"
    return f"controller ended; nobody watches {', '.join(runs)}: `rollout serve` goes on with {_them(runs)}"


def _them(runs: list[str]) -> str:
    return "it" if len(runs) == 1 else "them"


async def _idle(here: Hosted) -> None:
    """No run has been under way for a moment; the first one has some time to come."""
    loop = asyncio.get_running_loop()
    service = here.controller.service
    began = loop.time()
    seen = False
    while True:
        with contextlib.suppress(RolloutError):
            busy = bool(await service.list(active=True, limit=1))
            seen = seen or busy
            if not busy and (seen or loop.time() - began > FIRST_RUN_SECONDS):
                await asyncio.sleep(IDLE_SECONDS)
                if not await service.list(active=True, limit=1):
                    return
        await asyncio.sleep(0.5)
