"""Where the commands of a plan that names an image run: as Jobs of its cluster, each in a pod of its own."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from stages.cluster import Kubernetes
from stages.values import Part

Quantity = Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti)?$")]


class Resources(Part):
    """As Kubernetes writes them: ``{requests: {cpu: 100m, memory: 64Mi}, limits: {memory: 256Mi}}``."""

    requests: dict[str, Quantity] = Field(default_factory=dict)
    limits: dict[str, Quantity] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CommandPod:
    """*user*: the number of the user to run as, where the image does not name one. *has_files*: something is mounted;
    *has_secrets*: some command is given a secret.
    """

    image: str
    place: Kubernetes
    service_account: str | None = None
    user: int | None = None
    requests: Mapping[str, str] | None = None
    limits: Mapping[str, str] | None = None
    has_files: bool = False
    has_secrets: bool = False
