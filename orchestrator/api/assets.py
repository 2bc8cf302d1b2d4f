"""The script and the style of the pages, as ``make page`` builds them into ``orchestrator/web/dist``.

They are read once, when the server starts: what is built meanwhile comes with the next one. Their names have their
content's hash, so a browser may keep them for ever. Without them the pages have no script, and still say how things
stand.
"""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

from fastapi import APIRouter, Request
from fastapi.responses import Response

from orchestrator.api.auth import ASSETS
from orchestrator.api.context import context_of
from orchestrator.errors import NotFound

router = APIRouter(include_in_schema=False)

FOLDER: Final = Path(__file__).parents[1] / "web" / "dist"
KEPT_FOR_EVER: Final = {"Cache-Control": "public, max-age=31536000, immutable", "Vary": "Accept-Encoding"}
_TYPES: Final = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8"}


@dataclass(frozen=True, slots=True)
class Bundle:
    """*script* and *style* are names among *files*."""

    script: str
    style: str
    files: dict[str, bytes]

    @staticmethod
    def read(folder: Path = FOLDER) -> Bundle | None:
        """None if nothing was built there, or only half of it."""
        try:
            named = json.loads((folder / "manifest.json").read_text())
            script, style = str(named["script"]), str(named["style"])
            return Bundle(script, style, {name: (folder / name).read_bytes() for name in (script, style)})
        except (OSError, ValueError, KeyError, TypeError):
            return None


@router.get(ASSETS + "{name}")
async def show_asset(request: Request, name: str) -> Response:
    bundle = context_of(request).bundle
    content = bundle.files.get(name) if bundle is not None else None
    if content is None:
        raise NotFound(f"there is no {name[:100]} in this version: load the page again")
    headers = {**KEPT_FOR_EVER, "Content-Type": _TYPES[Path(name).suffix]}
    if "gzip" not in request.headers.get("accept-encoding", ""):
        return Response(content, headers=headers)
    return Response(_compressed(content), headers={**headers, "Content-Encoding": "gzip"})


@lru_cache(4)
def _compressed(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)
