"""Plans for people to look at. Nothing in them needs more than the controller itself."""

import json
from typing import Any


def plan(name: str, *stages: dict[str, Any], flags: tuple[str, ...] = ("search",), **more: Any) -> str:
    """The text of a plan; *more* are fields of its spec."""
    document = {
        "apiVersion": "stagedrollout.io/v1alpha1",
        "kind": "StagedRollout",
        "metadata": {"name": name},
        "spec": {"flags": {flag: {} for flag in flags}, "stages": list(stages), "watch": "0s", **more},
    }
    return json.dumps(document)


def rise(name: str, flag: str, *percentages: float, **more: Any) -> dict[str, Any]:
    """A stage that raises a flag and stays at each level until somebody says so."""
    percentages = percentages or (5, 25, 100)
    return {
        "name": name,
        "kind": "batch",
        "flag": flag,
        "percentages": percentages,
        "bake": "1h",
        "settle": "0s",
        **more,
    }


def baking(name: str, **more: Any) -> str:
    """Stands at 5 % of its own flag, whose name is the plan's."""
    return plan(name, rise("open", name), flags=(name,), **more)


def waiting(name: str, by: str = "sre", **more: Any) -> str:
    """Waits for an approval before it begins."""
    return baking(name, approval={"any_of": [by], "timeout": "4h", "on_timeout": "hold"}, **more)


def measured(name: str, url: str, **more: Any) -> str:
    """As ``baking``, and judges a number of its own, which passes below 5 and fails above 20."""
    criterion = {"name": "errors", "http": {"url": f"{url}/{name}", "value": "value"}, "pass": "< 5", "fail": "> 20"}
    gates = {"health": {"every": "1s", "criteria": [criterion]}}
    return plan(name, rise("open", name, gate="health"), flags=(name,), gates=gates, **more)
