"""The two messages of the sync service, which have one field each that matters here, in protobuf's wire format.

Writing these lines costs less than generated code, which binds the package to one range of versions of protobuf, and
clashes with a second copy of itself where an application loads the provider's.
"""

from __future__ import annotations

from typing import Final

_SELECTOR: Final = 2
_CONFIGURATION_HEAD: Final = b"\x0a"  # field 1, with its length before it
_LENGTH: Final = 2
_MOST_VARINT_BITS: Final = 64


class BadMessage(ValueError):
    """Bytes that are no protobuf message."""


def response(text: bytes) -> bytes:
    """``SyncFlagsResponse`` and ``FetchAllFlagsResponse`` with *text* as ``flag_configuration``."""
    return _CONFIGURATION_HEAD + _varint(len(text)) + text


def selector_of(request: bytes) -> str:
    """Of ``SyncFlagsRequest`` and ``FetchAllFlagsRequest``; "" without one. Fields that are not known are skipped."""
    selector, at = b"", 0
    while at < len(request):
        tag, at = _read_varint(request, at)
        field, kind = tag >> 3, tag & 7
        start, at = _span(request, at, kind)
        if at > len(request):
            raise BadMessage("the message ends inside a field")
        if field == _SELECTOR and kind == _LENGTH:
            selector = request[start:at]
    try:
        return selector.decode()
    except UnicodeDecodeError:
        raise BadMessage("the selector is not UTF-8") from None


def _span(message: bytes, at: int, kind: int) -> tuple[int, int]:
    """Where a field's content starts and ends."""
    match kind:
        case 0:
            return at, _read_varint(message, at)[1]
        case 1:
            return at, at + 8
        case 2:
            length, start = _read_varint(message, at)
            return start, start + length
        case 5:
            return at, at + 4
        case _:
            raise BadMessage(f"there is no wire type {kind}")


def _varint(number: int) -> bytes:
    written = bytearray()
    while number > 0x7F:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    """The number, and where it ends."""
    number = 0
    for shift in range(0, _MOST_VARINT_BITS, 7):
        if at >= len(message):
            raise BadMessage("the message ends inside a number")
        byte = message[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
    raise BadMessage("a number is longer than 64 bits")
