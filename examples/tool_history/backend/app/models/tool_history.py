"""One execution of a tool for a user, as it is kept."""

from dataclasses import dataclass

TABLE = "user_tool_history"
COLUMNS = ("user_id", "tool_name", "success", "execution_time_ms", "context_snapshot")


@dataclass(frozen=True, slots=True)
class Execution:
    """A row that is still to be written."""

    user_id: int
    tool_name: str
    success: bool
    execution_time_ms: int
    context_snapshot: str = ""

    @property
    def row(self) -> tuple[int, str, bool, int, str]:
        return (self.user_id, self.tool_name, self.success, self.execution_time_ms, self.context_snapshot)


@dataclass(frozen=True, slots=True)
class Preference:
    """How much a tool has helped a user: 0 to 1."""

    tool_name: str
    preference_score: float


@dataclass(frozen=True, slots=True)
class Statistics:
    executions: int
    successes: int
    mean_ms: float
