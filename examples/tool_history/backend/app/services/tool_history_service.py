"""What is asked of the history of tools, and written into it."""

import importlib
from typing import Any

models = importlib.import_module("app.models.tool_history")
INSERT = (
    "INSERT INTO user_tool_history (user_id, tool_name, success, execution_time_ms, context_snapshot)"
    " VALUES (%s, %s, %s, %s, %s)"
)
# a tool that nobody has tried yet counts as one that helped every other time
PREFERRED = """
    SELECT tool_name, (count(*) FILTER (WHERE success) + 1.0) / (count(*) + 2.0) AS score
    FROM (
        SELECT tool_name, success FROM user_tool_history WHERE user_id = %s ORDER BY created_at DESC LIMIT 200
    ) AS newest
    GROUP BY tool_name ORDER BY score DESC, tool_name LIMIT %s
"""
NEWEST_OF_TOOL = (
    "SELECT success, execution_time_ms FROM user_tool_history WHERE tool_name = %s ORDER BY created_at DESC LIMIT 200"
)


class ToolHistoryService:
    """*connection* is a psycopg connection that commits by itself."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def record_tool_execution(self, execution: Any) -> None:
        self._connection.execute(INSERT, execution.row)

    def get_tool_success_rate(self, user_id: int, tool_name: str) -> float | None:
        """None if the user never had it."""
        rate = self._one(
            "SELECT avg(success::int) FROM (SELECT success FROM user_tool_history WHERE user_id = %s AND tool_name = %s"
            " ORDER BY created_at DESC LIMIT 200) AS newest",
            (user_id, tool_name),
        )
        return None if rate is None else float(rate)

    def get_user_preferred_tools(self, user_id: int, limit: int = 5) -> list[Any]:
        found = self._connection.execute(PREFERRED, (user_id, limit)).fetchall()
        return [models.Preference(name, float(score)) for name, score in found]

    def get_tool_statistics(self, tool_name: str) -> Any:
        newest = self._connection.execute(NEWEST_OF_TOOL, (tool_name,)).fetchall()
        mean = sum(milliseconds for _, milliseconds in newest) / len(newest) if newest else 0.0
        return models.Statistics(len(newest), sum(success for success, _ in newest), mean)

    def get_recent_failed_tools(self, user_id: int, limit: int = 5) -> list[str]:
        found = self._connection.execute(
            "SELECT tool_name FROM user_tool_history WHERE user_id = %s AND NOT success"
            " ORDER BY created_at DESC LIMIT %s",
            (user_id, limit),
        )
        return [name for (name,) in found.fetchall()]

    def update_user_satisfaction(self, user_id: int, tool_name: str, score: int) -> int:
        """Of the newest execution; how many rows that were."""
        done = self._connection.execute(
            "UPDATE user_tool_history SET user_satisfaction = %s WHERE id = (SELECT id FROM user_tool_history"
            " WHERE user_id = %s AND tool_name = %s ORDER BY created_at DESC LIMIT 1)",
            (score, user_id, tool_name),
        )
        return int(done.rowcount)

    def cleanup_old_records(self, days: int = 90) -> int:
        """Removes what is older; how many rows that were."""
        done = self._connection.execute(
            "DELETE FROM user_tool_history WHERE created_at < now() - make_interval(days => %s)", (days,)
        )
        return int(done.rowcount)

    def _one(self, sql: str, values: tuple[object, ...]) -> Any:
        row = self._connection.execute(sql, values).fetchone()
        return row[0] if row else None
