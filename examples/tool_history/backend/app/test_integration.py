"""Parts of the application together, on the database of DATABASE_URL."""

import importlib
import os
import threading

import psycopg

USER = 999_002


def test_integration_what_the_executor_records_the_router_learns_from() -> None:
    service = importlib.import_module("app.services.tool_history_service").ToolHistoryService
    execution = importlib.import_module("app.models.tool_history").Execution
    written = threading.Semaphore(0)
    with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
        history = service(connection)
        recorder = importlib.import_module("app.orchestration.executor").Recorder(
            history.record_tool_execution, lambda _: written.release()
        )
        for tool, success in (("quiz", True), ("notes", False)) * 3:
            recorder.record(execution(USER, tool, success, 30))
        assert all(written.acquire(timeout=30) for _ in range(6))
        router = importlib.import_module("app.routing.tool_preference_router").ToolPreferenceRouter(history)
        first = importlib.import_module("app.routing.router_node").first_by_preference
        assert first(router, USER, ["notes", "quiz"]) == "quiz"
        connection.rollback()


def test_integration_each_workflow_ends_with_a_card() -> None:
    workflow = importlib.import_module("app.agents.standard_workflow")
    for name in set(workflow.WORKFLOWS.values()):
        outcomes = workflow.collaborate(name, "notes", lambda _: True)
        assert next(iter(outcomes)) == "notes"
        assert workflow.card_for(name, outcomes, lambda *_: None).is_valid
