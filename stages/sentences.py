"""What pydantic says, in plain sentences at places of the document.

A value that fits no member of a union is reported once for each member. Two rules make one problem of them: what lies
deeper says more (a mapping of the right kind with one wrong field), and at one place a sentence of ours wins over
"another kind of value is expected"; several of the latter are joined with "or".
"""

import re
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from stages.actions import KINDS
from stages.problems import Path, listed, shown, suggestion
from stages.shapes import field_names, fields_at, locate

Complaint = tuple[Path, str, str]  # path, message, type of the error ("unknown_field" stands at its key)

_EXPECTED = {
    "string_type": "a text",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "dict_type": "a mapping",
    "tuple_type": "a list",
    "list_type": "a list",
    "none_required": "nothing",
}
_DATES = ("date", "datetime")
_DATE = "a date such as 2026-12-20 or a time such as 2026-12-20T18:00"
_QUOTED = re.compile(r"'([^']*)'")
PLAIN_NAME = re.compile(r"[\w./-]+")
_BOUNDS = {
    "greater_than": ("gt", "a number above {}"),
    "greater_than_equal": ("ge", "a number of at least {}"),
    "less_than": ("lt", "a number below {}"),
    "less_than_equal": ("le", "a number of at most {}"),
}


def complaints(root: type[BaseModel], error: ValidationError) -> list[Complaint]:
    """Every problem once, as path, message and kind of error."""
    found: dict[Path, list[ErrorDetails]] = {}
    for details in error.errors(include_url=False):
        path, _ = locate(root, details["loc"])
        found.setdefault(path, []).append(details)
    _drop_misspelt(root, found)
    around = {path[:length] for path in found for length in range(len(path))}
    return [
        (_place(path, group), *_message(root, path, group))
        for path, group in found.items()
        if path not in around or _is_own(group)
    ]


def _place(path: Path, group: list[ErrorDetails]) -> Path:
    return (*path, "kind") if group[0]["type"] == "union_tag_invalid" else path


def _drop_misspelt(root: type[BaseModel], found: dict[Path, list[ErrorDetails]]) -> None:
    """A field that is missing because it was misspelt beside it is one mistake, not two."""
    for path, group in list(found.items()):
        if group[0]["type"] != "extra_forbidden":
            continue
        known = fields_at(root, group[0]["loc"][:-1])
        meant = next(iter(get_close_matches(str(path[-1]), known, n=1)), None)
        missing = found.get((*path[:-1], meant)) if meant is not None else None
        if missing is not None and missing[0]["type"] == "missing":
            del found[(*path[:-1], str(meant))]


def _is_own(group: list[ErrorDetails]) -> bool:
    """Whether a mapping is wrong in itself, also if something inside is wrong too."""
    return all(details["type"] == "extra_forbidden" for details in group)


def text_paths(root: type[BaseModel], error: ValidationError) -> set[Path]:
    """The places at which a text was meant and something else found."""
    return {
        locate(root, details["loc"])[0]
        for details in error.errors(include_url=False)
        if details["type"] == "string_type"
    }


def _message(root: type[BaseModel], path: Path, group: list[ErrorDetails]) -> tuple[str, str]:
    own = [details for details in group if details["type"] not in _EXPECTED and details["type"] != "literal_error"]
    if own:
        chosen = next((details for details in own if not _is_of_another_kind(details)), own[0])
        return _sentence(root, path, chosen), chosen["type"]
    if all(details["type"] == "literal_error" for details in group):
        return _literal(group), "literal_error"
    expected = dict.fromkeys(_expected(details) for details in group)
    return f"{listed(list(expected))} is expected, not {shown(group[0]['input'])}", group[0]["type"]


def _is_of_another_kind(details: ErrorDetails) -> bool:
    """Whether a sentence of ours only says that it did not expect a mapping or list at all."""
    value = details["input"]
    return isinstance(value, dict | list) and details["msg"].endswith(f"not {shown(value)}")


def _expected(details: ErrorDetails) -> str:
    if details["type"] == "literal_error":
        return str(details.get("ctx", {}).get("expected", ""))
    return _EXPECTED[details["type"]]


def _literal(group: Iterable[ErrorDetails]) -> str:
    expected, value = "", None
    for details in group:
        expected, value = str(details.get("ctx", {}).get("expected", "")), details["input"]
    hint = suggestion(value, _QUOTED.findall(expected)) if isinstance(value, str) else ""
    one_of = "one of " if "," in expected or " or " in expected else ""
    return f"{one_of}{expected} is expected, not {shown(value)}{hint}"


def _sentence(root: type[BaseModel], path: Path, details: ErrorDetails) -> str:
    kind, value, context = details["type"], details["input"], details.get("ctx", {})
    match kind:
        case "missing":
            return f"the field {str(path[-1])!r} is missing"
        case "extra_forbidden":
            return unknown_field(str(path[-1]), fields_at(root, details["loc"][:-1]))
        case "value_error":
            return str(context.get("error", details["msg"]))
        case "union_tag_invalid":
            known = _QUOTED.findall(str(context["expected_tags"]))
            tag = str(context["tag"])
            return f"unknown kind {tag!r}{suggestion(tag, known) or '; there are ' + listed(known, 'and')}"
        case "union_tag_not_found":
            return _no_kind(root, details, value)
        case "enum":
            return _literal([details])
        case _:
            return _limit(details)


def _limit(details: ErrorDetails) -> str:
    kind, value, context = details["type"], details["input"], details.get("ctx", {})
    if kind in _BOUNDS:
        name, words = _BOUNDS[kind]
        return f"{words.format(context[name])} is expected, not {shown(value)}"
    if kind.startswith(_DATES):
        return f"{_DATE} is expected, not {shown(value)}"
    sentences = {
        "too_short": "at least one entry is expected",
        "string_too_short": "a text is expected, not an empty one",
        "string_too_long": f"a text of at most {context.get('max_length')} characters is expected",
        "string_pattern_mismatch": f"a name of small letters, digits and '-' is expected, not {shown(value)}",
    }
    return sentences.get(kind) or details["msg"][:1].lower() + details["msg"][1:]


def unknown_field(name: str, known: list[str]) -> str:
    known = list(dict.fromkeys(known))
    if not PLAIN_NAME.fullmatch(name):
        return f"unknown field {shown(name)}; a comma inside {{...}} ends a value: put the whole text in quotes"
    hint = suggestion(name, known)
    return f"unknown field {name!r}{hint or ('; there are ' + listed(known, 'and') if known else '')}"


def _no_kind(root: type[BaseModel], details: ErrorDetails, value: Any) -> str:
    if not isinstance(value, dict):
        return f"a mapping is expected, not {shown(value)}"
    if "kind" in str(details.get("ctx", {}).get("discriminator", "")) and "kind_of" not in str(details.get("ctx", {})):
        return "the field 'kind' is missing"
    _, found = locate(root, details["loc"])
    kinds = [member.tag for member in found if member.tag is not None] or list(KINDS)
    names = {name for member in found if member.model is not None for name in field_names(member.model)}
    for name in map(str, value):
        if name not in names and (hint := suggestion(name, kinds)):
            return f"unknown action {name!r}{hint}"
    return f"an action says what it does with one of {listed(kinds)}"
