"""Where an error of the models lies: from pydantic's location to a path of the document, and the models at its end.

A location of pydantic names the members of unions along the way (``spec.stages.0.monitoring.bake.BakeRange.max``). To
tell such names from fields the annotations are walked beside it: after a union, the next part is always a name.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, Tag

from stages.problems import Path


@dataclass(frozen=True, slots=True)
class Member:
    """One member of a union (or the only type there is), with the tag by which it is told apart."""

    kind: Any
    tag: str | None = None

    @property
    def model(self) -> type[BaseModel] | None:
        return self.kind if isinstance(self.kind, type) and issubclass(self.kind, BaseModel) else None

    def is_named(self, label: str) -> bool:
        if self.tag is not None:
            return self.tag == label
        if self.model is not None:
            told_by = self.model.model_fields.get("kind")
            if told_by is not None and label in get_args(told_by.annotation):
                return True
            return re.search(rf"\b{self.model.__name__}\b", label) is not None
        origin = get_origin(self.kind) or self.kind
        return label.startswith(getattr(origin, "__name__", "?").lower())


def members(annotation: Any, tag: str | None = None) -> list[Member]:
    """The members of a type, however its union is nested; None is not one."""
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *metadata = get_args(annotation)
        named = next((entry.tag for entry in metadata if isinstance(entry, Tag)), tag)
        return members(inner, named)
    if origin is Union or origin is UnionType:
        return [member for part in get_args(annotation) for member in members(part)]
    return [] if annotation is NoneType or annotation is None else [Member(annotation, tag)]


def locate(root: type[BaseModel], location: Sequence[int | str]) -> tuple[Path, list[Member]]:
    """The path in the document, and what may stand there (nothing if the models know no such place)."""
    path: list[int | str] = []
    current = [Member(root)]
    for part in location:
        if len(current) > 1:
            current = _chosen(current, str(part))
            continue
        if part == "[key]":
            break
        following = _inside(current[0].kind, part) if current else []
        if following is None:
            continue
        path.append(part)
        current = following
    return tuple(path), current


def fields_at(root: type[BaseModel], location: Sequence[int | str]) -> list[str]:
    """The names of the fields that may be written in the mapping at *location*."""
    _, found = locate(root, location)
    return [name for member in found if member.model is not None for name in field_names(member.model)]


def field_names(model: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


def _chosen(current: list[Member], label: str) -> list[Member]:
    named = [member for member in current if member.is_named(label)]
    if named:
        return named[:1]
    scalars = [member for member in current if member.model is None]
    return scalars[:1] or current  # a label that names a group of models is followed by one that names the member


def _inside(kind: Any, part: int | str) -> list[Member] | None:
    """What stands one part deeper; None if *part* only names a scalar type."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        for name, field in kind.model_fields.items():
            if part in (field.alias, name):
                return members(_whole(field.annotation, field.metadata))
        return []
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (tuple, list) and isinstance(part, int):
        return members(arguments[0])
    if origin is dict:
        return members(arguments[1])
    return None if origin is Literal or isinstance(kind, type) else []


def _whole(annotation: Any, metadata: list[Any]) -> Any:
    """A field's annotation with the tag that pydantic has moved to its metadata."""
    tag = next((entry for entry in metadata if isinstance(entry, Tag)), None)
    return Annotated[annotation, tag] if tag is not None else annotation
