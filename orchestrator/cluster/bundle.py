"""The files of a plan as a ConfigMap: one key for each file, and an index that says what the files are called.

Keys of a ConfigMap can't have slashes, so ``sql/001.sql`` is under ``sql.001.sql``. Without an index, as
``kubectl create configmap --from-file`` makes one, a file is under the last part of its path.
"""

import hashlib
import json
import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.crd.objects import GROUP

INDEX = "plan-index.json"
MOST_BYTES = 1_000_000  # etcd takes objects of 1.5 MiB, and the API server ConfigMaps of 1 MiB
DIGEST_LENGTH = 10
_NOT_IN_KEYS = re.compile(r"[^-._a-zA-Z0-9]")


@dataclass(frozen=True, slots=True)
class Bundle:
    """*files* by path as written in the plan; *variables* are those that the plan names as ``${NAME}``."""

    files: Mapping[str, str] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)
    is_indexed: bool = True

    def read(self, path: str) -> bytes:
        """Raises FileNotFoundError."""
        key = path if self.is_indexed else posixpath.basename(path)
        try:
            return self.files[key].encode()
        except KeyError:
            raise FileNotFoundError(path) from None


def bundle_of(body: Mapping[str, Any]) -> Bundle:
    """Of a ConfigMap. Raises ValueError, with a sentence, if its index is none."""
    data = {str(key): str(text) for key, text in (body.get("data") or {}).items()}
    index = data.get(INDEX)
    if index is None:
        return Bundle(data, is_indexed=False)
    try:
        read = json.loads(index)
        files = {str(path): data[str(key)] for path, key in read["files"].items()}
        variables = {str(name): str(value) for name, value in read.get("variables", {}).items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"its {INDEX} is none that `rollout bundle` has written ({error}); bundle anew") from error
    return Bundle(files, variables)


def config_map(plan: str, namespace: str | None, bundle: Bundle) -> dict[str, Any] | None:
    """The ConfigMap, named after what is in it, so that it never changes; None if there is nothing to hold. Raises
    ValueError, with a sentence, for files that are too large for one.
    """
    if not bundle.files and not bundle.variables:
        return None
    keys = _keys(bundle.files)
    index = {"files": keys, "variables": dict(sorted(bundle.variables.items()))}
    data = {INDEX: json.dumps(index, indent=1, sort_keys=True)}
    data |= {key: bundle.files[path] for path, key in keys.items()}
    size = sum(len(key) + len(text.encode()) for key, text in data.items())
    if size > MOST_BYTES:
        raise ValueError(f"the plan's files have {size:,} bytes, and a ConfigMap holds {MOST_BYTES:,}; take some out")
    digest = hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:DIGEST_LENGTH]
    metadata = {"name": f"{plan}-files-{digest}", "labels": {f"{GROUP}/plan": plan}}
    if namespace is not None:
        metadata["namespace"] = namespace
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "immutable": True, "data": data}


def _keys(paths: Mapping[str, str]) -> dict[str, str]:
    """Path -> key, each another one."""
    found: dict[str, str] = {}
    taken = {INDEX}
    for path in sorted(paths):
        plain = _NOT_IN_KEYS.sub(".", posixpath.normpath(path)).strip(".")[-200:] or "file"
        key, count = plain, 2
        while key in taken:
            key, count = f"{plain}-{count}", count + 1
        taken.add(key)
        found[path] = key
    return found
