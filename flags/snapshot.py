"""All flags of one environment at one moment, compiled.

A snapshot never changes: a new one is made when something changed, and whoever serves flags swaps one reference.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from types import MappingProxyType

from flags.errors import InvalidFlag, shown
from flags.evaluate import CompiledFlag, compile_flag, compile_parameters
from flags.model import FlagDocument


class Snapshot:
    """`killed`: the kill switch is thrown; it holds every flag that is not permanent and not `lifted` by key. It holds
    those that are `held` by key in any case."""

    __slots__ = ("_documents", "_flags", "_keys", "environment", "killed")

    def __init__(
        self,
        documents: Iterable[FlagDocument] = (),
        killed: bool = False,
        *,
        environment: str = "production",
        lifted: Collection[str] = (),
        held: Collection[str] = (),
    ) -> None:
        by_key: dict[str, FlagDocument] = {}
        flags: dict[str, CompiledFlag] = {}
        for document in documents:
            _check(document, environment, by_key)
            by_key[document.key] = document
            is_held = document.key in held
            flags.update(_compiled(document, is_held or (killed and document.key not in lifted), passes=not is_held))
        self.environment = environment
        self.killed = killed
        self._documents = MappingProxyType(by_key)
        self._flags = flags
        self._keys = tuple(sorted(flags))

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


def _compiled(document: FlagDocument, killed: bool, passes: bool) -> dict[str, CompiledFlag]:
    """*passes*: a permanent flag is passed by the kill switch."""
    if document.permanent and not passes:
        document = replace(document, permanent=False)
    flags = [compile_flag(document, killed)]
    if document.parameters or document.profiles:
        flags.append(compile_parameters(document, killed))
    return {flag.key: flag for flag in flags}


def _check(document: FlagDocument, environment: str, known: Collection[str]) -> None:
    if document.environment != environment:
        raise InvalidFlag("environment", shown(environment), shown(document.environment), document.key)
    if document.key in known:
        raise InvalidFlag("key", "one document per key", "a second one", document.key)
