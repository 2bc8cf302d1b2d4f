"""Which tool an answer begins with."""

from typing import Any


def first_of(tools: list[str]) -> str:
    """The one that always was the first."""
    return tools[0]


# --- with the tool history ---


def first_by_preference(router: Any, user_id: int, tools: list[str]) -> str:
    """The one that the user's history speaks for."""
    return str(router.best(user_id, tools))
