"""GIF files of greys: written without compression, and read with any."""

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

from .frames import Frame

GREYS = 128
SIGNATURE, TRAILER, IMAGE, EXTENSION = b"GIF89a", 0x3B, 0x2C, 0x21
CODE_BITS = 7
CLEAR, END = 1 << CODE_BITS, (1 << CODE_BITS) + 1
MOST_CODES = 4096


class NoGif(ValueError):
    """The file is no GIF that can be read."""


def write(file: Path, frames: Sequence[Frame]) -> None:
    height, width, _ = frames[0].shape
    palette = b"".join(bytes((2 * grey,) * 3) for grey in range(GREYS))
    head = SIGNATURE + struct.pack("<HHBBB", width, height, 0xF0 | (CODE_BITS - 1), 0, 0) + palette
    file.write_bytes(head + b"".join(_image(frame) for frame in frames) + bytes((TRAILER,)))


def _image(frame: Frame) -> bytes:
    """Codes are never longer than a byte, since the table begins anew before it would need that."""
    height, width, _ = frame.shape
    pixels = b"".join(frame.rows)
    codes = b"".join(bytes((CLEAR,)) + pixels[at : at + 120] for at in range(0, len(pixels), 120)) + bytes((END,))
    blocks = b"".join(bytes((len(codes[at : at + 255]),)) + codes[at : at + 255] for at in range(0, len(codes), 255))
    return struct.pack("<BHHHHB", IMAGE, 0, 0, width, height, 0) + bytes((CODE_BITS,)) + blocks + b"\0"


def read(file: Path) -> list[Frame]:
    data = file.read_bytes()
    try:
        if data[:6] not in {b"GIF87a", SIGNATURE}:
            raise NoGif(f"{file.name} is no GIF: it begins with {data[:6]!r}")
        return list(_frames(data))
    except (IndexError, struct.error) as error:
        raise NoGif(f"{file.name} ends too early: {error}") from None


def _frames(data: bytes) -> Iterator[Frame]:
    flags = data[10]
    at = 13 + (3 << ((flags & 7) + 1) if flags & 0x80 else 0)
    while data[at] != TRAILER:
        if data[at] == EXTENSION:
            at = _blocks(data, at + 2)[1]
            continue
        width, height, local = struct.unpack_from("<HHB", data, at + 5)
        at += 10 + (3 << ((local & 7) + 1) if local & 0x80 else 0)
        packed, end = _blocks(data, at + 1)
        pixels = _unpacked(packed, data[at])
        yield Frame(tuple(pixels[row * width : (row + 1) * width] for row in range(height)))
        at = end


def _blocks(data: bytes, at: int) -> tuple[bytes, int]:
    """What stands in a row of blocks, and where the next thing begins."""
    found = b""
    while data[at]:
        found += data[at + 1 : at + 1 + data[at]]
        at += 1 + data[at]
    return found, at + 1


def _unpacked(packed: bytes, code_bits: int) -> bytes:
    """LZW."""
    clear, bits = 1 << code_bits, int.from_bytes(packed, "little")
    pixels, table, size = bytearray(), [bytes((one,)) for one in range(clear)] + [b"", b""], code_bits + 1
    before = b""
    while True:
        code, bits = bits & ((1 << size) - 1), bits >> size
        if code == clear:
            table, size, before = table[: clear + 2], code_bits + 1, b""
            continue
        if code == clear + 1:
            return bytes(pixels)
        word = table[code] if code < len(table) else before + before[:1]
        if before and len(table) < MOST_CODES:
            table.append(before + word[:1])
        pixels += word
        before = word
        if len(table) == 1 << size and len(table) < MOST_CODES:
            size += 1
