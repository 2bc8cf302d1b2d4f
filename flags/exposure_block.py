"""One use of a flag from its answer to its outcome, counted when it ends."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from types import TracebackType
from typing import Final, Self, TypeAlias

Expected: TypeAlias = "type[BaseException] | tuple[type[BaseException], ...]"

_NOT_THE_CODES_DOING: Final = (GeneratorExit, KeyboardInterrupt, SystemExit)


class Cell:
    """Where one combination of labels is counted."""

    __slots__ = ("_error", "_observe", "_ok", "_warn")

    def __init__(
        self,
        ok: Callable[[], None],
        error: Callable[[], None],
        observe: Callable[[float], None],
        warn: Callable[..., None],
    ) -> None:
        self._ok = ok
        self._error = error
        self._observe = observe
        self._warn = warn

    def count(self, failed: bool, seconds: float | None) -> None:
        try:
            if failed:
                self._error()
            else:
                self._ok()
            if seconds is not None:
                self._observe(seconds)
        except Exception as problem:  # noqa: BLE001  # counting must never break what is counted
            self._warn("count", "exposures cannot be counted: %r", problem)


class Block:
    """One use of a flag. It is as true as the flag is on, and is counted when it ends, once each time it is entered.

    An exception that leaves the block is an error and goes on. `KeyboardInterrupt`, `SystemExit` and `GeneratorExit`
    end the process or a consumer, and are not counted; a cancelled task is an error, for a slow block is ended so.
    """

    __slots__ = ("_began", "_cell", "_expected", "_open", "_said", "on", "variant")

    on: bool
    variant: str | None
    """None if the flag is not known."""

    def __init__(self, cell: Cell, on: bool, variant: str | None, expected: Expected = ()) -> None:
        self._cell = cell
        self._expected = expected
        self.on = on
        self.variant = variant
        self._said: bool | None = None
        self._open = True
        self._began = perf_counter()

    def __bool__(self) -> bool:
        return self.on

    def __repr__(self) -> str:
        return f"<{'on' if self.on else 'off'}: variant {self.variant!r}>"

    def failed(self) -> None:
        """The block is an error, whether or not an exception leaves it."""
        self._said = True

    def ok(self) -> None:
        """The block is no error, even if an exception leaves it."""
        self._said = False

    def cancel(self) -> None:
        """The block is not counted at all."""
        self._open = False

    def finish(self, error: bool = False) -> None:
        """Ends a block that no `with` can hold, such as one that ends in a callback. Ending it again does nothing."""
        self.record(error, perf_counter() - self._began)

    def record(self, error: bool, seconds: float | None) -> None:
        """`finish`, with a latency that was measured elsewhere or with none."""
        if self._open:
            self._open = False
            self._cell.count(error if self._said is None else self._said, seconds)

    def __enter__(self) -> Self:
        self._said = None
        self._open = True
        self._began = perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            if self._open:  # as `finish` does, in what is the way of nearly every block
                self._open = False
                self._cell.count(self._said is True, perf_counter() - self._began)
            return
        if issubclass(kind, _NOT_THE_CODES_DOING):
            self.cancel()
        self.finish(error=not self._is_expected(kind))

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)

    def _is_expected(self, kind: type[BaseException]) -> bool:
        try:
            return issubclass(kind, self._expected)
        except TypeError:  # `expected` has no types: it must not hide the exception that leaves the block
            return False
