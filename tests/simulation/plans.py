"""A plan drawn from a seed, with the world that it finds: flags, metrics, checks.

Every criterion asks the same of its metric (pass below 0.05, fail above 0.10), so that the world can say by itself
what it answered. Everything a plan can hold is drawn with some probability; most seeds have a little of much.
"""

import hashlib
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random
from typing import Any

from orchestrator.core.events import PlanDocument
from orchestrator.submission import Submission
from stages.flag_spec import ABSENT
from stages.plan import StagedRollout
from stages.values import format_duration
from tests.simulation.loop import START
from tests.simulation.metrics import FAIL, PASS, Metric
from tests.simulation.workloads import Workloads, furnish

Spec = dict[str, Any]
OPS = "ops"  # the group of everybody who may answer


@dataclass(frozen=True)
class Drawn:
    """A plan and what it finds. *never* names checks that stay at no for good."""

    name: str
    spec: Spec
    files: dict[str, str]
    environments: tuple[str, ...]
    flags: dict[tuple[str, str], Spec]  # (environment, key) -> value; missing: not there
    metrics: dict[str, Metric]
    arms: dict[str, Metric]  # flag -> what becomes of those who have it, where a gate compares its arms
    checks: tuple[str, ...]
    never: frozenset[str]
    workloads: Workloads
    corrected: Spec | None = None
    documents: dict[str, Any] = field(default_factory=dict)

    def submission(self, *, corrected: bool = False, supersede: str | None = None) -> Submission:
        spec = self.corrected if corrected and self.corrected is not None else self.spec
        document = {
            "apiVersion": "stagedrollout.io/v1alpha1",
            "kind": "StagedRollout",
            "metadata": {"name": self.name},
            "spec": spec,
        }
        plan = StagedRollout.model_validate(document).model_dump(mode="json", by_alias=True, exclude_unset=True)
        digest = hashlib.sha256(json.dumps(plan, sort_keys=True).encode()).hexdigest()
        documents = tuple(PlanDocument(environment=name, plan=plan) for name in self.environments)
        return Submission(self.name, digest, documents, self.files, "/plan", supersede)


FOLLOW_UP: list[Spec] = [
    {"name": "tidy", "manual": "Tidy up", "by": [OPS], "due": "1h"},
    {"name": "look back", "manual": "Find out why", "by": [OPS], "due": "2h", "when": "rolled_back"},
]


