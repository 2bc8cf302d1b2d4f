"""What may be meant and is worth a second look: said by ``validate``, in nobody's way."""

from collections.abc import Iterator

from stages.actions.passive import Passive
from stages.criteria.threshold import Threshold
from stages.gates import Gate
from stages.kinds.base import names
from stages.kinds.exposure import ExposureStage
from stages.kinds.steps import StepsStage
from stages.kinds.version import VersionStage
from stages.review.addresses import address_warnings
from stages.review.flag_systems import flag_system_warnings
from stages.review.gates import gate_warnings
from stages.review.view import Finding, View
from stages.review.workloads import workload_warnings
from stages.triggers import Trigger


def warnings(view: View) -> Iterator[Finding]:
    yield from _unused_gates(view)
    yield from flag_system_warnings(view)
    yield from gate_warnings(view)
    yield from address_warnings(view)
    yield from workload_warnings(view)
    for place in view.places:
        part = place.part
        if isinstance(part, ExposureStage | VersionStage) and not _has_gate(part):
            yield place.path, f"the stage {part.name!r} has no gate: it goes up by time alone"
        if isinstance(part, StepsStage) and part.backup is not None and part.backup.restore and not _changes(part):
            sentence = f"the stage {part.name!r} changes nothing, so the backup is never offered to be restored; "
            yield (*place.path, "backup", "restore"), sentence + "declare it in the stage that changes the data"
        if isinstance(part, Threshold) and not part.for_seconds and not (isinstance(part, Trigger) and part.by_hand):
            yield place.path, f"{part.name!r} has no 'for': one bad look decides"


def _has_gate(stage: ExposureStage | VersionStage) -> bool:
    return bool(stage.gate) or (isinstance(stage, ExposureStage) and any(step.gate for step in stage.steps))


def _changes(stage: StepsStage) -> bool:
    return any(not isinstance(action, Passive) for action in (*stage.before, *stage.steps, *stage.after))


def _unused_gates(view: View) -> Iterator[Finding]:
    used: set[str] = set()
    for place in view.places:
        value = getattr(place.part, "gate", None)
        if value and not isinstance(place.part, Gate):
            used.update(names(value))
    for name in view.document.spec.gates:
        if name not in used:
            yield ("spec", "gates", name), f"no stage and no phase of the watch names the gate {name!r}"
