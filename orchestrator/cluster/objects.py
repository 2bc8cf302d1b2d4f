"""The objects as the controller reads them: what is of use of each, and no more. Texts, so that thousands are small."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from orchestrator.crd.objects import BUNDLE_ANNOTATION, CREATED_BY_ANNOTATION, CREATED_BY_GROUPS_ANNOTATION, GROUP
from stages.plan import API_VERSION
from stages.values import Json

FINALIZER = f"{GROUP}/rollback"
ROLLOUT_KIND, COMMAND_KIND = "StagedRollout", "StagedRolloutCommand"


@dataclass(frozen=True, slots=True)
class Rollout:
    """A StagedRollout. *created_by* and *created_by_groups* are what a policy of the cluster holds to be the user who
    wrote its spec, and groups of theirs."""

    namespace: str
    name: str
    uid: str
    generation: int
    resource_version: str
    created_by: str | None
    created_by_groups: tuple[str, ...]
    bundle: str | None
    is_deleted: bool
    finalizers: tuple[str, ...]
    rolls_back_when_deleted: bool
    spec_text: str
    status_text: str

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> "Rollout":
        metadata, spec = body["metadata"], body.get("spec") or {}
        annotations = metadata.get("annotations") or {}
        return cls(
            namespace=str(metadata["namespace"]),
            name=str(metadata["name"]),
            uid=str(metadata["uid"]),
            generation=int(metadata.get("generation", 1)),
            resource_version=str(metadata.get("resourceVersion", "")),
            created_by=annotations.get(CREATED_BY_ANNOTATION) or None,
            created_by_groups=_lines(annotations.get(CREATED_BY_GROUPS_ANNOTATION)),
            bundle=annotations.get(BUNDLE_ANNOTATION) or None,
            is_deleted="deletionTimestamp" in metadata,
            finalizers=tuple(metadata.get("finalizers") or ()),
            rolls_back_when_deleted=isinstance(spec, dict) and spec.get("deletionPolicy") == "rollback",
            spec_text=_compact(spec),
            status_text=_compact(body.get("status") or {}),
        )

    @property
    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.status_text)
        return found

    @property
    def document(self) -> dict[str, Json]:
        """The plan, with nothing of the object that does not belong to it: the digest is over this."""
        return {
            "apiVersion": API_VERSION,
            "kind": ROLLOUT_KIND,
            "metadata": {"name": self.name, "namespace": self.namespace},
            "spec": json.loads(self.spec_text),
        }

    @property
    def has_finalizer(self) -> bool:
        return FINALIZER in self.finalizers

    @property
    def reference(self) -> dict[str, str]:
        """As Events refer to it."""
        named = {"namespace": self.namespace, "name": self.name, "uid": self.uid}
        return {"apiVersion": API_VERSION, "kind": ROLLOUT_KIND, **named}


@dataclass(frozen=True, slots=True)
class CommandObject:
    """A StagedRolloutCommand. *created* and *answered* in seconds since the epoch; None: not answered yet."""

    name: str
    uid: str
    created: float
    rollout: str
    is_deleted: bool
    answered: float | None
    spec_text: str

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> "CommandObject":
        metadata, spec, status = body["metadata"], body.get("spec") or {}, body.get("status") or {}
        created = seconds(metadata.get("creationTimestamp")) or 0.0
        return cls(
            name=str(metadata["name"]),
            uid=str(metadata["uid"]),
            created=created,
            rollout=str(spec.get("rollout", "")),
            is_deleted="deletionTimestamp" in metadata,
            answered=(seconds(status.get("at")) or created) if status else None,
            spec_text=_compact(spec),
        )


def _lines(text: str | None) -> tuple[str, ...]:
    """As the policy reads them."""
    return tuple(line.strip() for line in (text or "").split("\n") if line.strip())


def seconds(time: str | None) -> float | None:
    """Of a time as Kubernetes writes it."""
    return datetime.fromisoformat(time).timestamp() if time else None


def _compact(value: Json) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
