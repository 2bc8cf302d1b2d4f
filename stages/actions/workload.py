"""Actions on Kubernetes workloads and objects: scale, image, apply, restart, job."""

from pydantic import Field

from stages.actions.base import Action
from stages.values import Json


class WorkloadAction(Action):
    """Base of the actions on a cluster; ``kubernetes`` overrides the context and namespace of the stage."""

    kubernetes: dict[str, Json] | None = None


class ScaleAction(WorkloadAction):
    scale: str
    replicas: int = Field(ge=0)

    @property
    def has_undo(self) -> bool:
        return True

    def describe(self) -> str:
        return f"scale {self.scale} to {self.replicas}"


class ImageAction(WorkloadAction):
    image: str
    to: str
    container: str | None = None

    @property
    def has_undo(self) -> bool:
        return True

    def describe(self) -> str:
        return f"set the image of {self.image} to {self.to}"


class ApplyAction(WorkloadAction):
    apply: str

    @property
    def has_undo(self) -> bool:
        return True

    def describe(self) -> str:
        return f"apply {self.apply}"


class RestartAction(WorkloadAction):
    restart: str

    def describe(self) -> str:
        return f"restart {self.restart}"


class JobAction(WorkloadAction):
    job: str

    def describe(self) -> str:
        return f"run the job {self.job}"
