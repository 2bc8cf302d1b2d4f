"""``{flag: KEY, percentage: N}``: set what is named of one flag. Its undo is known: the document that was there."""

from typing import Any

from flags.model import FlagState
from stages.actions.base import Action, Site
from stages.effects import ObserveFlag, Operation, SetFlag, Target, TargetKind, flag_target_id
from stages.flag_spec import ABSENT, FlagChange, change_value
from stages.flag_systems import FlagPlace, place_of
from stages.values import Json, Percentage


def flag_target(environment: str, key: str, place: FlagPlace | None = None) -> Target:
    name = flag_target_id(environment, key)
    claim = place.system.claim(key) if place is not None else None
    return Target(name, TargetKind.FLAG, f"flag {key} in {environment}", claim=claim or name)


class FlagAction(Action):
    flag: str
    state: FlagState | None = None
    percentage: Percentage | None = None
    targets: dict[str, tuple[str, ...]] | None = None
    parameters: dict[str, Json] | None = None
    profile: str | None = None

    @property
    def has_undo(self) -> bool:
        return True

    @property
    def change(self) -> FlagChange:
        return FlagChange(
            state=self.state,
            percentage=self.percentage,
            targets=self.targets,
            parameters=self.parameters,
            profile=self.profile,
        )

    def describe(self) -> str:
        what = self.change.model_dump(exclude_none=True, mode="json")
        return f"set flag {self.flag}: " + ", ".join(f"{key} {value}" for key, value in what.items())

    def target(self, site: Site) -> Target:
        return flag_target(site.environment, self.flag, place_of(site.flags, self.flag))

    def observation(self, site: Site) -> ObserveFlag:
        return ObserveFlag(environment=site.environment, key=self.flag)

    def wanted(self, site: Site, current: Json) -> dict[str, Any]:
        return change_value(current, self.change, site.flags.get(self.flag))

    def forward(self, site: Site, current: Json) -> Operation:
        return SetFlag(environment=site.environment, key=self.flag, value=self.wanted(site, current))

    def is_done(self, site: Site, current: Json) -> bool:
        return current is not None and self.wanted(site, current) == current

    def backward(self, site: Site, before: Json) -> Operation:
        return SetFlag(environment=site.environment, key=self.flag, value=before if before is not None else ABSENT)
