"""The flag document: everything that decides how a flag is answered in one environment.

A document is checked whole when it is made, whether by code or from JSON, and cannot be changed afterwards: whoever
holds one may rely on it. Changes are made with `dataclasses.replace`, which checks again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from flags.bucketing import TOTAL
from flags.errors import InvalidFlag, shown
from flags.values import FlagValue, Frozen, freeze, freeze_object, name, same, thaw

PARAMETERS_SUFFIX: Final = ".parameters"
"""`<key>.parameters` is the object flag that carries a flag's parameters, so no flag's own key may end like that."""

KILLED: Final = "killed"
"""Says in a flag's metadata that the kill switch holds it. Parameters travel there too, so none may bear this name."""

_PER_PERCENT = TOTAL // 100
_ROUNDING = 1e-6
_VERSION = re.compile(r"(\d{1,18})\.(\d{1,18})", re.ASCII)
_TYPES: Mapping[type, str] = {bool: "boolean", int: "integer", float: "float", str: "string"}


class FlagState(StrEnum):
    ENABLED = "enabled"
    DISABLED = "disabled"


@dataclass(frozen=True, slots=True, order=True)
class Version:
    """Rises with every write. `generation` is the store's: it rises when a store is restored, so that no client ever
    sees a flag's version go back."""

    generation: int
    number: int

    def __post_init__(self) -> None:
        for part in (self.generation, self.number):
            if type(part) is not int or part < 0:
                raise InvalidFlag("version", "two integers, not negative", shown(part))

    def __str__(self) -> str:
        return f"{self.generation}.{self.number}"

    @classmethod
    def parse(cls, text: object) -> Version:
        found = _VERSION.fullmatch(text) if isinstance(text, str) else None
        if found is None:
            raise InvalidFlag("version", "GENERATION.NUMBER such as '1.42'", shown(text))
        return cls(int(found[1]), int(found[2]))


def _nothing() -> Mapping[str, Frozen]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True, eq=False)
class FlagDocument:
    """`percentage` of the targeting keys, and every context with an attribute in `targets`, get `on_variant`; all
    others get `default_variant`, which is also what a disabled and a killed flag answer.

    `targets` maps an attribute to the values that have the flag; any one of them suffices. `profiles` are named sets
    of parameters, `profile` the one in force. A `permanent` flag is passed by the kill switch.
    """

    key: str
    environment: str = "production"
    state: FlagState = FlagState.ENABLED
    variants: Mapping[str, FlagValue] = field(default_factory=lambda: MappingProxyType({"on": True, "off": False}))
    default_variant: str = "off"
    on_variant: str = "on"
    targets: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    percentage: float = 0.0
    parameters: Mapping[str, Frozen] = field(default_factory=_nothing)
    profiles: Mapping[str, Mapping[str, Frozen]] = field(default_factory=lambda: MappingProxyType({}))
    profile: str | None = None
    permanent: bool = False
    version: Version = Version(0, 0)

    def __post_init__(self) -> None:
        key = _key(self.key, "key")
        try:
            for attribute, check in _CHECKS.items():
                object.__setattr__(self, attribute, check(getattr(self, attribute), attribute))
            _check_references(self)
        except InvalidFlag as problem:
            raise problem.of(key) from None

    @property
    def on_value(self) -> FlagValue:
        return self.variants[self.on_variant]

    @property
    def off_value(self) -> FlagValue:
        return self.variants[self.default_variant]

    @property
    def weight(self) -> int:
        """The percentage in thousandths of a per cent, 0 to 100,000."""
        return round(self.percentage * _PER_PERCENT)

    @property
    def standing_percentage(self) -> float:
        """What the flag stands at: a disabled one at 0, whatever its number says."""
        return 0.0 if self.state is FlagState.DISABLED else self.percentage

    @property
    def effective_parameters(self) -> Mapping[str, Frozen]:
        if self.profile is None:
            return self.parameters
        return MappingProxyType({**self.parameters, **self.profiles[self.profile]})

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, FlagDocument):
            return NotImplemented
        return all(same(getattr(self, one.name), getattr(other, one.name)) for one in fields(self))

    __hash__ = None  # type: ignore[assignment]  # read-only mappings have no hash

    def __reduce__(self) -> tuple[Callable[[object], FlagDocument], tuple[dict[str, object]]]:
        # Read-only mappings can be neither pickled nor deep-copied: go by way of JSON.
        return FlagDocument.from_json, (self.to_json(),)

    def to_json(self) -> dict[str, object]:
        """Every field, as plain dicts, lists and scalars of the caller's own."""
        return {
            "key": self.key,
            "environment": self.environment,
            "state": self.state.value,
            "variants": thaw(self.variants),
            "default_variant": self.default_variant,
            "on_variant": self.on_variant,
            "targets": thaw(self.targets),
            "percentage": self.percentage,
            "parameters": thaw(self.parameters),
            "profiles": thaw(self.profiles),
            "profile": self.profile,
            "permanent": self.permanent,
            "version": str(self.version),
        }

    @classmethod
    def from_json(cls, data: object) -> FlagDocument:
        """From parsed JSON. Only `key` is required; InvalidFlag names the field and what was expected."""
        if not isinstance(data, Mapping):
            raise InvalidFlag("document", "an object", shown(data))
        if "key" not in data:
            raise InvalidFlag("key", "the flag's key", "none")
        key = _key(data["key"], "key")
        try:
            _check_names(data)
            values = dict(data)
            if "version" in values:
                values["version"] = Version.parse(values["version"])
        except InvalidFlag as problem:
            raise problem.of(key) from None
        return cls(**values)


