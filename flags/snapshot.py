"""All flags of one environment at one moment, compiled.

A snapshot never changes: a new one is made when something changed, and whoever serves flags swaps one reference.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from types import MappingProxyType

from flags.errors import InvalidFlag, shown
from flags.evaluate import CompiledFlag, compile_flag, compile_parameters
from flags.model import FlagDocument


class Snapshot:
    """`killed`: the kill switch is thrown; it holds every flag that is not permanent and not `lifted` by key."""

    __slots__ = ("_documents", "_flags", "_keys", "environment", "killed")

    def __init__(
        self,
        documents: Iterable[FlagDocument] = (),
        killed: bool = False,
        *,
        environment: str = "production",
        lifted: Collection[str] = (),
    ) -> None:
        by_key: dict[str, FlagDocument] = {}
        flags: dict[str, CompiledFlag] = {}
        for document in documents:
            _check(document, environment, by_key)
            by_key[document.key] = document
            flags.update(_compiled(document, killed and document.key not in lifted))
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


def _compiled(document: FlagDocument, killed: bool) -> dict[str, CompiledFlag]:
    flags = [compile_flag(document, killed)]
    if document.parameters or document.profiles:
        flags.append(compile_parameters(document, killed))
    return {flag.key: flag for flag in flags}


def _check(document: FlagDocument, environment: str, known: Collection[str]) -> None:
    if document.environment != environment:
        raise InvalidFlag("environment", shown(environment), shown(document.environment), document.key)
    if document.key in known:
        raise InvalidFlag("key", "one document per key", "a second one", document.key)