class _Drawing:
    def __init__(self, seed: int) -> None:
        self.random = Random(f"plan/{seed}")
        self.files: dict[str, str] = {}
        self.checks: list[str] = []
        self.never: set[str] = set()
        self.metrics: dict[str, Metric] = {}
        self.flags: list[str] = []
        self.gates: dict[str, Spec] = {}
        self.count = 0
        self.bad_release = self.chance(0.4)

    # --- small draws ---

    def chance(self, probability: float) -> bool:
        return self.random.random() < probability

    def span(self, *choices: float) -> str:
        return format_duration(self.random.choice(choices))

    def number(self) -> int:
        self.count += 1
        return self.count

    def optional(self, probability: float, name: str, value: Any) -> Spec:
        """*value* is a callable, called only if it is drawn."""
        return {name: value()} if self.chance(probability) else {}

    # --- checks, people, windows ---

    def check(self, *, manual: float = 0.1, never: float = 0.03) -> Spec:
        number = self.number()
        if self.chance(manual):
            return {"name": f"look {number}", "manual": "Look whether it is fine", "by": [OPS]}
        name = f"c{number}"
        self.checks.append(name)
        if self.chance(never):
            self.never.add(name)
        extra = self.optional(0.2, "retries", lambda: {"every": "10s", "for": "40s"})
        extra |= self.optional(0.1, "required", lambda: False)
        return {"name": name, "command": ["check", name], **extra}

    def some_checks(self, probability: float, **chances: float) -> list[Spec]:
        return [self.check(**chances) for _ in range(self.random.randint(1, 2))] if self.chance(probability) else []

    def approval(self) -> Spec:
        count = 2 if self.chance(0.2) else 1
        found: Spec = {"any_of": [OPS], "count": count}
        if self.chance(0.3):
            found |= {"timeout": self.span(300, 1200), "on_timeout": self.random.choice(("hold", "rollback"))}
        return found

    def window(self) -> Spec:
        begin = START + self.random.uniform(-300, 1200)
        end = begin + self.random.choice((60, 300, 600))
        return {"timezone": "UTC", "deny": [{"from": _moment(begin), "to": _moment(end)}]}

    def guards(self, probability: float) -> Spec:
        checks = self.some_checks(probability)
        found: Spec = {"checks": checks} if checks else {}
        found |= self.optional(probability / 2, "approval", self.approval)
        return found | self.optional(probability / 3, "window", self.window)

    # --- what is measured ---

    def metric(self, *, may_regress: bool = True) -> str:
        name = f"m{self.number()}"
        regresses = self.bad_release and may_regress and self.chance(0.5)
        level = self.random.choice((5.0, 20.0, 50.0)) if regresses else None
        environment = "production" if self.chance(0.5) else None
        self.metrics[name] = Metric(name, self.random.choice(self.flags), level, environment)
        return name

    def criterion(self) -> Spec:
        found: Spec = {"name": f"k{self.number()}", "query": self.metric(), "pass": PASS, "fail": FAIL}
        found |= self.optional(0.4, "for", lambda: self.span(20, 45, 90))
        found |= self.optional(0.08, "on_missing", lambda: {"rollback_after": "3m"})
        return found | self.optional(0.05, "empty", lambda: "pass")

    def gate(self) -> Spec:
        found: Spec = {
            "every": self.span(10, 15, 30),
            "criteria": [self.criterion() for _ in range(self.random.randint(1, 2))],
        }
        found |= self.optional(0.25, "on_fail", lambda: "pause")
        found |= self.optional(0.2, "warmup", lambda: self.span(20, 40))
        return found | self.optional(0.15, "hold", lambda: {"deadline": "10m", "then": "rollback"})

    def gate_name(self) -> Any:
        names = list(self.gates)
        return names[:2] if self.chance(0.15) and len(names) > 1 else self.random.choice(names)

    # --- actions ---

    def command(self, *, undo: bool = True) -> Spec:
        target = f"t{self.number()}"
        action: Spec = {"command": ["set", target, "new"], "target": target}
        observed = self.chance(0.6)
        if observed:
            action["observe"] = ["show", target]
        action |= self.optional(0.5, "probe", lambda: ["is", target, "new"])
        action["undo"] = (["set", target, "{before}"] if observed else ["unset", target]) if undo else "none"
        return action

    def http(self) -> Spec:
        number = self.number()
        url = f"http://app/{number}"
        undo: Any = {"http": {"method": "DELETE", "url": url}, "idempotent": True, "undo": "none"}
        return {
            "name": f"call {number}",
            "http": {"method": "POST", "url": url},
            "idempotent": self.chance(0.5),
            "undo": undo if self.chance(0.6) else "none",
        }

    def sql(self, *, down: float = 0.6) -> Spec:
        name = f"sql/{self.number()}.sql"
        self.files[name] = f"CREATE TABLE t{self.count}"
        if not self.chance(down):
            return {"sql": name, "undo": "none"}
        self.files[f"{name}.down"] = f"DROP TABLE t{self.count}"
        return {"sql": name, "down": f"{name}.down"}

    def flag_action(self) -> Spec:
        percentage = self.random.choice((0, 10, 100))
        return {"flag": self.random.choice(self.flags), "state": "enabled", "percentage": percentage}

    def passive(self) -> Spec:
        return self.random.choice(
            (
                {"wait": self.span(5, 30, 90)},
                {"manual": f"Do the thing {self.number()}", "by": [OPS]},
                {"notify": "dev", "message": "On it"},
            )
        )

    def action(self) -> Spec:
        kind = self.random.choice(("command", "command", "http", "sql", "passive"))
        action: Spec = getattr(self, kind)()
        if kind != "passive" and self.chance(0.15):
            action = {**action, "verify": [self.check()]}
        return action

    def actions(self, probability: float) -> list[Spec]:
        return [self.action() for _ in range(self.random.randint(1, 2))] if self.chance(probability) else []

    def quick(self, probability: float) -> list[Spec]:
        """Actions of a rollback: nothing that a person has to do."""
        if not self.chance(probability):
            return []
        return [self.random.choice((self.command(undo=False), self.http(), {"wait": "3s"}))]

    # --- stages ---

    def stage(self, kind: str, flag: str | None) -> Spec:
        name = f"{kind}-{self.number()}"
        stage: Spec = {"name": name, "kind": kind, **self.guards(0.15)}
        for key, probability in (("before", 0.2), ("after", 0.15)):
            if actions := self.actions(probability):
                stage[key] = actions
        if self.gates and self.chance(0.75):
            stage["gate"] = self.gate_name()
        stage |= self.optional(0.15, "verify", lambda: [self.check()])
        stage |= self.optional(0.1, "when", lambda: [self.check(manual=0.0, never=0.3)])
        stage |= self.optional(0.3, "on_fail", lambda: "pause")
        stage |= self.optional(0.3, "settle", lambda: self.span(5, 20))
        stage |= self.optional(0.2, "rollback", lambda: self.rollback(plan=False))
        if flag is not None:
            return stage | self.exposure(kind, flag)
        if kind == "migration":
            return stage | self.migration()
        steps = [self.flag_action() if self.chance(0.15) else self.action() for _ in range(self.random.randint(0, 3))]
        return stage | {"steps": steps} | self.optional(0.08, "point_of_no_return", lambda: True)

    def exposure(self, kind: str, flag: str) -> Spec:
        levels = sorted(self.random.sample((1, 5, 10, 25, 50, 100), self.random.randint(1, 4)))
        found: Spec = {"flag": flag, "bake": self.bake()}
        found |= self.optional(0.3, "final_bake", self.bake)
        if self.chance(0.5):
            found["percentages"] = levels
        else:
            found["steps"] = [self.step(level) for level in levels]
        if kind == "queue" and self.chance(0.7):
            found["drain"] = {"query": f"queue_{flag}", "timeout": self.span(20, 120)}
        return found

    def bake(self) -> Any:
        if self.chance(0.3):
            return {"min": self.span(20, 60), "max": self.span(120, 240)}
        return self.span(20, 60, 150)

    def step(self, level: int) -> Spec:
        found: Spec = {"percentage": level, **self.guards(0.1)}
        found |= self.optional(0.3, "parameters", lambda: {"p": level})
        found |= self.optional(0.2, "profile", lambda: self.random.choice(("slow", "fast")))
        found |= self.optional(0.2, "verify", lambda: [self.check()])
        found |= self.optional(0.2, "bake", self.bake)
        return found | (self.optional(0.15, "gate", self.gate_name) if self.gates else {})

    def migration(self) -> Spec:
        entries = []
        for _ in range(self.random.randint(1, 3)):
            action = self.sql()
            entry = {"up": action["sql"], **({"down": action["down"]} if "down" in action else {})}
            entry |= self.optional(0.1, "irreversible", lambda: "enum values stay")
            entry |= self.optional(0.2, "verify", lambda: [self.check()])
            entries.append(entry)
        policy: Any = self.random.choice(("keep", "down", {"ask": "Drop the tables?", "by": [OPS]}))
        return {"migrations": entries, "on_rollback": policy, "allow_data_loss": True}

    # --- triggers, rollback, watch, the rest ---

    def trigger(self) -> Spec:
        found: Spec = {
            "name": f"trigger-{self.number()}",
            "then": self.random.choice(("hold", "continue", "rollback")),
            "rearm": self.span(60, 300),
        }
        if self.chance(0.25):
            found["by_hand"] = True
        else:
            found |= {"query": self.metric(), "fail": FAIL, "every": self.span(15, 20)}
            found |= self.optional(0.5, "for", lambda: self.span(15, 60))
        actions = self.trigger_actions()
        if actions:
            found["actions"] = actions
        if found["then"] == "rollback" and self.chance(0.4):
            found["ask"] = {"question": "Roll back?", "by": [OPS]}
        return found

    def trigger_actions(self) -> list[Spec]:
        found: list[Spec] = []
        if self.chance(0.4):
            found.append({"disable": self.random.choice(self.flags)})
        if self.chance(0.3):
            change = self.random.choice(({"percentage": 1}, {"parameters": {"q": 1}}, {"profile": "slow"}))
            found.append({"set": {self.random.choice(self.flags): change}})
        if self.chance(0.15):
            found.append(self.command())
        return found

    def rollback(self, *, plan: bool) -> Spec:
        found: Spec = {}
        for key, probability in (("before", 0.3), ("after", 0.3)):
            if actions := self.quick(probability):
                found[key] = actions
        if checks := self.some_checks(0.3, manual=0.0, never=0.0):
            found["verify"] = checks
        if plan or self.chance(0.3):
            found |= self.optional(0.5, "within", lambda: self.span(60, 300))
        if self.chance(0.25):
            ask: Spec = {"question": f"Restore {self.number()}?", "by": [OPS], "timeout": "2h"}
            found["ask"] = [ask | self.optional(0.6, "actions", lambda: [self.command(undo=False)])]
        return found

    def watch(self) -> Any:
        if self.chance(0.6):
            return self.span(0, 60, 240)
        phases: list[Spec] = []
        begin = 0
        for index in range(self.random.randint(1, 2)):
            begin += self.random.choice((0, 30))
            phase: Spec = {"name": f"w{index}", "from": format_duration(begin), "to": format_duration(begin + 120)}
            begin += 120
            phase |= self.optional(0.5, "gate", self.gate_name) if self.gates else {}
            phase |= self.optional(0.4, "checks", lambda: [self.check(manual=0.0)])
            phase |= self.optional(0.4, "every", lambda: "40s")
            phases.append(phase | self.optional(0.4, "on_fail", lambda: "pause"))
        return phases

    def success(self) -> list[Spec]:
        choices: tuple[Spec, ...] = (
            {"query": self.metric(may_regress=False), "window": "1m", "improves": "> 10%", "better": "lower"},
            {"query": self.metric(may_regress=False), "after": "1m", "is": "< 0.2"},
            {"manual": "Are people happy?", "by": [OPS], "after": "30s"},
        )
        return [{"name": f"success-{self.number()}", **self.random.choice(choices)}]

    def notify(self) -> Spec:
        return {
            "channels": {"dev": {"webhook": {"url": "http://chat/dev"}}, "boss": {"webhook": {"url": "http://chat/b"}}},
            "escalation": [{"after": "0s", "channels": ["dev"]}, {"after": "10m", "channels": ["boss"]}],
            "news": [{"when": ["started", "promoted", "rolled_back"], "channels": ["dev"]}],
        }


