"""The team's application, out of the folder that was deployed: with the history of tools where that code has it."""

import contextlib
import importlib
import logging
import random
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from examples.tool_history.metrics import Metrics

Json = dict[str, Any]
TOOL_SECONDS = 0.3  # so that a collaboration of two or three takes what the team's takes
log = logging.getLogger("assistant")


@dataclass
class Knobs:
    """What can be made to go wrong."""

    healthy: bool = True
    grpc: bool = True
    websocket: bool = True
    errors: float = 0.0
    slow_seconds: float = 0.0
    workflows: bool = True
    cards: bool = True


class Assistant:
    def __init__(self, release: Path, database: str, metrics: Metrics) -> None:
        sys.path.insert(0, str(release / "backend"))
        self.release = release.name
        self.knobs = Knobs()
        self._metrics = metrics
        self._workflow = importlib.import_module("app.agents.standard_workflow")
        self._executor = importlib.import_module("app.orchestration.executor")
        self._router = importlib.import_module("app.routing.router_node")
        self._connection = psycopg.connect(database, autocommit=True)
        self.history = _History(database, self, metrics) if hasattr(self._executor, "Recorder") else None

    def is_healthy(self) -> bool:
        with contextlib.suppress(psycopg.Error):
            return self.knobs.healthy and self._connection.execute("SELECT 1").fetchone() == (1,)
        return False

    @property
    def tools(self) -> list[str]:
        found: list[str] = self._workflow.TOOLS
        return found

    def answer(self, user_id: int, text: str) -> Json:
        """What it always has in it: `answer` and `tool`. With the history, also what the message led to."""
        if random.random() < self.knobs.errors:
            self._metrics.messages.labels("error").inc()
            log.error("a message was not answered")
            raise RuntimeError("the model is away")
        tool = self._first(user_id)
        said = {"answer": self._workflow.answer_to(text, tool), "tool": tool}
        if self.history is not None:
            said |= self._collaboration(user_id, text, tool)
        self._metrics.messages.labels("ok").inc()
        return said

    def _first(self, user_id: int) -> str:
        with self._metrics.decision_seconds.labels("no" if self.history is None else "yes").time():
            if self.history is None:
                return str(self._router.first_of(self.tools))
            return str(self._router.first_by_preference(self.history.router, user_id, self.tools))

    def _collaboration(self, user_id: int, text: str, first: str) -> Json:
        intent = self._workflow.intent_of(text)
        name = self._workflow.workflow_for(intent) if self.knobs.workflows else None
        if intent is not None:
            self._metrics.collaborations.labels(intent, name or "none").inc()
        if name is None:
            self._run(user_id, first)
            return {"intent": intent, "workflow": None, "action_card": None}
        with self._metrics.workflow_seconds.labels(name).time():
            outcomes = self._workflow.collaborate(name, first, lambda tool: self._run(user_id, tool))
        card = self._workflow.card_for(name, outcomes, self._model)
        valid = card.is_valid and self.knobs.cards
        self._metrics.cards.labels(card.origin, "yes" if valid else "no").inc()
        said = {"title": card.title, "steps": list(card.steps), "origin": card.origin, "valid": valid}
        return {"intent": intent, "workflow": name, "action_card": said}

    def _run(self, user_id: int, tool: str) -> bool:
        success, milliseconds = self._executor.run_tool(lambda: _works(tool))
        if self.history is not None:
            self.history.record(user_id, tool, success, round(milliseconds))
        return bool(success)

    def _model(self, workflow: str, outcomes: dict[str, bool]) -> tuple[str, list[str]] | None:
        """Now and then it says nothing that could be used."""
        return None if random.random() < 0.3 else (f"{workflow} is through", [f"look at {one}" for one in outcomes])


def _works(tool: str) -> bool:
    time.sleep(TOOL_SECONDS)
    return random.random() < (0.6 if tool == "search" else 0.95)


class _History:
    """The deployed service, timed. Its queries share a connection, its writer has one of its own."""

    def __init__(self, database: str, assistant: Assistant, metrics: Metrics) -> None:
        service = importlib.import_module("app.services.tool_history_service").ToolHistoryService
        self._execution = importlib.import_module("app.models.tool_history").Execution
        self._assistant, self._metrics = assistant, metrics
        self._lock = threading.Lock()
        self._connection = psycopg.connect(database, autocommit=True)
        self._service = service(self._connection)
        writing = service(psycopg.connect(database, autocommit=True))
        recorder = importlib.import_module("app.orchestration.executor").Recorder
        self._recorder = recorder(writing.record_tool_execution, self._told)
        self.router = importlib.import_module("app.routing.tool_preference_router").ToolPreferenceRouter(self)

    def _told(self, written: bool) -> None:
        self._metrics.recorded.labels("yes" if written else "no").inc()

    def record(self, user_id: int, tool: str, success: bool, milliseconds: int) -> None:
        with self._metrics.record_seconds.time():
            self._recorder.record(self._execution(user_id, tool, success, milliseconds))

    def get_tool_success_rate(self, user_id: int, tool_name: str) -> Any:
        return self._timed("success_rate", user_id, tool_name)

    def get_user_preferred_tools(self, user_id: int, limit: int = 5) -> Any:
        return self._timed("preferred_tools", user_id, limit)

    def get_tool_statistics(self, tool_name: str) -> Any:
        return self._timed("statistics", tool_name)

    def update_user_satisfaction(self, user_id: int, tool_name: str, score: int) -> int:
        with self._lock:
            return int(self._service.update_user_satisfaction(user_id, tool_name, score))

    def _timed(self, operation: str, *about: object) -> Any:
        ask = {
            "success_rate": self._service.get_tool_success_rate,
            "preferred_tools": self._service.get_user_preferred_tools,
            "statistics": self._service.get_tool_statistics,
        }[operation]
        with self._lock, self._metrics.query_seconds.labels(operation).time():
            if self._assistant.knobs.slow_seconds:  # the server itself takes its time
                self._connection.execute("SELECT pg_sleep(%s)", (self._assistant.knobs.slow_seconds,))
            return ask(*about)
