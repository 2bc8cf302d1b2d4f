"""Learns which tool to take for a user: what is usual, corrected by what the history says of that user."""

from typing import Any

PRIOR = (1.0, 1.0)  # of a Beta distribution: nothing is known of a new tool


class BayesianLearner:
    """The chance that a tool helps, from how often it did."""

    def __init__(self, good: float = PRIOR[0], bad: float = PRIOR[1]) -> None:
        self._good, self._bad = good, bad

    def learned(self, successes: float, failures: float) -> "BayesianLearner":
        return BayesianLearner(self._good + successes, self._bad + failures)

    @property
    def mean(self) -> float:
        return self._good / (self._good + self._bad)


class ToolPreferenceRouter:
    """*history* is a ToolHistoryService, or what looks like one."""

    def __init__(self, history: Any) -> None:
        self._history = history

    def usual(self, tool: str) -> float:
        """What everybody met with it, which counts as at most ten executions, so that a user's own soon weigh more."""
        everybody = self._history.get_tool_statistics(tool)
        failures = everybody.executions - everybody.successes
        weight = min(1.0, 10.0 / everybody.executions) if everybody.executions else 0.0
        return BayesianLearner().learned(everybody.successes * weight, failures * weight).mean

    def score(self, user_id: int, tool: str) -> float:
        own = self._history.get_tool_success_rate(user_id, tool)
        return self.usual(tool) if own is None else (self.usual(tool) + 2 * own) / 3

    def ranked(self, user_id: int, tools: list[str]) -> list[str]:
        """Best first; those that a user prefers come before those that he never had."""
        preferred = {one.tool_name for one in self._history.get_user_preferred_tools(user_id)}
        scores = {tool: self.score(user_id, tool) for tool in tools}
        return sorted(tools, key=lambda tool: (-scores[tool], tool not in preferred, tool))

    def best(self, user_id: int, tools: list[str]) -> str:
        return self.ranked(user_id, tools)[0]
