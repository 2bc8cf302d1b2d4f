"""Actions that touch nothing: wait a while, ask a person to do something, tell somebody."""

from pydantic import Field

from stages.actions.base import Action
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
