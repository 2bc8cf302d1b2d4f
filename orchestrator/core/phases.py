"""Where a run can stand and where it can go from there, as data.

The core moves a run only along ``TRANSITIONS`` (the fold refuses anything else), ``COMMANDS`` says what an operator may
ask for in each phase, and the diagram in the docs is drawn from both. Nothing else in the project knows the order.
"""

from dataclasses import dataclass
from enum import StrEnum


class Phase(StrEnum):
    CHECKING = "checking"
    RUNNING = "running"
    WATCHING = "watching"
    ROLLING_BACK = "rolling_back"
    ENDED = "ended"


class Leg(StrEnum):
    """Parts of ``running``. The other phases have none."""

    ENTERING = "entering"
    PREPARING = "preparing"
    ACTING = "acting"
    SETTLING = "settling"
    BAKING = "baking"
    FINISHING = "finishing"


class Reason(StrEnum):
    """Why nothing moves. Several at once are possible."""

    PAUSED = "paused"
    FAILING = "failing"
    INCONCLUSIVE = "inconclusive"
    SHARE_MISMATCH = "share_mismatch"
    APPROVAL = "approval"
    MANUAL = "manual"
    WINDOW = "window"
    TRIGGER = "trigger"
    KILLED = "killed"
    CHANGED_ELSEWHERE = "changed_elsewhere"
    EFFECT_FAILING = "effect_failing"
    UNKNOWN_OUTCOME = "unknown_outcome"
    UNDO_FAILING = "undo_failing"
    POINT_OF_NO_RETURN = "point_of_no_return"
    NO_CONTROLLER = "no_controller"


GATE_HOLDS = frozenset({Reason.INCONCLUSIVE, Reason.SHARE_MISMATCH})
"""What a gate holds for that could neither pass nor fail."""


class CommandName(StrEnum):
    PAUSE = "pause"
    RESUME = "resume"
    APPROVE = "approve"
    REJECT = "reject"
    WITHDRAW = "withdraw"
    ADVANCE = "advance"
    ROLLBACK = "rollback"
    STOP = "stop"
    RESOLVE = "resolve"
    FIRE = "fire"
    ACK = "ack"


Place = tuple[Phase, Leg | None]

CHECKING: Place = (Phase.CHECKING, None)
ENTERING: Place = (Phase.RUNNING, Leg.ENTERING)
PREPARING: Place = (Phase.RUNNING, Leg.PREPARING)
ACTING: Place = (Phase.RUNNING, Leg.ACTING)
SETTLING: Place = (Phase.RUNNING, Leg.SETTLING)
BAKING: Place = (Phase.RUNNING, Leg.BAKING)
FINISHING: Place = (Phase.RUNNING, Leg.FINISHING)
WATCHING: Place = (Phase.WATCHING, None)
ROLLING_BACK: Place = (Phase.ROLLING_BACK, None)
ENDED: Place = (Phase.ENDED, None)
RUNNING_LEGS: tuple[Place, ...] = (ENTERING, PREPARING, ACTING, SETTLING, BAKING, FINISHING)


@dataclass(frozen=True, slots=True)
class Transition:
    source: Place
    target: Place
    when: str


TRANSITIONS: tuple[Transition, ...] = (
    Transition(CHECKING, ENTERING, "all checks passed, approved, window open"),
    Transition(ENTERING, PREPARING, "guards passed, first step of a stage"),
    Transition(ENTERING, ACTING, "guards passed, a later step"),
    Transition(ENTERING, ENTERING, "stage skipped, cut, or a pin released"),
    Transition(ENTERING, WATCHING, "the last stage skipped or cut"),
    Transition(PREPARING, ACTING, "prepared"),
    Transition(ACTING, SETTLING, "every act done"),
    Transition(SETTLING, BAKING, "settled and verified"),
    Transition(BAKING, ENTERING, "baked, next step"),
    Transition(BAKING, FINISHING, "baked, last step"),
    Transition(FINISHING, ENTERING, "next stage"),
    Transition(FINISHING, WATCHING, "last stage"),
    *(Transition(leg, ENTERING, "the stage is cut, or a pin released") for leg in RUNNING_LEGS[1:5]),
    *(Transition(leg, WATCHING, "the last stage is cut") for leg in RUNNING_LEGS[1:5]),
    Transition(WATCHING, ENTERING, "watch passed, next environment"),
    Transition(WATCHING, ENDED, "watch passed: promoted"),
    Transition(CHECKING, ENDED, "stop, or rollback with nothing touched"),
    *(Transition(place, ROLLING_BACK, "evidence turned bad, or a person asked") for place in (*RUNNING_LEGS, WATCHING)),
    Transition(CHECKING, ROLLING_BACK, "a reverse run, or a superseding one that has targets"),
    *(Transition(place, ENDED, "stop") for place in (*RUNNING_LEGS, WATCHING)),
    Transition(ROLLING_BACK, ENDED, "everything is back, or stop"),
)

_ALLOWED = frozenset((transition.source, transition.target) for transition in TRANSITIONS)

COMMANDS: dict[Phase, frozenset[CommandName]] = {
    Phase.CHECKING: frozenset(
        {
            CommandName.PAUSE,
            CommandName.RESUME,
            CommandName.APPROVE,
            CommandName.REJECT,
            CommandName.WITHDRAW,
            CommandName.ROLLBACK,
            CommandName.STOP,
            CommandName.ACK,
        }
    ),
    Phase.RUNNING: frozenset(CommandName),
    Phase.WATCHING: frozenset(CommandName),
    Phase.ROLLING_BACK: frozenset(
        {
            CommandName.PAUSE,
            CommandName.RESUME,
            CommandName.APPROVE,
            CommandName.REJECT,
            CommandName.ROLLBACK,  # only --with-schema; refused otherwise with a sentence of its own
            CommandName.STOP,
            CommandName.RESOLVE,
            CommandName.ACK,
        }
    ),
    Phase.ENDED: frozenset({CommandName.APPROVE, CommandName.REJECT, CommandName.ROLLBACK, CommandName.ACK}),
}


def is_allowed(source: Place, target: Place) -> bool:
    return (source, target) in _ALLOWED


def name_of(place: Place) -> str:
    phase, leg = place
    return f"{phase}.{leg}" if leg else str(phase)


def diagram() -> str:
    """The transition table in Mermaid: the legs inside ``running``, and what all of them share outside."""
    shared = _edges_of_all_legs()
    inner = [edge for edge in TRANSITIONS if edge.source in RUNNING_LEGS and edge.target in RUNNING_LEGS]
    outer = [edge for edge in TRANSITIONS if edge not in inner and (edge.target, edge.when) not in shared]
    lines = ["stateDiagram-v2", "    [*] --> checking", "    state running {"]
    lines += [f"        {_short(edge.source)} --> {_short(edge.target)}: {edge.when}" for edge in inner]
    lines += ["    }"]
    lines += [f"    {_short(edge.source)} --> {_short(edge.target)}: {edge.when}" for edge in outer]
    lines += [f"    running --> {_short(target)}: {when}" for target, when in shared]
    return "\n".join([*lines, "    ended --> [*]", ""])


def _short(place: Place) -> str:
    phase, leg = place
    return str(leg or phase)


def _edges_of_all_legs() -> list[tuple[Place, str]]:
    """Targets (with the reason) to which every leg of ``running`` leads."""
    outward = [(edge.target, edge.when) for edge in TRANSITIONS if edge.source in RUNNING_LEGS]
    return [edge for edge in dict.fromkeys(outward) if outward.count(edge) == len(RUNNING_LEGS)]
