"""What is left of a document when everything that has an error is taken out, so that the rest can be reviewed too.

All problems are to be told at once, but questions about names can only be asked of parts that are valid in themselves.
"""

from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from stages.plan import StagedRollout
from stages.problems import Path
from stages.shapes import locate
from stages.values import WRITTEN

_ROUNDS = 8


@dataclass(slots=True)
class Remainder:
    """*removed* has paths of the whole document; *kept* the old indexes of what is left of each list."""

    data: Any
    removed: set[Path] = field(default_factory=set)
    kept: dict[Path, list[int]] = field(default_factory=dict)

    def valid_part(self, error: ValidationError) -> StagedRollout | None:
        """A valid document without the parts that have errors, or None if too much is wrong."""
        for _ in range(_ROUNDS):
            for details in error.errors(include_url=False, include_context=False):
                path = self.original(locate(StagedRollout, details["loc"])[0])
                self.removed.add(self._taken_out(path, details["type"]))
            if any(len(path) < 2 or path == ("spec", "stages") for path in self.removed):
                return None
            self.kept.clear()
            try:
                return StagedRollout.model_validate(self._without(self.data, ()), context=WRITTEN)
            except ValidationError as another:
                error = another
        return None

    def original(self, path: Path) -> Path:
        """The path in the whole document of a path in what is left."""
        found: Path = ()
        for part in path:
            kept = self.kept.get(found)
            found = (*found, kept[part] if kept is not None and isinstance(part, int) else part)
        return found

    def _taken_out(self, path: Path, kind: str) -> Path:
        """The smallest part to take out: a mapping without a field that it needs goes as a whole."""
        return path[:-1] if kind == "missing" or path in self.removed else path

    def _without(self, value: Any, path: Path) -> Any:
        if isinstance(value, dict):
            return {
                key: self._without(one, (*path, key)) for key, one in value.items() if (*path, key) not in self.removed
            }
        if isinstance(value, list):
            self.kept[path] = [index for index in range(len(value)) if (*path, index) not in self.removed]
            return [self._without(value[index], (*path, index)) for index in self.kept[path]]
        return value
