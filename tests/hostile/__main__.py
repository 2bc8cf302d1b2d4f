"""`python -m tests.hostile` writes docs/hostile.md."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tests.hostile.inputs import COMMANDS, PLANS, REQUESTS
from tests.hostile.shapes import Request

PAGE = Path(__file__).parents[2] / "docs" / "hostile.md"
HEAD = """\
# Hostile input

What the command line, the HTTP server and the reader of plans answer to input that is broken or meant to hurt. Each
line is a test (`tests/hostile`): the answer is a status or exit code and one sentence with this in it. There is no
traceback, no secret is repeated, no status is 5xx, and the server goes on serving. `make hostile` writes this page.
"""


def page() -> str:
    plans = ((one.what, str(one.code), one.says) for one in PLANS)
    requests = ((one.what, _where(one), str(one.status), one.says) for one in REQUESTS)
    commands = ((one.what, _typed(one.arguments), str(one.code), one.says) for one in COMMANDS)
    parts = (
        HEAD,
        f"## Plans ({len(PLANS)})\n\n`rollout validate --offline`. Code 0 looks bad and is valid.\n",
        _table(("plan", "code", "says"), plans),
        f"## Requests ({len(REQUESTS)})\n\nWith an admin's token, unless the first column says otherwise.\n",
        _table(("request", "to", "status", "says"), requests),
        f"## Commands, their files and variables ({len(COMMANDS)})\n",
        _table(("input", "rollout ...", "code", "says"), commands),
    )
    return "\n".join(parts)


def _where(request: Request) -> str:
    return _code(f"{request.method} {request.path}") if request.raw is None else "the socket"


def _typed(arguments: Iterable[str]) -> str:
    return _code(" ".join(arguments))


def _code(text: str) -> str:
    shown = text.encode("ascii", "backslashreplace").decode()
    shown = "".join(one if one.isprintable() else f"\\x{ord(one):02x}" for one in shown)
    return f"`{shown if len(shown) <= 60 else shown[:57] + '...'}`"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


if __name__ == "__main__":
    PAGE.write_text(page())
