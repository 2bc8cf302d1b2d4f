"""The service against the database of DATABASE_URL, in a transaction that never ends well."""

import importlib
import os
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

USER = 999_001


@pytest.fixture
def service() -> Iterator[Any]:
    with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
        yield importlib.import_module("app.services.tool_history_service").ToolHistoryService(connection)
        connection.rollback()


def record(service: Any, tool: str, *, success: bool) -> None:
    execution = importlib.import_module("app.models.tool_history").Execution
    service.record_tool_execution(execution(USER, tool, success, 40))


def test_a_success_rate_is_the_share_of_executions_that_went_well(service: Any) -> None:
    for success in (True, True, False, True):
        record(service, "notes", success=success)
    assert service.get_tool_success_rate(USER, "notes") == 0.75
    assert service.get_tool_success_rate(USER, "never used") is None


def test_a_tool_that_helps_is_preferred_to_one_that_fails(service: Any) -> None:
    for _ in range(3):
        record(service, "notes", success=True)
        record(service, "search", success=False)
    assert [one.tool_name for one in service.get_user_preferred_tools(USER, limit=5)] == ["notes", "search"]
    assert service.get_recent_failed_tools(USER, limit=1) == ["search"]


def test_statistics_count_and_satisfaction_is_kept(service: Any) -> None:
    record(service, "tool of this test", success=True)
    assert service.get_tool_statistics("tool of this test").executions == 1
    assert service.update_user_satisfaction(USER, "tool of this test", 5) == 1


def test_only_what_is_older_than_90_days_is_removed(service: Any) -> None:
    record(service, "notes", success=True)
    service.cleanup_old_records()
    assert service.get_tool_success_rate(USER, "notes") == 1.0
