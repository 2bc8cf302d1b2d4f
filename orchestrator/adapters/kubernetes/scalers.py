"""Autoscalers, by their objects: whose replicas they set. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from orchestrator.cluster_facts import Scaler

Json = Mapping[str, Any]
_PAUSED = ("autoscaling.keda.sh/paused", "autoscaling.keda.sh/paused-replicas")
USUAL_MOST = 100  # of KEDA


def scalers_of(autoscalers: Sequence[Json], scaled_objects: Sequence[Json]) -> Iterator[Scaler]:
    """From HorizontalPodAutoscalers and KEDA's ScaledObjects; of the former those that KEDA makes are left out."""
    for one in scaled_objects:
        annotations = one["metadata"].get("annotations") or {}
        if not any(str(annotations.get(key, "false")).lower() != "false" for key in _PAUSED):
            yield _of_keda(one)
    for one in autoscalers:
        owners = one["metadata"].get("ownerReferences") or ()
        if not any(owner.get("kind") == "ScaledObject" for owner in owners):
            yield _of_kubernetes(one)


def _of_kubernetes(one: Json) -> Scaler:
    name, spec = str(one["metadata"]["name"]), one.get("spec") or {}
    least, most = int(spec.get("minReplicas") or 1), int(spec.get("maxReplicas") or 1)
    remedy = "let the plan apply its minReplicas and maxReplicas instead, or delete it for the time of the run"
    return Scaler(f"HorizontalPodAutoscaler {name}", _target(spec), least, most, remedy)


def _of_keda(one: Json) -> Scaler:
    name, spec = str(one["metadata"]["name"]), one.get("spec") or {}
    least = int(spec.get("minReplicaCount") or 0)
    most = int(spec.get("maxReplicaCount") or USUAL_MOST)
    remedy = (
        "let the plan apply its minReplicaCount and maxReplicaCount instead, or pause it for the time of the run "
        f"(the annotation {_PAUSED[0]})"
    )
    return Scaler(f"ScaledObject {name}", _target(spec), least, most, remedy)


def _target(spec: Json) -> str:
    found = spec.get("scaleTargetRef") or {}
    return f"{str(found.get('kind') or 'Deployment').lower()}/{found.get('name', '')}"