def draw(seed: int) -> Drawn:
    d = _Drawing(seed)
    d.flags = [f"f{index}" for index in range(d.random.randint(1, 3))]
    for _ in range(d.random.randint(0, 2)):
        d.gates[f"g{d.number()}"] = d.gate()
    environments = ("staging", "production") if d.chance(0.25) else ("production",)
    spec: Spec = {
        "flags": {key: _flag_spec(d) for key in d.flags},
        "gates": d.gates,
        "database": "sqlite:///app.db",
        "notify": d.notify(),
        **d.guards(0.15),
        "stages": _stages(d),
        "watch": d.watch(),
        "rollback": d.rollback(plan=True),
    }
    spec |= d.optional(0.5, "triggers", lambda: [d.trigger() for _ in range(d.random.randint(1, 3))])
    spec |= d.optional(0.15, "sign_off", d.approval)
    spec |= d.optional(0.2, "success", d.success)
    spec |= d.optional(0.1, "follow_up", lambda: FOLLOW_UP)
    arms = _compared(seed, spec, d.bad_release)
    if len(environments) > 1:
        spec["environments"] = [
            {"name": "staging", "watch": "30s", "bake": "20s", "sign_off": "none"},
            {"name": "production"},
        ]
    workloads = furnish(seed, spec, environments, d.metrics, d.bad_release)
    return Drawn(
        name="plan",
        spec=spec,
        files=d.files,
        environments=environments,
        flags=_world_flags(d, environments, spec),
        metrics=d.metrics,
        arms=arms,
        checks=tuple(d.checks),
        never=frozenset(d.never),
        workloads=workloads,
        corrected=_corrected(d, spec),
    )


