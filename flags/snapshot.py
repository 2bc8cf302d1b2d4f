"""All flags of one environment at one moment, compiled.

A snapshot never changes: a new one is made when something changed, and whoever serves flags swaps one reference.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from types import MappingProxyType
from typing import NamedTuple

from flags.errors import InvalidFlag, shown
from flags.evaluate import CompiledFlag, compile_flag, compile_parameters
from flags.model import PARAMETERS_SUFFIX, FlagDocument


class _Switch(NamedTuple):
    """How the kill switch stands over one flag. *passes*: it passes a permanent one."""

    killed: bool
    passes: bool


class Snapshot:
    """`killed`: the kill switch is thrown; it holds every flag that is not permanent and not `lifted` by key. It holds
    those that are `held` by key in any case. Of the documents that *known* has under the same switch its flags are
    taken."""

    __slots__ = ("_documents", "_flags", "_keys", "_switched", "environment", "killed")

    def __init__(
        self,
        documents: Iterable[FlagDocument] = (),
        killed: bool = False,
        *,
        environment: str = "production",
        lifted: Collection[str] = (),
        held: Collection[str] = (),
        known: Snapshot | None = None,
    ) -> None:
        by_key: dict[str, FlagDocument] = {}
        flags: dict[str, CompiledFlag] = {}
        switched: dict[str, _Switch] = {}
        for document in documents:
            _check(document, environment, by_key)
            by_key[document.key] = document
            is_held = document.key in held
            switch = switched[document.key] = _Switch(is_held or (killed and document.key not in lifted), not is_held)
            taken = known._compiled(document, switch) if known is not None else None  # noqa: SLF001 - of this class
            flags.update(_compiled(document, switch) if taken is None else taken)
        self.environment = environment
        self.killed = killed
        self._documents = MappingProxyType(by_key)
        self._flags = flags
        self._keys = tuple(sorted(flags))
        self._switched = switched

    def get(self, key: str) -> CompiledFlag | None:
        """The flag, or the derived `<key>.parameters`, which a flag has that knows parameters or profiles."""
        return self._flags.get(key)

    def keys(self) -> tuple[str, ...]:
        """All keys that `get` knows, sorted."""
        return self._keys

    def document(self, key: str) -> FlagDocument | None:
        return self._documents.get(key)

    def documents(self) -> tuple[FlagDocument, ...]:
        return tuple(self._documents.values())

    def _compiled(self, document: FlagDocument, switch: _Switch) -> dict[str, CompiledFlag] | None:
        """None if this very document is not here, or under another switch."""
        key = document.key
        if self._documents.get(key) is not document or self._switched[key] != switch:
            return None
        return {name: self._flags[name] for name in (key, key + PARAMETERS_SUFFIX) if name in self._flags}


def _compiled(document: FlagDocument, switch: _Switch) -> dict[str, CompiledFlag]:
    if document.permanent and not switch.passes:
        document = replace(document, permanent=False)
    flags = [compile_flag(document, switch.killed)]
    if document.parameters or document.profiles:
        flags.append(compile_parameters(document, switch.killed))
    return {flag.key: flag for flag in flags}


def _check(document: FlagDocument, environment: str, known: Collection[str]) -> None:
    if document.environment != environment:
        raise InvalidFlag("environment", shown(environment), shown(document.environment), document.key)
    if document.key in known:
        raise InvalidFlag("key", "one document per key", "a second one", document.key)
