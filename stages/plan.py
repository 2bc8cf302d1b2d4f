"""The plan document: its whole language, as models. What it means is compiled by :mod:`stages.compile`."""

from itertools import pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from stages.checks import Approval, Check
from stages.cluster import Kubernetes
from stages.command_pod import Resources
from stages.flag_spec import FlagSpec
from stages.flag_systems import FlagSystemSection
from stages.gates import Gate
from stages.kinds import AnyStage
from stages.kinds.base import AnyBake, Names
from stages.notify import Notify
from stages.questions import RollbackSection
from stages.success import FollowUp, SuccessCriterion
from stages.triggers import Trigger
from stages.values import Duration, Name, Part, Percentage, SecretRef, TextOrSecret
from stages.windows import Window

API_VERSION = "stagedrollout.io/v1alpha1"


class BasicAuth(Part):
    username: TextOrSecret
    password: SecretRef


class Tls(Part):
    """Whom to trust, and the certificate to show. Texts are paths of files in PEM form, relative to the plan."""

    ca: TextOrSecret | None = None
    cert: TextOrSecret | None = None
    key: TextOrSecret | None = None
    server_name: str | None = None
    insecure_skip_verify: bool = False

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.cert is None) != (self.key is None):
            raise ValueError("tls has cert and key, or neither: one is of no use without the other")
        if self.insecure_skip_verify and self.ca is not None:
            raise ValueError("tls has ca or insecure_skip_verify, not both: nothing would be verified by ca")
        return self


class Prometheus(Part):
    """A server that answers the Prometheus HTTP API. *scrape_interval* says how fresh its samples can be."""

    url: str
    timeout: Duration = 5.0
    scrape_interval: Duration = 15.0
    headers: dict[str, TextOrSecret] = Field(default_factory=dict)
    bearer: SecretRef | None = None
    basic: BasicAuth | None = None
    tls: Tls | None = None

    @model_validator(mode="after")
    def _tls_is_used(self) -> Self:
        if self.tls is not None and not self.url.lower().startswith("https://"):
            raise ValueError(
                "tls is for a url that begins with https://; without, everything would be sent in the open"
            )
        return self


class SourceSection(Part):
    prometheus: Prometheus | None = None
    database: TextOrSecret | None = None


class Commands(Part):
    """With an *image*, commands run as Jobs of the plan's cluster, else as processes where the controller is."""

    dir: str | None = None
    vars: dict[str, TextOrSecret] = Field(default_factory=dict)
    timeout: Duration = 300.0
    image: Annotated[str, Field(pattern=r"^\S+$", max_length=1000)] | None = None
    service_account: Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=253)] | None = None
    user: int | None = Field(default=None, ge=1)
    resources: Resources | None = None

    @model_validator(mode="after")
    def _of_an_image(self) -> Self:
        given = [name for name in ("service_account", "user", "resources") if getattr(self, name) is not None]
        if self.image is None and given:
            raise ValueError(f"{given[0]} is for commands that run in an image; name that too (image)")
        return self


class WatchPhaseSection(Part):
    name: Name
    from_: Duration = Field(default=0.0, alias="from")
    to: Duration
    gate: Names = ()
    checks: tuple[Check, ...] = ()
    every: Duration | None = Field(default=None, gt=0)
    on_fail: Literal["rollback", "pause"] = "rollback"

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.to <= self.from_:
            raise ValueError("a phase of the watch ends after it begins")
        return self


AnyWatch = Duration | tuple[WatchPhaseSection, ...]


class EnvironmentSection(Part):
    name: Name
    values: dict[str, str | int | float | bool] = Field(default_factory=dict)
    percentages: tuple[Percentage, ...] | None = None
    bake: AnyBake | None = None
    watch: AnyWatch | None = None
    sign_off: Approval | Literal["none"] | None = None
    checks: tuple[Check, ...] = ()
    approval: Approval | None = None
    window: Window | None = None
    prometheus: Prometheus | None = None
    kubernetes: Kubernetes | None = None
    database: TextOrSecret | None = None
    flag_systems: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _rising(self) -> Self:
        levels = self.percentages
        if levels is not None and (not levels or any(b <= a for a, b in pairwise(levels))):
            raise ValueError("the percentages of an environment rise from step to step, and there is at least one")
        return self


class Metadata(Part):
    name: Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=63)]
    namespace: str | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)


def without_extensions(value: Any) -> Any:
    """``x-...`` keys under ``spec`` are a home for YAML anchors and mean nothing."""
    if isinstance(value, dict):
        return {key: entry for key, entry in value.items() if not (isinstance(key, str) and key.startswith("x-"))}
    return value


class PlanSpec(Part):
    owner: str | None = None
    description: str | None = None
    links: dict[str, str] | tuple[str, ...] = ()
    contacts: dict[str, str] | tuple[str, ...] = ()
    prometheus: Prometheus | None = None
    sources: dict[str, SourceSection] = Field(default_factory=dict)
    commands: Commands = Commands()
    kubernetes: Kubernetes | None = None
    database: TextOrSecret | None = None
    flags: dict[str, FlagSpec] = Field(default_factory=dict)
    flag_systems: dict[str, FlagSystemSection] = Field(default_factory=dict)
    checks: tuple[Check, ...] = ()
    approval: Approval | None = None
    window: Window | None = None
    triggers: tuple[Trigger, ...] = ()
    gates: dict[str, Gate] = Field(default_factory=dict)
    stages: tuple[AnyStage, ...] = Field(min_length=1)
    environments: tuple[EnvironmentSection, ...] = ()
    watch: AnyWatch = 0.0
    sign_off: Approval | None = None
    rollback: RollbackSection = RollbackSection()
    success: tuple[SuccessCriterion, ...] = ()
    follow_up: tuple[FollowUp, ...] = ()
    notify: Notify = Notify()
    deletionPolicy: Literal["keep", "rollback"] = "keep"  # noqa: N815 - the name that a Kubernetes user writes


class StagedRollout(Part):
    apiVersion: Literal["stagedrollout.io/v1alpha1"]  # noqa: N815 - Kubernetes' own name
    kind: Literal["StagedRollout"]
    metadata: Metadata
    spec: Annotated[PlanSpec, BeforeValidator(without_extensions)]
