"""The manifests as tests install them: into a cluster that others use too, and into any namespace."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support.api import api_of
from tests.support.cluster import Cluster
from tests.support.process import ROOT, Result, wait_until

MANIFESTS = ROOT / "manifests"
EMBEDDED = MANIFESTS / "overlays" / "embedded"
SHARED = MANIFESTS / "overlays" / "postgresql"
OF_THE_CLUSTER = ("crd-stagedrolloutcommands.yaml", "crd-stagedrollouts.yaml", "policies.yaml", "people.yaml")
POLICIES = ("authors", "commands", "plans")


def install_definitions(cluster: Cluster) -> None:
    """What belongs to no namespace: definitions, policies, and roles for people. Returns when all of it holds.

    All who share a control plane do this, and the first one takes seconds for it: the others find it done.
    """
    installed, wanted = cluster.folder / "definitions", _digest()
    if installed.exists() and installed.read_text() == wanted:
        return
    files = [argument for name in OF_THE_CLUSTER for argument in ("--filename", MANIFESTS / "base" / name)]
    cluster.kubectl("apply", "--server-side", "--validate=strict", *files)
    for plural in ("stagedrolloutcommands", "stagedrollouts"):
        cluster.wait_established(f"{plural}.stagedrollout.io")
    wait_until(lambda: _hold(cluster), what="the policies to hold", every_seconds=0.1)
    installed.write_text(wanted)


def _digest() -> str:
    texts = [(MANIFESTS / "base" / name).read_bytes() for name in OF_THE_CLUSTER]
    return hashlib.sha256(b"".join(texts)).hexdigest()


def _hold(cluster: Cluster) -> bool:
    """A policy is in force a moment after it is there. Each of these objects breaks one alone."""
    stage = {"name": "s", "kind": "steps", "steps": [{"wait": "1s"}]}
    broken = (
        ("authors", rollout("author", stage, created_by=None)),
        ("commands", command("nothing", "pause", requested_by="nobody")),
        ("plans", rollout("plan", {**stage, "gate": "absent"})),
    )
    return all(f"'{name}.stagedrollout.io'" in try_create(cluster, "default", body).errors for name, body in broken)


def rollout(name: str, *stages: dict[str, Any], created_by: str | None = "admin", **spec: object) -> dict[str, Any]:
    """A StagedRollout as `kubectl` takes it."""
    annotations = {"stagedrollout.io/created-by": created_by} if created_by is not None else {}
    return {
        "apiVersion": "stagedrollout.io/v1alpha1",
        "kind": "StagedRollout",
        "metadata": {"name": name, "annotations": annotations},
        "spec": {"stages": list(stages), **spec},
    }


def command(rollout: str, name: str, requested_by: str, **spec: object) -> dict[str, Any]:
    """A StagedRolloutCommand, with a reason if *spec* has none."""
    return {
        "apiVersion": "stagedrollout.io/v1alpha1",
        "kind": "StagedRolloutCommand",
        "metadata": {"generateName": f"{name}-"},
        "spec": {"rollout": rollout, "command": name, "reason": "a test", "requestedBy": requested_by, **spec},
    }


def try_create(cluster: Cluster, namespace: str, body: Mapping[str, Any], user: str = "admin") -> Result:
    """What the API server says to a new object that it is not to keep, as kubectl would end."""
    answer = api_of(cluster, user).create(namespace, body, dry_run=True)
    return Result(1 if answer.refusal else 0, "", answer.refusal)


def create(cluster: Cluster, namespace: str, body: Mapping[str, Any], user: str = "admin") -> None:
    """AssertionError if it is refused."""
    answer = api_of(cluster, user).create(namespace, body)
    assert not answer.refusal, answer.refusal


def overlay_in(folder: Path, namespace: str, *, overlay: Path = EMBEDDED, lines: str = "") -> Path:
    """A folder whose kustomization is *overlay* in another namespace."""
    resource = os.path.relpath(overlay, folder)
    (folder / "kustomization.yaml").write_text(f"namespace: {namespace}\nresources: [{resource}]\n{lines}")
    return folder
