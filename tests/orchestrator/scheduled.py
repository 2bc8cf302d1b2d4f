"""Scheduled checks as a store keeps them, for tests."""

from orchestrator.schedule_port import Schedule
from stages.load_schedule import LoadedSchedule, load_schedule


def schedule_of(loaded: LoadedSchedule, *, by: str, at: float, is_owners: bool = True) -> Schedule:
    return Schedule(loaded.name, loaded.digest, loaded.raw, dict(loaded.plan.files), None, by, at, is_owners=is_owners)


def _nightly() -> Schedule:
    text = (
        "apiVersion: stagedrollout.io/v1alpha1\nkind: ScheduledChecks\nmetadata: {name: nightly}\n"
        'spec: {rounds: [{name: night, at: "02:00", checks: [{env: HOME}]}]}\n'
    )
    return schedule_of(load_schedule(text, "nightly.yaml", {}, read_file=_nothing), by="kim", at=1_700_000_000.0)


def _nothing(path: str) -> bytes:
    raise FileNotFoundError(path)


NIGHTLY = _nightly()
