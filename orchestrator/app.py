"""The composition root: the only file that names concrete classes.

``build`` makes a controller that acts; ``read_only`` the reading half of one, for commands while none runs.
"""

import asyncio
import hashlib
import ipaddress
import os
import secrets
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from orchestrator import event_log, failpoints
from orchestrator.allowance import Allowance, Trust, acting_for
from orchestrator.errors import NotFound, Permanent, RolloutError, StoreError, Temporary, UsageError
from orchestrator.flag_board import FlagBoard
from orchestrator.metrics import Meter
from orchestrator.metrics.metered import MeteredJournal, metered
from orchestrator.ports import Clock, FlagStore, Journal, Member, World, scene_of
from orchestrator.reading import Reading
from orchestrator.redaction import passwords_of
from orchestrator.retention import Keep, Retention, acts_alone
from orchestrator.service import Service
from orchestrator.sharing import Sharing
from orchestrator.token_port import TokenStorage

if TYPE_CHECKING:
    from orchestrator.adapters.kubernetes.client import Clusters
    from orchestrator.adapters.lint import Linted
    from orchestrator.adapters.lint.plan import DialectOf
    from orchestrator.adapters.process import Tether
    from orchestrator.adapters.secrets import Keeper, Secrets
    from orchestrator.adapters.sources import SourceReader
    from orchestrator.backtest import Progress, Result
    from orchestrator.cluster_port import Objects
    from orchestrator.journal import ReadingStore, Store
    from orchestrator.rounds import Checklist, Person
    from orchestrator.rounds import Result as RoundResult
    from orchestrator.signing import Signer
    from orchestrator.survey import Finding
    from stages.load import LoadedPlan
    from stages.plan import StagedRollout
    from stages.problems import Problem
    from stages.values import TextOrSecret

DEFAULT_PORT = 8040
KILL_SWITCH_FILE = "kill-switch.json"
SEEN_FILE = "flags-seen"
STORE_ID_FILE = "store-id"
FETCH_SECONDS, FETCH_BYTES = 5.0, 256 * 1024
PUBLIC_URL = "ROLLOUT_PUBLIC_URL"
"""Where people reach the pages of this controller, if not at its own address."""
PLAN_FOLDERS = "ROLLOUT_PLAN_FOLDERS"
"""Of plans whose authors are not who runs the controller: the folders in which their secrets and certificates lie."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Where a controller keeps what it must not lose; *in_cluster*: whether its plans come from a cluster, and from
    which *namespace* of it (None: the context's, or the pod's own); *address*: the URL at which other controllers of a
    shared store reach this one; *allowance*: what plans may name that are not its owner's (None: the usual); *keep*:
    for how long finished runs are kept whole (None: for ever)."""

    store: str
    state_dir: Path
    in_cluster: bool = False
    namespace: str | None = None
    address: str = ""
    allowance: Allowance | None = None
    keep: Keep | None = None

    def prepare(self) -> None:
        try:
            self.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"the state directory {self.state_dir} can't be made: {error.strerror}") from error


class Controller:
    """A service with its world around it. *outside*: what it holds open there."""

    def __init__(self, service: Service, store: "Store", outside: AsyncExitStack) -> None:
        self.service = service
        self.tokens: TokenStorage = store.tokens
        self._store = store
        self._outside = outside

    async def close(self, grace_seconds: float = 10.0) -> None:
        await self.service.close(grace_seconds)
        await self._outside.aclose()
        await self._store.close()


async def build(settings: Settings) -> Controller:
    """A controller on its store, with every unfinished run taken up. Raises ``StoreError``."""
    from orchestrator.adapters.process import Tether
    from orchestrator.journal import open_store

    failpoints.arm(os.environ.get(failpoints.VARIABLE, ""))
    settings.prepare()
    me = Member(f"{socket.gethostname()}-{secrets.token_hex(3)}", settings.address)
    store = open_store(settings.store, me)
    outside, meter, tether = AsyncExitStack(), Meter(), Tether()
    try:
        world = _world(settings, store, outside, meter, tether)
        world = replace(world, freezes=store.freezes, schedules=store.schedules, keeping=store.keeping)
        assert isinstance(world.flags, FlagBoard)
        await world.flags.begin_anew_if_restored()
        journal = MeteredJournal(store, meter, world.clock)
        sharing = _sharing(settings, store, journal, world.clock)
        tether.until = sharing.until if sharing is not None else None
        service = Service(journal, world.flags, metered(world, meter), meter, sharing)
        service.readers.append(event_log.write)
        await service.open()
    except BaseException:
        await outside.aclose()
        await store.close()
        raise
    if settings.keep is not None:
        retention = Retention(journal, store.keeping, world.clock, settings.keep, acts_alone(sharing))
        retention.listeners.append(meter.kept_as_report)
        outside.push_async_callback(ended, asyncio.create_task(retention.watch(), name="retention"))
    return Controller(service, store, outside)


