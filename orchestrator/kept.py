"""What everybody is told of a run of which only the report is kept."""

from typing import Any, Final

from orchestrator.core.telling import time_words
from orchestrator.core.times import iso
from orchestrator.keeping_port import Kept

KEPT: Final = "KeptAsReport"
"""The type of the entry that stands for its journal."""


def kept_words(kept: Kept) -> str:
    """For who asks for more than is there."""
    since, setting = time_words(iso(kept.at)), kept.document["setting"]
    return (
        f"{kept.run} is kept as its report since {since} (rollout serve {setting}): its {len(kept.hashes)} entries are"
        f" no longer there; `rollout report {kept.run}` shows what is"
    )


def shown_kept(kept: Kept) -> dict[str, Any]:
    return {
        "since": iso(kept.at),
        "entries": len(kept.hashes),
        "head": kept.head,
        "setting": kept.document["setting"],
        "sentence": kept_words(kept),
    }


def kept_entry(kept: Kept) -> dict[str, Any]:
    """In the place of the last entry, whose hash stands for all."""
    return {
        "seq": len(kept.hashes),
        "time": iso(kept.at),
        "type": KEPT,
        "by": "controller",
        "reason": "",
        "data": shown_kept(kept),
        "hash": kept.hashes[-1],
    }
