"""These flags behind OpenFeature: a provider that answers in process.

    from openfeature import api
    from flags.client import FlagClient
    from flags.openfeature import RolloutProvider

    api.set_provider_and_wait(RolloutProvider(FlagClient("http://127.0.0.1:8040")))
    api.get_client().get_boolean_value("new-api", False, EvaluationContext("user-1", {"team": "search"}))

Types are those of the flag's document. An integer flag may be asked for as a float, as JSON and flagd do, as long as
the float is the same number; all other pairs are a `TYPE_MISMATCH`, also a float flag that stands at 10.0 and is asked
for as an integer, and a boolean asked for as an integer. An error answers the caller's default, as OpenFeature wants
it; a disabled or killed flag is no error: it answers its off variant. The targeting key is the context's own, else an
attribute `targetingKey`.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final, Protocol, TypeVar
from weakref import WeakSet

from openfeature.evaluation_context import EvaluationContext
from openfeature.event import ProviderEventDetails
from openfeature.exception import ErrorCode, ProviderNotReadyError
from openfeature.flag_evaluation import FlagResolutionDetails, FlagValueType, Reason
from openfeature.provider import AbstractProvider, Metadata

from flags.errors import shown
from flags.evaluate import Details
from flags.snapshot import Snapshot
from flags.values import FlagValue, thaw

__all__ = ["RolloutProvider", "SnapshotSource"]

T = TypeVar("T")
Object = Sequence[FlagValueType] | Mapping[str, FlagValueType]

_REASONS: Final = {reason.value: reason for reason in Reason}
_NOBODY: Final[Mapping[str, Any]] = MappingProxyType({})
_TYPES: Final[Mapping[type, str]] = {
    bool: "a boolean",
    int: "an integer",
    float: "a float",
    str: "a string",
    dict: "an object",
}
_PROVIDERS: WeakSet[RolloutProvider] = WeakSet()


class SnapshotSource(Protocol):
    """Whatever has a current snapshot. Of what else a `FlagClient` has (`on_change`, `status`, `wait_until_ready`,
    `close`) each is made use of if it is there."""

    @property
    def snapshot(self) -> Snapshot: ...


class _Condition(StrEnum):
    READY = "ready"
    STALE = "stale"
    ERROR = "error"


def _resolver(wanted: type) -> Callable[..., FlagResolutionDetails[Any]]:
    """The method for one type; written out in one function, for it is most of what a provider costs."""

    def resolve(
        self: RolloutProvider, flag_key: str, default_value: Any, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[Any]:
        snapshot = self._source.snapshot
        flag = snapshot.get(flag_key)
        if flag is None:
            return self._unknown(flag_key, default_value)
        if evaluation_context is None:
            details = flag.details(_NOBODY)
        elif evaluation_context.targeting_key:
            details = flag.details_apart(evaluation_context.targeting_key, evaluation_context.attributes)
        else:
            details = flag.details(evaluation_context.attributes)
        made_of, made = self._made
        if made_of is not snapshot:
            made = {}
            self._made = snapshot, made
        resolution = made.get(id(details))
        if resolution is not None and type(resolution.value) is wanted:
            return resolution
        resolution = _resolved(flag_key, details, default_value, wanted)
        if resolution.error_code is None and resolution.value is details.value:
            made[id(details)] = resolution
        return resolution

    return resolve


class RolloutProvider(AbstractProvider):
    """Answers from the current snapshot of `source`.

    Initializing waits `ready_seconds` for the source to say what its flags are. If it has not by then, those of its
    cache are used, and the provider becomes stale; without any the provider is in error until there are some, and
    callers get their defaults. Every `look_seconds` it is seen whether the source still gets news: the events for
    stale, ready and error tell. Shutting down closes the source, unless `owns_source` is false.
    """

    def __init__(
        self,
        source: SnapshotSource,
        *,
        ready_seconds: float = 5.0,
        look_seconds: float = 1.0,
        owns_source: bool = True,
    ) -> None:
        super().__init__()
        self._source = source
        self._ready_seconds = ready_seconds
        self._look_seconds = look_seconds
        self._owns_source = owns_source
        self._metadata = Metadata("rollout")
        self._made: tuple[Snapshot | None, dict[int, FlagResolutionDetails[Any]]] = None, {}
        """OpenFeature's form of the answers of one snapshot, each made when it is first given: a flag has but a few."""
        self._said = _Condition.READY
        self._end_listening: Callable[[], None] | None = None
        self._stop: threading.Event | None = None
        self._watcher: threading.Thread | None = None

    # --- what OpenFeature asks for ------------------------------------------------------------------------------------

    def get_metadata(self) -> Metadata:
        return self._metadata

    def initialize(self, evaluation_context: EvaluationContext) -> None:
        """Raises ProviderNotReadyError if there are no flags yet; the provider goes on and is ready when they come."""
        on_change, wait = getattr(self._source, "on_change", None), getattr(self._source, "wait_until_ready", None)
        if on_change is not None and self._end_listening is None:
            self._end_listening = on_change(self._changed)
        if wait is not None:
            wait(self._ready_seconds)
        condition, message = self._condition()
        self._said = _Condition.ERROR if condition is _Condition.ERROR else _Condition.READY
        if hasattr(self._source, "status"):
            self._watch()
        if condition is _Condition.ERROR:
            raise ProviderNotReadyError(message)

    def shutdown(self) -> None:
        if self._end_listening is not None:
            self._end_listening()
            self._end_listening = None
        watcher, self._watcher = self._watcher, None
        if self._stop is not None:
            self._stop.set()
        if watcher is not None and watcher is not threading.current_thread():
            watcher.join(self._look_seconds + 1)
        close = getattr(self._source, "close", None)
        if self._owns_source and close is not None:
            close()

    resolve_boolean_details = _resolver(bool)
    resolve_string_details = _resolver(str)
    resolve_integer_details = _resolver(int)
    resolve_float_details = _resolver(float)
    resolve_object_details = _resolver(dict)

    # --- evaluation ---------------------------------------------------------------------------------------------------

    def _unknown(self, key: str, default: T) -> FlagResolutionDetails[T]:
        condition, message = self._condition()
        if condition is _Condition.ERROR:
            return _failed(default, ErrorCode.PROVIDER_NOT_READY, message)
        environment = self._source.snapshot.environment
        message = f"there is no flag {shown(key)} in environment {environment!r}"
        return _failed(default, ErrorCode.FLAG_NOT_FOUND, message)

    # --- events -------------------------------------------------------------------------------------------------------

    def _changed(self, keys: frozenset[str]) -> None:
        self.emit_provider_configuration_changed(ProviderEventDetails(flags_changed=sorted(keys)))

    def _condition(self) -> tuple[_Condition, str]:
        """With a sentence if it is not ready."""
        status = getattr(self._source, "status", None)
        if status is None:
            return _Condition.READY, ""
        now = status()
        if now.connected:
            return _Condition.READY, ""
        because = f": {now.last_error}" if now.last_error else ""
        if now.version is None:
            return _Condition.ERROR, f"no flags have been received yet{because}"
        return _Condition.STALE, f"the flags of version {now.version} may be out of date{because}"

    def _watch(self) -> None:
        if self._watcher is not None and self._watcher.is_alive():
            return
        self._stop = threading.Event()
        self._watcher = threading.Thread(target=self._look, args=(self._stop,), name="flags-openfeature", daemon=True)
        self._watcher.start()
        _PROVIDERS.add(self)

    def _look(self, stop: threading.Event) -> None:
        while not stop.wait(self._look_seconds):
            condition, message = self._condition()
            if condition is not self._said:
                self._said = condition
                self._say(condition, message)

    def _say(self, condition: _Condition, message: str) -> None:
        if condition is _Condition.READY:
            self.emit_provider_ready(ProviderEventDetails(message="the flags are up to date"))
        elif condition is _Condition.STALE:
            self.emit_provider_stale(ProviderEventDetails(message=message))
        else:
            self.emit_provider_error(ProviderEventDetails(message=message, error_code=ErrorCode.PROVIDER_NOT_READY))

    def _restart_in_child(self) -> None:
        if self._watcher is not None:
            self._watcher = None
            self._watch()


