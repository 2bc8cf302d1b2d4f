"""Where a targeting key stands between 0 and 100 % of a flag.

Theory of operation. Flag key and targeting key are written as the canonical CBOR array `[flagKey, targetingKey]`
(RFC 8949, section 4.2: shortest length heads) and hashed with murmur3 x86 32, seed 0. The hash, a number below 2**32,
is the place of this key on this flag. flagd's current `fractional` asks `(hash * total) >> 32 < weight`; multiplied
out, that is `hash < ceil(weight * 2**32 / total)`, so a percentage becomes one integer threshold:

- raising it only moves the threshold up, and takes the flag away from nobody; lowering it takes it away from those
  who came last;
- the flag's key is hashed along, so two flags draw independently of each other;
- the answer is the same in every process and in every language that agrees on CBOR and murmur3, and does not depend
  on the total that a provider uses.

Array and lengths keep ("a", "bc") and ("ab", "c") apart, which mere concatenation would not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from mmh3 import mmh3_32_uintdigest

TOTAL: Final = 100_000
"""Weights per hundred per cent: a percentage has a resolution of 0.001."""

NO_HASH: Final = 1 << 32
"""Stands for the hash of a key that cannot be drawn: above every hash, and so never below a threshold."""

digest: Final = mmh3_32_uintdigest
encode: Final[Callable[[Any], bytes]] = str.encode
"""UTF-8 of a string of any subclass; TypeError for all else."""

_ARRAY_OF_TWO: Final = b"\x82"
_ONE_BYTE: Final = 1 << 8
_TWO_BYTES: Final = 1 << 16
_FOUR_BYTES: Final = 1 << 32


def _text_head(length: int) -> bytes:
    """The CBOR head (major type 3) of a text string that is `length` bytes long."""
    if length < 24:
        return bytes((0x60 + length,))
    if length < _ONE_BYTE:
        return bytes((0x78, length))
    if length < _TWO_BYTES:
        return b"\x79" + length.to_bytes(2, "big")
    if length < _FOUR_BYTES:
        return b"\x7a" + length.to_bytes(4, "big")
    return b"\x7b" + length.to_bytes(8, "big")


def cbor_text(text: str) -> bytes:
    """`text` as a CBOR text string. UnicodeEncodeError for a lone surrogate, which has no UTF-8."""
    encoded = text.encode()
    return _text_head(len(encoded)) + encoded


def prepared(flag_key: str) -> tuple[Callable[[object], int], list[Any]]:
    """The hash of any targeting key on this flag, and what it is made with: `starts[n]`, the bytes before a key of n.

    What is no key (not a string, empty, or not writable as UTF-8) hashes to `NO_HASH`. flagd's evaluation cannot draw
    these either.

    A start is made when a key of its length is first met; until then it is missing or None, and so it stays for the
    empty key and for very long ones. Where every nanosecond counts, `digest(starts[len(encoded)] + encoded)` can thus
    be written out, with the hash itself to turn to for whatever this raises.
    """
    prefix = _ARRAY_OF_TWO + cbor_text(flag_key)
    starts: list[Any] = []

    def hash_of(targeting_key: object) -> int:
        try:
            encoded = encode(targeting_key)
            place: int = digest(starts[len(encoded)] + encoded)
        except (IndexError, TypeError, UnicodeEncodeError):
            return _hash_slowly(prefix, starts, targeting_key)
        return place

    return hash_of, starts


def _hash_slowly(prefix: bytes, starts: list[Any], targeting_key: object) -> int:
    if not isinstance(targeting_key, str):
        return NO_HASH
    try:
        encoded = encode(targeting_key)
    except UnicodeEncodeError:
        return NO_HASH
    length = len(encoded)
    if length == 0:
        return NO_HASH
    start = prefix + _text_head(length)
    if length < _ONE_BYTE:
        starts.extend([None] * (length + 1 - len(starts)))
        starts[length] = start
    return digest(start + encoded)


def hasher(flag_key: str) -> Callable[[object], int]:
    """The hash of any targeting key on this flag; `NO_HASH` for what is no key."""
    return prepared(flag_key)[0]


def hash_key(flag_key: str, targeting_key: str) -> int:
    """One hash, for tools and tests; whoever asks often keeps a `hasher`."""
    return hasher(flag_key)(targeting_key)


def threshold(weight: int, total: int = TOTAL) -> int:
    """The hash below which `(hash * total) >> 32 < weight` holds."""
    return -(-(weight << 32) // total)
