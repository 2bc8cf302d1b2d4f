"""What every action has in common, and where it stands (its *site*)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import Field

from stages.checks import Check
from stages.cluster import Kubernetes
from stages.command_pod import CommandPod
from stages.effects import AnyOperation, Observation, Operation, RunCommand, Target
from stages.values import Duration, Environments, Json, Name, Part, TextOrSecret

if TYPE_CHECKING:
    from stages.flag_spec import FlagSpec

BEFORE: Final = "{before}"
FILLED: Final = ("command", "probe")  # fields of an undo's action in whose words BEFORE is filled in


@dataclass(frozen=True, slots=True)
class Site:
    """The place in a plan at which an action stands, with the defaults that hold there."""

    environment: str
    stage: str
    files: dict[str, str] = field(default_factory=dict)  # path relative to the plan -> text
    flags: "dict[str, FlagSpec]" = field(default_factory=dict)
    database: TextOrSecret | None = None
    command_dir: str | None = None
    command_vars: dict[str, TextOrSecret] = field(default_factory=dict)
    command_timeout_seconds: float = 300.0
    sql_order: tuple[str, ...] = ()  # the SQL files of a migration stage
    kubernetes: Kubernetes = field(default_factory=Kubernetes)
    command_pod: CommandPod | None = None


class Action(Part):
    """One thing that a plan asks for. Kinds are told apart by the field that only they have."""

    name: Name = ""
    environments: Environments = ()
    verify: tuple[Check, ...] = ()
    timeout: Duration | None = None
    undo: Literal["none"] | tuple[str, ...] | dict[str, Any] | None = Field(default=None, union_mode="left_to_right")

    @property
    def label(self) -> str:
        return self.name or self.describe()

    @property
    def has_undo(self) -> bool:
        """Whether the way back is known, declared, or declared away."""
        return self.undo is not None

    def describe(self) -> str:
        """What is done, in a few words."""
        raise NotImplementedError

    def target(self, site: Site) -> Target | None:
        """What is touched; None for actions that touch nothing (wait, manual, notify)."""
        return None

    def observation(self, site: Site) -> Observation | None:
        """How to see what is there before; None if nothing can be seen."""
        return None

    def observation_back(self, site: Site) -> Observation | None:
        """As ``observation``, on the way back: what the plan asks of the way forward is no matter there."""
        return self.observation(site)

    def forward(self, site: Site, current: Json) -> Operation:
        """The absolute operation that brings the target from *current* to what is asked for."""
        raise TypeError(f"{type(self).__name__} touches nothing")

    def is_done(self, site: Site, current: Json) -> bool:
        """Whether *current* already is what is asked for, so that the operation would change nothing."""
        return False

    def backward(self, site: Site, before: Json) -> Operation | None:
        """The operation that brings the target back to *before*; None if the plan declares that there is no way."""
        return declared_undo(self, site, before)


def declared_undo(action: Action, site: Site, before: Json) -> AnyOperation | None:
    """The ``undo`` that the plan declares, with ``{before}`` replaced by what was observed."""
    if action.undo is None or action.undo == "none":
        return None
    if isinstance(action.undo, dict):
        from stages.actions import parse_action  # the union of all actions knows this module, hence late

        return parse_action(_filled(action.undo, before)).forward(site, before)
    return command_operation(tuple(_words(action.undo, before)), action, site)


def _filled(undo: Mapping[str, Any], before: Json) -> dict[str, Any]:
    """An action on the way back, with what was observed in the words of its command and of its probe."""
    return {key: _words(value, before) if key in FILLED and isinstance(value, list) else value
            for key, value in undo.items()}  # fmt: skip


def _words(words: Iterable[Any], before: Json) -> list[Any]:
    text = before.get("text", "") if isinstance(before, dict) else ""
    return [word.replace(BEFORE, text) if isinstance(word, str) else word for word in words]


def command_operation(
    argv: tuple[str, ...],
    action: Action,
    site: Site,
    probe: tuple[str, ...] | None = None,
    observe: tuple[str, ...] | None = None,
) -> RunCommand:
    return RunCommand(
        argv=argv,
        dir=getattr(action, "dir", None) or site.command_dir,
        vars={**site.command_vars, **getattr(action, "vars", {})},
        timeout_seconds=action.timeout or site.command_timeout_seconds,
        probe=probe,
        observe=observe,
    )