def _restart_in_child() -> None:
    for provider in list(_PROVIDERS):
        provider._restart_in_child()  # noqa: SLF001 - this module's own class


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_restart_in_child)


def _resolved(key: str, details: Details, default: T, wanted: type) -> FlagResolutionDetails[T]:
    if details.error_code is not None:
        return _failed(default, ErrorCode(details.error_code.value), details.error_details or "", details)
    value: Any = details.value
    if type(value) is not wanted:
        value = _converted(value, wanted)
    if value is None:
        got = _TYPES.get(type(details.value), _TYPES[dict])
        message = f"flag {shown(key)} is {got}, and was asked for as {_TYPES[wanted]}"
        return _failed(default, ErrorCode.TYPE_MISMATCH, message, details)
    return FlagResolutionDetails(value, None, None, _REASONS[details.reason], details.variant, details.metadata)


def _converted(value: FlagValue, wanted: type) -> object:
    """The value as a type that it is not of, but may be read as; else None."""
    if wanted is dict:
        return thaw(value) if isinstance(value, Mapping) else None
    if wanted is float and type(value) is int:
        number = float(value)  # of 64 bits, so it is never too large
        return number if number == value else None
    return None


def _failed(default: T, code: ErrorCode, message: str, details: Details | None = None) -> FlagResolutionDetails[T]:
    metadata = details.metadata if details is not None else {}
    return FlagResolutionDetails(default, code, message, Reason.ERROR, flag_metadata=metadata)
