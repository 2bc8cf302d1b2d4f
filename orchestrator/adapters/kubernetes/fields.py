"""Fields of objects as a server-side apply sees them: which a manifest names, whose they are, what goes back to what.

Theory of operation. The API server notes for each field who manages it (``managedFields``). To apply a manifest means
to manage exactly the fields that it names: what we managed before and do not name any more is let go, and vanishes if
it is nobody else's. So what an apply changes is what the manifest names and what we manage already, and that is what
is looked at before (``seen_fields``).

The way back applies what was there, but no more of it than it takes (``body_back``): what stands differently now, and
what would vanish without us. All else is let go, so that who managed it before manages it alone again, and meets no
conflict with us when he applies it next.

Trees of managed fields: ``f:NAME`` is a field, ``k:{...}`` an item of a list by its keys, ``v:...`` one of a set, ``.``
the thing itself; a field without anything beneath it is managed as a whole.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from stages.cluster import FIELD_MANAGER
from stages.manifests import ManifestObject

Tree = Mapping[str, Any]
_IDENTITY = ("apiVersion", "kind", "status")
_IDENTITY_OF_METADATA = ("name", "namespace", "generateName", "creationTimestamp")
_MARKS = f"{FIELD_MANAGER}/"
_NOTHING: Final = object()


def content_of(one: ManifestObject) -> dict[str, Any]:
    """What a manifest says of an object, without what says which object it is, and what only the cluster says."""
    return _without_identity(one.content)


def _without_identity(content: Mapping[str, Any]) -> dict[str, Any]:
    found = {key: value for key, value in content.items() if key not in (*_IDENTITY, "metadata")}
    metadata = content.get("metadata") or {}
    rest = {key: value for key, value in metadata.items() if key not in _IDENTITY_OF_METADATA}
    return found | ({"metadata": rest} if rest else {})


@dataclass(frozen=True, slots=True)
class Managers:
    """The trees of who manages what of an object: our own applies, and everybody else (our other writes among them)."""

    ours: Tree | None
    others: tuple[Tree, ...]

    @classmethod
    def of(cls, live: Mapping[str, Any]) -> "Managers":
        ours: Tree | None = None
        others: list[Tree] = []
        for entry in (live.get("metadata") or {}).get("managedFields") or ():
            tree = entry.get("fieldsV1")
            if not isinstance(tree, dict) or entry.get("subresource") == "status":
                continue
            if entry.get("manager") == FIELD_MANAGER and entry.get("operation") == "Apply":
                ours = tree
            else:
                others.append(tree)
        return cls(ours, tuple(others))


def trees_of(live: Mapping[str, Any], managers: Sequence[str]) -> list[Tree]:
    """What some managers manage of an object, but for its status."""
    entries = (live.get("metadata") or {}).get("managedFields") or ()
    own = (one for one in entries if one.get("manager") in managers and one.get("subresource") != "status")
    return [one["fieldsV1"] for one in own if isinstance(one.get("fieldsV1"), dict)]


def has_field(tree: Tree, path: Sequence[str]) -> bool:
    at: Tree | None = tree
    for step in path:
        at = _below(at, step) if at is not None else None
    return at is not None


# --- looking ----------------------------------------------------------------------------------------------------------


def seen_fields(manifest: Mapping[str, Any], live: Mapping[str, Any]) -> dict[str, Any]:
    """What is there of the fields that *manifest* names, and of those that we manage; lists are taken whole. Our own
    marks are left out."""
    ours = Managers.of(live).ours
    found = _merged(_named(manifest, live), _managed(ours, live) if ours is not None else {})
    return _without_marks(_without_identity(found))


def _named(manifest: Mapping[str, Any], live: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in manifest.items():
        if key not in live:
            continue
        now = live[key]
        if isinstance(value, dict) and value and isinstance(now, dict):
            below = _named(value, now)
            if below:
                found[key] = below
        else:
            found[key] = now
    return found


def _managed(tree: Tree, live: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, below in _fields(tree):
        if key not in live:
            continue
        now = live[key]
        found[key] = _managed(below, now) if below and isinstance(now, dict) else now
    return found


def _fields(tree: Tree) -> Iterator[tuple[str, Tree]]:
    return ((name[2:], below) for name, below in tree.items() if name.startswith("f:"))


def _merged(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    found = dict(one)
    for key, value in other.items():
        mine = found.get(key)
        found[key] = _merged(mine, value) if isinstance(mine, dict) and isinstance(value, dict) else value
    return found


def _without_marks(fields: dict[str, Any]) -> dict[str, Any]:
    metadata = fields.get("metadata")
    if not isinstance(metadata, dict):
        return fields
    annotations = metadata.get("annotations") or {}
    rest = metadata | {"annotations": {key: value for key, value in annotations.items() if not key.startswith(_MARKS)}}
    if not rest["annotations"]:
        del rest["annotations"]
    found = fields | {"metadata": rest}
    return found if rest else {key: value for key, value in found.items() if key != "metadata"}


def moved_path(was: Any, now: Any) -> tuple[str, ...]:
    """Where two values of the same fields differ first, as a path in a tree; empty if they differ as a whole."""
    if not (isinstance(was, dict) and isinstance(now, dict)):
        return ()
    key = next((key for key in sorted(was.keys() | now.keys()) if was.get(key) != now.get(key)), None)
    return (f"f:{key}", *moved_path(was.get(key), now.get(key))) if key is not None else ()


def says(live: Any, manifest: Any) -> bool:
    """Whether all that a manifest says is so; what it does not name may be anything."""
    if isinstance(manifest, dict) and isinstance(live, dict):
        return all(value is None or (key in live and says(live[key], value)) for key, value in manifest.items())
    if isinstance(manifest, list) and isinstance(live, list):
        return len(live) == len(manifest) and all(map(says, live, manifest))
    return bool(live == manifest)


# --- the way back -----------------------------------------------------------------------------------------------------


def body_back(wanted: Mapping[str, Any], live: Mapping[str, Any]) -> dict[str, Any]:
    """What we have to apply for the fields *wanted* to stand, and those that we added to vanish."""
    managers = Managers.of(live)
    found = _kept_fields(wanted, live, _Owners(managers.ours, managers.others))
    return found if isinstance(found, dict) else {}


@dataclass(frozen=True, slots=True)
class _Owners:
    """Who manages what at one place. None: we do not."""

    ours: Tree | None
    others: tuple[Tree, ...]

    def below(self, step: str) -> "_Owners":
        others = tuple(tree for tree in (_below(one, step) for one in self.others) if tree is not None)
        return _Owners(_below(self.ours, step) if self.ours is not None else None, others)

    @property
    def are_we_alone(self) -> bool:
        return self.ours is not None and not self.others

    @property
    def is_whole(self) -> bool:
        """Whether somebody manages it as a whole: then it is applied as a whole, or not at all."""
        return any(not tree for tree in (*self.others, *([self.ours] if self.ours is not None else [])))

    @property
    def item_keys(self) -> tuple[str, ...]:
        """The keys of a list's items, where its items are managed one by one."""
        trees = [*self.others, *([self.ours] if self.ours is not None else [])]
        first = next((step for tree in trees for step in tree if step.startswith("k:")), None)
        return tuple(json.loads(first[2:])) if first is not None else ()


