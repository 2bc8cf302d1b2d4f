"""The pipeline as a whole, over a store in memory."""

# ruff: noqa: INP001 - tests of the backend
from collections.abc import Sequence
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from examples.enrichment.database import Tenant, Usage
from examples.enrichment.pipeline import Knobs, Metrics, MultiModelService, Pipeline, TenantMemoryManager
from examples.enrichment.release import load

HERE, THERE = Tenant("here", "e1"), Tenant("there", "e2")


class Memory:
    def __init__(self) -> None:
        self.patterns: set[tuple[Tenant, str, str]] = set()
        self.standards: set[tuple[str, str]] = set()
        self.usages: list[Usage] = []

    def save_patterns(self, tenant: Tenant, pattern_type: str, assets: Sequence[str]) -> None:
        self.patterns |= {(tenant, pattern_type, asset) for asset in assets}

    def save_standards(self, engagement: str, names: Sequence[str]) -> None:
        self.standards |= {(engagement, name) for name in names}

    def track(self, usages: Sequence[Usage]) -> None:
        self.usages += usages


class World:
    def __init__(self) -> None:
        self.memory, self.registry = Memory(), CollectorRegistry()
        self.knobs = Knobs()
        self.batch_size = 10
        metrics = Metrics(self.registry)
        self.pipeline = Pipeline(
            load(Path(__file__).parents[2]),
            MultiModelService(self.memory, metrics),
            TenantMemoryManager(self.memory, metrics),
            metrics,
            lambda: self.knobs,
            lambda: self.batch_size,
        )

    def enrich(self, count: int, tenant: Tenant = HERE) -> dict[str, float]:
        return self.pipeline.enrich(tenant, [f"asset-{number}" for number in range(count)])

    def counted(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, labels) or 0.0


@pytest.fixture
def world() -> World:
    return World()


def test_one_asset_takes_one_batch(world: World) -> None:
    assert world.enrich(1) == {"assets": 1, "seconds": 19.62, "batches": 1, "batch_seconds": 19.62}


def test_fifty_assets_take_less_than_ten_minutes(world: World) -> None:
    assert world.enrich(50)["seconds"] < 600


def test_a_hundred_assets_take_less_than_ten_minutes(world: World) -> None:
    assert world.enrich(100)["seconds"] < 600


def test_an_odd_number_of_assets_has_a_small_batch_at_its_end(world: World) -> None:
    assert world.enrich(13)["batches"] == 2


def test_all_six_agents_look_at_each_asset(world: World) -> None:
    world.enrich(3)
    assert len({kind for _, kind, _ in world.memory.patterns}) == 6
    assert len(world.memory.patterns) == 18


def test_nothing_fails_when_nothing_is_wrong(world: World) -> None:
    world.enrich(20)
    assert world.counted("enrichment_agent_runs_total", agent="licensing", outcome="failed") == 0
    assert world.counted("enrichment_agent_runs_total", agent="licensing", outcome="ok") == 20


def test_tenants_do_not_see_each_other(world: World) -> None:
    world.enrich(2, HERE)
    world.enrich(1, THERE)
    assert len([one for one in world.memory.patterns if one[0] == THERE]) == 6


def test_standards_are_kept_once_an_engagement(world: World) -> None:
    world.enrich(20)
    assert world.memory.standards == {("e1", "PCI-DSS"), ("e1", "ISO 27001")}


def test_every_question_is_tracked(world: World) -> None:
    world.enrich(20)
    assert len(world.memory.usages) == 12
    assert {usage.agent for usage in world.memory.usages} == {agent.name for agent in world.pipeline.release.agents}


def test_an_answer_that_nobody_can_read_is_a_failure_and_no_pattern(world: World) -> None:
    world.knobs = Knobs(fail_share=0.5)
    world.enrich(10)
    assert world.counted("enrichment_agent_runs_total", agent="licensing", outcome="failed") == 5
    assert len(world.memory.patterns) == 30


def test_smaller_batches_take_less_time_each_where_the_llm_is_slow(world: World) -> None:
    world.knobs = Knobs(seconds_per_asset=3.5)
    assert world.enrich(10)["batch_seconds"] == 35.0
    world.batch_size = 5
    assert world.enrich(10)["batch_seconds"] == 19.62
