"""``version``: move an application from one image to another, by replicas or by traffic."""

from typing import Literal

from pydantic import Field

from stages.kinds.base import Stage
from stages.values import Percentage


class VersionStage(Stage):
    kind: Literal["version"]
    workload: str
    canary: str | None = None
    route: str | None = None
    container: str | None = None
    image: str
    percentages: tuple[Percentage, ...] = Field(default=(), min_length=1)
