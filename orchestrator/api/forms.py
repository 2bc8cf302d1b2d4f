"""What a form without a script sends."""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qs

from fastapi import Request

from orchestrator.api.errors import BadRequest

SEE_OTHER: Final = 303
_MOST_LETTERS: Final = 32 * 1024


async def fields_of(request: Request) -> dict[str, str]:
    """The first value of each field. Raises BadRequest."""
    text = (await request.body())[:_MOST_LETTERS].decode("utf-8", "replace")
    try:
        return {name: values[0] for name, values in parse_qs(text, max_num_fields=20).items()}
    except ValueError:
        raise BadRequest("The form has more fields than any of ours.") from None
