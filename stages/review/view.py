"""A plan as its reviewers see it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from stages.actions import Action, AnyAction
from stages.plan import EnvironmentSection, StagedRollout
from stages.problems import Path
from stages.values import WRITTEN, Part
from stages.walk import Place, places

Finding = tuple[Path, str]


class Undo(Part):
    """An undo that is an action, for validation on its own."""

    undo: AnyAction


@dataclass(frozen=True, slots=True)
class Known:
    """The names that a plan declares, as written (also where what they name has errors of its own)."""

    gates: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    environments: tuple[str, ...] = ()
    stages: tuple[str, ...] = ()

    @classmethod
    def of(cls, data: Any) -> "Known":
        spec = data.get("spec") if isinstance(data, dict) else None
        spec = spec if isinstance(spec, dict) else {}
        notify = spec.get("notify")
        return cls(
            gates=_keys(spec.get("gates")),
            flags=_keys(spec.get("flags")),
            channels=_keys(notify.get("channels") if isinstance(notify, dict) else None),
            sources=_keys(spec.get("sources")),
            environments=_names(spec.get("environments")) or ("production",),
            stages=_names(spec.get("stages")),
        )


def _keys(value: Any) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, dict) else ()


def _names(value: Any) -> tuple[str, ...]:
    entries = value if isinstance(value, list) else ()
    return tuple(str(entry["name"]) for entry in entries if isinstance(entry, dict) and "name" in entry)


@dataclass(frozen=True, slots=True)
class View:
    """*places* has every part that was written, the actions in ``undo`` among them."""

    environment: str
    document: StagedRollout
    known: Known
    places: tuple[Place, ...] = ()
    undo_errors: Mapping[Path, ValidationError] = field(default_factory=dict)

    @property
    def section(self) -> EnvironmentSection | None:
        return next((one for one in self.document.spec.environments if one.name == self.environment), None)

    def concerns(self, place: Place) -> bool:
        """Whether this environment's run meets the place at all."""
        section = place.inside(EnvironmentSection)
        return place.is_for(self.environment) and (section is None or section.name == self.environment)


def make_view(environment: str, document: StagedRollout, data: Any) -> View:
    errors: dict[Path, ValidationError] = {}
    found = tuple(_with_undos(document, errors))
    return View(environment, document, Known.of(data), found, errors)


def _with_undos(document: StagedRollout, errors: dict[Path, ValidationError]) -> Iterator[Place]:
    for place in places(document):
        yield place
        if not isinstance(place.part, Action) or not isinstance(place.part.undo, dict):
            continue
        try:
            action = Undo.model_validate({"undo": place.part.undo}, context=WRITTEN).undo
        except ValidationError as error:
            errors[place.path] = error
        else:
            yield from places(action, (*place.path, "undo"), (*place.around, place.part))
