"""What `rollout start --supersede RUN` is about to do: the difference of the two plans, and what is taken over.

Plans are compared as they were expanded, environment by environment; environments that differ alike are told once.
"""

import difflib
import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from orchestrator.cli.output import paint, printable, to_yaml
from orchestrator.errors import RolloutError

if TYPE_CHECKING:
    from orchestrator.cli.sources import Source
    from stages.load import LoadedPlan

Json = dict[str, Any]
CONTEXT_LINES = 2
_FIRST = {key: number for number, key in enumerate(("apiVersion", "name", "kind", "metadata"))}
_COLOURS = {"+": "green", "-": "red", "@": "cyan"}


def told(source: "Source", run: str, plan: "LoadedPlan") -> list[str] | None:
    """Lines for people, in colour; None of a run that has ended, which the controller refuses to supersede. Raises what
    the source does, such as NotFound."""
    status = source.status(run)
    if status["phase"] == "ended":
        return None
    old = _begun(source, str(status["run"]))
    new: dict[str, Json] = dict(plan.raw)
    lines = [f"{printable(status['run'])} ends, and this plan takes over what it touched:"]
    lines += [f"  {one}" for one in _taken_over(source, status)]
    changed = list(difference(old["documents"], new, status["run"], plan.name))
    changed += _files(old["files"], dict(plan.files))
    return [*lines, "", *(_painted(line) for line in changed or ["the plans are the same"])]


def _begun(source: "Source", run: str) -> Json:
    """The documents and files that the run was started with: its first entry, as it was written."""
    data = json.loads(source.journal(run)[0])["data"]
    documents = {one["environment"]: one["plan"] for one in data.get("documents") or ()}
    return {"documents": documents, "files": data.get("files") or {}}


def _taken_over(source: "Source", status: Json) -> list[str]:
    """What a rollback of the old run would bring back is what the new one inherits, with the values before."""
    try:
        commands = source.offers(str(status["run"]))["commands"]  # type: ignore[attr-defined]
    except (RolloutError, AttributeError):  # no controller, or an older one
        commands = []
    offered: list[list[str]] = [one["returns"] for one in commands if one["command"] == "rollback"]
    if offered:
        widest = max(offered, key=len)
        return [f"{printable(one)}, with what was there before" for one in widest] or ["nothing: it changed nothing"]
    shares = status.get("percentages") or {}
    return [f"flag {printable(flag)}, now at {share:g} %" for flag, share in sorted(shares.items())]


def difference(old: Mapping[str, Json], new: Mapping[str, Json], old_name: str, new_name: str) -> Iterator[str]:
    """A unified difference in YAML, with the environments that it is of. Nothing if there is none."""
    alike: dict[tuple[str, ...], list[str]] = {}
    for environment in dict.fromkeys((*old, *new)):
        lines = tuple(_unified(old.get(environment), new.get(environment), old_name, new_name))
        alike.setdefault(lines, []).append(environment)
    for lines, environments in alike.items():
        if lines:
            yield f"in {', '.join(map(printable, environments))}:"
            yield from lines


def _unified(old: Json | None, new: Json | None, old_name: str, new_name: str) -> Iterator[str]:
    before, after = (to_yaml(_in_order(one)).splitlines() if one is not None else [] for one in (old, new))
    found = difflib.unified_diff(before, after, old_name, new_name, n=CONTEXT_LINES, lineterm="")
    return (printable(line) for line in found)


def _in_order(value: Any) -> Any:
    """Journals keep no order of keys, so both plans get one: what a thing is called comes first."""
    if isinstance(value, list):
        return [_in_order(one) for one in value]
    if not isinstance(value, dict):
        return value
    return {key: _in_order(value[key]) for key in sorted(value, key=lambda key: (_FIRST.get(key, len(_FIRST)), key))}


def _files(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    found = []
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) == new.get(name):
            continue
        how = "is new" if name not in old else "is gone" if name not in new else "differs"
        found.append(f"file {printable(name)} {how}")
        if how == "differs":
            before, after = old[name].splitlines(), new[name].splitlines()
            changed = difflib.unified_diff(before, after, "before", "now", n=CONTEXT_LINES, lineterm="")
            found += [printable(line) for line in changed]
    return found


def _painted(line: str) -> str:
    import sys

    colour = _COLOURS.get(line[:1], "")
    return paint(line, colour, sys.stderr) if colour else line
