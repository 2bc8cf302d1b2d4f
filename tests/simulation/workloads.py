"""What a seed's plan does on Kubernetes, and what it finds there. About half of the seeds have some.

Drawn by itself, after the rest of the plan, so that all else is drawn as it would be without.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

from tests.simulation.metrics import FAIL, PASS, Metric

Spec = dict[str, Any]
CONTAINER = "app"
PER_REPLICA = 10.0
LOADS = (0.0, 5.0, 18.0, 42.0, 95.0, 400.0)  # of workers, for some minutes each
LOAD_LASTS_SECONDS = 170.0
USUAL_LEAST = 2


@dataclass(frozen=True)
class Start:
    """A workload before anybody touches it."""

    replicas: int
    image: str = "v1"


@dataclass(frozen=True)
class Workers:
    """Of a queue stage: *first* run before its flag is raised. Following their load, between *least* and *most*."""

    stage: str
    flag: str
    name: str
    first: int
    least: int
    most: int | None
    is_scaled: bool

    @property
    def floor(self) -> int:
        """So many run at least, once they have been started."""
        return self.least if self.is_scaled else self.first


@dataclass(frozen=True)
class Version:
    """Of a version stage: the names of its two Deployments, and the image that it brings. A canary that *is_made* is
    there only while a run needs it."""

    stage: str
    stable: str
    canary: str
    image: str
    is_made: bool = False

    @property
    def arms(self) -> tuple[str, str]:
        return self.stable, self.canary


@dataclass(frozen=True)
class Touched:
    """A target that a workload is part of, and the fields that it observes."""

    id: str
    fields: frozenset[str]


@dataclass(frozen=True)
class Workloads:
    found: Mapping[tuple[str, str], Start] = field(default_factory=dict)  # (environment, name)
    workers: tuple[Workers, ...] = ()
    versions: tuple[Version, ...] = ()

    def version_of(self, name: str) -> Version | None:
        return next((one for one in self.versions if name in one.arms), None)

    def targets_of(self, environment: str, name: str) -> tuple[Touched, ...]:
        version = self.version_of(name)
        if version is not None:
            target = target_id("version", environment, f"deployment/{version.stable}")
            return (Touched(target, frozenset({"replicas", "image", "total", "is_there"})),)
        fields = (("replicas", "replicas"), ("image", "image"), ("pods", "restarted_by"))
        workload = f"deployment/{name}"
        return tuple(Touched(target_id(what, environment, workload), frozenset({one})) for what, one in fields)


def target_id(what: str, environment: str, workload: str) -> str:
    """As the plan's actions name it. Each environment has a namespace of its own name."""
    return f"{what}:{environment}/{environment}/{workload}"


def furnish(seed: int, spec: Spec, environments: tuple[str, ...], metrics: dict[str, Metric], bad: bool) -> Workloads:
    """Put workloads into *spec*, and what measures them into *metrics*; say what there is. *bad*: the release is."""
    drawing = _Furnishing(seed, spec, metrics, bad)
    if not drawing.chance(0.5):
        return Workloads()
    drawing.queues()
    drawing.version()
    drawing.actions()
    drawing.no_return()
    drawing.places(environments)
    found = {(place, name): start for place in environments for name, start in drawing.started.items()}
    return Workloads(found, tuple(drawing.workers), tuple(drawing.versions))


