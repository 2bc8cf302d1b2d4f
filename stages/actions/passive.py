"""Actions that touch nothing: wait a while, ask a person to do something, tell somebody, verify what was done."""

from pydantic import Field

from stages.actions.base import Action
from stages.checks import Check
from stages.values import Duration


class Passive(Action):
    @property
    def has_undo(self) -> bool:
        return True


class WaitAction(Passive):
    wait: Duration

    def describe(self) -> str:
        return f"wait {self.wait:g}s"


class ManualAction(Passive):
    manual: str = Field(min_length=1)
    by: tuple[str, ...] = ()
    optional: bool = False

    def describe(self) -> str:
        return self.manual


class NotifyAction(Passive):
    notify: str
    message: str = Field(min_length=1)

    def describe(self) -> str:
        return f"tell {self.notify}: {self.message}"


class VerifyAction(Passive):
    """``verify`` of the action before it, as an act of its own. Never written in a plan.

    With *unless_skipped* nothing is asked if that action would have changed nothing.
    """

    checks: tuple[Check, ...]
    unless_skipped: bool = False

    def describe(self) -> str:
        return "verify " + ", ".join(check.name for check in self.checks)
