"""JSON as the server writes it: compact, UTF-8, and never NaN or Infinity, which no JSON parser must accept."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

from fastapi.responses import JSONResponse, StreamingResponse

from stages.values import finite

JSON: Final = "application/json"
AT_ONCE: Final = 500
"""Entries of a list."""


def encode(value: Any) -> bytes:
    """Numbers that JSON has no word for go out as texts: "NaN", "Infinity", "-Infinity"."""
    try:
        return _dumps(value)
    except ValueError:
        return _dumps(finite(value))


def _dumps(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8", "replace")


class Json(JSONResponse):
    def render(self, content: Any) -> bytes:
        return encode(content)


def large_json(content: Any) -> StreamingResponse:
    """An object with long lists. What is encoded at once is a part of it: who waits for another answer does not wait
    until all of this one is."""
    return StreamingResponse(_of_object(content), media_type=JSON)


def listed_json(pieces: AsyncIterator[list[Any]]) -> StreamingResponse:
    """One list, of which some entries are made and encoded at a time."""
    return StreamingResponse(_of_pieces(pieces), media_type=JSON)


async def _of_object(content: Any) -> AsyncIterator[bytes]:
    for part in _parts(content):
        yield part
        await asyncio.sleep(0)


async def _of_pieces(pieces: AsyncIterator[list[Any]]) -> AsyncIterator[bytes]:
    before = b"["
    async for piece in pieces:
        if piece:
            yield before + encode(piece)[1:-1]
            before = b","
    yield b"]" if before == b"," else b"[]"


def _parts(content: Any) -> Iterator[bytes]:
    match content:
        case dict() if content:
            for number, (key, value) in enumerate(content.items()):
                yield (b"," if number else b"{") + encode(key) + b":"
                yield from _parts(value)
            yield b"}"
        case list() if len(content) > AT_ONCE:
            for first in range(0, len(content), AT_ONCE):
                yield (b"," if first else b"[") + encode(content[first : first + AT_ONCE])[1:-1]
            yield b"]"
        case _:
            yield encode(content)