def waking_loop() -> asyncio.AbstractEventLoop:
    """The event loop of a process that is a controller: it notices that it was frozen before it does anything."""
    from orchestrator.adapters.waking import WakingLoop

    return WakingLoop()


def _sharing(settings: Settings, store: "Store", journal: Journal, clock: Clock) -> Sharing | None:
    """None on a store that is this controller's alone. The lease is looked at after each wait of the event loop, for
    the process may have been frozen in it."""
    from orchestrator.journal import is_shared

    if not is_shared(settings.store):
        return None
    from orchestrator.adapters.http_client import HttpClient
    from orchestrator.adapters.peers import HttpPeers
    from orchestrator.adapters.secrets import Secrets
    from orchestrator.adapters.supervisor import boottime
    from orchestrator.adapters.waking import after_waits
    from orchestrator.journal.postgresql import PostgresStore

    assert isinstance(store, PostgresStore)
    sharing = Sharing(store, journal, clock, boottime, HttpPeers(HttpClient(Secrets())))
    after_waits(sharing.may_act)
    return sharing


async def ended(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def fetch(url: str) -> bytes:
    """What an address has that the server's owner named, within bounds. Raises ``Temporary`` or ``Permanent``."""
    from orchestrator.adapters.http_client import HttpClient
    from orchestrator.adapters.secrets import Secrets
    from stages.checks import HttpRequest

    reply = await HttpClient(Secrets()).request(HttpRequest(url=url, timeout=FETCH_SECONDS), max_bytes=FETCH_BYTES)
    if reply.status != 200:
        raise Permanent(f"{url} answered {reply.status}")
    return reply.body


async def send_form(url: str, form: Mapping[str, str], basic: tuple[str, str] | None) -> bytes:
    """What is answered to a form, as ``fetch``; *basic*: user and password."""
    from base64 import b64encode
    from urllib.parse import quote_plus, urlencode

    from orchestrator.adapters.http_client import HttpClient
    from orchestrator.adapters.secrets import Secrets
    from stages.checks import HttpRequest

    headers = {"content-type": "application/x-www-form-urlencoded", "accept": "application/json"}
    if basic is not None:
        pair = ":".join(quote_plus(part) for part in basic)
        headers["authorization"] = f"Basic {b64encode(pair.encode()).decode()}"
    request = HttpRequest(url=url, method="POST", timeout=FETCH_SECONDS)
    content = urlencode(form).encode()
    reply = await HttpClient(Secrets()).request(request, headers=headers, content=content, max_bytes=FETCH_BYTES)
    if reply.status >= 500:
        raise Temporary(f"{url} answered {reply.status}")
    if reply.status != 200:
        raise Permanent(f"{url} answered {reply.status}")
    return reply.body


def _signer() -> "Signer | None":
    """Of the heads that leave the house, where this controller was given a key."""
    from orchestrator.signing import VARIABLE, Signer

    file = os.environ.get(VARIABLE)
    return Signer.read(Path(file)) if file else None


def _public_address(settings: Settings) -> str:
    """What links to runs begin with: a message is read elsewhere, where a loopback address says nothing."""
    named = os.environ.get(PUBLIC_URL)
    if named:
        return named
    host = urlsplit(settings.address).hostname or "localhost"
    try:
        is_here = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_here = False
    return "" if is_here else settings.address


def _reader(
    settings: Settings, keeper: "Keeper", clusters: "Clusters", tether: "Tether | None" = None
) -> "SourceReader":
    from orchestrator.adapters.clock import SystemClock
    from orchestrator.adapters.http_client import HttpClient
    from orchestrator.adapters.kubernetes.command_runner import JobRunner
    from orchestrator.adapters.process import PlacedRunner, ProcessRunner
    from orchestrator.adapters.prometheus import PrometheusClient
    from orchestrator.adapters.secrets import Secrets
    from orchestrator.adapters.sources import SourceReader
    from orchestrator.adapters.sql import SqlReader

    secrets = Secrets(_allowance(settings), cluster=keeper)
    for password in passwords_of(settings.store):
        secrets.redactor.add(password)
    http = HttpClient(secrets)
    clock = SystemClock()
    processes = ProcessRunner(settings.state_dir, secrets, tether=tether)
    runner = PlacedRunner(processes, JobRunner(clusters, secrets, clock))
    return SourceReader(http, PrometheusClient(http), runner, SqlReader(secrets), clock)


def _allowance(settings: Settings) -> Allowance:
    if settings.allowance is not None:
        return settings.allowance
    folders = os.environ.get(PLAN_FOLDERS, "").split(os.pathsep)
    named = tuple(Path(folder) for folder in folders if folder)
    return Allowance(folders=named) if named else Allowance()


def _world(
    settings: Settings, store: FlagStore, outside: AsyncExitStack, meter: Meter, tether: "Tether | None" = None
) -> World:
    """*outside* closes what the world holds open; *meter* counts its requests to API servers; *tether* says until when
    commands may run."""
    from orchestrator.adapters.alembic import AlembicPerformer
    from orchestrator.adapters.check import CheckAsker
    from orchestrator.adapters.command import CommandPerformer
    from orchestrator.adapters.flag_store import FlagPerformer
    from orchestrator.adapters.flag_systems.performer import PlacedFlagPerformer
    from orchestrator.adapters.flag_systems.systems import FlagSystems
    from orchestrator.adapters.http import HttpPerformer
    from orchestrator.adapters.kubernetes.client import Clusters
    from orchestrator.adapters.kubernetes.command_runner import JobRunner
    from orchestrator.adapters.kubernetes.performer import ClusterPerformer
    from orchestrator.adapters.kubernetes.review import ClusterReview
    from orchestrator.adapters.kubernetes.secrets import ClusterSecrets
    from orchestrator.adapters.measure import SourceMeasurer
    from orchestrator.adapters.notify import ChannelMessenger
    from orchestrator.adapters.process import PlacedRunner, ProcessRunner
    from orchestrator.adapters.sql import SqlPerformer
    from orchestrator.adapters.sql.backfill import BackfillPerformer
    from orchestrator.adapters.sql.migrators import MigratorLock
    from orchestrator.journal import is_shared
    from orchestrator.journal.kill_switch import FileKillSwitch
    from orchestrator.journal.seen import SeenFile
    from stages.cluster import Kubernetes

    clusters = Clusters(heard=meter.requested)
    keeper = ClusterSecrets(clusters, Kubernetes(namespace=settings.namespace))
    reader = _reader(settings, keeper, clusters, tether)
    for close in (clusters.close, keeper.close, reader.prometheus.close):  # the last one first
        outside.push_async_callback(close)
    kill_switch = FileKillSwitch(settings.state_dir / KILL_SWITCH_FILE)
    seen = SeenFile(settings.state_dir / SEEN_FILE)
    board = FlagBoard(store, kill_switch, seen, alone=not is_shared(settings.store))
    flags = PlacedFlagPerformer(FlagPerformer(board, reader.clock), FlagSystems(reader.http, clusters))
    sql = SqlPerformer(reader.http.secrets)
    backfill = BackfillPerformer(reader.http.secrets)
    processes = ProcessRunner(settings.state_dir, reader.http.secrets, tether=tether)
    commands = CommandPerformer(PlacedRunner(processes, JobRunner(clusters, reader.http.secrets, reader.clock)))
    alembic = AlembicPerformer(processes, MigratorLock(reader.http.secrets))
    http, cluster = HttpPerformer(reader.http), ClusterPerformer(clusters, reader.clock)
    messenger = ChannelMessenger(reader.http, reader.clock, _signer(), _public_address(settings))
    return World(
        clock=reader.clock,
        performers={
            "set_flag": flags,
            "run_sql": sql,
            "run_backfill": backfill,
            "run_command": commands,
            "run_alembic": alembic,
            "call_http": http,
            "scale_workload": cluster,
            "set_image": cluster,
            "restart_workload": cluster,
            "set_version": cluster,
            "apply_manifest": cluster,
            "run_job": cluster,
        },
        observers={
            "observe_flag": flags,
            "observe_sql": sql,
            "observe_backfill": backfill,
            "observe_command": commands,
            "observe_probe": commands,
            "observe_alembic": alembic,
            "observe_replicas": cluster,
            "observe_image": cluster,
            "observe_version": cluster,
            "observe_manifest": cluster,
        },
        asker=CheckAsker(reader),
        measurer=SourceMeasurer(reader),
        messenger=messenger,
        pulse=messenger,
        flags=board,
        kill_switch=kill_switch,
        secrets=reader.http.secrets,
        allowance=reader.http.secrets.allowance,
        migration_text=alembic,
        sql_lint=_lint_generated,
        cluster=ClusterReview(clusters),
        endings={"run_command": commands, "run_job": cluster},
    )


@asynccontextmanager
async def driven_by_cluster(controller: Controller, settings: Settings) -> AsyncIterator[str]:
    """The objects of a namespace drive *controller* while the body runs: yields its name.

    Raises ``Permanent`` if it is not known where the cluster is. One that is away is waited for.
    """
    from orchestrator.cluster.controller import ClusterController
    from orchestrator.cluster.lease import Holder
    from orchestrator.cluster.limits import ACCOUNTS, IMAGES, CommandPolicy

    commands = CommandPolicy(_listed(IMAGES), _listed(ACCOUNTS))
    sharing = controller.service.sharing
    name = sharing.me.name if sharing is not None else f"{socket.gethostname()}/{os.getpid()}"
    me = Holder(name, _store_id(settings))
    async with cluster_objects(None, settings.namespace, controller.service.meter) as objects:
        driver = ClusterController(controller.service, objects, lint_plan, me, commands)
        work = asyncio.create_task(driver.run(), name="cluster")
        try:
            yield objects.namespace
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)


