"""What is deployed: the agents, the batches and the answers of the backend's repository, as they lie in a checkout."""

import importlib.util
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

APP = Path("app")
AGENTS = APP / "services" / "enrichment" / "agents"
PIPELINE = APP / "services" / "enrichment" / "auto_enrichment_pipeline.py"
ENDPOINTS = APP / "api" / "v1" / "master_flows" / "assessment" / "enrichment_endpoints.py"


@dataclass(frozen=True, slots=True)
class Agent:
    name: str
    pattern_type: str
    question: Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Release:
    commit: str
    agents: tuple[Agent, ...]
    batch_size: int
    runs_by_itself: bool
    batches: Callable[[list[str], int], list[list[str]]]
    told: Callable[[int, list[float]], dict[str, float]]


def load(backend: Path, commit: str = "") -> Release:
    """*backend* is the folder with ``app`` in it."""
    pipeline = _module(backend / PIPELINE)
    return Release(
        commit=commit,
        agents=tuple(_agent(file) for file in sorted((backend / AGENTS).glob("*_agent.py"))),
        batch_size=pipeline.BATCH_SIZE,
        runs_by_itself=pipeline.RUNS_BY_ITSELF,
        batches=pipeline.batches,
        told=_module(backend / ENDPOINTS).told,
    )


def commit_of(checkout: Path) -> str:
    done = subprocess.run(
        ["git", "-C", str(checkout), "rev-parse", "HEAD"],  # noqa: S607 - the git of whoever deploys
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def _agent(file: Path) -> Agent:
    module = _module(file)
    return Agent(file.stem.removesuffix("_agent"), module.PATTERN_TYPE, module.question)


def _module(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