def _below(tree: Tree, step: str) -> Tree | None:
    """None if it is not managed. What is managed as a whole is so in all its parts."""
    if not tree:
        return tree
    if step in tree or not step.startswith("k:"):
        return tree.get(step)
    keys = json.loads(step[2:])
    return next((tree[one] for one in tree if one.startswith("k:") and json.loads(one[2:]) == keys), None)


def _kept(wanted: Any, live: Any, owners: _Owners) -> Any:
    if isinstance(wanted, dict) and wanted and isinstance(live, dict) and not owners.is_whole:
        return _kept_fields(wanted, live, owners)
    if isinstance(wanted, list) and isinstance(live, list) and owners.item_keys:
        return _kept_items(wanted, live, owners)
    return wanted if live != wanted or owners.are_we_alone else _NOTHING


def _kept_fields(wanted: Mapping[str, Any], live: Mapping[str, Any], owners: _Owners) -> Any:
    found = {key: _kept(value, live.get(key), owners.below(f"f:{key}")) for key, value in wanted.items()}
    found = {key: value for key, value in found.items() if value is not _NOTHING}
    return found or _NOTHING


def _kept_items(wanted: Sequence[Any], live: Sequence[Any], owners: _Owners) -> Any:
    found = []
    for item in wanted:
        keys = {key: item[key] for key in owners.item_keys if key in item}
        now = next((one for one in live if keys.items() <= one.items()), None)
        if now is None:
            found.append(item)
            continue
        mine = owners.below(f"k:{json.dumps(keys)}")
        rest = _kept_fields({key: value for key, value in item.items() if key not in keys}, now, mine)
        if rest is not _NOTHING or mine.below(".").are_we_alone:
            found.append(keys | (rest if rest is not _NOTHING else {}))
    return found or _NOTHING