def _listed(variable: str) -> tuple[str, ...]:
    """Of a variable of the controller: words, with blanks or commas between them."""
    return tuple(os.environ.get(variable, "").replace(",", " ").split())


@asynccontextmanager
async def cluster_objects(
    context: str | None, namespace: str | None, meter: Meter | None = None
) -> "AsyncIterator[Objects]":
    """The objects of a namespace of a cluster that the kubeconfig names. Raises ``Permanent`` if it names none."""
    from orchestrator.adapters.kubernetes.client import Clusters
    from orchestrator.adapters.kubernetes.objects import ClusterObjects
    from stages.cluster import Kubernetes

    clusters = Clusters(heard=meter.requested if meter is not None else None)
    try:
        yield ClusterObjects(await clusters.open(Kubernetes(context=context, namespace=namespace)))
    finally:
        await clusters.close()


def _store_id(settings: Settings) -> str:
    """What tells this controller's state from every other's, for good; the same for all that share a store."""
    from orchestrator.journal import is_shared, shown

    if is_shared(settings.store):
        return hashlib.sha256(shown(settings.store).encode()).hexdigest()[:16]
    path = settings.state_dir / STORE_ID_FILE
    try:
        if not path.exists():
            path.write_text(secrets.token_hex(8))
        return path.read_text().strip()
    except OSError as error:
        raise StoreError(f"{path} can't be written: {error.strerror}") from error


