"""Objects as an API server has them, for tests."""

from typing import Any

from orchestrator.cluster.objects import CommandObject, Rollout
from orchestrator.ports import RunRow

NAMESPACE = "shop"
STAGE = {"name": "open", "kind": "monitoring", "flag": "beta", "percentages": [50, 100], "bake": "1h", "settle": "0s"}
SPEC: dict[str, Any] = {"flags": {"beta": {}}, "stages": [STAGE]}
QUICK: dict[str, Any] = {"flags": {"beta": {}}, "stages": [{**STAGE, "percentages": [50], "bake": "0s"}]}


def rollout_body(name: str = "demo", spec: Any = None, status: Any = None, **metadata: Any) -> dict[str, Any]:
    known = {"name": name, "namespace": NAMESPACE, "uid": f"uid-{name}", "generation": 1, "resourceVersion": "7"}
    return {"metadata": {**known, **metadata}, "spec": SPEC if spec is None else spec, "status": status or {}}


def rollout(name: str = "demo", spec: Any = None, status: Any = None, **metadata: Any) -> Rollout:
    return Rollout.of(rollout_body(name, spec, status, **metadata))


def command_body(name: str, command: str, rollout: str = "demo", by: str = "bob", **more: Any) -> dict[str, Any]:
    """*more*: ``arguments``, and what else belongs into the spec."""
    spec = {"rollout": rollout, "command": command, "reason": "a look", "requestedBy": by, **more}
    metadata = {"name": name, "namespace": NAMESPACE, "uid": f"uid-{name}", "creationTimestamp": "2026-03-01T12:00:00Z"}
    return {"metadata": metadata, "spec": spec}


def command(name: str, command: str = "pause", answered: str | None = None, **more: Any) -> CommandObject:
    body = command_body(name, command, **more)
    return CommandObject.of({**body, "status": {"accepted": True, "at": answered}} if answered else body)


def row(phase: str = "running", outcome: str | None = None, **origin: Any) -> RunRow:
    known = {"namespace": NAMESPACE, "name": "demo", "uid": "uid-demo", "generation": 1, "bundle": None, **origin}
    summary = {"phase": phase, "outcome": outcome, "origin": known}
    return RunRow("demo-1", "demo", "d1", 9, 1, phase != "ended", 1.0, summary)
