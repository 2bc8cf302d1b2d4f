"""JSON as the server writes it: compact, UTF-8, and never NaN or Infinity, which no JSON parser must accept."""

from __future__ import annotations

import json
import math
from typing import Any

from fastapi.responses import JSONResponse


def encode(value: Any) -> bytes:
    """Numbers that JSON has no word for go out as texts: "NaN", "Infinity", "-Infinity"."""
    try:
        return _dumps(value)
    except ValueError:
        return _dumps(_finite(value))


def _dumps(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8", "replace")


def _finite(value: Any) -> Any:
    match value:
        case dict():
            return {key: _finite(entry) for key, entry in value.items()}
        case list() | tuple():
            return [_finite(entry) for entry in value]
        case float() if math.isnan(value):
            return "NaN"
        case float() if math.isinf(value):
            return "Infinity" if value > 0 else "-Infinity"
        case _:
            return value


class Json(JSONResponse):
    def render(self, content: Any) -> bytes:
        return encode(content)
