"""Flags as a plan speaks of them, and how such words become an absolute flag document.

The *value* of a flag target is its document without key, environment and version. A flag that does not exist stands
at ``ABSENT``: off, at 0 %.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pydantic import Field

from flags.model import FlagDocument, FlagState, Version
from flags.model import safer as safer_document
from stages.values import Json, Part, Percentage

IDENTITY = ("key", "environment", "version")


class FlagSpec(Part):
    """What a plan may touch of one flag, and what its stage sets with the first step.

    *system* is one of ``spec.flag_systems``; without it the flag is in our own store.
    """

    system: str | None = None
    targets: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    parameters: dict[str, Json] = Field(default_factory=dict)
    profiles: dict[str, dict[str, Json]] = Field(default_factory=dict)
    profile: str | None = None


class FlagChange(Part):
    """Keys of a flag that are set; what is not named stays as it is. Parameters and targets are merged by key."""

    state: FlagState | None = None
    percentage: Percentage | None = None
    targets: dict[str, tuple[str, ...]] | None = None
    parameters: dict[str, Json] | None = None
    profile: str | None = None

    @property
    def keys(self) -> frozenset[str]:
        return frozenset(name for name in type(self).model_fields if getattr(self, name) is not None)


def to_document(value: Mapping[str, Any], key: str = "-", environment: str = "production") -> FlagDocument:
    return FlagDocument.from_json({**value, "key": key, "environment": environment, "version": "0.0"})


def to_value(document: FlagDocument) -> dict[str, Any]:
    return {name: entry for name, entry in document.to_json().items() if name not in IDENTITY}


ABSENT: dict[str, Any] = to_value(FlagDocument(key="-", state=FlagState.DISABLED, version=Version(0, 0)))


def percentage_of(value: Mapping[str, Any] | None) -> float:
    """The share of users that a flag stands at: 0 while it is disabled or does not exist."""
    if value is None or value["state"] != FlagState.ENABLED:
        return 0.0
    return float(value["percentage"])


def change_value(value: Mapping[str, Any] | None, change: FlagChange, spec: FlagSpec | None = None) -> dict[str, Any]:
    """*value* with *change* made to it. *spec* brings the profiles that the plan declares."""
    document = to_document(value if value is not None else ABSENT)
    profiles = {**document.profiles, **(spec.profiles if spec else {})}
    document = replace(
        document,
        state=change.state if change.state is not None else document.state,
        percentage=change.percentage if change.percentage is not None else document.percentage,
        targets={**document.targets, **(change.targets or {})},
        parameters={**document.parameters, **(change.parameters or {})},
        profiles=profiles,
        profile=change.profile if change.profile is not None else document.profile,
    )
    return to_value(document)


def raise_value(value: Mapping[str, Any] | None, change: FlagChange, spec: FlagSpec) -> dict[str, Any]:
    """*value* raised by a step of an exposure stage: enabled, and never below what it stands at."""
    percentage = max(percentage_of(value), change.percentage or 0.0)
    raised = change.model_copy(update={"state": FlagState.ENABLED, "percentage": percentage})
    return change_value(value, raised, spec)


def declared_change(spec: FlagSpec) -> FlagChange:
    """What ``flags`` of a plan declares for one flag, as the change that its stage makes with its first step."""
    return FlagChange(targets=spec.targets or None, parameters=spec.parameters or None, profile=spec.profile)


def merge_changes(first: FlagChange, second: FlagChange) -> FlagChange:
    """Both changes in one, *second* winning where they meet."""
    return FlagChange(
        state=second.state if second.state is not None else first.state,
        percentage=second.percentage if second.percentage is not None else first.percentage,
        targets={**(first.targets or {}), **(second.targets or {})} or None,
        parameters={**(first.parameters or {}), **(second.parameters or {})} or None,
        profile=second.profile if second.profile is not None else first.profile,
    )


def safer_value(one: Mapping[str, Any], other: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """The safer of two: disabled if either is, the lower percentage, the targets in both, *before*'s parameters."""
    return to_value(safer_document(to_document(one), to_document(other), to_document(before)))
