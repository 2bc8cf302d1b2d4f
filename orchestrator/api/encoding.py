"""JSON as the server writes it: compact, UTF-8, and never NaN or Infinity, which no JSON parser must accept."""

from __future__ import annotations

import json
from typing import Any

from fastapi.responses import JSONResponse

from stages.values import finite


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
