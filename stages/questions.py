"""The ``rollback`` section of a plan or a stage, and the questions that are put to people on the way back."""

from stages.actions import AnyAction
from stages.checks import Check
from stages.values import Duration, Part


class Question(Part):
    """A yes/no question to a person; on yes its actions are performed and its checks asked."""

    question: str
    by: tuple[str, ...] = ()
    actions: tuple[AnyAction, ...] = ()
    verify: tuple[Check, ...] = ()
    timeout: Duration = 86400.0


class RollbackSection(Part):
    before: tuple[AnyAction, ...] = ()
    after: tuple[AnyAction, ...] = ()
    verify: tuple[Check, ...] = ()
    within: Duration | None = None
    ask: tuple[Question, ...] = ()