class _Furnishing:
    def __init__(self, seed: int, spec: Spec, metrics: dict[str, Metric], bad: bool) -> None:
        self.random = Random(f"workloads/{seed}")
        self.makes = Random(f"copies-261/{seed}").random() < 0.5
        self.spec = spec
        self.metrics = metrics
        self.bad = bad
        self.started: dict[str, Start] = {}
        self.workers: list[Workers] = []
        self.versions: list[Version] = []

    def chance(self, probability: float) -> bool:
        return self.random.random() < probability

    def optional(self, probability: float, **fields: Any) -> Spec:
        return fields if self.chance(probability) else {}

    @property
    def stages(self) -> list[Spec]:
        return list(self.spec["stages"])

    # --- queues ---

    def queues(self) -> None:
        raised = [stage for stage in self.stages if "flag" in stage]
        if raised and not any(stage["kind"] == "queue" for stage in raised) and self.chance(0.6):
            self.random.choice(raised)["kind"] = "queue"
        for stage in raised:
            if stage["kind"] == "queue" and self.chance(0.85):
                self._feed(stage)

    def _feed(self, stage: Spec) -> None:
        name = f"w{len(self.started)}"
        self.started[name] = Start(self.random.choice((0, 0, 1, 3, 6)))
        section: Spec = {}
        section |= self.optional(0.6, start=self.random.choice((1, 3, 5)))
        section |= self.optional(0.6, min=self.random.choice((0, 1, 2, 4)))
        first = max(section.get("start", 0), section.get("min", USUAL_LEAST))
        is_scaled = self.chance(0.6)
        if is_scaled or self.chance(0.3):
            section["max"] = max(first, self.random.choice((4, 8)), 1)
        if is_scaled:
            section |= {"query": f"load_{name}", "per_replica": PER_REPLICA}
        stage["workload"] = f"deployment/{name}"
        if section:
            stage["replicas"] = section
        if "drain" not in stage and self.chance(0.5):
            stage["drain"] = {"query": f"queue_{stage['flag']}", "timeout": "40s"}
        least, most = section.get("min", USUAL_LEAST), section.get("max")
        self.workers.append(Workers(stage["name"], stage["flag"], name, first, least, most, is_scaled))

    # --- versions ---

    def version(self) -> None:
        if not self.chance(0.5):
            return
        stable = Start(self.random.choice((1, 2, 4, 10)))
        canary = Start(self.random.choice((0, 0, 0, 2)), self.random.choice(("v0", "v1")))
        version = Version("version", "api", "api-rollout" if self.makes else "api-canary", "v2", self.makes)
        self.versions.append(version)
        self.started[version.stable] = stable
        if not version.is_made:
            self.started[version.canary] = canary
        levels = sorted(self.random.sample((5, 25, 50, 75), self.random.randint(0, 2)))
        stage: Spec = {
            "name": version.stage,
            "kind": "version",
            "workload": f"deployment/{version.stable}",
            **({} if version.is_made else {"canary": f"deployment/{version.canary}"}),
            "image": version.image,
            "percentages": [*levels, 100] if not levels or self.chance(0.8) else levels,
            "gate": self._gate(version),
            "bake": self.random.choice(("20s", "1m")),
        }
        stage |= self.optional(0.3, on_fail="pause")
        stage |= self.optional(0.2, container=CONTAINER)
        stage |= self.optional(0.1, point_of_no_return=True)
        self.spec["stages"].insert(self.random.randint(0, len(self.stages)), stage)

    def _gate(self, version: Version) -> str:
        level = self.random.choice((5.0, 50.0, 100.0)) if self.bad and self.chance(0.6) else None
        metric = f"m-{version.stable}"
        self.metrics[metric] = Metric(metric, version.stable, level)
        criterion = {"name": f"k-{version.stable}", "query": metric, "pass": PASS, "fail": FAIL}
        gate = {
            "every": self.random.choice(("10s", "15s")),
            "criteria": [criterion],
            **self.optional(0.3, on_fail="pause"),
        }
        self.spec["gates"][f"g-{version.stable}"] = gate
        return f"g-{version.stable}"

    # --- actions anywhere ---

    def actions(self) -> None:
        for name in (f"d{number}" for number in range(self.random.randint(0, 2))):
            self.started[name] = Start(self.random.choice((0, 1, 2, 5)))
        if not any(self._may_be_acted_on()):
            return
        for stage in self.stages:
            for key, probability in (("before", 0.2), ("after", 0.15), ("steps", 0.4)):
                if self.chance(probability) and (key != "steps" or stage["kind"] == "steps"):
                    self._put(stage, key, self._action())
        for trigger in self.spec.get("triggers", ()):
            if self.chance(0.4):
                self._put(trigger, "actions", self._action())
        self._on_the_way_back()

    def _may_be_acted_on(self) -> list[str]:
        """Not the two of a version: what they are is that stage's alone."""
        return [name for name in self.started if not any(name in one.arms for one in self.versions)]

    def _put(self, part: Spec, key: str, action: Spec) -> None:
        entries = list(part.get(key, ()))
        entries.insert(self.random.randint(0, len(entries)), action)
        part[key] = entries

    def _action(self) -> Spec:
        name = self.random.choice(self._may_be_acted_on())
        what = self.random.choice(("scale", "scale", "image", "restart"))
        if what == "restart":
            return {"restart": f"deployment/{name}", "undo": "none"}
        undo = self.optional(0.1, undo="none")
        if what == "image":
            return {"image": f"deployment/{name}", "to": self.random.choice(("v2", "v3")), **undo}
        return {**self._scale(name), **undo, **self.optional(0.2, timeout="20s")}

    def _scale(self, name: str) -> Spec:
        """Workers of a queue are not scaled to fewer than it needs: a plan that asks for that gets it."""
        least = max((one.first for one in self.workers if one.name == name), default=0)
        return {"scale": f"deployment/{name}", "replicas": least + self.random.choice((0, 1, 2, 4))}

    def _on_the_way_back(self) -> None:
        """More workers, so that a queue drains sooner; and workloads that only the way back touches."""
        rollback = self.spec["rollback"]
        if self.workers and self.chance(0.3):
            self._put(rollback, "before", self._scale(self.random.choice(self.workers).name))
        for key in ("before", "after"):
            if self.chance(0.15):
                name = f"b-{key}"
                self.started[name] = Start(1)
                self._put(rollback, key, {"scale": f"deployment/{name}", "replicas": 2})

    def no_return(self) -> None:
        """Behind a queue whose workers may follow their load."""
        stages = self.stages
        fed = [index for index, stage in enumerate(stages) if "workload" in stage and stage["kind"] == "queue"]
        for stage in stages[fed[0] + 1 :] if fed else ():
            if stage["kind"] in ("steps", "version") and self.chance(0.25):
                stage["point_of_no_return"] = True

    def places(self, environments: tuple[str, ...]) -> None:
        for section in self.spec.get("environments", ()):
            section["kubernetes"] = {"namespace": section["name"]}
        if len(environments) == 1:
            self.spec["kubernetes"] = {"namespace": environments[0]}


def worker_load(share: float) -> float:
    """*share*: from 0 to 1."""
    return LOADS[int(share * len(LOADS))]
