"""What is counted from the start of the process on."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import product
from typing import get_args

from orchestrator.core.effect import EffectState
from orchestrator.core.events import (
    Event,
    GateFailed,
    NoticeDelivered,
    RollbackStarted,
    RunEnded,
    TriggerFired,
)
from orchestrator.core.phases import CommandName
from orchestrator.errors import Forbidden, NotFound, Refused, RolloutError, StoreError
from orchestrator.metrics.families import Counter, Histogram
from stages.criteria.base import MeasurementState
from stages.effects import AnyOperation

QUICK = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SLOW = (0.01, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0)
"""Upper ends of buckets, in seconds: for what is asked, and for what is done."""
ANSWERS, DELIVERIES = ("accepted", "refused", "failed"), ("delivered", "failed")
STORE_CALLS = ("answer", "append", "evidence", "read", "row", "rows", "save_evidence", "start", "take")
OPERATIONS = tuple(sorted(str(one.model_fields["op"].default) for one in get_args(AnyOperation)))


def _values_of(event: type[Event], field: str) -> tuple[str, ...]:
    return get_args(event.model_fields[field].annotation)


def _counter(name: str, text: str, **labels: Iterable[str]) -> Counter:
    """With every value that each label can have."""
    return Counter(f"staged_rollout_{name}_total", text, tuple(labels), product(*labels.values()))


def _seconds(name: str, text: str, bounds: tuple[float, ...], **labels: Iterable[str]) -> Histogram:
    return Histogram(f"staged_rollout_{name}_duration_seconds", text, bounds, tuple(labels), product(*labels.values()))


class Meter:
    """One for a controller. Everything in it is quick, and raises nothing."""

    def __init__(self) -> None:
        self._commands = _counter(
            "commands", "Commands to runs, and what became of them.", command=CommandName, outcome=ANSWERS
        )
        wanted = _values_of(GateFailed, "on_fail")
        self._gates = _counter("gates_failed", "Gates that failed, and what the plan wants then.", on_fail=wanted)
        wanted = _values_of(TriggerFired, "then")
        self._triggers = _counter("triggers_fired", "Triggers that fired, and what the plan wants then.", then=wanted)
        causes = _values_of(RollbackStarted, "cause")
        self._rollbacks = _counter("rollbacks_started", "Rollbacks that began, by what began them.", cause=causes)
        self._ends = _counter("runs_ended", "Runs that ended.", outcome=_values_of(RunEnded, "outcome"))
        self._cuts = _counter("runs_kept_as_report", "Finished runs of which only the report is kept from then on.")
        self._notices = _counter("notifications", "Notifications that need no more tries.", outcome=DELIVERIES)
        self._measurements = _seconds("measurement", "Measurements, by what came back.", QUICK, state=MeasurementState)
        self._tries = _counter("effect_tries", "Tries of effects.", operation=OPERATIONS, outcome=EffectState)
        self._retries = _counter("effect_retries", "Tries of effects beyond the first.", operation=OPERATIONS)
        self._efforts = _seconds("effect", "Tries of effects, with what they wait for.", SLOW, operation=OPERATIONS)
        self._calls = _seconds("store", "Calls to the store.", QUICK, call=STORE_CALLS)
        self._store_errors = _counter("store_errors", "Calls to the store that failed.", call=STORE_CALLS)
        self._requests = _counter(
            "kubernetes_requests", "Requests to API servers, by HTTP status, or why there is none.", method=(), code=()
        )

    def lines(self) -> Iterator[str]:
        """Everything, as Prometheus reads it."""
        for family in vars(self).values():
            yield from family.lines()

    # --- what is heard --------------------------------------------------------------------------------------------

    def recorded(self, events: Iterable[Event]) -> None:
        """Events that a journal took."""
        for event in events:
            match event:
                case GateFailed():
                    self._gates.add(event.on_fail)
                case TriggerFired():
                    self._triggers.add(event.then)
                case RollbackStarted():
                    self._rollbacks.add(event.cause)
                case RunEnded():
                    self._ends.add(event.outcome)
                case NoticeDelivered():
                    self._notices.add("delivered" if event.delivered else "failed")
                case _:
                    pass

    @contextmanager
    def commanded(self, command: CommandName) -> Iterator[None]:
        """Around the answer to a command. What is no refusal, such as a store that is away, counts as failed."""
        try:
            yield
        except (Refused, Forbidden, NotFound):
            self._commands.add(command, "refused")
            raise
        except RolloutError:
            self._commands.add(command, "failed")
            raise
        self._commands.add(command, "accepted")

    def measured(self, state: MeasurementState, seconds: float) -> None:
        self._measurements.observe(seconds, state)

    def tried(self, operation: str, outcome: EffectState, seconds: float, *, again: bool) -> None:
        self._tries.add(operation, outcome)
        self._efforts.observe(seconds, operation)
        if again:
            self._retries.add(operation)

    def stored(self, call: str, seconds: float, error: BaseException | None) -> None:
        self._calls.observe(seconds, call)
        if isinstance(error, StoreError):
            self._store_errors.add(call)

    def requested(self, method: str, code: str) -> None:
        """A request to an API server; *code* is ``timeout`` or ``unreachable`` if nobody answered."""
        self._requests.add(method, code)

    def kept_as_report(self) -> None:
        """A finished run, whose journal was cut."""
        self._cuts.add()
