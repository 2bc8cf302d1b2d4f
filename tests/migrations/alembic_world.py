"""Alembic projects in a folder of the test's own, and plans over them."""

import contextlib
import shutil
import sqlite3
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from orchestrator.adapters.alembic import AlembicPerformer
from orchestrator.adapters.process import ProcessRunner
from orchestrator.adapters.secrets import Secrets
from orchestrator.adapters.sql.migrators import MigratorLock
from orchestrator.core.effect import Effect, Outcome
from orchestrator.errors import RolloutError
from orchestrator.ports import Scene
from stages.actions.alembic import AlembicAction
from stages.compile import compile_plan
from stages.plan import StagedRollout
from stages.step import Act
from stages.values import Json
from tests.orchestrator.core.drive import plan_of

FIXTURES = Path(__file__).parent / "fixtures"
ALEMBIC = [sys.executable, "-m", "alembic"]


class Project:
    """A copy of a fixture, with which a test may do what it likes."""

    def __init__(self, fixture: str, folder: Path) -> None:
        self.folder = folder / fixture
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(FIXTURES / fixture, self.folder, ignore=ignored)

    def add(self, revision: str, below: str, upgrade: str, downgrade: str = "pass") -> None:
        """One more revision, of Python statements."""
        text = (
            f'"""revision {revision}"""\n\nimport time  # noqa: F401\n\nfrom alembic import op  # noqa: F401\n\n'
            f"revision = {revision!r}\ndown_revision = {below!r}\n\n\n"
            f"def upgrade():\n    {upgrade}\n\n\ndef downgrade():\n    {downgrade}\n"
        )
        (self.folder / "versions" / f"{revision}_added.py").write_text(text)

    def alembic(self, **fields: Any) -> dict[str, Any]:
        """``alembic:`` of a stage."""
        return {"dir": str(self.folder), "command": ALEMBIC, **fields}


@dataclass
class World:
    """A project, its database, and the steps of a stage over them."""

    project: Project
    url: str
    folder: Path

    @property
    def performer(self) -> AlembicPerformer:
        secrets = Secrets(environ={"DATABASE_URL": self.url})
        runner = ProcessRunner(self.folder / "state", secrets, grace_seconds=0.5)
        return AlembicPerformer(runner, MigratorLock(secrets))

    @property
    def scene(self) -> Scene:
        return Scene("r1", "production", directory=str(self.folder))

    def acts(self, stage: dict[str, Any] | None = None, **alembic: Any) -> list[Act]:
        written = {"name": "schema", "kind": "migration", "alembic": self.project.alembic(**alembic), **(stage or {})}
        spec = {"database": {"env": "DATABASE_URL"}, "stages": [written]}
        document = StagedRollout.model_validate(plan_of(spec))
        program = compile_plan([("production", document)], "d", {})
        return [act for act in program.environments[0].stages[0].acts() if isinstance(act.action, AlembicAction)]

    async def look(self, act: Act) -> dict[str, Json]:
        assert act.observation is not None
        seen = await self.performer.observe(act.observation, self.scene)
        assert isinstance(seen.value, dict)
        return seen.value

    async def refused_look(self, act: Act) -> str:
        with pytest.raises(RolloutError) as caught:
            await self.look(act)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    async def forward(self, act: Act, before: Json = None, *, resumed: bool = False) -> Outcome:
        return await self._perform(act, act.forward(before), before, resumed)

    async def back(self, act: Act, before: Json, stands: Json) -> Outcome:
        return await self._perform(act, act.backward(before), stands, False)

    async def _perform(self, act: Act, operation: Any, before: Json, resumed: bool) -> Outcome:
        assert act.target is not None
        effect = Effect(
            id="e1", target=act.target.id, target_kind=act.target.kind, label=act.label, operation=operation,
            before=before, environment="production", stage="schema",
        )  # fmt: skip
        return await self.performer.perform(effect, self.scene, resumed)


def tables(world: World) -> set[str]:
    with contextlib.closing(sqlite3.connect(world.url.removeprefix("sqlite:///"))) as connection:
        return {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}


def query(world: World, sql: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(world.url, autocommit=True) as connection:
        return connection.execute(sql.encode()).fetchall()


def execute(world: World, sql: str) -> None:
    with psycopg.connect(world.url, autocommit=True) as connection:
        connection.execute(sql.encode())


def labels(world: World) -> list[str]:
    return [name for (name,) in query(world, "SELECT unnest(enum_range(NULL::state))::text")]