def _flag_spec(d: _Drawing) -> Spec:
    spec: Spec = {"profiles": {"slow": {"rate": 1}, "fast": {"rate": 9}}}
    spec |= d.optional(0.4, "parameters", lambda: {"p": 0, "q": 0})
    spec |= d.optional(0.3, "profile", lambda: "slow")
    return spec | d.optional(0.3, "targets", lambda: {"team": ["internal"]})


def _stages(d: _Drawing) -> list[Spec]:
    """At least one; a flag is raised by at most one stage."""
    unraised = list(d.flags)
    stages: list[Spec] = []
    for _ in range(d.random.randint(1, 4)):
        kind = d.random.choice(("monitoring", "batch", "queue", "monitoring", "migration", "steps"))
        if kind in ("monitoring", "batch", "queue"):
            if not unraised:
                continue
            stages.append(d.stage(kind, unraised.pop(d.random.randrange(len(unraised)))))
        else:
            stages.append(d.stage(kind, None))
    return stages or [d.stage("monitoring", unraised[0])]


def _compared(seed: int, spec: Spec, bad_release: bool) -> dict[str, Metric]:
    """In some plans a stage's gate compares those who have its flag with those who don't. Drawn by itself, so that all
    else is drawn as it would be without."""
    random = Random(f"arms/{seed}")
    stages = [stage for stage in spec["stages"] if "flag" in stage]
    if random.random() >= 0.25 or not stages:
        return {}
    stage = random.choice(stages)
    flag = stage["flag"]
    name = arms_of(flag)
    compare = {} if random.random() < 0.5 else {"flag": flag}
    gate = {"every": "15s", "warmup": random.choice(("0s", "20s")), "criteria": [{"name": name, "compare": compare}]}
    spec["gates"][name] = gate
    given = stage.get("gate", ())
    stage["gate"] = [name, *([given] if isinstance(given, str) else given)]
    regresses = bad_release and random.random() < 0.5
    return {flag: Metric(name, flag, random.choice((5.0, 20.0)) if regresses else None)}


def arms_of(flag: str) -> str:
    """The name of the criterion, of its gate, and of what the world notes when it is asked for the counts."""
    return f"arms-{flag}"


def _world_flags(d: _Drawing, environments: tuple[str, ...], spec: Spec) -> dict[tuple[str, str], Spec]:
    raised = {stage["flag"] for stage in spec["stages"] if "flag" in stage}
    found: dict[tuple[str, str], Spec] = {}
    for environment in environments:
        for key in d.flags:
            if key in raised and d.chance(0.4):
                continue
            value = {**ABSENT, "state": d.random.choice(("enabled", "disabled")), "parameters": {"p": -1, "x": 7}}
            value["percentage"] = float(d.random.choice((0, 0, 2, 10)))
            found[(environment, key)] = value
    return found


def _corrected(d: _Drawing, spec: Spec) -> Spec:
    """The plan as somebody would hand it in again: another description, perhaps without its last stage."""
    stages = spec["stages"]
    return {**spec, "description": "corrected", "stages": stages[:-1] if len(stages) > 1 and d.chance(0.3) else stages}


def _moment(at: float) -> str:
    return datetime.fromtimestamp(round(at), UTC).isoformat().replace("+00:00", "Z")
