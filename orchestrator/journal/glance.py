"""A run seen in passing: what a command that has something to show already needs, to know whether it is still true."""

from dataclasses import dataclass
from typing import Final

MOST_RUNS: Final = 1000


@dataclass(frozen=True, slots=True)
class Glance:
    """``rev`` is the number of the run's newest event; ``kept``: since when only its report is kept."""

    run: str
    plan: str
    digest: str
    rev: int
    kept: float | None = None
