"""What the plan language has and this version does not bring to life yet. Refused, so that nothing is ignored.

To bring something to life, take its line out.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import BaseModel

from stages.kinds.version import VersionStage
from stages.problems import Path
from stages.walk import Place


@dataclass(frozen=True, slots=True)
class Later:
    """*field* of *part* (all of the part if it is None), in words."""

    part: type[BaseModel]
    words: str
    field: str | None = None

    def place(self, place: Place) -> Path | None:
        """Where it was written, if it was."""
        if not isinstance(place.part, self.part):
            return None
        if self.field is None:
            return place.path
        if self.field not in place.part.model_fields_set:
            return None
        return (*place.path, type(place.part).model_fields[self.field].alias or self.field)


LATER: tuple[Later, ...] = (Later(VersionStage, "shifting traffic by a route", "route"),)


def refusals(place: Place) -> Iterator[tuple[Path, str]]:
    """What of this part a later version brings: path and sentence."""
    for later in LATER:
        path = later.place(place)
        if path is not None:
            yield path, f"not in this version yet, but in a later one: {later.words}"
