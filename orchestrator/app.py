"""The composition root: the only file that names concrete classes.

``build`` makes a controller that acts; ``read_only`` the reading half of one, for commands while none runs.
"""

import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.errors import NotFound, RolloutError, StoreError, UsageError
from orchestrator.flag_board import FlagBoard
from orchestrator.ports import FlagStore, World
from orchestrator.reading import Reading
from orchestrator.service import Service

if TYPE_CHECKING:
    from orchestrator.adapters.lint import Linted
    from orchestrator.adapters.lint.plan import DialectOf
    from orchestrator.adapters.prometheus import PrometheusClient
    from orchestrator.adapters.secrets import Secrets
    from orchestrator.adapters.sources import SourceReader
    from orchestrator.backtest import Progress, Result
    from orchestrator.journal.sqlite import ReadingStore, SqliteStore
    from orchestrator.rehearsal import Finding
    from stages.load import LoadedPlan
    from stages.plan import StagedRollout
    from stages.problems import Problem
    from stages.values import TextOrSecret

DEFAULT_PORT = 8040
KILL_SWITCH_FILE = "kill-switch.json"
SEEN_FILE = "flags-seen"


def state_directory() -> Path:
    """``ROLLOUT_STATE_DIR``, or ``staged-rollout`` under the user's state directory."""
    if own := os.environ.get("ROLLOUT_STATE_DIR"):
        return Path(own)
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "staged-rollout"


@dataclass(frozen=True, slots=True)
class Settings:
    """Where a controller keeps what it must not lose."""

    store: str
    state_dir: Path

    @classmethod
    def from_environment(cls) -> "Settings":
        directory = state_directory()
        return cls(os.environ.get("ROLLOUT_STORE") or f"sqlite:///{directory.absolute()}/rollout.db", directory)

    def prepare(self) -> None:
        try:
            self.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"the state directory {self.state_dir} can't be made: {error.strerror}") from error


class Controller:
    """A service with its world around it."""

    def __init__(self, service: Service, store: "SqliteStore", prometheus: "PrometheusClient") -> None:
        self.service = service
        self._store = store
        self._prometheus = prometheus

    async def close(self, grace_seconds: float = 10.0) -> None:
        await self.service.close(grace_seconds)
        await self._prometheus.close()
        await self._store.close()


async def build(settings: Settings) -> Controller:
    """A controller on its store, with every unfinished run taken up. Raises ``StoreError``."""
    from orchestrator.journal import open_store

    settings.prepare()
    store = open_store(settings.store)
    try:
        reader = _reader(settings)
        world = _world(settings, store, reader)
        assert isinstance(world.flags, FlagBoard)
        await world.flags.begin_anew_if_restored()
        service = Service(store, world.flags, world)
        await service.open()
    except BaseException:
        await store.close()
        raise
    return Controller(service, store, reader.prometheus)


def _reader(settings: Settings) -> "SourceReader":
    from orchestrator.adapters.clock import SystemClock
    from orchestrator.adapters.http_client import HttpClient
    from orchestrator.adapters.process import ProcessRunner
    from orchestrator.adapters.prometheus import PrometheusClient
    from orchestrator.adapters.secrets import Secrets
    from orchestrator.adapters.sources import SourceReader
    from orchestrator.adapters.sql import SqlReader

    secrets = Secrets()
    http = HttpClient(secrets)
    runner = ProcessRunner(settings.state_dir, secrets)
    return SourceReader(http, PrometheusClient(http), runner, SqlReader(secrets), SystemClock())


def _world(settings: Settings, store: FlagStore, reader: "SourceReader") -> World:
    from orchestrator.adapters.alembic import AlembicPerformer
    from orchestrator.adapters.check import CheckAsker
    from orchestrator.adapters.command import CommandPerformer
    from orchestrator.adapters.flag_store import FlagPerformer
    from orchestrator.adapters.flag_systems.performer import PlacedFlagPerformer
    from orchestrator.adapters.flag_systems.systems import FlagSystems
    from orchestrator.adapters.http import HttpPerformer
    from orchestrator.adapters.measure import SourceMeasurer
    from orchestrator.adapters.notify import WebhookMessenger
    from orchestrator.adapters.process import ProcessRunner
    from orchestrator.adapters.sql import SqlPerformer
    from orchestrator.adapters.sql.backfill import BackfillPerformer
    from orchestrator.adapters.sql.migrators import MigratorLock
    from orchestrator.journal.kill_switch import FileKillSwitch
    from orchestrator.journal.seen import SeenFile

    kill_switch = FileKillSwitch(settings.state_dir / KILL_SWITCH_FILE)
    board = FlagBoard(store, kill_switch, SeenFile(settings.state_dir / SEEN_FILE))
    flags = PlacedFlagPerformer(FlagPerformer(board, reader.clock), FlagSystems(reader.http))
    sql = SqlPerformer(reader.http.secrets)
    backfill = BackfillPerformer(reader.http.secrets)
    runner = ProcessRunner(settings.state_dir, reader.http.secrets)
    commands, alembic = CommandPerformer(runner), AlembicPerformer(runner, MigratorLock(reader.http.secrets))
    http = HttpPerformer(reader.http)
    return World(
        clock=reader.clock,
        performers={
            "set_flag": flags,
            "run_sql": sql,
            "run_backfill": backfill,
            "run_command": commands,
            "run_alembic": alembic,
            "call_http": http,
        },
        observers={
            "observe_flag": flags,
            "observe_sql": sql,
            "observe_backfill": backfill,
            "observe_command": commands,
            "observe_probe": commands,
            "observe_alembic": alembic,
        },
        asker=CheckAsker(reader),
        measurer=SourceMeasurer(reader),
        messenger=WebhookMessenger(reader.http, reader.clock),
        flags=board,
        kill_switch=kill_switch,
        secrets=reader.http.secrets,
        migration_text=alembic,
        sql_lint=_lint_generated,
    )


def lint_plan(plan: "LoadedPlan", plan_file: str, directory: str | None) -> "Linted":
    """The plan's migrations held against the rules: its files alone, no database is asked. Raises ``Permanent``.

    What a database is, is told by its URL, where that can be had: *directory* is what a secret's file is relative to.
    """
    from orchestrator.adapters import lint
    from orchestrator.adapters.secrets import Secrets

    return lint.lint_plan(plan.documents, plan.files, _dialects(Secrets(), directory), plan_file)


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


async def rehearse_plan(settings: Settings, plan: "LoadedPlan", directory: str) -> "list[Finding]":
    """The plan held against the world, without a controller: beside one it reads the same store."""
    from orchestrator.journal import open_reading
    from orchestrator.journal.memory import MemoryStore
    from orchestrator.rehearsal import lint_migrators, rehearse

    settings.prepare()
    try:
        store: SqliteStore | ReadingStore | MemoryStore = open_reading(settings.store)
    except NotFound:
        store = MemoryStore()  # nothing was ever run here: there are no flags either
    reader = _reader(settings)
    try:
        program, world = plan.to_program(directory), _world(settings, store, reader)
        linted = await lint_migrators(plan.documents, plan.files, program, world)
        return [*await rehearse(program, world), *linted]
    finally:
        await reader.prometheus.close()
        await store.close()


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
        yield Reading(store, board, SystemClock(), kill_switch)
    finally:
        await store.close()
