"""Flags as flagd's JSON: what flagd and its in-process providers evaluate, and what is taken over from them.

    {"flags": {KEY: {"state", "variants", "defaultVariant", "targeting", "metadata"}}, "metadata"}

**What is written.** A flag that answers the same to everybody goes out with that answer as `defaultVariant` and
without `targeting`. So do disabled and killed flags: always as ENABLED with their off variant, for of a DISABLED flag
an SDK answers whatever default stands in the application's code, which may be on. Otherwise `targeting` is `if` over
the targets, then `fractional [[on, w], [off, n - w]]`: on first, as our threshold is the lower end of the hash.
Parameters travel as `metadata` (scalars) and whole as the object flag `<key>.parameters`.

**Targets** are an `in` over each item of the attribute (`merge` makes a list of one out of a single value), with
numbers and booleans beside the texts that name them. flagd looks for an attribute `a.b` inside `a`, so a target by an
attribute with a dot cannot be said: `unsaid` names these, and they do not match there. Python's JSON Logic takes true
for 1 and false for 0; a target "1" matches true there, and "true" matches 1. Go's takes the number 0 for any text that
is no number.

**Which versions agree.** flagd's fraction of a key has been computed in three ways; only the newest is ours. The
others give the flag to as many keys, but to others:

| clients | what is hashed | who has the flag |
| --- | --- | --- |
| PyPI openfeature-provider-flagd >= 0.6 (openfeature-flagd-core >= 2.0) | CBOR `[flagKey, targetingKey]` | as here |
| PyPI openfeature-provider-flagd 0.4 and 0.5 (openfeature-flagd-core 1.0) | flagKey + targetingKey | others |
| PyPI openfeature-provider-flagd <= 0.3 | flagKey + targetingKey, signed | others |
| npm @openfeature/flagd-core <= 4.0.1 | flagKey + targetingKey | others |

Any other client is tried with `new-api` at 20 %: as here, `user-2` has it (at 12.64 %); with the older ones not.

**What is exported** to a file is the same, as if the kill switch were not thrown, with one more object: `rollout`
holds what flagd has no words for (profiles, permanence, the percentage of a disabled flag), so that reading the file
gives the same documents again. flagd passes it by.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Final

from flags.evaluate import CompiledFlag, Reason
from flags.feed import FeedVersion
from flags.flagd_reading import FORMAT, InvalidFlagd, Read, read, read_flag
from flags.flagd_rules import targeting_of
from flags.model import FlagDocument
from flags.snapshot import Snapshot
from flags.values import same, thaw

__all__ = ["InvalidFlagd", "Read", "encode", "export", "read", "unsaid"]

Json = dict[str, object]

_SAME_TO_ALL: Final = (Reason.STATIC, Reason.DISABLED)
_IDENTITY: Final = ("key", "environment", "version")


def encode(snapshot: Snapshot, version: FeedVersion) -> bytes:
    """What flagd clients are served. `flagSetId` and `version` are the names that OpenFeature's telemetry knows."""
    metadata = {"flagSetId": snapshot.environment, "version": str(version)}
    text = {"flags": _flags(snapshot), "metadata": metadata}
    return json.dumps(text, separators=(",", ":"), allow_nan=False).encode()


def export(documents: Iterable[FlagDocument], environment: str) -> str:
    """A file for people and for `read`, which gives the same documents; only versions stay behind."""
    snapshot = Snapshot(documents, environment=environment)
    flags = _flags(snapshot)
    more = {one.key: _unsaid_of(one, flags, environment) for one in snapshot.documents()}
    ours = {"format": FORMAT, "environment": environment, "flags": {key: rest for key, rest in more.items() if rest}}
    text = {"flags": flags, "metadata": {"flagSetId": environment}, "rollout": ours}
    return json.dumps(text, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def unsaid(documents: Iterable[FlagDocument]) -> list[str]:
    """Sentences about targets that flagd's clients do not see."""
    return [
        f"flag {one.key!r}: its target by {attribute!r} is not sent to flagd's clients, who would look for it inside"
        f" {attribute.partition('.')[0]!r}; choose an attribute without a dot"
        for one in documents
        for attribute in one.targets
        if "." in attribute
    ]


def _unsaid_of(document: FlagDocument, flags: Json, environment: str) -> Json:
    """The fields that are not the same when the flag is read back."""
    back = read_flag(document.key, flags, environment).document.to_json()
    return {
        name: value
        for name, value in document.to_json().items()
        if name not in _IDENTITY and not same(value, back[name])
    }


def _flags(snapshot: Snapshot) -> Json:
    keys = snapshot.keys()
    return {key: _flag(snapshot.get(key), snapshot.document(key)) for key in keys}


def _flag(compiled: CompiledFlag | None, document: FlagDocument | None) -> Json:
    assert compiled is not None, "a snapshot has every flag that it lists"
    answer = compiled.details({})
    if document is None:  # the parameters of another flag
        variants, targeting = {answer.variant: thaw(answer.value)}, None
    else:
        variants = {variant: thaw(value) for variant, value in document.variants.items()}
        targeting = None if answer.reason in _SAME_TO_ALL else targeting_of(document)
    flag: Json = {"state": "ENABLED", "variants": variants, "defaultVariant": answer.variant}
    if targeting is not None:
        flag["targeting"] = targeting
    if answer.metadata:
        flag["metadata"] = dict(answer.metadata)
    return flag
