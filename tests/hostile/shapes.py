"""What a hostile input is: where it goes, and what must be answered."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.stages.plans import SMALL

Headers = tuple[tuple[str, str], ...]
JSON: Headers = (("Content-Type", "application/json"),)


@dataclass(frozen=True, slots=True)
class Plan:
    """Goes through `rollout validate --offline`; *says* is part of the first line that it answers with."""

    what: str
    text: str | bytes
    says: str
    files: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def code(self) -> int:
        return 0 if self.says.endswith("is valid") else 2


@dataclass(frozen=True, slots=True)
class Request:
    """Goes to a real server. *role* is whose token it bears; *raw* goes out as it is instead of all else."""

    what: str
    method: str
    path: str
    status: int
    says: str
    body: bytes = b""
    headers: Headers = ()
    role: str | None = "admin"
    raw: bytes | None = None

    def sent(self, token: str | None) -> bytes:
        if self.raw is not None:
            return self.raw.replace(b"TOKEN", (token or "").encode())
        named = {name.lower() for name, _ in self.headers}
        lines = [f"{self.method} {self.path} HTTP/1.1", "Connection: close"]
        if "host" not in named:
            lines.append("Host: localhost")
        if self.body and not named & {"content-length", "transfer-encoding"}:
            lines.append(f"Content-Length: {len(self.body)}")
        if token is not None and "authorization" not in named:
            lines.append(f"Authorization: Bearer {token}")
        lines += [f"{name}: {value}" for name, value in self.headers]
        return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + self.body


@dataclass(frozen=True, slots=True)
class Command:
    """Goes to the command line. *files* lie in the folder where it runs, *environment* is added to the process's."""

    what: str
    arguments: tuple[str, ...]
    code: int
    says: str
    environment: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)


def changed(old: str, new: str, text: str = SMALL) -> str:
    assert old in text, old
    return text.replace(old, new, 1)


def added(*lines: str) -> str:
    """The small plan with lines under `spec`."""
    return SMALL + "".join(f"  {line}\n" for line in lines)


def sent(method: str, path: str, body: Any, status: int, what: str, says: str, **more: Any) -> Request:
    """A request with a JSON body."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Request(what, method, path, status, says, content, (*JSON, *more.pop("headers", ())), **more)
