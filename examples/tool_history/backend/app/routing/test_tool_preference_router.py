"""The router over a history that is made up."""

import importlib
from types import SimpleNamespace
from typing import Any

preference = importlib.import_module("app.routing.tool_preference_router")


class History:
    """*rates*: what the user met with each tool."""

    def __init__(self, **rates: float) -> None:
        self._rates = rates

    def get_tool_statistics(self, tool_name: str) -> Any:
        return SimpleNamespace(executions=10, successes=5)

    def get_tool_success_rate(self, user_id: int, tool_name: str) -> float | None:
        return self._rates.get(tool_name)

    def get_user_preferred_tools(self, user_id: int) -> list[Any]:
        return [SimpleNamespace(tool_name=name) for name in self._rates]


def test_what_helped_the_user_comes_first_and_what_failed_last() -> None:
    router = preference.ToolPreferenceRouter(History(notes=0.1, search=0.9))
    assert router.ranked(1, ["notes", "planner", "search"]) == ["search", "planner", "notes"]


def test_with_no_history_every_tool_is_as_good() -> None:
    router = preference.ToolPreferenceRouter(History())
    assert router.ranked(1, ["search", "notes"]) == ["notes", "search"]


def test_a_learner_believes_what_it_sees() -> None:
    assert preference.BayesianLearner().mean == 0.5
    assert preference.BayesianLearner().learned(8, 0).mean == 0.9
