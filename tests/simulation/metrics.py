"""What is measured, and the bounds that every criterion shares."""

from dataclasses import dataclass

PASS, FAIL = "< 0.05", "> 0.10"


@dataclass(frozen=True)
class Metric:
    """One series. *regresses_at*: from this percentage of its flag (or of a version's pods, by the name of its
    Deployment) on it is bad, in the environment named (or all)."""

    name: str
    flag: str
    regresses_at: float | None = None
    environment: str | None = None
