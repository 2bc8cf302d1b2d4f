"""Workloads as a plan names them: what may be meant, and surprises whoever meets it in a run."""

from collections.abc import Iterator
from typing import Any

from stages.actions import ImageAction
from stages.kinds.exposure import QueueStage, Replicas
from stages.kinds.version import VersionStage
from stages.review.view import Finding, View

FEWEST_WORKERS = 2


def workload_warnings(view: View) -> Iterator[Finding]:
    for place in view.places:
        part: Any = place.part
        match part:
            case QueueStage():
                yield from ((place.path, sentence) for sentence in _few_workers(part))
            case VersionStage():
                yield from (((*place.path, "image"), sentence) for sentence in _no_version(part.image))
                last = ((view.section.percentages if view.section else None) or part.percentages)[-1]
                if last < 100:
                    sentence = f"it ends at {last:g} %, so both versions stay; is 100 missing?"
                    yield (*place.path, "percentages"), sentence
            case ImageAction():
                yield from (((*place.path, "to"), sentence) for sentence in _no_version(part.to))
            case _:
                pass


def _few_workers(stage: QueueStage) -> Iterator[str]:
    first = (stage.replicas or Replicas()).first
    if stage.workload is not None and first < FEWEST_WORKERS:
        few = "no worker has to run" if first == 0 else "one worker has to run"
        yield f"{few} when the stage begins; with fewer than {FEWEST_WORKERS} the queue stands while one is replaced"


def _no_version(image: str) -> Iterator[str]:
    name = image.rpartition("/")[2]
    tag = name.partition(":")[2] if "@" not in name else name
    if tag in ("", "latest"):
        yield (
            f"{image} names no version: where a workload has it already nothing is changed, and what it was before "
            "can't be told; give it a tag or a digest"
        )
