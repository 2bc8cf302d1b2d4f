"""``--set a.b=c``: change single values of a plan before it is read any further.

A path begins at ``spec`` (or with the name of another top-level field). Entries of lists are named by their index or by
their ``name``; fields that are not there yet are added. The value is read as YAML: a number, a boolean, a text, or a
list or mapping in brackets.
"""

from collections.abc import Sequence
from typing import Any

from stages.documents import MAX_DEPTH, Document, read_document, resolve_plain
from stages.problems import InvalidPlan, Mark, Path, Problem, listed, path_text, shown, suggestion

_TOP = ("apiVersion", "kind", "metadata", "spec")


class _Unfit(Exception):
    """The setting does not fit the document; the message says why."""


def apply_settings(document: Document, settings: Sequence[str]) -> list[Problem]:
    """Changes *document* in place and returns what did not fit. Places of changed values name the setting."""
    problems: list[Problem] = []
    for setting in settings:
        mark = Mark(f"--set {setting if len(setting) <= 80 else setting[:80] + '…'}")
        try:
            _apply(document, setting, mark)
        except _Unfit as unfit:
            problems.append(Problem(mark.file, 0, 0, "", str(unfit)))
    return problems


def _apply(document: Document, setting: str, mark: Mark) -> None:
    name, equals, text = setting.partition("=")
    words = name.strip().split(".")
    if not equals or not all(words):
        raise _Unfit("a setting looks like stages.queue.bake=1m")
    if len(words) > MAX_DEPTH:  # to look for names with dots takes the square of it
        raise _Unfit(f"a setting names a place at most {MAX_DEPTH} levels deep")
    if not isinstance(document.data, dict):
        raise _Unfit("the plan is no mapping")
    if words[0] not in _TOP:
        words = ["spec", *words]
    value, texts = _read(text)
    path = _assign(document.data, words, value)
    for table in (document.marks, document.keys, document.texts):
        for stale in [key for key in table if key[: len(path)] == path]:
            del table[stale]
    document.marks[path] = document.keys[path] = mark
    document.texts.update({path + below: written for below, written in texts.items()})


def _read(text: str) -> tuple[Any, dict[Path, str]]:
    text = text.strip()
    try:
        if text[:1] in ("[", "{", '"', "'"):
            document = read_document(text, "--set")
            return document.data, document.texts
        value = resolve_plain(text)
    except InvalidPlan as error:
        raise _Unfit(error.problems[0].message) from error
    except ValueError as error:
        raise _Unfit(str(error)) from error
    return value, {} if isinstance(value, str) else {(): text}


def _assign(data: dict[str, Any], words: list[str], value: Any) -> Path:
    path: list[str | int] = []
    here: Any = data
    while True:
        key, words = _step(here, words, path)
        path.append(key)
        if not words:
            here[key] = value
            return tuple(path)
        if isinstance(here, dict) and here.get(key) is None:
            here[key] = {}
        here = here[key]


def _step(here: Any, words: list[str], path: list[str | int]) -> tuple[str | int, list[str]]:
    """The key or index that *words* begin with (names may have dots: the longest one that is there), and the rest."""
    where = path_text(tuple(path))
    if isinstance(here, dict):
        for length in range(len(words), 1, -1):
            if ".".join(words[:length]) in here:
                return ".".join(words[:length]), words[length:]
        return words[0], words[1:]
    if isinstance(here, list):
        return _entry(here, words, where)
    raise _Unfit(f"{where} is {shown(here)}; there is nothing inside to set")


def _entry(here: list[Any], words: list[str], where: str) -> tuple[int, list[str]]:
    names = {
        str(entry["name"]): index for index, entry in enumerate(here) if isinstance(entry, dict) and "name" in entry
    }
    for length in range(len(words), 0, -1):
        if ".".join(words[:length]) in names:
            return names[".".join(words[:length])], words[length:]
    word = words[0]
    if word.isdecimal() and word.isascii() and len(word) < 6 and int(word) < len(here):
        return int(word), words[1:]
    there = f"; there are {listed(list(names), 'and')}" if names else f"; it has {len(here)} entries, counted from 0"
    raise _Unfit(f"{where} has no entry {word!r}{suggestion(word, names) or there}")
