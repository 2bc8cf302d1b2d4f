"""All flags of one environment as one text: what applications are fed with, and keep on their disk.

    {"format": 1, "environment": "production", "version": "1.42.0", "killed": false, "lifted": [],
     "held": [], "flags": [...]}

`flags` are whole documents, so whoever has the text answers by itself. Versions of one environment only rise, also over
restarts and restored stores: whoever has seen one never takes an older text for news.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from flags.errors import FlagError, InvalidFlag, shown
from flags.model import FlagDocument, Version
from flags.snapshot import Snapshot

FORMAT: Final = 1
_VERSION = re.compile(r"(\d{1,18})\.(\d{1,18})\.(\d{1,18})", re.ASCII)


class InvalidFeed(FlagError):
    """A text that is no feed; says where and what was expected."""


@dataclass(frozen=True, slots=True, order=True)
class FeedVersion:
    """The newest write (`Version`) and the `revision` of the kill switch, which rises each time it is moved."""

    newest: Version
    revision: int = 0

    def __str__(self) -> str:
        return f"{self.newest}.{self.revision}"

    @classmethod
    def parse(cls, text: object) -> FeedVersion:
        found = _VERSION.fullmatch(text) if isinstance(text, str) else None
        if found is None:
            raise InvalidFeed(f"version: GENERATION.NUMBER.REVISION such as '1.42.0' is expected, got {shown(text)}")
        return cls(Version(int(found[1]), int(found[2])), int(found[3]))


NOTHING: Final = FeedVersion(Version(0, 0))
"""Before the first write."""


class Texts:
    """The JSON of documents, made once for each: of a thousand flags mostly one was written."""

    def __init__(self) -> None:
        self._made: dict[str, tuple[FlagDocument, str]] = {}

    def of(self, document: FlagDocument) -> str:
        known = self._made.get(document.key)
        if known is None or known[0] is not document:
            known = self._made[document.key] = (document, _json(document.to_json()))
        return known[1]


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


@dataclass(frozen=True, slots=True)
class Feed:
    """`killed`: the kill switch is thrown in this environment; it holds every flag that is neither permanent nor
    `lifted` by its key. It holds those that are `held` by their keys in any case."""

    environment: str
    version: FeedVersion = NOTHING
    documents: tuple[FlagDocument, ...] = ()
    killed: bool = False
    lifted: tuple[str, ...] = ()
    held: tuple[str, ...] = ()

    def snapshot(self, known: Snapshot | None = None) -> Snapshot:
        """What *known* has of the same document objects is not compiled again."""
        return Snapshot(
            self.documents,
            self.killed,
            environment=self.environment,
            lifted=self.lifted,
            held=self.held,
            known=known,
        )

    def switched_as(self, other: Feed) -> Feed:
        """These flags under the kill switch as `other` has it."""
        version = FeedVersion(self.version.newest, other.version.revision)
        return replace(self, version=version, killed=other.killed, lifted=other.lifted, held=other.held)

    def encode(self, texts: Texts | None = None) -> bytes:
        """One line of JSON, the same for the same feed. *texts*: those of its documents, as far as they are made."""
        made = texts if texts is not None else Texts()
        head = {
            "format": FORMAT,
            "environment": self.environment,
            "version": str(self.version),
            "killed": self.killed,
            "lifted": sorted(self.lifted),
            "held": sorted(self.held),
        }
        flags = ",".join(map(made.of, sorted(self.documents, key=lambda one: one.key)))
        return f'{_json(head)[:-1]},"flags":[{flags}]}}'.encode()

    @classmethod
    def decode(cls, text: bytes | str, known: Feed | None = None) -> Feed:
        """Raises `InvalidFeed` for what is no feed, or has a flag that is none. Documents that are in *known* just as
        they are in the text are taken from there: of a thousand flags mostly one was written."""
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as problem:
            raise InvalidFeed(f"a feed is a JSON object; this is not JSON: {problem}") from None
        if not isinstance(data, dict):
            raise InvalidFeed(f"a feed is a JSON object, got {shown(data)}")
        if data.get("format") != FORMAT:
            raise InvalidFeed(f"format: {FORMAT} is expected, got {shown(data.get('format'))}; update this package")
        killed, flags = data.get("killed"), data.get("flags")
        lifted, held = _keys(data, "lifted"), _keys(data, "held")
        if not isinstance(killed, bool):
            raise InvalidFeed(f"killed: true or false is expected, got {shown(killed)}")
        if not isinstance(flags, list):
            raise InvalidFeed(f"flags: a list of documents is expected, got {shown(flags)}")
        try:
            documents = tuple(_documents(flags, known))
        except InvalidFlag as problem:
            raise InvalidFeed(f"flags: {problem}") from None
        environment = _environment(data, documents)
        return cls(environment, FeedVersion.parse(data.get("version")), documents, killed, lifted, held)


def _documents(flags: list[object], known: Feed | None) -> Iterator[FlagDocument]:
    had = {str(one.version): one for one in known.documents} if known is not None else {}
    for data in flags:
        version = data.get("version") if isinstance(data, dict) else None
        document = had.get(version) if isinstance(version, str) else None
        yield document if document is not None and document.to_json() == data else FlagDocument.from_json(data)


def _keys(data: dict[str, object], name: str) -> tuple[str, ...]:
    keys = data.get(name)
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise InvalidFeed(f"{name}: a list of keys is expected, got {shown(keys)}")
    return tuple(keys)


def _environment(data: dict[str, object], documents: tuple[FlagDocument, ...]) -> str:
    environment = data.get("environment")
    if not isinstance(environment, str) or not environment:
        raise InvalidFeed(f"environment: a name is expected, got {shown(environment)}")
    seen: set[str] = set()
    for document in documents:
        if document.environment != environment:
            raise InvalidFeed(f"flags: {document.key!r} belongs to {document.environment!r}, not to {environment!r}")
        if document.key in seen:
            raise InvalidFeed(f"flags: {document.key!r} is there twice")
        seen.add(document.key)
    return environment


def newest(documents: Iterable[FlagDocument]) -> Version:
    return max((document.version for document in documents), default=Version(0, 0))
