"""YAML as plans are written in: one document, its values as plain data, and where in the text each of them stands.

The parser's events are put together here rather than by the library's composer, for three reasons: scalars follow the
core schema of YAML 1.2 (``off``, ``16:00`` and ``093`` are texts), every value knows its line and column, and a text
that is meant to hurt (deep nesting, aliases that multiply) meets a bound before it costs memory or stack.

``Document.data`` has only dicts with text keys, lists, texts, booleans, integers, finite floats and None.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from stages.problems import InvalidPlan, Mark, Path, Problem, problem
from stages.yaml_errors import syntax_problem

MAX_BYTES = 1 << 20
MAX_DEPTH = 48
MAX_VALUES = 50_000
MAX_INTEGER = 1 << 63
LAST_CHARACTER = 0x10FFFF

_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]*)|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
}
_UNPRINTABLE = re.compile(r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_ESCAPE = re.compile(r"\\U([0-9a-fA-F]{8})")
_CORE = "tag:yaml.org,2002:"
_TAGS: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
    "null": (type(None),),
}
_LONG_WORD = re.compile(r"""[^\s"',:{}\[\]]{8193}""")  # the scanner takes quadratic time for one word


@dataclass(slots=True)
class Document:
    """*marks* has the place of every value, *keys* that of every key, *texts* how values that are no texts were
    written (so that ``version: 1.10`` can still become a text), *flow* the values inside ``{...}`` or ``[...]``."""

    file: str
    data: Any = None
    marks: dict[Path, Mark] = field(default_factory=dict)
    keys: dict[Path, Mark] = field(default_factory=dict)
    texts: dict[Path, str] = field(default_factory=dict)
    flow: set[Path] = field(default_factory=set)

    def mark(self, path: Path) -> Mark:
        """The place of a value, or of the nearest thing around it that has one."""
        while path and path not in self.marks:
            path = path[:-1]
        return self.marks.get(path, Mark(self.file, 1, 1))

    def key_mark(self, path: Path) -> Mark:
        return self.keys.get(path) or self.mark(path)

    def problem(self, path: Path, message: str) -> Problem:
        return problem(self.mark(path), path, message)


@dataclass(slots=True)
class _Node:
    """One node of the text. Aliases share it, so it has no path."""

    mark: Mark
    value: Any = None  # of a scalar
    text: str | None = None  # of a scalar, as written
    items: "list[_Node] | None" = None  # of a sequence
    pairs: "list[tuple[_Node, _Node]] | None" = None  # of a mapping
    flow: bool = False
    open: bool = False
    pending_key: "_Node | None" = None

    @property
    def begins_below_its_key(self) -> bool:
        """Whether people would look for it at its key: a block collection, or nothing at all."""
        return not self.flow if self.text is None else self.text == ""


def read_document(text: str, file: str, resolve: Callable[[str], Any] | None = None) -> Document:
    """Raises InvalidPlan if *text* is not exactly one document of acceptable size. *resolve* says what a plain scalar
    is, instead of ``resolve_plain``."""
    _refuse_size(text, file)
    text = text.removeprefix("\ufeff")
    _refuse_characters(text, file)
    root = _compose(text, file, resolve or resolve_plain)
    document = Document(file)
    document.data = _Unfolding(document).unfold(root)
    return document


def resolve_plain(text: str) -> Any:
    """What a plain scalar is, after the core schema of YAML 1.2, but that numbers with a leading zero are texts.

    Raises ValueError for a number that JSON cannot hold.
    """
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return _integer(text)
    if _FLOAT.fullmatch(text):
        number = float(text)
        if number in (float("inf"), float("-inf")):
            raise ValueError("the number is too large; put it in quotes if a text is meant")
        return number
    if _NOT_FINITE.fullmatch(text):
        raise ValueError("infinity and NaN are no numbers of a plan; put the word in quotes if a text is meant")
    return text


def _integer(text: str) -> int:
    number = None if len(text) > 40 else int(text, 0)
    if number is None or not -MAX_INTEGER <= number < MAX_INTEGER:
        raise ValueError("the number is too large; put it in quotes if a text is meant")
    return number


def _refuse_size(text: str, file: str) -> None:
    size = len(text.encode(errors="surrogatepass"))
    if size > MAX_BYTES:
        raise InvalidPlan(
            [Problem(file, 0, 0, "", f"a plan has at most 1 MiB; this text has {size / MAX_BYTES:.1f} MiB")]
        )


