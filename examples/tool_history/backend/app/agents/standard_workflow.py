"""How a message is answered."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

TOOLS = ["search", "notes", "planner", "quiz"]


def answer_to(text: str, tool: str) -> str:
    return f"{tool} has this on {text!r}"


# --- with the tool history ---

INTENTS = {
    "exam_preparation": ("exam", "期末", "考试"),
    "task_decomposition": ("break down", "split", "steps"),
    "error_diagnosis": ("error", "wrong", "fails"),
    "deep_learning": ("understand", "in depth", "why"),
    "skill_building": ("practise", "get better", "skill"),
    "quick_task": ("quick", "remind", "convert"),
}
WORKFLOWS = {
    "exam_preparation": "TaskDecompositionWorkflow",
    "task_decomposition": "TaskDecompositionWorkflow",
    "error_diagnosis": "ErrorDiagnosisWorkflow",
    "deep_learning": "ProgressiveExplorationWorkflow",
    "skill_building": "ProgressiveExplorationWorkflow",
}
AGENTS = {
    "TaskDecompositionWorkflow": ["planner", "notes", "quiz"],
    "ErrorDiagnosisWorkflow": ["search", "notes"],
    "ProgressiveExplorationWorkflow": ["search", "notes", "quiz"],
}


@dataclass(frozen=True, slots=True)
class Card:
    """What the user can do next. *origin*: whose words these are."""

    title: str
    steps: tuple[str, ...]
    origin: str

    @property
    def is_valid(self) -> bool:
        return bool(self.title and self.steps)


def intent_of(text: str) -> str | None:
    """The first whose words are in it."""
    said = text.lower()
    return next((intent for intent, words in INTENTS.items() if any(word in said for word in words)), None)


def workflow_for(intent: str | None) -> str | None:
    """None where one agent is enough."""
    return WORKFLOWS.get(intent or "")


def collaborate(workflow: str, first: str, run: Callable[[str], bool]) -> dict[str, bool]:
    """Its agents, one after the other, the preferred one first; whether each went well."""
    agents = sorted(AGENTS[workflow], key=lambda agent: agent != first)
    return {agent: run(agent) for agent in agents}


def card_for(workflow: str, outcomes: dict[str, bool], told: Callable[[str, dict[str, bool]], Any]) -> Card:
    """There is always one: *told* is asked for it (title and steps), and where it says nothing usable, a plain one."""
    said = told(workflow, outcomes)
    if said and all(said):
        return Card(said[0], tuple(said[1]), "model")
    return Card(f"Next after {workflow}", tuple(f"go on with {agent}" for agent in outcomes), "fallback")
