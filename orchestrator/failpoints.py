"""Named places at which a crash matters, and a way to make one happen there: for trying the controller, not for use.

Theory of operation. The code says ``reach(Point.CALL_BEFORE)`` where it passes such a place. That costs one look at an
empty table, unless the process was started with ``ROLLOUT_FAILPOINTS``:

    ROLLOUT_FAILPOINTS=call.before=kill@3,journal.append.written=stop

Each entry is a point, what is to happen there, and with ``@N`` that it happens the Nth time only (else every time):

    kill         this process ends as by ``kill -9``
    stop         it freezes as by ``kill -STOP``, until somebody sends it SIGCONT
    error        what was tried fails for now, as if the store or the other side were away; only where it can still fail
    delay:2.5    the thread that passes waits so many seconds; on the event loop everything does
    note         nothing but a line on standard error, which every other action writes as well

Points stand around what is durable: in a transaction, after it, before and after a call into the world. Those in
``COMMITS`` are around every append of such an event, whoever decided it.
"""

import os
import signal
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from orchestrator.errors import StoreError, Temporary, UsageError

VARIABLE: Final = "ROLLOUT_FAILPOINTS"
MOST_SECONDS: Final = 3600.0


class Point(StrEnum):
    # the store, whichever it is: "written" is in the transaction, "committed" after it, with nobody told yet
    STORE_UPGRADING = "store.upgrading"
    STORE_UPGRADED = "store.upgraded"
    START_WRITTEN = "journal.start.written"
    START_COMMITTED = "journal.start.committed"
    APPEND_WRITTEN = "journal.append.written"
    APPEND_COMMITTED = "journal.append.committed"
    TAKE_WRITTEN = "journal.take.written"
    TAKE_COMMITTED = "journal.take.committed"
    EVIDENCE_WRITTEN = "journal.evidence.written"
    EVIDENCE_COMMITTED = "journal.evidence.committed"
    FLAG_WRITTEN = "journal.flag.written"
    FLAG_COMMITTED = "journal.flag.committed"
    # a store that several controllers share
    CLAIM_WRITTEN = "claim.written"
    CLAIM_COMMITTED = "claim.committed"
    LEASE_RENEWING = "lease.renewing"
    LEASE_RENEWED = "lease.renewed"
    LEASE_LEAVING = "lease.leaving"
    SWITCH_SHARING = "switch.sharing"
    SWITCH_SHARED = "switch.shared"
    # a run's life
    RUN_CREATING = "run.creating"
    RUN_CREATED = "run.created"
    RUN_TAKEN = "run.taken"
    LEG_BEFORE = "leg.before"
    LEG_AFTER = "leg.after"
    OBSERVATION_BEFORE = "observation.before"
    OBSERVATION_AFTER = "observation.after"
    INTENT_BEFORE = "intent.before"
    INTENT_AFTER = "intent.after"
    CALL_BEFORE = "call.before"
    CALL_AFTER = "call.after"
    CALL_ENDING = "call.ending"
    OUTCOME_BEFORE = "outcome.before"
    OUTCOME_AFTER = "outcome.after"
    ROLLBACK_BEFORE = "rollback.before"
    ROLLBACK_AFTER = "rollback.after"
    NODE_BEFORE = "node.before"
    NODE_AFTER = "node.after"
    END_BEFORE = "end.before"
    END_AFTER = "end.after"
    CHECKPOINT_BEFORE = "checkpoint.before"
    COMMAND_BEFORE = "command.before"
    COMMAND_AFTER = "command.after"
    COMMAND_ANSWERED = "command.answered"
    # notices
    NOTICE_BEFORE = "notice.before"
    NOTICE_AFTER = "notice.after"
    MESSAGE_SENDING = "message.sending"
    MESSAGE_SENT = "message.sent"
    DELIVERY_BEFORE = "delivery.before"
    DELIVERY_AFTER = "delivery.after"
    # the file of the kill switch
    SWITCH_BEFORE = "switch.before"
    SWITCH_WRITTEN = "switch.written"
    SWITCH_SYNCED = "switch.synced"
    SWITCH_REPLACED = "switch.replaced"
    SWITCH_AFTER = "switch.after"
    # calls into the world
    SQL_BEFORE = "sql.before"
    SQL_RAN = "sql.ran"
    SQL_NOTED = "sql.noted"
    SQL_COMMITTED = "sql.committed"
    SQL_STEP_BEGUN = "sql.step.begun"
    SQL_STEP_RAN = "sql.step.ran"
    SQL_STEP_NOTED = "sql.step.noted"
    BACKFILL_FILLED = "backfill.filled"
    BACKFILL_COMMITTED = "backfill.committed"
    HTTP_SENDING = "http.sending"
    HTTP_ANSWERED = "http.answered"
    PROCESS_STARTED = "process.started"
    PROCESS_ORDERED = "process.ordered"
    PROCESS_ENDED = "process.ended"
    PROCESS_ENDING_EARLIER = "process.ending_earlier"
    FLAG_FILE_WRITTEN = "flag_file.written"
    FLAG_FILE_REPLACED = "flag_file.replaced"
    KUBERNETES_SENDING = "kubernetes.sending"
    KUBERNETES_SENT = "kubernetes.sent"
    JOB_MAKING = "job.making"
    JOB_MADE = "job.made"
    # a controller's own
    HOST_LISTENING = "host.listening"
    HOST_NOTED = "host.noted"
    SHUTDOWN_BEGUN = "shutdown.begun"
    SHUTDOWN_LET_GO = "shutdown.let_go"
    SHUTDOWN_CLOSED = "shutdown.closed"


