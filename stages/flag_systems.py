"""Flag systems that a team already has: how a plan names them, and where each of its flags is.

Without a word about it a flag is in the orchestrator's own store. ``spec.flag_systems`` names others, and a flag says
in which one it is. Such a system holds a state and a percentage, nothing else of a flag that a run could set.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from stages.flag_spec import FlagSpec
from stages.values import Duration, Part, SecretRef


class UnleashSystem(Part):
    """A project in an Unleash server. *environment* is Unleash's name; else it is called as the plan's is."""

    url: str
    token: SecretRef
    project: str = Field(default="default", min_length=1)
    environment: str | None = Field(default=None, min_length=1)
    timeout: Duration = Field(default=10.0, gt=0)

    @field_validator("url")
    @classmethod
    def _address(cls, url: str) -> str:
        try:
            parts = urlsplit(url)
        except ValueError as error:
            raise ValueError(f"an URL can't be read: {error}") from error
        if parts.username is not None:
            raise ValueError("an address with a user in it would be shown; name a token in its place")
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise ValueError("the address of an Unleash server is expected, such as https://unleash.example.com")
        return url

    def within(self, environment: str, place: str | None) -> Self:
        return self.model_copy(update={"environment": place or self.environment or environment})

    def claim(self, key: str) -> str | None:
        """What no two active runs may share: the same feature may have other names of environments in other plans."""
        return f"flag:{self.url.rstrip('/')}/{self.project}/{self.environment}/{key}"

    def cannot_say(self, percentage: float) -> str | None:
        if percentage == int(percentage):
            return None
        return f"Unleash's percentages are whole numbers, so {percentage:g} can't be set there; choose a whole number"


class FlagdSystem(Part):
    """A flagd document in a file, relative to the plan."""

    file: str = Field(min_length=1)

    def within(self, environment: str, place: str | None) -> Self:
        return self.model_copy(update={"file": place or self.file})

    def claim(self, key: str) -> str | None:
        return None

    def cannot_say(self, percentage: float) -> str | None:
        return None


AnyFlagSystem = UnleashSystem | FlagdSystem


class FlagSystemSection(Part):
    """One system, of the kind whose field is given."""

    unleash: UnleashSystem | None = None
    flagd: FlagdSystem | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.unleash is None) == (self.flagd is None):
            raise ValueError("a flag system is one of unleash and flagd")
        return self

    @property
    def system(self) -> AnyFlagSystem:
        found = self.unleash or self.flagd
        assert found is not None, "checked when it was made"
        return found

    @property
    def kind(self) -> str:
        return "Unleash" if self.unleash is not None else "flagd"


@dataclass(frozen=True, slots=True)
class FlagPlace:
    """Where a flag is in one environment of a plan: a system under its name there, with nothing left to look up."""

    name: str
    system: AnyFlagSystem


class PlacedFlag(FlagSpec):
    """A flag of a system that the plan names, as compiled for one environment."""

    place: FlagPlace


def placed_flags(
    flags: Mapping[str, FlagSpec],
    systems: Mapping[str, FlagSystemSection],
    environment: str,
    places: Mapping[str, str],
) -> dict[str, FlagSpec]:
    """*flags* with those of other systems put there. *places* says where a system's flags of *environment* are."""
    return {key: _placed(spec, systems, environment, places) for key, spec in flags.items()}


def _placed(
    spec: FlagSpec, systems: Mapping[str, FlagSystemSection], environment: str, places: Mapping[str, str]
) -> FlagSpec:
    if spec.system is None:
        return spec
    system = systems[spec.system].system.within(environment, places.get(spec.system))
    return PlacedFlag(**dict(spec), place=FlagPlace(spec.system, system))


def place_of(flags: Mapping[str, FlagSpec], key: str) -> FlagPlace | None:
    """None for a flag of our own store."""
    spec = flags.get(key)
    return spec.place if isinstance(spec, PlacedFlag) else None
