"""The reference of the plan language, as Markdown: every field with its type, default, meaning and place.

It is made of the JSON Schema that editors are given and of the models' defaults, so it says what is read.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from stages.plan import StagedRollout
from stages.schema import EXPANSION, json_schema
from stages.values import Part, format_duration

Json = Mapping[str, Any]
ROOT = StagedRollout.__name__
PAGES = {  # the beginning of a model's module, and the page that it is on
    "stages.kinds": "stages",
    "stages.actions": "actions",
    "stages.criteria": "criteria",
    "stages.gates": "criteria",
    "stages.success": "criteria",
    "stages.triggers": "criteria",
    "stages.notify": "notify",
    "stages.checks": "checks",
    "stages.questions": "checks",
    "stages.windows": "checks",
    "stages": "plan",
}
TITLES = {
    "plan": "The plan, environments, flags, and where things are",
    "stages": "Stages",
    "actions": "Actions",
    "criteria": "Gates, criteria, triggers, success",
    "checks": "Checks, approvals, windows, questions",
    "notify": "Notifications",
}
MADE = "<!-- Made from the models by `make reference`; don't edit. -->\n"
MOST_PLACES = 4
_SCALARS = {"string": "text", "number": "number", "integer": "whole number", "boolean": "`true` or `false`"}


def reference_pages() -> dict[str, str]:
    """File names and their contents."""
    return _Reference().pages()


class _Reference:
    def __init__(self) -> None:
        schema = json_schema()
        self._models = {name: node for name, node in schema["$defs"].items() if "properties" in node}
        self._models[ROOT] = schema
        self._unions = {name: node for name, node in schema["$defs"].items() if "properties" not in node}
        self._kinds = {kind.__name__: kind for kind in _below(Part)}
        self._places = self._found_at()

    def pages(self) -> dict[str, str]:
        made = {"README.md": self._contents()}
        for page, title in TITLES.items():
            parts = [self._model(name) for name in self._names(page)]
            made[f"{page}.md"] = "\n".join([f"{MADE}# {title}\n", *parts])
        return made

    def _names(self, page: str) -> list[str]:
        """In the order in which one meets them from the plan on."""
        return [name for name in self._places if self._page(name) == page]

    def _page(self, name: str) -> str:
        module = self._kinds[name].__module__
        return next(page for beginning, page in PAGES.items() if module.startswith(beginning))

    def _contents(self) -> str:
        lines = [
            f"{MADE}# Reference of the plan language\n",
            "Every field of a plan. What they are for, with examples, is in [the pages about plans](../plan.md);",
            "`rollout schema` prints the same for editors. A field whose default is *needed* has none. Every value",
            "may be a [`${NAME}`](../plan.md#names-from-outside-name).\n",
        ]
        for page, title in TITLES.items():
            links = ", ".join(f"[{name}]({page}.md#{name.lower()})" for name in self._names(page))
            lines.append(f"- **[{title}]({page}.md)**: {links}")
        return "\n".join(lines) + "\n"

    def _model(self, name: str) -> str:
        node = self._models[name]
        places = self._places[name]
        more = ", ..." if len(places) > MOST_PLACES else ""
        at = ", ".join(f"`{place or '(the document)'}`" for place in places[:MOST_PLACES])
        rows = [self._row(name, field, one) for field, one in node["properties"].items()]
        head = ["| field | type | default | meaning |", "| --- | --- | --- | --- |"]
        return "\n".join([f"## {name}\n", f"At {at}{more}.\n", *head, *rows]) + "\n"

    def _row(self, model: str, field: str, node: Json) -> str:
        cells = (f"`{field}`", self._type(node), self._default(model, field), node.get("description", ""))
        return f"| {' | '.join(_escaped(cell) for cell in cells)} |"

    # --- types ------------------------------------------------------------------------------------------------------

    def _type(self, node: Json) -> str:
        if "$ref" in node:
            return self._reference(node["$ref"].rpartition("/")[2])
        if "anyOf" in node:
            return self._any_of(node["anyOf"])
        if "const" in node:
            return f"`{node['const']}`"
        if "enum" in node:
            return ", ".join(f"`{value}`" for value in node["enum"])
        return self._of_kind(node)

    def _any_of(self, members: list[Json]) -> str:
        told = [self._type(one) for one in members if one != EXPANSION and one.get("type") != "null"]
        return " or ".join(dict.fromkeys(told))

    def _reference(self, name: str) -> str:
        if name == "Bound":
            return "bound"
        if name in self._models:
            return f"[{name}]({self._page(name)}.md#{name.lower()})"
        return self._type(self._unions[name])

    def _of_kind(self, node: Json) -> str:
        match node.get("type"):
            case "array":
                return f"list of {self._type(node.get('items', {}))}"
            case "object":
                inside = node.get("additionalProperties")
                return f"mapping of names to {self._type(inside)}" if isinstance(inside, dict) else "mapping"
            case "string" if "(?:ms|s|m|h|d)" in node.get("pattern", ""):
                return "duration"
            case str(kind):
                return _SCALARS.get(kind, kind)
            case _:
                return "anything"

    # --- defaults ---------------------------------------------------------------------------------------------------

    def _default(self, model: str, field: str) -> str:
        info = next((one for name, one in self._kinds[model].model_fields.items() if field in (name, one.alias)), None)
        if info is None:  # a short form, which the schema alone knows
            return ""
        return "*needed*" if info.is_required() else _written(info, self._models[model]["properties"][field])

    # --- places -----------------------------------------------------------------------------------------------------

    def _found_at(self) -> dict[str, list[str]]:
        """Each model that can be reached, with the paths at which it is written. It is followed from the first one."""
        found: dict[str, list[str]] = {ROOT: [""]}
        pending = [ROOT]
        while pending:
            name = pending.pop(0)
            for field, node in self._models[name]["properties"].items():
                path = f"{found[name][0]}.{field}".lstrip(".")
                for place, other in self._inside(node, path):
                    if other not in found:
                        found[other] = []
                        pending.append(other)
                    if place not in found[other]:
                        found[other].append(place)
        return found

    def _inside(self, node: Json, path: str) -> Iterator[tuple[str, str]]:
        if "$ref" in node:
            name = node["$ref"].rpartition("/")[2]
            if name in self._models:
                yield path, name
            elif name in self._unions:
                yield from self._inside(self._unions[name], path)
        for member in node.get("anyOf", ()):
            yield from self._inside(member, path)
        if isinstance(node.get("items"), dict):
            yield from self._inside(node["items"], f"{path}[]")
        if isinstance(node.get("additionalProperties"), dict):
            yield from self._inside(node["additionalProperties"], f"{path}.NAME")


def _escaped(cell: str) -> str:
    """As a cell of a table; what stands between backticks is shown as it is."""
    parts = cell.replace("|", "\\|").split("`")
    return "`".join(part if index % 2 else part.replace("<", "\\<") for index, part in enumerate(parts))


def _below(kind: type[Part]) -> Iterator[type[Part]]:
    yield kind
    for one in kind.__subclasses__():
        yield from _below(one)


def _written(info: FieldInfo, node: Json) -> str:
    value = info.get_default(call_default_factory=True) if info.default_factory is None else None
    if value is None or value is PydanticUndefined or value in ((), "") or isinstance(value, Part):
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, float) and "(?:ms|s|m|h|d)" in str(node):
        return f"`{format_duration(value)}`"
    return f"`{value:g}`" if isinstance(value, int | float) else f"`{value}`"
