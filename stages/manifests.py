"""Manifests of Kubernetes objects as they travel with a plan: YAML of one document or more, read as kubectl does."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from stages.documents import read_document, resolve_plain
from stages.problems import InvalidPlan
from stages.values import Json

MOST_OBJECTS = 100
HOLDS_MORE = frozenset({"Namespace", "CustomResourceDefinition", "PersistentVolumeClaim", "PersistentVolume"})
"""Kinds whose objects take what others have put into them along when they go: no undo deletes one."""
_OF_THE_CLUSTER = ("uid", "resourceVersion", "managedFields")
_SEPARATOR = re.compile(r"(?m)^---(?=\s|$)")
_SAYS = re.compile(r"(?m)^\s*[^\s#%]")
_DIGITS = re.compile(r"([-+]?)([0-9][0-9_]*)")
_OCTAL = re.compile(r"0[0-7]+")
_BOOLEANS = {
    spelling: value
    for value, words in ((True, ("y", "yes", "on")), (False, ("n", "no", "off")))
    for word in words
    for spelling in (word, word.capitalize(), word.upper())
}


@dataclass(frozen=True, slots=True)
class ManifestObject:
    """One object as it is written. *namespace* is None where it leaves that to the plan."""

    api_version: str
    kind: str
    name: str
    namespace: str | None
    content: Mapping[str, Json]

    @property
    def title(self) -> str:
        """``configmap/limits``."""
        return f"{self.kind.lower()}/{self.name}"

    @property
    def identity(self) -> tuple[str, str, str, str]:
        """What no two objects of a manifest share. The version of its group does not make another object of it."""
        return self.api_version.rpartition("/")[0], self.kind, self.namespace or "", self.name


@lru_cache(maxsize=64)
def objects_of(text: str) -> tuple[ManifestObject, ...]:
    """Raises ValueError, with a sentence's end, for what is no manifest, or none that may travel with a plan."""
    items = [item for document in _documents(text) for item in _items(document)]
    if not items:
        raise ValueError("there is no object in it; write one, or take the file out of the plan")
    if len(items) > MOST_OBJECTS:
        raise ValueError(f"it has {len(items)} objects, and {MOST_OBJECTS} are the most; split it")
    objects = tuple(_object(item, index) for index, item in enumerate(items))
    first: dict[tuple[str, ...], int] = {}
    for index, one in enumerate(objects):
        if first.setdefault(one.identity, index) != index:
            raise ValueError(f"object {index + 1} is {one.title} once more, after object {first[one.identity] + 1}")
    return objects


def job_of(text: str) -> ManifestObject:
    """The one Job of a manifest. Raises ValueError, with a sentence's end, for what is none."""
    objects = objects_of(text)
    if len(objects) != 1 or objects[0].kind != "Job" or not objects[0].api_version.startswith("batch/"):
        found = ", ".join(f"{one.api_version} {one.kind}" for one in objects)
        raise ValueError(f"one Job of batch/v1 is expected, and there is {found}")
    return objects[0]


def _documents(text: str) -> Iterator[Any]:
    """Each under as many empty lines as stand before it, so that what is said of a line is true."""
    lines = 0
    for part in _SEPARATOR.split(text):
        if _SAYS.search(part):
            try:
                yield read_document("\n" * lines + part, "manifest", _resolve).data
            except InvalidPlan as error:
                first = error.problems[0]
                raise ValueError(f"line {first.line}: {first.message}") from error
        lines += part.count("\n")


def _resolve(text: str) -> Any:
    """Kubernetes reads YAML 1.1, where ``0644`` is the mode of a file and ``yes`` is true."""
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    found = _DIGITS.fullmatch(text)
    if found is not None:
        digits = found[2].replace("_", "")
        is_octal = _OCTAL.fullmatch(digits) is not None
        return int(found[1] + digits, 8) if is_octal else resolve_plain(f"{found[1]}{digits.lstrip('0') or '0'}")
    value = resolve_plain(text)
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _items(document: Any) -> list[Any]:
    if isinstance(document, dict) and document.get("kind") == "List" and isinstance(document.get("items"), list):
        return list(document["items"])
    return [document]


def _object(content: Any, index: int) -> ManifestObject:
    where = f"object {index + 1}"
    if not isinstance(content, dict):
        raise ValueError(f"{where} is no mapping with apiVersion, kind and metadata")
    api_version, kind = (_text_of(content, name, where) for name in ("apiVersion", "kind"))
    metadata, where = content.get("metadata"), f"{where} ({kind})"
    if not isinstance(metadata, dict):
        raise ValueError(f"{where} has no metadata.name")
    if (api_version, kind) == ("v1", "Secret"):
        raise ValueError(
            f"{where}: what is secret would stand in the plan and in the journal of its runs; "
            "bring it into the cluster by other means"
        )
    for name in _OF_THE_CLUSTER:
        if metadata.get(name) is not None:
            raise ValueError(f"{where}: metadata.{name} is of one object in one cluster; leave it out")
    namespace = metadata.get("namespace")
    if namespace is not None and not isinstance(namespace, str):
        raise ValueError(f"{where}: its metadata.namespace is no text")
    return ManifestObject(api_version, kind, _text_of(metadata, "name", f"{where}, metadata"), namespace, content)


def _text_of(content: dict[str, Any], name: str, where: str) -> str:
    value = content.get(name)
    if not isinstance(value, str) or not value:
        raise ValueError(f"{where}: a text is expected as {name}")
    return value
