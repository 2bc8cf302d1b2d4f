"""Which flags and variants get label values of their own, so that series stay few whatever is asked for."""

from __future__ import annotations

import os
from threading import RLock
from typing import Final

from flags.exposure_names import OTHER

MOST_VARIANTS: Final = 8
"""Of one flag. It has two at a time; only renaming makes more."""
_LONGEST: Final = 256  # characters, as a flag's key

LOCK: Final = RLock()
"""For what is made once; counting does without."""
if hasattr(os, "register_at_fork"):
    # a child must not be born while another thread of its parent makes something: it would wait for that thread forever
    os.register_at_fork(before=LOCK.acquire, after_in_parent=LOCK.release, after_in_child=LOCK.release)


class Labels:
    """Which flags, and which variants of them, have label values of their own: the first ones."""

    def __init__(self, most_flags: int) -> None:
        self._most_flags = most_flags
        self._variants: dict[str, set[str]] = {}

    def has_room(self, flag: str) -> bool:
        """Also takes the room."""
        if flag in self._variants:
            return True
        if len(self._variants) >= self._most_flags or flag == OTHER or not _is_label(flag):
            return False
        with LOCK:
            if len(self._variants) < self._most_flags:
                self._variants.setdefault(flag, set())
        return flag in self._variants

    def variant(self, flag: str, variant: str) -> str:
        """Of a flag that has room."""
        variants = self._variants[flag]
        if variant in variants:
            return variant
        with LOCK:
            if len(variants) < MOST_VARIANTS and _is_label(variant):
                variants.add(variant)
        return variant if variant in variants else OTHER


def _is_label(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return 0 < len(text) <= _LONGEST
