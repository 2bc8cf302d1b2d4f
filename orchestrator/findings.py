"""What a survey found, each in one sentence."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """An *error* would stop or hold the run at once; a *warning* may; the rest is worth knowing."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Finding:
    level: Level
    where: str
    sentence: str