def safer(a: FlagDocument, b: FlagDocument, before: FlagDocument) -> FlagDocument:
    """The safer of two documents of one flag: disabled if either is, the lower percentage, only the targets in both.

    Parameters, profiles and the profile in force are those of `before`, the document from before the run. What a run
    never sets (variants, permanence) stays as in `a`, the document that stands now.
    """
    for other in (b, before):
        if (other.key, other.environment) != (a.key, a.environment):
            wanted, got = f"a document of {a.key!r} in {a.environment!r}", f"{other.key!r} in {other.environment!r}"
            raise InvalidFlag("key", wanted, got)
    disabled = FlagState.DISABLED in (a.state, b.state)
    return replace(
        a,
        state=FlagState.DISABLED if disabled else FlagState.ENABLED,
        percentage=min(a.percentage, b.percentage),
        targets=_targets_in_both(a.targets, b.targets),
        parameters=before.parameters,
        profiles=before.profiles,
        profile=before.profile,
        version=max(a.version, b.version),
    )


def _targets_in_both(a: Mapping[str, tuple[str, ...]], b: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    return {attribute: tuple(v for v in values if v in b.get(attribute, ())) for attribute, values in a.items()}


def _check_names(data: Mapping[object, object]) -> None:
    known = [one.name for one in fields(FlagDocument)]
    for given in data:
        if given in known:
            continue
        from difflib import get_close_matches  # only a misspelt document pays for it

        near = get_close_matches(str(given), known, n=1)
        expected = f"{near[0]!r}" if near else f"one of {', '.join(known)}"
        raise InvalidFlag(str(given), expected, "an unknown field")


def _check_references(document: FlagDocument) -> None:
    for attribute in ("default_variant", "on_variant"):
        chosen = getattr(document, attribute)
        if chosen not in document.variants:
            raise InvalidFlag(attribute, f"one of the variants {', '.join(document.variants)}", shown(chosen))
    if document.default_variant == document.on_variant:
        raise InvalidFlag("on_variant", "another variant than default_variant", shown(document.on_variant))
    if document.profile is not None and document.profile not in document.profiles:
        known = ", ".join(document.profiles) or "none is defined"
        raise InvalidFlag("profile", f"one of the profiles ({known})", shown(document.profile))


def _key(value: object, where: str) -> str:
    key = name(value, where)
    if key.endswith(PARAMETERS_SUFFIX):
        raise InvalidFlag(where, f"a key that does not end in {PARAMETERS_SUFFIX!r} (reserved)", shown(value))
    return key


def _state(value: object, where: str) -> FlagState:
    if not isinstance(value, str) or value not in list(FlagState):
        raise InvalidFlag(where, "'enabled' or 'disabled'", shown(value))
    return FlagState(value)


def _variants(value: object, where: str) -> Mapping[str, Frozen]:
    variants = freeze_object(value, where)
    kinds = {variant: _kind(item, f"{where}.{variant}") for variant, item in variants.items()}
    if len(set(kinds.values())) != 1:
        listed = ", ".join(f"{variant} is {kind}" for variant, kind in kinds.items())
        raise InvalidFlag(where, "at least one variant, and all of one type", listed or "none")
    return variants


def _kind(value: Frozen, where: str) -> str:
    if isinstance(value, Mapping):
        return "object"
    if type(value) not in _TYPES:
        raise InvalidFlag(where, "a boolean, integer, float, string or object", shown(value))
    return _TYPES[type(value)]


def _targets(value: object, where: str) -> Mapping[str, tuple[str, ...]]:
    if not isinstance(value, Mapping):
        raise InvalidFlag(where, "an object of attributes, each with a list of values", shown(value))
    targets = {name(key, where): _target_values(values, f"{where}.{key}") for key, values in value.items()}
    return MappingProxyType({key: values for key, values in targets.items() if values})


def _target_values(value: object, where: str) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise InvalidFlag(where, "a list of strings", shown(value))
    freeze(value, where)
    return tuple(dict.fromkeys(value))


def _percentage(value: object, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidFlag(where, "a number from 0 to 100", shown(value))
    if not 0 <= value <= 100:
        raise InvalidFlag(where, "a number from 0 to 100", shown(value))
    thousandths = round(value * _PER_PERCENT)
    if abs(value * _PER_PERCENT - thousandths) > _ROUNDING:
        raise InvalidFlag(where, "a number in steps of 0.001", shown(value))
    return thousandths / _PER_PERCENT


def _parameters(value: object, where: str) -> Mapping[str, Frozen]:
    parameters = freeze_object(value, where)
    for parameter, item in parameters.items():
        if item is None:
            raise InvalidFlag(f"{where}.{parameter}", "a boolean, number, string, list or object", "null")
        if parameter == KILLED:
            raise InvalidFlag(f"{where}.{parameter}", "another name (this one is the kill switch's)", shown(parameter))
    return parameters


def _profiles(value: object, where: str) -> Mapping[str, Mapping[str, Frozen]]:
    if not isinstance(value, Mapping):
        raise InvalidFlag(where, "an object of profiles, each with its parameters", shown(value))
    return MappingProxyType({name(key, where): _parameters(item, f"{where}.{key}") for key, item in value.items()})


def _profile(value: object, where: str) -> str | None:
    return None if value is None else name(value, where)


def _boolean(value: object, where: str) -> bool:
    if not isinstance(value, bool):
        raise InvalidFlag(where, "true or false", shown(value))
    return value


def _version(value: object, where: str) -> Version:
    if not isinstance(value, Version):
        raise InvalidFlag(where, "a Version", shown(value))
    return value


_CHECKS: Mapping[str, Callable[[object, str], object]] = {
    "environment": name,
    "state": _state,
    "variants": _variants,
    "default_variant": name,
    "on_variant": name,
    "targets": _targets,
    "percentage": _percentage,
    "parameters": _parameters,
    "profiles": _profiles,
    "profile": _profile,
    "permanent": _boolean,
    "version": _version,
}
