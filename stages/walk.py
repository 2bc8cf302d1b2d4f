"""Every part of a plan with its path in the document, for whoever checks plans as a whole."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from stages.problems import Path


@dataclass(frozen=True, slots=True)
class Place:
    """A part, where it is, and the parts around it (outermost first)."""

    path: Path
    part: BaseModel
    around: tuple[BaseModel, ...] = ()

    def inside(self, kind: type[BaseModel]) -> Any:
        """The nearest part of this kind around it, or None."""
        return next((part for part in reversed(self.around) if isinstance(part, kind)), None)

    def is_for(self, environment: str) -> bool:
        """Whether it and all around it are for this environment."""
        return all(
            not (named := getattr(part, "environments", ())) or not _are_texts(named) or environment in named
            for part in (*self.around, self.part)
        )


def _are_texts(entries: Any) -> bool:
    return isinstance(entries, tuple) and all(isinstance(entry, str) for entry in entries)


def places(part: BaseModel, path: Path = (), around: tuple[BaseModel, ...] = ()) -> Iterator[Place]:
    """*part* and everything that was written inside it (defaults are not visited)."""
    yield Place(path, part, around)
    for name in sorted(part.model_fields_set, key=list(type(part).model_fields).index):
        field = type(part).model_fields[name]
        yield from _inside(getattr(part, name), (*path, field.alias or name), (*around, part))


def _inside(value: Any, path: Path, around: tuple[BaseModel, ...]) -> Iterator[Place]:
    if isinstance(value, BaseModel):
        yield from places(value, path, around)
    elif isinstance(value, tuple | list):
        for index, entry in enumerate(value):
            yield from _inside(entry, (*path, index), around)
    elif isinstance(value, dict):
        for key, entry in value.items():
            yield from _inside(entry, (*path, key), around)
