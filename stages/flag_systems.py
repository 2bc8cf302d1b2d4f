"""Flag systems that a team already has: how a plan names them, and where each of its flags is.

Without a word about it a flag is in the orchestrator's own store. ``spec.flag_systems`` names others, and a flag says
in which one it is. Such a system holds a state and a percentage, nothing else of a flag that a run could set.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, field_validator, model_validator

from stages.cluster import Kubernetes, ObjectRef, written
from stages.flag_spec import FlagSpec
from stages.values import Duration, Part, SecretRef

FEATURE_FLAGS = "core.openfeature.dev/v1beta1"
_OBJECT_NAME = r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?"
_KEY = r"[-._a-zA-Z0-9]{1,253}"


def _object_name(text: str) -> str:
    if not re.fullmatch(_OBJECT_NAME, text):
        raise ValueError(f"the name of an object in Kubernetes is expected, such as search-flags, not {text!r}")
    return text


def _key(text: str) -> str:
    if not re.fullmatch(_KEY, text):
        raise ValueError(f"a key of a ConfigMap is expected, such as flags.json, not {text!r}")
    return text


_Name = Annotated[str, AfterValidator(_object_name), written(_OBJECT_NAME)]
_Key = Annotated[str, AfterValidator(_key), written(_KEY)]


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

    def within(self, environment: str, place: str | None, kubernetes: Kubernetes) -> Self:
        return self.model_copy(update={"environment": place or self.environment or environment})

    def claim(self, key: str) -> str | None:
        """What no two active runs may share: the same feature may have other names of environments in other plans."""
        return f"flag:{self.url.rstrip('/')}/{self.project}/{self.environment}/{key}"

    def cannot_say(self, percentage: float) -> str | None:
        if percentage == int(percentage):
            return None
        return f"Unleash's percentages are whole numbers, so {percentage:g} can't be set there; choose a whole number"

    def cannot_be_at(self, place: str) -> str | None:
        return None


class FlagdSystem(Part):
    """A flagd document: in a *file*, relative to the plan; in a *key* of a ConfigMap; or the flags of a ``FeatureFlag``
    of the OpenFeature operator. *kubernetes*: where an object is, before what the environment and the plan say.
    """

    file: str | None = Field(default=None, min_length=1)
    config_map: _Name | None = None
    key: _Key = "flags.json"
    feature_flag: _Name | None = None
    kubernetes: Kubernetes | None = None

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if sum(one is not None for one in (self.file, self.config_map, self.feature_flag)) != 1:
            raise ValueError("flagd is one of file, config_map and feature_flag")
        if self.file is not None and self.kubernetes is not None:
            raise ValueError("a file is in no cluster; leave kubernetes out, or name a config_map")
        if self.config_map is None and "key" in self.model_fields_set:
            raise ValueError("key is one of a ConfigMap's keys, and no config_map is named")
        return self

    @property
    def cluster(self) -> Kubernetes:
        return self.kubernetes or Kubernetes()

    @property
    def place_field(self) -> str:
        return next(name for name in ("file", "config_map", "feature_flag") if getattr(self, name) is not None)

    @property
    def object(self) -> ObjectRef | None:
        """None for a file."""
        if self.config_map is not None:
            return ObjectRef("v1", "ConfigMap", self.config_map)
        return ObjectRef(FEATURE_FLAGS, "FeatureFlag", self.feature_flag) if self.feature_flag is not None else None

    def field_of(self, key: str) -> str:
        """What of the object a run changes for a flag."""
        return f"key {self.key}" if self.config_map is not None else f"flag {key}"

    def within(self, environment: str, place: str | None, kubernetes: Kubernetes) -> Self:
        named = {self.place_field: place} if place else {}
        if self.file is not None:
            return self.model_copy(update=named)
        return self.model_copy(update={**named, "kubernetes": self.cluster.or_else(kubernetes)})

    def claim(self, key: str) -> str | None:
        """An object may be that of several plans, whose environments are called otherwise."""
        if self.file is not None:
            return None
        thing = f"configmap/{self.config_map}/{self.key}" if self.config_map else f"featureflag/{self.feature_flag}"
        return f"flag:{self.cluster.path(thing)}/{key}"

    def cannot_say(self, percentage: float) -> str | None:
        return None

    def cannot_be_at(self, place: str) -> str | None:
        """Why an environment can't name this place."""
        if self.file is None:
            try:
                _object_name(place)
            except ValueError as problem:
                return str(problem)
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


@dataclass(frozen=True, slots=True)
class Surroundings:
    """An environment of a plan: *places* says where a system's flags of it are, *kubernetes* in which cluster."""

    environment: str
    places: Mapping[str, str]
    kubernetes: Kubernetes


class PlacedFlag(FlagSpec):
    """A flag of a system that the plan names, as compiled for one environment."""

    place: FlagPlace


def placed_flags(
    flags: Mapping[str, FlagSpec],
    systems: Mapping[str, FlagSystemSection],
    surroundings: Surroundings,
) -> dict[str, FlagSpec]:
    """*flags* with those of other systems put there."""
    return {key: _placed(spec, systems, surroundings) for key, spec in flags.items()}


def _placed(spec: FlagSpec, systems: Mapping[str, FlagSystemSection], around: Surroundings) -> FlagSpec:
    if spec.system is None:
        return spec
    place = around.places.get(spec.system)
    system = systems[spec.system].system.within(around.environment, place, around.kubernetes)
    return PlacedFlag(**dict(spec), place=FlagPlace(spec.system, system))


def placed_in_clusters(flags: Mapping[str, FlagSpec]) -> Iterator[tuple[str, FlagdSystem, ObjectRef]]:
    """Each flag that is in an object of a cluster."""
    for key in flags:
        place = place_of(flags, key)
        if place is not None and isinstance(place.system, FlagdSystem) and (found := place.system.object) is not None:
            yield key, place.system, found


def place_of(flags: Mapping[str, FlagSpec], key: str) -> FlagPlace | None:
    """None for a flag of our own store."""
    spec = flags.get(key)
    return spec.place if isinstance(spec, PlacedFlag) else None