def _refuse_characters(text: str, file: str) -> None:
    found = _UNPRINTABLE.search(text) or _LONG_WORD.search(text)
    if found is None:
        return
    line = text.count("\n", 0, found.start()) + 1
    column = found.start() - (text.rfind("\n", 0, found.start()) + 1) + 1
    message = f"the character U+{ord(found.group()[0]):04X} is not allowed in YAML; is this a text file?"
    if len(found.group()) > 1:
        message = "a word of more than 8192 characters; is this a plan?"
    raise InvalidPlan([Problem(file, line, column, "", message)])


# --- from events to nodes ---------------------------------------------------------------------------------------------


def _compose(text: str, file: str, resolve: Callable[[str], Any]) -> _Node:
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        return _Composer(file, resolve).compose(_events(text))
    except MarkedYAMLError as error:
        raise InvalidPlan([syntax_problem(error, text, file)]) from error
    except (YAMLError, ValueError, IndexError, OverflowError) as error:
        if isinstance(error, InvalidPlan):
            raise
        raise InvalidPlan([_broken(error, text, file)]) from error


def _broken(error: Exception, text: str, file: str) -> Problem:
    """The parser does not say where it stumbled over an escape for a character beyond the last one."""
    for found in _ESCAPE.finditer(text):
        if int(found.group(1), 16) > LAST_CHARACTER:
            line = text.count("\n", 0, found.start()) + 1
            column = found.start() - text.rfind("\n", 0, found.start())
            return Problem(file, line, column, "", f"there is no character {found.group()}; the last is \\U0010FFFF")
    return Problem(file, 1, 1, "", f"this is not YAML: {str(error).splitlines()[0]}")


def _events(text: str) -> Iterator[Any]:
    from ruamel.yaml import YAML

    events: Iterator[Any] = YAML(typ="safe", pure=True).parse(text)
    return events


class _Composer:
    """Puts the events of one document together, without recursion, up to ``MAX_DEPTH`` and ``MAX_VALUES``."""

    def __init__(self, file: str, resolve: Callable[[str], Any]) -> None:
        self._file = file
        self._resolve = resolve
        self._anchors: dict[str, _Node] = {}
        self._stack: list[_Node] = []
        self._root: _Node | None = None
        self._count = 0

    def compose(self, events: Iterator[Any]) -> _Node:
        for event in events:
            self._take(event, type(event).__name__)
        if self._root is None:
            raise self._refuse(Mark(self._file, 1, 1), "the file is empty; a plan is expected")
        return self._root

    def _take(self, event: Any, kind: str) -> None:
        match kind:
            case "DocumentStartEvent":
                if self._root is not None:
                    message = "a second document begins here; a plan is exactly one (remove what follows the '---')"
                    raise self._refuse(self._mark(event), message)
            case "ScalarEvent":
                self._add(self._scalar(event), event)
            case "SequenceStartEvent" | "MappingStartEvent":
                self._open(event, is_mapping=kind == "MappingStartEvent")
            case "SequenceEndEvent" | "MappingEndEvent":
                self._stack.pop().open = False
            case "AliasEvent":
                self._add(self._alias(event), None)
            case _:
                pass

    def _mark(self, event: Any) -> Mark:
        return Mark(self._file, event.start_mark.line + 1, event.start_mark.column + 1)

    def _refuse(self, mark: Mark, message: str) -> InvalidPlan:
        return InvalidPlan([problem(mark, (), message)])

    def _open(self, event: Any, is_mapping: bool) -> None:
        mark = self._mark(event)
        if len(self._stack) >= MAX_DEPTH:
            raise self._refuse(mark, f"nested more than {MAX_DEPTH} levels deep")
        if event.ctag is not None and str(event.ctag) not in (_CORE + ("map" if is_mapping else "seq"), "!"):
            raise self._refuse(mark, f"the tag {event.ctag} is not part of the plan language")
        flow = bool(event.flow_style) or bool(self._stack and self._stack[-1].flow)
        node = _Node(mark, pairs=[], flow=flow) if is_mapping else _Node(mark, items=[], flow=flow)
        node.open = True
        self._add(node, event)
        self._stack.append(node)

    def _alias(self, event: Any) -> _Node:
        mark = self._mark(event)
        node = self._anchors.get(event.anchor)
        if node is None:
            raise self._refuse(mark, f"the alias *{event.anchor} has no anchor &{event.anchor} before it")
        if node.open:
            raise self._refuse(mark, f"the alias *{event.anchor} stands inside what it names")
        return node

    def _scalar(self, event: Any) -> _Node:
        mark = self._mark(event)
        try:
            value = _scalar_value(event, self._resolve)
        except ValueError as error:
            raise self._refuse(mark, str(error)) from error
        flow = bool(self._stack and self._stack[-1].flow)
        return _Node(mark, value=value, text=event.value, flow=flow)

    def _add(self, node: _Node, event: Any) -> None:
        self._count += 1
        if self._count > MAX_VALUES:
            raise self._refuse(node.mark, f"a plan has at most {MAX_VALUES} values")
        if event is not None and event.anchor is not None:
            self._anchors[event.anchor] = node
        if not self._stack:
            self._root = node
            return
        parent = self._stack[-1]
        if parent.items is not None:
            parent.items.append(node)
        elif parent.pending_key is None:
            parent.pending_key = node
        elif parent.pairs is not None:
            parent.pairs.append((parent.pending_key, node))
            parent.pending_key = None


