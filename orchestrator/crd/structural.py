"""From JSON Schema to the structural schema that a custom resource definition must have.

A structural schema says of every value one type, once, and has no references. So references are written out, and the
members of a union become one: objects one object with the fields of all (what belongs together is then said by rules in
CEL, ``orchestrator.crd.rules``), texts one text, numbers one number. What may be a text *or* a mapping or list has no
form there; it is left open (``x-kubernetes-preserve-unknown-fields``), held only by what is asked of each of the types,
and rules do not reach into it.

Two more things are different in a cluster. ``${NAME}`` can stand in texts alone, also where they have a form
(durations, bounds), for types are checked before anything is expanded. And whatever a rule is asked of has a bound,
since the API server adds up beforehand what rules may cost.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from orchestrator.crd.limits import LONGEST, most
from orchestrator.crd.rules import RULES, told_apart
from stages.schema import EXPANSION

Node = dict[str, Any]

OPEN = "x-kubernetes-preserve-unknown-fields"
INT_OR_STRING = "x-kubernetes-int-or-string"
VALIDATIONS = "x-kubernetes-validations"
EXPANDED = r"\$\{"
"""Shorter than what editors are told, for it stands at hundreds of places."""
DATE = "^[0-9]{4}-[0-9]{2}-[0-9]{2}"
ONE_OF = ("SecretRef", "Channel", "FlagSystemSection")
"""Models of which exactly one field is given."""

FAR = ("actions", "restore", "on_rollback")
"""Actions of triggers and questions, after whose steps few plans check anything: there a definition saves its size."""

_OF_SCALARS = (
    "pattern",
    "minLength",
    "maxLength",
    "enum",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
)
_OF_OPEN = {
    "number": ("minimum", "maximum"),
    "integer": ("minimum", "maximum"),
    "array": ("items", "minItems"),
    "object": ("properties", "required", "additionalProperties", "minProperties", "maxProperties"),
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a schema: the name of the field, whether rules reach it, whether it is described, and whether it is so
    far off that checks are left open there."""

    name: str = ""
    reached: bool = True
    described: bool = True
    far: bool = False

    def below(self, name: str) -> "Place":
        return replace(self, name=name, far=self.far or name in FAR)


def structural(schema: Mapping[str, Any]) -> Node:
    """The structural schema of a JSON Schema's root."""
    return Conversion(schema.get("$defs", {})).convert(schema, Place())


@dataclass(slots=True)
class Conversion:
    """*told*: the models whose fields were described before. The same parts of a plan stand in many places, and all of
    a definition has to fit into the annotation in which ``kubectl apply`` keeps a copy of it (256 KiB)."""

    definitions: Mapping[str, Any]
    told: set[tuple[str, ...]] = field(default_factory=set)

    def convert(self, node: Mapping[str, Any], place: Place) -> Node:
        if place.name == "undo":  # an action again: it would have no end
            return {**self._description(node, place), **_open([{"type": "string", "enum": ["none"]}])}
        if place.name == "verify" and place.far:
            return {**self._description(node, place), "type": "array", "items": {"type": "object", OPEN: True}}
        members = self._members(node)
        models = [name for name, member in members if "properties" in member]
        members = _one_of_each(members)
        description = self._description(node, place)
        place = self._described_once(place, tuple(models))
        if _is_open({_type(member) for _, member in members}):
            place = replace(place, reached=False)
        united = _united([self._member(name, member, place) for name, member in members])
        if place.reached and models:
            united = _with_rules(united, models, self.definitions)
        return {**description, **united}

    def _described_once(self, place: Place, models: tuple[str, ...]) -> Place:
        if not models or not place.described:
            return place
        is_new = models not in self.told
        self.told.add(models)
        return replace(place, described=is_new)

    def _description(self, node: Mapping[str, Any], place: Place) -> Node:
        text = node.get("description") if place.described else None
        return {"description": text.replace("``", "")} if text is not None else {}

    def _members(self, node: Mapping[str, Any], name: str = "") -> list[tuple[str, Mapping[str, Any]]]:
        """The alternatives of a node, references and unions in unions taken apart, without null."""
        if "$ref" in node:
            name = node["$ref"].rpartition("/")[2]
            return self._members(self.definitions[name], name)
        if "anyOf" in node:
            found = [member for one in node["anyOf"] for member in self._members(one, name)]
            kept = any(_has_form(member) for _, member in found)
            return [(one, member) for one, member in found if kept or member != EXPANSION]
        return [] if node.get("type") == "null" else [(name, node)]

    def _member(self, name: str, node: Mapping[str, Any], place: Place) -> Node:
        match _type(node):
            case "object":
                return self._object(name, node, place)
            case "array":
                items = self.convert(node.get("items", {}), place.below("")) if "items" in node else _open([])
                kept = {key: node[key] for key in ("minItems", "maxItems") if key in node}
                limit = most(place.name, items) if place.reached else None
                return {"type": "array", "items": items, **({"maxItems": limit} if limit else {}), **kept}
            case None:
                return _open([])
            case kind:
                longest = LONGEST.get(place.name) if kind == "string" and place.reached else None
                return {"type": kind, **({"maxLength": longest} if longest else {}), **_scalar(node)}

    def _object(self, name: str, node: Mapping[str, Any], place: Place) -> Node:
        result: Node = {"type": "object"}
        fields, values = _fields(node), node.get("additionalProperties")
        if fields:
            result["properties"] = {key: self.convert(entry, place.below(key)) for key, entry in fields.items()}
        if node.get("required"):
            result["required"] = list(node["required"])
        if not fields and isinstance(values, dict) and values:
            result["additionalProperties"] = self.convert(values, place.below(""))
            limit = most(place.name, result["additionalProperties"]) if place.reached else None
            result |= {"maxProperties": limit} if limit else {}
        elif not fields:
            result[OPEN] = True
        if name in ONE_OF:
            result |= {"minProperties": 1, "maxProperties": 1}
        return result | {key: node[key] for key in ("minProperties", "maxProperties") if key in node}