def lint_plan(
    plan: "LoadedPlan", plan_file: str, directory: str | None, allowance: Allowance | None = None
) -> "Linted":
    """The plan's migrations held against the rules: its files alone, no database is asked. Raises ``Permanent``.

    What a database is, is told by its URL, where that can be had: *directory* is what a secret's file is relative to.
    *allowance*: whether it may be looked there.
    """
    from orchestrator.adapters import lint
    from orchestrator.adapters.secrets import Secrets

    return lint.lint_plan(plan.documents, plan.files, _dialects(Secrets(allowance), directory), plan_file)


def _dialects(secrets: "Secrets", directory: str | None) -> "DialectOf":
    from orchestrator.adapters.sql.text import Dialect

    def dialect_of(database: "TextOrSecret") -> Dialect | None:
        try:
            scheme = secrets.resolve(database, directory).partition(":")[0]
        except RolloutError:
            return None  # only the controller may have it
        return Dialect.SQLITE if scheme == "sqlite" else Dialect.POSTGRESQL if scheme.startswith("postgres") else None

    return dialect_of


def _lint_generated(
    environment: str,
    document: "StagedRollout",
    files: Mapping[str, str],
    texts: Mapping[str, str],
    directory: str | None,
) -> "tuple[tuple[Problem, ...], tuple[Problem, ...]]":
    """See ``ports.SqlLint``."""
    from orchestrator.adapters import lint
    from orchestrator.adapters.secrets import Secrets

    generated = {stage: lint.Generated(text, stage) for stage, text in texts.items()}
    linted = lint.lint_plan([(environment, document)], files, _dialects(Secrets(), directory), generated=generated)
    errors, warnings = (tuple(one for one in found if one.file in texts) for found in (linted.errors, linted.warnings))
    return errors, warnings


