"""What the plan language has and this version does not bring to life yet. Refused, so that nothing is ignored.

To bring something to life, take its line out.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from stages.actions import ApplyAction, ImageAction, JobAction, RestartAction, ScaleAction
from stages.kinds.base import Stage
from stages.kinds.exposure import QueueStage
from stages.kinds.version import VersionStage
from stages.notify import Channel
from stages.plan import Commands, EnvironmentSection, Metadata, PlanSpec, ScheduledChecks
from stages.problems import Path
from stages.values import SecretRef
from stages.walk import Place

_ANY = object()


@dataclass(frozen=True, slots=True)
class Later:
    """*field* of *part* (all of the part if it is None; only with *value* if one is given), in words."""

    part: type[BaseModel]
    words: str
    field: str | None = None
    value: Any = _ANY

    def place(self, place: Place) -> Path | None:
        """Where it was written, if it was."""
        if not isinstance(place.part, self.part):
            return None
        if self.field is None:
            return place.path
        field = type(place.part).model_fields[self.field]
        is_written = self.field in place.part.model_fields_set
        if not is_written or (self.value is not _ANY and getattr(place.part, self.field) != self.value):
            return None
        return (*place.path, field.alias or self.field)


LATER: tuple[Later, ...] = (
    Later(ScheduledChecks, "documents of kind ScheduledChecks"),
    Later(VersionStage, "stages of kind version"),
    Later(Stage, "Kubernetes settings of a stage", "kubernetes"),
    Later(QueueStage, "workloads of a queue stage", "workload"),
    Later(QueueStage, "scaling on load", "replicas"),
    Later(ScaleAction, "scaling a workload"),
    Later(ImageAction, "setting an image"),
    Later(ApplyAction, "applying a manifest"),
    Later(RestartAction, "restarting a workload"),
    Later(JobAction, "running a Kubernetes job"),
    Later(PlanSpec, "Kubernetes settings", "kubernetes"),
    Later(EnvironmentSection, "Kubernetes settings of an environment", "kubernetes"),
    Later(PlanSpec, "a rollback when the object is deleted", "deletionPolicy", "rollback"),
    Later(Metadata, "namespaces", "namespace"),
    Later(Commands, "running commands in an image", "image"),
    Later(Commands, "running commands under a service account", "service_account"),
    Later(SecretRef, "secrets of Kubernetes (use env or file)", "secret"),
    Later(Channel, "Slack channels (use webhook)", "slack"),
    Later(Channel, "Teams channels (use webhook)", "teams"),
    Later(Channel, "e-mail channels (use webhook)", "email"),
    Later(Channel, "PagerDuty channels (use webhook)", "pagerduty"),
    Later(Channel, "Opsgenie channels (use webhook)", "opsgenie"),
    Later(Channel, "Apprise channels (use webhook)", "apprise"),
)


def refusals(place: Place) -> Iterator[tuple[Path, str]]:
    """What of this part a later version brings: path and sentence."""
    for later in LATER:
        path = later.place(place)
        if path is not None:
            yield path, f"not in this version yet, but in a later one: {later.words}"