def _scalar_value(event: Any, resolve: Callable[[str], Any]) -> Any:
    tag = None if event.ctag is None else str(event.ctag)
    text: str = event.value
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("a text of a plan has no NUL and no half of a surrogate pair")
    if tag in (None, "!"):
        return resolve(text) if tag is None and event.style is None else text
    word = tag.removeprefix(_CORE) if tag else ""
    if word == "str":
        return text
    if word not in _TAGS:
        raise ValueError(f"the tag {tag} is not part of the plan language")
    value = resolve(text)
    if type(value) not in _TAGS[word]:
        raise ValueError(f"{text!r} is no {word}")
    return float(value) if word == "float" else value


# --- from nodes to data -----------------------------------------------------------------------------------------------


class _Unfolding:
    """Turns nodes to data, aliases expanded, merge keys (``<<``) merged. Problems do not stop it but for the bound."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._problems: list[Problem] = []
        self._count = 0

    def unfold(self, root: _Node) -> Any:
        data = self._node(root, ())
        if self._problems:
            raise InvalidPlan(self._problems)
        return data

    def _node(self, node: _Node, path: Path) -> Any:
        self._count += 1
        if self._count > MAX_VALUES or len(path) > MAX_DEPTH:
            message = f"a plan has at most {MAX_VALUES} values, {MAX_DEPTH} levels deep, once its aliases are expanded"
            raise InvalidPlan([problem(node.mark, (), message)])
        self._document.marks[path] = node.mark
        if node.flow:
            self._document.flow.add(path)
        if node.items is not None:
            return [self._node(item, (*path, index)) for index, item in enumerate(node.items)]
        if node.pairs is not None:
            return self._mapping(node, path)
        if not isinstance(node.value, str) and node.text is not None:
            self._document.texts[path] = node.text
        return node.value

    def _mapping(self, node: _Node, path: Path) -> dict[str, Any]:
        own: dict[str, tuple[_Node, _Node]] = {}
        merged: dict[str, tuple[_Node, _Node]] = {}
        for key, value in node.pairs or ():
            if key.text == "<<":
                self._merge(value, path, merged)
            elif key.text is None:
                self._problems.append(problem(key.mark, path, "a key is a plain text, not a mapping or list"))
            elif key.text in own:
                first = own[key.text][0].mark.line
                self._problems.append(
                    problem(key.mark, (*path, key.text), f"the key {key.text!r} is already on line {first}")
                )
            else:
                own[key.text] = (key, value)
        entries = {**merged, **own}
        self._document.keys.update({(*path, name): key.mark for name, (key, _) in entries.items()})
        data = {name: self._node(value, (*path, name)) for name, (_, value) in entries.items()}
        for name, (key, value) in entries.items():
            if value.begins_below_its_key:
                self._document.marks[*path, name] = key.mark
        return data

    def _merge(self, value: _Node, path: Path, merged: dict[str, tuple[_Node, _Node]], depth: int = 0) -> None:
        """Entries of the mapping (or mappings, the first one wins) that ``<<`` names."""
        for source in value.items if value.items is not None else [value]:
            self._count += 1 + len(source.pairs or ())
            if self._count > MAX_VALUES or depth > MAX_DEPTH:
                raise InvalidPlan([problem(value.mark, path, f"a plan has at most {MAX_VALUES} values")])
            if source.pairs is None:
                self._problems.append(
                    problem(source.mark, (*path, "<<"), "'<<' names a mapping, or a list of mappings")
                )
                continue
            for key, entry in source.pairs:
                if key.text is not None and key.text != "<<":
                    merged.setdefault(key.text, (key, entry))
            for key, entry in source.pairs:
                if key.text == "<<":
                    self._merge(entry, path, merged, depth + 1)