async def survey_plan(settings: Settings, plan: "LoadedPlan", directory: str) -> "list[Finding]":
    """The plan held against the world, without a controller: beside one it reads the same store."""
    from orchestrator.journal import open_reading
    from orchestrator.journal.memory import MemoryStore
    from orchestrator.survey import lint_migrators, survey

    settings.prepare()
    try:
        store: ReadingStore | MemoryStore = open_reading(settings.store)
    except NotFound:
        store = MemoryStore()  # nothing was ever run here: there are no flags either
    outside = AsyncExitStack()
    try:
        program, world = plan.to_program(directory), _world(settings, store, outside, Meter())
        with acting_for(Trust.OWNER):
            linted = await lint_migrators(plan.documents, plan.files, program, world)
            return [*await survey(program, world), *linted]
    finally:
        await outside.aclose()
        await store.close()


async def ask_checklists(
    settings: Settings, plan: "LoadedPlan", directory: str, asked: "Sequence[Checklist]", person: "Person | None"
) -> "list[RoundResult]":
    """Each after the other, without a controller and beside one: nothing is changed."""
    from orchestrator.journal.memory import MemoryStore
    from orchestrator.rounds import Asking

    settings.prepare()
    outside = AsyncExitStack()
    try:
        world = _world(settings, MemoryStore(), outside, Meter())
        program, asking = plan.to_program(directory), Asking(world.asker, world.clock, person)
        with acting_for(Trust.OWNER):
            return [await asking.ask(one.name, one.checks, scene_of(program, one.environment)) for one in asked]
    finally:
        await outside.aclose()


@dataclass(frozen=True, slots=True)
class Replay:
    """What a backtest is asked: the last *seconds* of one environment (the plan's last if None), of all gates or one.

    *progress* hears of replays that are done, *tell* of what a person should know meanwhile.
    """

    seconds: float
    environment: str | None
    gate: str | None
    progress: "Progress"
    tell: Callable[[str], None]


async def backtest_plan(plan: "LoadedPlan", directory: str, replay: Replay) -> "Result":
    """The plan's gates over the past of its Prometheus: reads that, and nothing else. Raises ``RolloutError``."""
    from orchestrator.adapters.clock import SystemClock
    from orchestrator.adapters.http_client import HttpClient
    from orchestrator.adapters.prometheus.archive import PrometheusArchive
    from orchestrator.adapters.secrets import Secrets
    from orchestrator.backtest import Span, backtest

    program = plan.to_program(directory)
    names = [entry.name for entry in program.environments]
    name = replay.environment or names[-1]
    if name not in names:
        raise UsageError(f"the plan has no environment {name}; it has {', '.join(names)}")
    environment = program.environment(name)
    http = HttpClient(Secrets())
    archives = {
        source: PrometheusArchive(http, settings, directory, replay.tell)
        for source, settings in environment.prometheus.items()
    }
    span = Span.last(replay.seconds, SystemClock().now())
    try:
        return await backtest(program, environment, archives, span, replay.progress, replay.gate)
    finally:
        for archive in archives.values():
            await archive.close()


@asynccontextmanager
async def read_only(settings: Settings) -> AsyncIterator[Reading]:
    """Reads the store while no controller runs. Raises ``NotFound`` if there is no store."""
    from orchestrator.adapters.clock import SystemClock
    from orchestrator.journal import open_reading
    from orchestrator.journal.kill_switch import FileKillSwitch

    store = open_reading(settings.store)
    try:
        kill_switch = FileKillSwitch(settings.state_dir / KILL_SWITCH_FILE)
        board = FlagBoard(store, kill_switch)
        yield Reading(store, board, SystemClock(), kill_switch, store.freezes, store.keeping)
    finally:
        await store.close()
