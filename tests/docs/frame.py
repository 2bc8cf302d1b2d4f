"""Pieces of plans put into a whole one, by the field that they begin with.

A field of `spec` goes there, a list of things with a `kind` is stages, and a field of a stage goes into one. What a
piece names and does not have (flags, gates, channels) is declared around it.
"""

import json
from collections.abc import Iterator
from typing import Any

from stages.kinds.migration import MigrationStage
from stages.load import LoadedPlan, load_plan
from stages.plan import PlanSpec
from tests.stages.plans import any_file

SPEC = {field.alias or name for name, field in PlanSpec.model_fields.items()}
STAGE = {field.alias or name for name, field in MigrationStage.model_fields.items()} - SPEC
CRITERION = {"name": "fine", "query": "up", "fail": "< 1"}
MIGRATION = {"name": "framed", "kind": "migration", "migrations": [{"up": "up.sql", "down": "down.sql"}]}
PAUSE = {"name": "framed", "kind": "steps", "steps": [{"wait": "1m"}]}


def is_piece(data: Any) -> bool:
    if isinstance(data, list):
        return bool(data) and all(isinstance(entry, dict) and "kind" in entry for entry in data)
    return isinstance(data, dict) and next(iter(data)) in SPEC | STAGE | {"spec"}


def framed(data: Any) -> LoadedPlan:
    """The plan around a piece; raises InvalidPlan for whatever is wrong with it."""
    return load_plan(json.dumps(_whole(_spec_of(data))), "framed.yaml", {}, read_file=_file)


def _file(path: str) -> bytes:
    return b"UPDATE t SET a = b WHERE id BETWEEN :from AND :to;\n" if "fill" in path else any_file(path)


def _spec_of(data: Any) -> dict[str, Any]:
    if isinstance(data, list):
        return {"stages": data}
    first = next(iter(data))
    if first == "spec":
        return dict(data["spec"])
    return {"stages": [MIGRATION | data]} if first in STAGE else dict(data)


def _whole(spec: dict[str, Any]) -> dict[str, Any]:
    spec.setdefault("prometheus", {"url": "http://localhost:9090"})
    spec.setdefault("database", {"env": "DATABASE_URL"})
    spec.setdefault("kubernetes", {"namespace": "framed"})
    spec.setdefault("stages", [PAUSE, *_stages_for_flags(spec), *_stages_that_are_named(spec)])
    flags = spec.setdefault("flags", {})
    for key in _values(spec, "flag", "disable"):
        flags.setdefault(key, {})
    for entry in _values(spec, "set"):
        for key in entry if isinstance(entry, dict) else ():
            flags.setdefault(key, {})
    gates = spec.setdefault("gates", {})
    for name in _values(spec["stages"] + _phases(spec), "gate"):
        gates.setdefault(name, {"criteria": [CRITERION]})
    channels = spec.setdefault("notify", {}).setdefault("channels", {})
    for name in _values(spec, "channels"):
        channels.setdefault(name, {"webhook": {"url": "https://chat.example/hook"}})
    return {
        "apiVersion": "stagedrollout.io/v1alpha1",
        "kind": "StagedRollout",
        "metadata": {"name": "framed"},
        "spec": spec,
    }


def _phases(spec: dict[str, Any]) -> list[Any]:
    watch = spec.get("watch", [])
    return watch if isinstance(watch, list) else []


def _stages_for_flags(spec: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Gates are judged of stages: one raises a flag, so that a comparison of its arms has some."""
    gates = list(spec.get("gates", {}))
    if gates:
        steps = {"kind": "monitoring", "flag": "framedFlag", "percentages": [50], "bake": "1h"}
        yield {"name": "gated", **steps, "gate": gates}


def _stages_that_are_named(spec: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """By `arm_from` of triggers and `stages` of news."""
    news = spec.get("notify", {}).get("news", [])
    named = {*_values(spec, "arm_from"), *(name for entry in news for name in entry.get("stages", []))}
    yield from ({**PAUSE, "name": name} for name in sorted(named))


def _values(data: Any, *keys: str) -> Iterator[Any]:
    """Texts and mappings below any of these keys, also in lists; but not what a mapping of that name declares."""
    if isinstance(data, list):
        for entry in data:
            yield from _values(entry, *keys)
    if not isinstance(data, dict):
        return
    for key, value in data.items():
        if key in keys and not (isinstance(value, dict) and key == "channels"):
            yield from value if isinstance(value, list) else [value]
        yield from _values(value, *keys)
