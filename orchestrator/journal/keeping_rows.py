"""What is kept of a run as bytes, alike for every store: a document is JSON, compressed; a hash is 32 bytes."""

import json
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

from orchestrator.errors import StoreError
from orchestrator.keeping_port import Kept
from stages.values import Json, finite

HASH_BYTES: Final = 32
_LEVEL: Final = 9  # it is written once


def packed(document: Mapping[str, Json]) -> bytes:
    """Not as canonical JSON, which would put a report's fields in another order."""
    text = json.dumps(finite(dict(document)), separators=(",", ":"), allow_nan=False)
    return zlib.compress(text.encode("ascii"), _LEVEL)


def packed_hashes(hashes: Sequence[str]) -> bytes:
    return b"".join(map(bytes.fromhex, hashes))


def kept_of(run: str, at: float, document: bytes, hashes: bytes) -> Kept:
    try:
        found: dict[str, Any] = json.loads(zlib.decompress(document))
    except (zlib.error, ValueError) as problem:
        raise StoreError(f"What is kept of run {run!r} can't be read ({problem}): it was changed by hand.") from None
    split = (hashes[first : first + HASH_BYTES].hex() for first in range(0, len(hashes), HASH_BYTES))
    return Kept(run, at, found, tuple(split))
