"""Two arms as a plan writes them: those of a flag's exposure counters, or two sets of series told apart by labels."""

from typing import ClassVar, Self

from pydantic import Field, field_validator, model_validator

from flags.exposure_names import OTHER
from stages.criteria.base import Setting
from stages.criteria.counted import percent
from stages.criteria.selectors import ArmMatchers, matchers_of
from stages.values import Part, Share

LARGEST_INCREASE = 10.0
EVERYBODY = 100.0  # per cent


class Arms(Part):
    """Label matchers that tell the two arms apart, such as ``{track="canary"}``."""

    canary: ArmMatchers
    control: ArmMatchers

    @model_validator(mode="after")
    def _apart(self) -> Self:
        canary, control = set(matchers_of(self.canary)), set(matchers_of(self.control))
        if canary == control:
            raise ValueError("canary and control are the same matchers: each must select what the other does not")
        for arm, wide, narrow in (("control", control, canary), ("canary", canary, control)):
            if wide < narrow:
                other = "canary" if arm == "control" else "control"
                raise ValueError(f"all of the {other} is in the {arm} too: give the {arm} a matcher that leaves it out")
        return self


class OfArms(Part):
    """Arms come from a flag's counters (the stage's flag if none is named) or from the *counters* that a kind adds."""

    counters: ClassVar[tuple[str, ...]] = ()

    flag: str | None = Field(default=None, min_length=1)
    arms: Arms | None = None
    max_increase: Share = 0.05

    @field_validator("max_increase")
    @classmethod
    def _some_increase(cls, value: float) -> float:
        if value < 0:
            raise ValueError(f"max_increase is how much worse the canary may be: 0 or more, not {percent(value)}")
        if value > LARGEST_INCREASE:
            most = percent(LARGEST_INCREASE)
            raise ValueError(f'max_increase is at most {most}, not {percent(value)} (is "{value:g}%" meant?)')
        return value

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        parts = (*self.counters, "arms")
        given = [name for name in parts if getattr(self, name) is not None]
        if self.flag is not None and given:
            raise ValueError(f"a flag brings its own arms and counters: name flag, or {' and '.join(given)}, not both")
        if self.flag == OTHER:
            raise ValueError(f"exposures of a flag with the key {OTHER!r} are counted with those of unknown flags")
        if given and len(given) < len(parts):
            together = f"{', '.join(self.counters)} and arms"
            lacking = " and ".join(name for name in parts if name not in given)
            raise ValueError(f"{together} belong together; {lacking} is not given")
        return self


def is_everybody(setting: Setting) -> bool:
    """Whether the flag, or the version, stands at 100 %, so that nobody is left in the control."""
    return (setting.percentage or 0.0) >= EVERYBODY
