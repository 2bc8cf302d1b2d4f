"""Six agents enrich a tenant's assets, a batch at a time.

Time passes here only while an LLM thinks, and by its own account: a batch that takes 20 s by the metrics and the
answers takes some hundredths of one. How long it thinks, and whether it answers nonsense, is in the knobs.
"""

import json
import logging
import resource
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from examples.enrichment.database import Storage, Tenant, Usage
from examples.enrichment.release import Agent, Release

SECONDS_AT_LEAST = 19.62  # one asset or ten: they are asked about side by side
DOLLARS = 0.0004
BUCKETS = (5, 10, 20, 30, 45, 60, 120)
log = logging.getLogger("backend")


@dataclass(frozen=True, slots=True)
class Knobs:
    """What goes wrong. *seconds_per_asset*: the LLM's API counts what is asked side by side, and makes it wait."""

    fail_share: float = 0.0
    seconds_per_asset: float = 0.0
    storage_fails: bool = False
    ballast_megabytes: int = 0

    @classmethod
    def read(cls, file: Path) -> "Knobs":
        return cls(**json.loads(file.read_text())) if file.exists() else cls()


class Metrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(name, text, labels, registry=registry)

        self.requests = counter("enrichment_requests_total", "Enrichments that were asked for.", "pipeline")
        self.assets = counter("enrichment_assets_total", "Assets that were enriched.", "pipeline")
        self.runs = counter("enrichment_agent_runs_total", "Assets that an agent looked at.", "agent", "outcome")
        self.patterns = counter("enrichment_patterns_total", "Patterns to be stored.", "pattern_type", "outcome")
        self.dollars = counter("llm_cost_dollars_total", "What LLMs cost.", "agent")
        self.batch = Histogram(
            "enrichment_batch_seconds", "One batch, all agents.", ["pipeline"], buckets=BUCKETS, registry=registry
        )
        self.llm = Histogram(
            "llm_call_seconds", "An answer of the LLM's API.", ["agent"], buckets=BUCKETS, registry=registry
        )
        self.memory = Gauge("backend_memory_share", "Of what the container may take.", registry=registry)
        self.pool = Gauge("database_pool_used_share", "Connections that are in use.", registry=registry)

    def begin(self, release: Release) -> None:
        """Series are there from the beginning, where the pipeline is."""
        self.requests.labels("auto")
        self.assets.labels("auto")
        self.batch.labels("auto")
        for agent in release.agents:
            for outcome in ("ok", "failed"):
                self.runs.labels(agent.name, outcome)
            for outcome in ("stored", "failed"):
                self.patterns.labels(agent.pattern_type, outcome)


@dataclass(slots=True)
class MultiModelService:
    """Every question to an LLM goes through here, and is tracked."""

    storage: Storage
    metrics: Metrics
    _asked: int = 0

    def ask(self, agent: Agent, assets: Sequence[str], knobs: Knobs) -> tuple[list[str], float]:
        """The answers to one question about each asset, put side by side, and the seconds that it took."""
        seconds = max(SECONDS_AT_LEAST, knobs.seconds_per_asset * len(assets))
        answers = [self._answer(agent.question(asset), knobs) for asset in assets]
        self.storage.track([Usage(agent.name, seconds, DOLLARS * len(assets))])
        self.metrics.dollars.labels(agent.name).inc(DOLLARS * len(assets))
        self.metrics.llm.labels(agent.name).observe(seconds)
        return answers, seconds

    def _answer(self, question: str, knobs: Knobs) -> str:
        """Of *n* answers, the share that is to fail does so, evenly."""
        self._asked += 1
        is_bad = int(self._asked * knobs.fail_share) != int((self._asked - 1) * knobs.fail_share)
        return "I am sorry" if is_bad else json.dumps({"answer": question})


@dataclass(slots=True)
class TenantMemoryManager:
    """What agents find, stored under the tenant that it is about."""

    storage: Storage
    metrics: Metrics

    def store(self, tenant: Tenant, agent: Agent, assets: Sequence[str], knobs: Knobs) -> None:
        try:
            if knobs.storage_fails:
                raise psycopg.errors.InvalidTextRepresentation("the store of patterns refuses them")
            self.storage.save_patterns(tenant, agent.pattern_type, assets)
            if agent.name == "compliance":
                self.storage.save_standards(tenant.engagement, ["PCI-DSS", "ISO 27001"])
        except psycopg.Error:
            self.metrics.patterns.labels(agent.pattern_type, "failed").inc(len(assets))
            log.exception("patterns of %s were not stored", agent.name)
            return
        self.metrics.patterns.labels(agent.pattern_type, "stored").inc(len(assets))


@dataclass(slots=True)
class TenantScopedAgentPool:
    """Each tenant is served by agents of its own."""

    agents: tuple[Agent, ...]
    tenants: dict[Tenant, tuple[Agent, ...]] = field(default_factory=dict)

    def of(self, tenant: Tenant) -> tuple[Agent, ...]:
        return self.tenants.setdefault(tenant, self.agents)


@dataclass(slots=True)
class Pipeline:
    """*batch_size* may change while it runs."""

    release: Release
    llm: MultiModelService
    memory: TenantMemoryManager
    metrics: Metrics
    knobs: Callable[[], Knobs]
    batch_size: Callable[[], int]
    pool: TenantScopedAgentPool = field(init=False)

    def __post_init__(self) -> None:
        self.pool = TenantScopedAgentPool(self.release.agents)

    def enrich(self, tenant: Tenant, assets: list[str]) -> dict[str, float]:
        """What is told of it depends on the release."""
        knobs = self.knobs()
        batches = self.release.batches(assets, self.batch_size())
        self.metrics.requests.labels("auto").inc()
        took = [self._batch(tenant, batch, (number, len(batches)), knobs) for number, batch in enumerate(batches, 1)]
        log.info("batched auto-enrichment of %d assets done, in %d batches", len(assets), len(batches))
        return self.release.told(len(assets), took)

    def _batch(self, tenant: Tenant, batch: list[str], place: tuple[int, int], knobs: Knobs) -> float:
        log.info("batch %d/%d: %d assets", *place, len(batch))
        seconds = max(self._agent(tenant, agent, batch, knobs) for agent in self.pool.of(tenant))
        self.metrics.batch.labels("auto").observe(seconds)
        self.metrics.assets.labels("auto").inc(len(batch))
        log.info("batch %d/%d done in %.2fs", *place, seconds)
        return seconds

    def _agent(self, tenant: Tenant, agent: Agent, batch: list[str], knobs: Knobs) -> float:
        answers, seconds = self.llm.ask(agent, batch, knobs)
        good = [asset for asset, answer in zip(batch, answers, strict=True) if _is_readable(answer)]
        failed = len(batch) - len(good)
        self.metrics.runs.labels(agent.name, "ok").inc(len(good))
        self.metrics.runs.labels(agent.name, "failed").inc(failed)
        if failed:
            log.error("agent %s: %d of %d answers were no JSON", agent.name, failed, len(batch))
        if good:
            self.memory.store(tenant, agent, good, knobs)
        return seconds


def _is_readable(answer: str) -> bool:
    try:
        json.loads(answer)
    except ValueError:
        return False
    return True


def resident_bytes() -> int:
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * resource.getpagesize()
