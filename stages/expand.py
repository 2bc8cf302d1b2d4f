"""``${NAME}``, ``${NAME:-default}`` and ``$$`` in the texts of a plan, expanded once.

Each environment gets a document of its own: names are looked up in the environment's ``values``, then among the
submitter's variables. Left alone are keys, ``metadata`` and ``values`` but for the submitter's variables, ``script``
and SQL that stands in the plan itself (a ``sql`` with blanks in it is no path): those get ``vars``.

A text that is one expansion and nothing else (``"${REPLICAS}"``) becomes what its value is as YAML, so that numbers and
booleans can be given; where a text is meant it stays the text that it was.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from stages.documents import Document, resolve_plain
from stages.problems import Path, Problem, shown

_EXPANSION = re.compile(r"\$(?:\$|\{([^{}]*)\}|(\{))")
_NAME = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)
_MAX_TEXT = 1 << 20


@dataclass(slots=True)
class Expansion:
    """One expansion of a document. *environment* is empty where the plan has none."""

    source: Document
    variables: Mapping[str, str]
    values: Mapping[str, str]
    environment: str = ""
    section_values: Mapping[int, Mapping[str, str]] = field(default_factory=dict)  # by index of spec.environments
    problems: list[Problem] = field(default_factory=list)
    size: int = 0

    def run(self) -> Document:
        source = self.source
        result = Document(source.file, None, source.marks, source.keys, dict(source.texts), source.flow)
        result.data = self._value(source.data, (), result)
        return result

    def _value(self, value: Any, path: Path, result: Document) -> Any:
        if isinstance(value, dict):
            return {key: self._value(entry, (*path, key), result) for key, entry in value.items()}
        if isinstance(value, list):
            return [self._value(entry, (*path, index), result) for index, entry in enumerate(value)]
        if not isinstance(value, str) or "$" not in value or _is_left_alone(path, value):
            return value
        return self._text(value, path, result)

    def _text(self, text: str, path: Path, result: Document) -> Any:
        known = self._known(path)
        whole = _EXPANSION.fullmatch(text)
        expanded = _EXPANSION.sub(lambda match: self._one(match, path, known), text)
        self.size += len(expanded)
        if self.size > _MAX_TEXT:
            self._complain(path, "the plan has more than 1 MiB of text once its names are expanded")
            return ""
        if whole is None or whole.group(1) is None:
            return expanded
        return _typed(expanded, path, result)

    def _one(self, match: re.Match[str], path: Path, known: Mapping[str, str]) -> str:
        if match.group() == "$$":
            return "$"
        name = _NAME.fullmatch(match.group(1) or "")
        if name is None:
            self._complain(
                path, "a name such as ${NAME} or ${NAME:-default} is expected; write $${ where ${ itself is meant"
            )
            return ""
        value = known.get(name.group(1))
        if value is None or (value == "" and name.group(2) is not None):
            value = name.group(2)
        if value is None:
            self._complain(path, self._undefined(name.group(1), path))
        return value or ""

    def _undefined(self, name: str, path: Path) -> str:
        where = f" in environment {self.environment}" if self.environment and _section(path) is None else ""
        return (
            f"${{{name}}} is not defined{where}; set the variable {name} for the command, name it under values of the "
            f"environment, or write ${{{name}:-default}}"
        )

    def _known(self, path: Path) -> Mapping[str, str]:
        if path[:1] == ("metadata",):
            return self.variables
        index = _section(path)
        if index is None:
            return {**self.variables, **self.values}
        if path[3:4] in (("values",), ("name",)):
            return self.variables
        return {**self.variables, **self.section_values.get(index, {})}

    def _complain(self, path: Path, message: str) -> None:
        self.problems.append(self.source.problem(path, message))


def _section(path: Path) -> int | None:
    """The index of the environment whose own section *path* lies in."""
    if path[:2] == ("spec", "environments") and len(path) > 2 and isinstance(path[2], int):
        return path[2]
    return None


def _is_left_alone(path: Path, text: str) -> bool:
    if path[-1:] == ("script",):
        return True
    return path[-1:] == ("sql",) and len(text.split()) > 1


def _typed(text: str, path: Path, result: Document) -> Any:
    try:
        value = resolve_plain(text)
    except ValueError:
        return text
    if value is None or isinstance(value, str):
        return text
    result.texts[path] = text
    return value


def environment_values(document: Document, variables: Mapping[str, str]) -> list[tuple[str, dict[str, str]]]:
    """Name and ``values`` (as texts) of each environment, in order; the models refuse what is malformed."""
    spec = document.data.get("spec") if isinstance(document.data, dict) else None
    sections = spec.get("environments") if isinstance(spec, dict) else None
    found: list[tuple[str, dict[str, str]]] = []
    expanded = Expansion(document, variables, {}).run()
    for index in range(len(sections) if isinstance(sections, list) else 0):
        path: Path = ("spec", "environments", index)
        section = _at(expanded.data, path)
        values = section.get("values") if isinstance(section, dict) else None
        name = section.get("name") if isinstance(section, dict) else None
        texts = {
            key: _as_text(value, (*path, "values", key), expanded)
            for key, value in (values.items() if isinstance(values, dict) else ())
        }
        found.append((name if isinstance(name, str) else shown(name), texts))
    return found


def _at(data: Any, path: Path) -> Any:
    for part in path:
        data = data[part]
    return data


def _as_text(value: Any, path: Path, document: Document) -> str:
    if isinstance(value, str):
        return value
    if path in document.texts:
        return document.texts[path]
    return "" if value is None else shown(value)