COMMITS: Final[Mapping[str, tuple[Point, Point]]] = {
    "LegEntered": (Point.LEG_BEFORE, Point.LEG_AFTER),
    "TargetObserved": (Point.OBSERVATION_BEFORE, Point.OBSERVATION_AFTER),
    "EffectRequested": (Point.INTENT_BEFORE, Point.INTENT_AFTER),
    "EffectFinished": (Point.OUTCOME_BEFORE, Point.OUTCOME_AFTER),
    "RollbackStarted": (Point.ROLLBACK_BEFORE, Point.ROLLBACK_AFTER),
    "NodeFinished": (Point.NODE_BEFORE, Point.NODE_AFTER),
    "RunEnded": (Point.END_BEFORE, Point.END_AFTER),
    "NoticeRequested": (Point.NOTICE_BEFORE, Point.NOTICE_AFTER),
    "NoticeDelivered": (Point.DELIVERY_BEFORE, Point.DELIVERY_AFTER),
}


class Action(StrEnum):
    KILL = "kill"
    STOP = "stop"
    ERROR = "error"
    DELAY = "delay"
    NOTE = "note"


_OVER: Final = tuple(
    f".{word}"
    for word in ("after", "answered", "committed", "created", "made", "renewed", "replaced", "sent", "upgraded")
)
"""How the names of points end at which what was tried is done."""


class Injected(StoreError, Temporary):
    """A failpoint was told to fail here."""

    http_status = 503


class _Named(Protocol):
    @property
    def type_name(self) -> str: ...


@dataclass(slots=True)
class _Trap:
    action: Action
    seconds: float = 0.0
    only: int | None = None
    passed: int = 0


_armed: dict[Point, _Trap] = {}
_counting = threading.Lock()


def reach(point: Point) -> None:
    """This place is passed. Raises ``Injected`` where it is told to."""
    if _armed:
        _spring(point)


def before(events: Iterable[_Named]) -> None:
    """*events* are about to be appended."""
    if _armed:
        for event in events:
            if event.type_name in COMMITS:
                _spring(COMMITS[event.type_name][0])


def after(events: Iterable[_Named]) -> None:
    """*events* are durable, and nothing followed from them yet."""
    if _armed:
        for event in events:
            if event.type_name in COMMITS:
                _spring(COMMITS[event.type_name][1])


def arm(text: str) -> None:
    """As the variable says; an empty *text* disarms. Raises ``UsageError``, and changes nothing then."""
    traps = dict(_read(entry.strip()) for entry in text.split(",") if entry.strip())
    _armed.clear()
    _armed.update(traps)
    if traps:
        import structlog

        structlog.get_logger().warning(
            "failpoints.armed", points=text, why=f"{VARIABLE} is set: this controller fails on purpose, here and there"
        )


def _read(entry: str) -> tuple[Point, _Trap]:
    name, _, what = entry.partition("=")
    what, _, nth = what.partition("@")
    action, _, seconds = what.partition(":")
    if name not in list(Point):
        import difflib

        near = difflib.get_close_matches(name, list(Point), n=3) or list(Point)
        raise UsageError(f"{VARIABLE}: there is no failpoint {name!r}; there is {', '.join(near)}")
    if action not in list(Action):
        raise UsageError(f"{VARIABLE}: {entry} asks for {action!r}; a failpoint can {', '.join(Action)}")
    if nth and not (nth.isascii() and nth.isdigit() and int(nth) > 0):
        raise UsageError(f"{VARIABLE}: {entry} needs a whole number after @: 1 is the first time it is passed")
    if action == Action.ERROR and name.endswith(_OVER):
        raise UsageError(f"{VARIABLE}: {entry} can't be, for nothing can fail any more where {name} is")
    return Point(name), _Trap(Action(action), _seconds(entry, action, seconds), int(nth) if nth else None)


def _seconds(entry: str, action: str, seconds: str) -> float:
    if action != Action.DELAY:
        if seconds:
            raise UsageError(f"{VARIABLE}: {entry} has a time, which only a delay has")
        return 0.0
    try:
        found = float(seconds)
    except ValueError:
        found = -1.0
    if not 0.0 <= found <= MOST_SECONDS:
        raise UsageError(f"{VARIABLE}: {entry} needs its seconds, as in {Point.CALL_BEFORE}=delay:2.5")
    return found


def _spring(point: Point) -> None:
    trap = _armed.get(point)
    if trap is None:
        return
    with _counting:
        trap.passed += 1
        if trap.only is not None and trap.passed != trap.only:
            return
    os.write(2, f"failpoint {point}: {trap.action}\n".encode())
    match trap.action:
        case Action.KILL:
            os.kill(os.getpid(), signal.SIGKILL)
        case Action.STOP:
            os.kill(os.getpid(), signal.SIGSTOP)
        case Action.ERROR:
            raise Injected(f"the failpoint {point} was told to fail")
        case Action.DELAY:
            time.sleep(trap.seconds)
        case Action.NOTE:
            return
