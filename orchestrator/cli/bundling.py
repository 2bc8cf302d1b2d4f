"""`rollout bundle`: a plan as objects for `kubectl apply`; and the same for `rollout start --context`.

The plan goes as it is written, with its ``--set``: the controller expands it. What it names is in a ConfigMap beside
it: its files, and the variables of this shell that it asks for.
"""

import os
import re
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.cli import plans
from orchestrator.cli.client import Json
from orchestrator.cli.output import note, to_yaml
from orchestrator.errors import InvalidPlan, UsageError

if TYPE_CHECKING:
    from orchestrator.cluster.bundle import Bundle
    from orchestrator.cluster_port import Identity
    from stages.load import LoadedPlan

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)")


@dataclass(frozen=True, slots=True)
class Bundled:
    """*files* is the ConfigMap, None if the plan needs none."""

    rollout: Json
    files: Json | None


def bundle(arguments: Namespace) -> int:
    from orchestrator.cluster_port import Identity

    if arguments.groups and arguments.created_by is None:
        raise UsageError("--group says more of who --created-by names; give that too")
    author = None if arguments.created_by is None else Identity(arguments.created_by, tuple(arguments.groups))
    made = bundled(arguments.plan, arguments.settings, arguments.namespace, author)
    for one in filter(None, (made.files, made.rollout)):
        print("---")
        print(to_yaml(one), end="")
    if arguments.created_by is None:
        note(
            "nobody is named as who writes the plan, which a cluster with our policies refuses: name yourself with "
            "--created-by USER, as `kubectl auth whoami` tells it"
        )
    return 0


def bundled(file: str, settings: list[str], namespace: str | None, author: "Identity | None") -> Bundled:
    """Raises InvalidPlan for what a controller would refuse, here and now."""
    from orchestrator.cluster.bundle import Bundle, config_map
    from orchestrator.crd.objects import BUNDLE_ANNOTATION

    plan, _ = plans.linted(plans.load(file, settings), file)
    plans.warn(plan)
    written = _written(file, settings)
    named = set(_VARIABLE.findall(Path(file).read_text(encoding="utf-8")))
    content = Bundle(plan.files, {name: os.environ[name] for name in sorted(named) if name in os.environ})
    _check(written, content, plan, file)
    metadata = written.setdefault("metadata", {})
    if namespace is not None:
        metadata["namespace"] = namespace
    try:
        files = config_map(plan.name, metadata.get("namespace"), content)
    except ValueError as error:
        raise UsageError(str(error)) from None
    annotations = dict(metadata.get("annotations") or {})
    annotations |= {BUNDLE_ANNOTATION: files["metadata"]["name"]} if files is not None else {}
    annotations |= _authorship(author) if author is not None else {}
    if annotations:
        metadata["annotations"] = annotations
    return Bundled(written, files)


def _authorship(author: "Identity") -> dict[str, str]:
    from orchestrator.crd.objects import CREATED_BY_ANNOTATION, CREATED_BY_GROUPS_ANNOTATION

    groups = {CREATED_BY_GROUPS_ANNOTATION: "\n".join(author.groups)} if author.groups else {}
    return {CREATED_BY_ANNOTATION: author.name, **groups}


def _written(file: str, settings: list[str]) -> Json:
    """The document as data: YAML's anchors are resolved in it, and what only holds them (``x-...``) is left out."""
    from stages.documents import read_document
    from stages.settings import apply_settings

    document = read_document(plans.read_text(Path(file)), file)
    apply_settings(document, settings)
    data: Json = document.data
    spec: dict[str, Any] = data["spec"]
    data["spec"] = {key: value for key, value in spec.items() if not key.startswith("x-")}
    return data


def _check(written: Json, content: "Bundle", plan: "LoadedPlan", file: str) -> None:
    """As the controller will read it: JSON no longer knows how a number was written, so texts have to be quoted."""
    from orchestrator.cluster.limits import refusals
    from stages.load import load_data
    from stages.problems import InvalidPlan as Invalid
    from stages.problems import Problem

    try:
        load_data(written, file, content.variables, read_file=content.read)
    except Invalid as error:
        refused = InvalidPlan(f"a cluster would not take the plan: {error}")
        refused.problems = error.problems  # type: ignore[attr-defined]
        raise refused from None
    limits = [Problem(file, 0, 0, path, sentence) for path, sentence in refusals(plan)]
    if limits:
        refused = InvalidPlan("\n".join(map(str, limits)))
        refused.problems = limits  # type: ignore[attr-defined]
        raise refused
