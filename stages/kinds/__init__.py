"""Stage kinds: one file a kind (``monitoring``, ``batch`` and ``queue`` are one kind in code: exposure)."""

from typing import Annotated

from pydantic import Field

from stages.kinds.backfill import BackfillStage
from stages.kinds.base import Context, Stage
from stages.kinds.exposure import BatchStage, MonitoringStage, QueueStage
from stages.kinds.migration import MigrationStage
from stages.kinds.steps import StepsStage
from stages.kinds.version import VersionStage

AnyStage = Annotated[
    MigrationStage | MonitoringStage | QueueStage | BatchStage | StepsStage | BackfillStage | VersionStage,
    Field(discriminator="kind"),
]

__all__ = ["AnyStage", "Context", "Stage"]
