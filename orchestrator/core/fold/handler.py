"""What a folding function looks like. Its event is one of the class that it stands for in the table."""

from collections.abc import Callable
from typing import Any

from orchestrator.core.state import State

Handler = Callable[[State, Any, float], State]


class BrokenJournal(Exception):
    """The journal holds an event that can't follow what came before."""
