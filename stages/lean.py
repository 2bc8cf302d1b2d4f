"""``dataclass`` for what is made thousands of times a second: frozen for whoever checks types, and not guarded as well.

What guards a frozen dataclass while a program runs makes an object of it cost three times as much, for each of its
fields is set by a call. Nothing here is changed after it is made, and the type checker sees to that.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

__all__ = ["dataclass"]

if TYPE_CHECKING:
    from dataclasses import dataclass
else:
    import dataclasses

    T = TypeVar("T")

    def dataclass(*, slots: bool, frozen: bool = False) -> Callable[[type[T]], type[T]]:
        """As ``dataclasses.dataclass``: equal by value, and hashable if frozen."""
        return dataclasses.dataclass(slots=slots, unsafe_hash=frozen)
