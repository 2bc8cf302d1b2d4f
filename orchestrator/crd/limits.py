"""How many entries lists and maps of a plan have at most in a cluster.

The API server adds up what rules cost at worst before it takes a definition, entries of entries multiplied, and refuses
one whose sum is too high. These numbers lie well above what plans have, and their sum below that limit.
"""

from typing import Any

MOST: dict[str, int] = {
    "stages": 64,
    "environments": 16,
    "triggers": 64,
    "gates": 64,
    "criteria": 32,
    "sources": 32,
    "checks": 32,
    "when": 16,
    "verify": 16,
    "before": 32,
    "after": 32,
    "steps": 100,
    "migrations": 100,
    "revisions": 100,
    "actions": 16,
    "ask": 8,
    "restore": 16,
    "percentages": 128,
    "success": 64,
    "follow_up": 64,
}
"""By the name of the field."""
OTHERS = 64

LONGEST: dict[str, int] = {"canary": 320, "url": 2048, "workload": 320}
"""Characters of texts that rules look into, by the name of the field."""


def most(name: str, entry: dict[str, Any]) -> int | None:
    """None: no limit, because what is in it is of no concern to any rule."""
    if name in MOST:
        return MOST[name]
    return OTHERS if _is_asked(entry) else None


def _is_asked(node: Any) -> bool:
    """Whether there are rules in it."""
    if isinstance(node, dict):
        return "x-kubernetes-validations" in node or any(_is_asked(entry) for entry in node.values())
    return isinstance(node, list) and any(_is_asked(entry) for entry in node)