def _fields(node: Mapping[str, Any]) -> Mapping[str, Any]:
    """Those of an object, or of a map whose keys are listed."""
    keys = node.get("propertyNames", {}).get("enum", ())
    return node.get("properties") or dict.fromkeys(keys, node.get("additionalProperties"))


def _is_open(kinds: set[str | None]) -> bool:
    """Whether there is no one type for values of these JSON types."""
    return None in kinds or not (len(kinds) == 1 or kinds <= {"integer", "string", "int-or-string"})


def _has_form(member: Mapping[str, Any]) -> bool:
    return member != EXPANSION and ("pattern" in member or "format" in member)


def _type(node: Mapping[str, Any]) -> str | None:
    """The JSON type of a schema that is no union, also where only its values are listed. None: anything."""
    if "type" in node:
        return str(node["type"])
    values = [node["const"]] if "const" in node else node.get("enum", [])
    kinds = {"integer" if isinstance(value, int) else "string" for value in values}
    return kinds.pop() if len(kinds) == 1 else "int-or-string" if kinds else None


def _scalar(node: Mapping[str, Any]) -> Node:
    kept = {key: node[key] for key in _OF_SCALARS if key in node}
    if "const" in node:
        kept["enum"] = [node["const"]]
    for bound, name in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if name in kept:  # a number in JSON Schema, a yes or no beside the bound in Kubernetes
            kept[bound], kept[name] = kept[name], True
    if node.get("format") == "date-time":
        kept["format"] = "date-time"
    elif node.get("format") == "date":
        kept["pattern"] = DATE
    return kept


# --- unions -----------------------------------------------------------------------------------------------------------


def _one_of_each(members: Sequence[tuple[str, Mapping[str, Any]]]) -> list[tuple[str, Mapping[str, Any]]]:
    """One object with the fields of all objects, one list with the entries of all lists, and the rest as it is."""
    objects = [(name, member) for name, member in members if _type(member) == "object"]
    arrays = [(name, member) for name, member in members if _type(member) == "array"]
    rest = [(name, member) for name, member in members if _type(member) not in ("object", "array")]
    if len(objects) > 1:
        objects = [("", _all_fields([member for _, member in objects]))]
    if len(arrays) > 1:
        arrays = [("", {"type": "array", "items": _any_of([member.get("items", {}) for _, member in arrays])})]
    return objects + arrays + rest


def _all_fields(objects: Sequence[Mapping[str, Any]]) -> Node:
    names = dict.fromkeys(name for one in objects for name in one.get("properties", {}))
    required = [name for name in names if all(name in one.get("required", ()) for one in objects)]
    fields = {name: [one["properties"][name] for one in objects if name in one.get("properties", {})] for name in names}
    return {
        "type": "object",
        "properties": {name: _any_of(given) for name, given in fields.items()},
        "required": required,
    }


