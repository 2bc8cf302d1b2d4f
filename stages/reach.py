"""Every act that a run may come to in an environment: of its stages and triggers, of the way back, and of answers."""

from collections.abc import Iterator

from stages.actions import parse_action
from stages.kinds.base import acts
from stages.questions import Question
from stages.step import Act, EnvironmentProgram, RollbackProgram


def reachable_acts(environment: EnvironmentProgram) -> Iterator[Act]:
    """Declared undos that are actions come after what they undo."""
    for act in _written_acts(environment):
        yield act
        if isinstance(act.action.undo, dict):
            yield Act(parse_action(act.action.undo), act.site)


def _written_acts(environment: EnvironmentProgram) -> Iterator[Act]:
    for stage in environment.stages:
        yield from stage.acts()
        asked = [stage.schema_question, stage.backup.restore if stage.backup is not None else None]
        yield from _way_back(environment, stage.rollback, *filter(None, asked))
    for entries in environment.trigger_acts.values():
        yield from entries
    yield from _way_back(environment, environment.rollback)


def _way_back(environment: EnvironmentProgram, section: RollbackProgram, *asked: Question) -> Iterator[Act]:
    yield from (*section.before, *section.after)
    for question in (*section.ask, *asked):
        yield from acts(question.actions, environment.site)
