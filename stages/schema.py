"""The plan document as JSON Schema (2020-12), for editors that complete and check while one writes.

It is made from the models; added are what their validators know beyond types (how bounds and times are written, the
short form of triggers, ``x-`` keys) and that every value may be a ``${NAME}``.
"""

from typing import Any

from stages.actions import KINDS
from stages.plan import StagedRollout
from stages.schema_fields import MORE_FIELDS
from stages.schema_words import FIELDS
from stages.shapes import field_names
from stages.values import Part

DIALECT = "https://json-schema.org/draft/2020-12/schema"
EXPANSION: dict[str, Any] = {"type": "string", "pattern": r"\$\{[A-Za-z_][^{}]*\}"}
_BOUND = {
    "type": "string",
    "pattern": r"^\s*(<=|>=|==|!=|<|>)\s*[-+]?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?\s*%?\s*$",
    "description": 'A comparison with a number, such as "> 10", ">= 95" or "< 5%".',
    "examples": ["> 10", ">= 0.95", "== 0"],
}
_TIME = {"type": "string", "pattern": r"^([01]?[0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9])?$|^24:00$"}
_ROLLBACK = {"const": "rollback", "description": "Short for then: rollback."}
_FIXED = ("apiVersion", "kind", "op")


def json_schema(*, brief: bool = False) -> dict[str, Any]:
    """A new copy each time; ``$id`` is left to whoever publishes it. *brief*: what explains itself is not described,
    for where there is little room."""
    schema = StagedRollout.model_json_schema(by_alias=True)
    definitions: dict[str, Any] = schema["$defs"]
    definitions["Bound"] = dict(_BOUND)
    definitions["PlanSpec"]["patternProperties"] = {"^x-": {"description": "A home for YAML anchors; not read."}}
    definitions["Trigger"]["properties"]["action"] = dict(_ROLLBACK)
    _write_times(definitions["Hours"])
    _write_undos(definitions)
    for name, text in (FIELDS if brief else FIELDS | MORE_FIELDS).items():
        model, field = name.split(".")
        _describe(schema, definitions, model, field, text)
    finished = _finish(schema)
    return {"$schema": DIALECT, "title": "StagedRollout", **finished}


def _write_times(hours: dict[str, Any]) -> None:
    for name in ("from", "to"):
        hours["properties"][name] = dict(_TIME)


def _write_undos(definitions: dict[str, Any]) -> None:
    """An undo is ``none``, a command, or an action."""
    choices = [{"$ref": f"#/$defs/{kind.__name__}"} for kind in KINDS.values()]
    words = {"type": "array", "items": {"type": "string"}, "minItems": 1}
    for kind in KINDS.values():
        definitions[kind.__name__]["properties"]["undo"] = {"anyOf": [{"const": "none"}, words, *choices]}


def _describe(schema: dict[str, Any], definitions: dict[str, Any], model: str, field: str, text: str) -> None:
    """The description at this model and at every model that inherits the field and has none of its own."""
    for kind in _family(model):
        owner = schema if kind.__name__ == "StagedRollout" else definitions.get(kind.__name__)
        if owner is not None and field in owner.get("properties", {}):
            owner["properties"][field].setdefault("description", text)


def _family(name: str) -> list[type[Part]]:
    """The model of this name and all below it. Raises KeyError if there is none."""
    pending, found = [Part], dict[str, type[Part]]()
    while pending:
        kind = pending.pop()
        found[kind.__name__] = kind
        pending += kind.__subclasses__()
    root = found[name]
    return [kind for kind in found.values() if issubclass(kind, root)]


def described_fields() -> list[tuple[str, bool]]:
    """Every described field, and whether the models have it."""
    return [(name, name.split(".")[1] in field_names(_family(name.split(".")[0])[0])) for name in FIELDS | MORE_FIELDS]


def _finish(node: Any, name: str = "") -> Any:
    """Titles made from names dropped; unions as anyOf (their members overlap by design); ``${NAME}`` allowed."""
    if isinstance(node, list):
        return [_finish(entry) for entry in node]
    if not isinstance(node, dict):
        return node
    if name in ("properties", "$defs", "patternProperties"):
        return {key: _expandable(_finish(entry), key) for key, entry in node.items()}
    result: dict[str, Any] = {}
    for key, entry in node.items():
        if key in ("title", "discriminator", "default"):
            continue
        if key in ("items", "additionalProperties", "prefixItems"):
            result[key] = _expandable(_finish(entry))
        elif key == "oneOf":
            result["anyOf"] = _finish(entry)
        else:
            result[key] = _finish(entry, key)
    return result


def _expandable(node: Any, name: str = "") -> Any:
    if not isinstance(node, dict) or name in _FIXED or not _is_narrow_scalar(node):
        return node
    outer = {key: node[key] for key in ("description", "examples") if key in node}
    members = node.get("anyOf", [{key: one for key, one in node.items() if key not in outer}])
    return {**outer, "anyOf": [*members, EXPANSION]}


def _is_narrow_scalar(node: dict[str, Any]) -> bool:
    """Whether a text with ``${NAME}`` would be refused although it may become what is expected."""
    if "anyOf" in node:
        return any(_is_narrow_scalar(member) for member in node["anyOf"] if isinstance(member, dict))
    narrow = "enum" in node or "const" in node or "pattern" in node or "format" in node
    return narrow or node.get("type") in ("number", "integer", "boolean") or node.get("$ref") == "#/$defs/Bound"