def _any_of(nodes: Sequence[Mapping[str, Any]]) -> Node:
    distinct = [node for index, node in enumerate(nodes) if node not in nodes[:index]]
    if len(distinct) == 1:
        return dict(distinct[0])
    described = next((node["description"] for node in distinct if "description" in node), None)
    return {"anyOf": distinct, **({"description": described} if described else {})}


def _united(members: Sequence[Node]) -> Node:
    distinct = [member for index, member in enumerate(members) if member not in members[:index]]
    match sorted({str(member.get("type")) for member in distinct}):
        case ["string"]:
            return _united_strings(distinct)
        case ["integer", "string"] | ["int-or-string", "string"] | ["int-or-string"]:
            return _int_or_string(distinct)
        case [("integer" | "number" | "boolean") as kind]:
            return {"type": kind, **_united_bounds(distinct)}
        case ["object"] | ["array"]:
            return dict(distinct[0])
        case _:
            return _open(distinct)


def _united_strings(members: Sequence[Node]) -> Node:
    if len(members) == 1:
        return dict(members[0])
    result = {"type": "string", **{key: value for key, value in _united_bounds(members).items() if key != "pattern"}}
    forms = [form for member in members for form in _forms(member)]
    if len(forms) < len(members):
        return result
    enums = [member["enum"] for member in members if "enum" in member]
    if len(enums) == len(members):
        return result | {"enum": list(dict.fromkeys(value for enum in enums for value in enum))}
    return result | {"pattern": "|".join(dict.fromkeys(forms))}


def _forms(member: Node) -> list[str]:
    """The patterns of a text; none if it may be any."""
    if "pattern" in member:
        return [EXPANDED if member["pattern"] == EXPANSION["pattern"] else member["pattern"]]
    if "format" in member:
        return [DATE]
    if not member.get("enum"):
        return []
    return [f"^({'|'.join(re.escape(str(value)) for value in member['enum'])})$"]


def _united_bounds(members: Sequence[Node]) -> Node:
    """What is asked of each of them."""
    return {key: value for key, value in members[0].items() if all(one.get(key) == value for one in members)}


def _int_or_string(members: Sequence[Node]) -> Node:
    result: Node = {INT_OR_STRING: True}
    if any(member.get("type") == "int-or-string" for member in members):
        return result | {"enum": [value for member in members for value in member["enum"]]}
    strings = [member for member in members if member.get("type") == "string"]
    numbers = [member for member in members if member.get("type") == "integer"]
    forms = _forms(_united_strings(strings))
    bounds = {key: value for key, value in _united_bounds(numbers).items() if key in ("minimum", "maximum")}
    return result | ({"pattern": forms[0]} if forms else {}) | bounds


def _open(members: Sequence[Node]) -> Node:
    """A value whose type is not known beforehand, with what is asked of it if it is one of these."""
    result: Node = {OPEN: True}
    strings = [member for member in members if member.get("type") == "string"]
    forms = _forms(_united_strings(strings)) if strings else []
    result |= {"pattern": forms[0]} if forms else {}
    for member in members:
        keys = _OF_OPEN.get(str(member.get("type")), ())
        result |= {key: value for key, value in member.items() if key in keys}
        if member.get("maxProperties") == 1:  # nothing refuses an unknown field there
            del result["minProperties"]
            result["anyOf"] = [{"required": [name]} for name in member["properties"]]
    return result


# --- rules ------------------------------------------------------------------------------------------------------------


def _with_rules(node: Node, models: Sequence[str], definitions: Mapping[str, Any]) -> Node:
    """Rules can't see what is left open, so those of a union leave it out."""
    seen = frozenset(name for name, entry in node.get("properties", {}).items() if _is_seen(entry))
    rules = (
        RULES.get(models[0], ()) if len(models) == 1 else told_apart({name: definitions[name] for name in models}, seen)
    )
    for rule in rules:
        assert rule.fields <= seen, f"a rule of {models} asks for {sorted(rule.fields - seen)}, which is left open"
    return {**node, VALIDATIONS: [rule.to_json() for rule in rules]} if rules else node


def _is_seen(node: Node) -> bool:
    if node.get(OPEN) and "type" not in node:
        return False
    inner = node.get("items", node.get("additionalProperties"))
    return not isinstance(inner, dict) or _is_seen(inner)
