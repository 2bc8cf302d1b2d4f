"""The walk of the embeddings: who takes part, what goes wrong, what stays."""

import json
from typing import Any

from tests.teams.embeddings_world import Embeddings, world
from tests.teams.team import EXAMPLES, Answer, Incident, Json, Person, Team, read_yaml

PLAN = read_yaml(EXAMPLES / "embeddings" / "plan.yaml")["spec"]
TRIGGERS = [one["name"] for one in PLAN["triggers"] if "for" in one]
CRITERIA = [(gate, one["name"]) for gate, told in PLAN["gates"].items() for one in told["criteria"]]
STAGES = [one["name"] for one in PLAN["stages"]]
SUCCESS = [one["name"] for one in PLAN["success"]]
LONG = ("watch.week 4.to=1m",)


ESCALATE = [("notify", PLAN["notify"]), *((f"triggers.{one['name']}", one) for one in PLAN["triggers"])]


def soon(levels: list[Json]) -> str:
    """Each level a second after the one before."""
    return json.dumps([{**level, "after": f"{number}s"} for number, level in enumerate(levels)])


def fired(trigger: str) -> Json:
    return {"TriggerFired": {"trigger": trigger}}


def flag(name: str, **observed: object) -> Json:
    return {"EffectFinished": {"target": f"flag:*{name}*", "state": "done", "observed": observed}}


def nothing(_: Embeddings) -> None:
    """A person says that it goes wrong."""


def knob(name: str, at: str, knobs: dict[str, float], triggers: tuple[str, ...], **more: Any) -> Incident[Embeddings]:
    return Incident(
        name,
        at=f"production/{at}",
        breaks=lambda world: world.turns(**knobs),
        mends=lambda world: world.turns(),
        fires=triggers,
        **{"shows": tuple(map(fired, triggers)), "sets": (f"stages.{at}.bake=1m",), **more},
    )


def told(trigger: str, *shows: Json, **more: Any) -> Incident[Embeddings]:
    return Incident(
        f"declared: {trigger}",
        at="production/watch",
        breaks=nothing,
        mends=nothing,
        by_hand=trigger,
        fires=(trigger,),
        **{"shows": (fired(trigger), *shows), "sets": LONG, **more},
    )


MANAGEMENT: Json = {"NoticeRequested": {"notice": {"channel": "management"}}}
INCIDENTS: tuple[Incident[Embeddings], ...] = (
    knob(
        "embeddings fail",
        "monitoring",
        {"failing": 0.2},
        ("EmbeddingSuccessRateLow", "embeddingSuccessRate"),
        shows=(
            fired("EmbeddingSuccessRateLow"),
            fired("embeddingSuccessRate"),
            flag("embeddingMonitoring", state="disabled"),
        ),
    ),
    knob(
        "all goes wrong",
        "monitoring",
        {"errors": 0.2},
        ("systemErrorRate",),
        ends="rolled_back",
    ),
    knob(
        "the queue grows",
        "queue",
        {"upload": 600, "stalled": 1},
        ("QueueDepthHigh", "queueBacklog"),
        shows=(
            fired("QueueDepthHigh"),
            fired("queueBacklog"),
            flag("queueBasedProcessing", state="disabled"),
        ),
    ),
    Incident(
        "all flags are switched off",
        at="production/monitoring",
        breaks=Embeddings.switches_off,
        mends=Embeddings.lifts,
        shows=({"KillSwitched": {"environment": "production", "on": True}},),
        sets=("stages.monitoring.bake=1m",),
    ),
    knob("a worker is down", "queue", {"crashed": 1}, ("WorkerDown",)),
    knob(
        "the quota is nearly used up",
        "watch",
        {"quota": 0.97},
        ("APIQuotaExhaustion", "apiQuotaExhaustion"),
        sets=LONG,
        shows=(
            fired("APIQuotaExhaustion"),
            fired("apiQuotaExhaustion"),
            flag("batchOptimization", profile="conservative"),
        ),
    ),
    told("rate limiting issues", flag("batchOptimization", parameters={"rateLimitingEnabled": False})),
    told("embedding_failure_spike", {"HoldSet": {"hold": "trigger"}}),
    told("queue_worker_failure", {"HoldSet": {"hold": "trigger"}}),
    told("api_quota_exhaustion", flag("batchOptimization", profile="conservative"), MANAGEMENT),
    told("full rollback", {"RollbackStarted": {"cause": "trigger"}}, ends="rolled_back"),
)

TEAM: Team[Embeddings] = Team(
    name="embeddings",
    people=(
        Person("dana", ("devops",)),
        Person("bela", ("backend",)),
        Person("quinn", ("qa",)),
        Person("sam", ("sre",)),
        Person("dora", ("dba",)),
        Person("priya", ("product",)),
        Person("app", ()),
    ),
    world=world,
    renew=Embeddings.renew,
    quick=(
        *(f"stages.{name}.bake=1s" for name in ("monitoring", "queue", "batches")),
        "stages.monitoring.final_bake=2s",
        *(f"stages.{name}.settle=500ms" for name in STAGES),
        "stages.queue.drain.timeout=30s",
        "watch.week 4.to=4s",
        "watch.week 4.every=1s",
        *(f"triggers.{name}.for=1s" for name in TRIGGERS),
        *(f"gates.{gate}.criteria.{name}.for=1s" for gate, name in CRITERIA),
        *(f"success.{name}.window=3s" for name in SUCCESS),
        *(f"{path}.escalation={soon(one['escalation'])}" for path, one in ESCALATE if "escalation" in one),
    ),
    answers={"question:*": Answer("approve", "the tables go too", by="dora")},
    incidents=INCIDENTS,
    schedule="ops.yaml",
)
