"""OpenFeature Remote Evaluation Protocol 0.3 over a snapshot, without a web framework.

    POST /ofrep/v1/evaluate/flags/{key}   Responder(snapshot).single
    POST /ofrep/v1/evaluate/flags         Responder(snapshot).bulk

Real clients are stricter and looser than the specification. An answer always has `variant`, a refusal always has
`errorDetails`, and nothing is ever null; a float goes out with its point (10.0), for some clients take the type from
it. No body, `{}`, and a context that is missing, null or empty all mean the empty context.

Theory of operation. A flag has a handful of answers, which are made when it is compiled. Each is written as JSON once
per snapshot, when it is first given; to answer is then to choose one for every flag and to join their bytes.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, Final, NoReturn

from flags.errors import ErrorCode, FlagError, shown
from flags.evaluate import TARGETING_KEY, CompiledFlag, Context, Details
from flags.snapshot import Snapshot
from flags.values import thaw

Body = dict[str, object]

_ENTITY_TAG = re.compile(r'(?:W/)?"([^"]*)"')
_JSON_HEADERS: Mapping[str, str] = MappingProxyType({"Content-Type": "application/json"})
_MOST_WRITTEN: Final = 8
"""Answers of one flag that are kept. None has so many; the bound is for flags that make theirs anew each time."""


@dataclass(frozen=True, slots=True)
class Answer:
    """`content` is what goes over the wire, byte for byte what an ETag stands for."""

    status: int
    content: bytes = b""
    headers: Mapping[str, str] = field(default_factory=lambda: _JSON_HEADERS)

    @property
    def body(self) -> Any:
        """`content`, parsed; None where there is none."""
        return json.loads(self.content) if self.content else None


class _Refused(FlagError):
    """The request cannot be evaluated."""

    def __init__(self, code: ErrorCode, details: str) -> None:
        self.code = code
        super().__init__(details)


class _Written:
    """One flag with those of its answers that were given before, as JSON."""

    __slots__ = ("_key", "details", "known")

    def __init__(self, flag: CompiledFlag) -> None:
        self._key = flag.key
        self.details = flag.details
        self.known: list[tuple[Details, bytes]] = []

    def write(self, details: Details) -> bytes:
        for known, content in self.known:
            if known is details:
                return content
        content = _encoded(_body(self._key, details))
        if len(self.known) < _MOST_WRITTEN:
            self.known.append((details, content))
        return content


def _joined(flags: Iterable[_Written], context: Context) -> bytes:
    """The loop over thousands of flags: what was written before is found without a call."""
    contents: list[bytes] = []
    for flag in flags:
        details = flag.details(context)
        for known, content in flag.known:
            if known is details:
                contents.append(content)
                break
        else:
            contents.append(flag.write(details))
    return b",".join(contents)


class Responder:
    """Answers requests from one snapshot. May be used by several threads at once.

    `body` is a request's bytes or text, or the object parsed from them.
    """

    __slots__ = ("_all", "_metadata", "_written", "snapshot")

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self._metadata = _encoded({"environment": snapshot.environment})
        self._written: dict[str, _Written] = {}
        self._all: tuple[_Written, ...] | None = None

    def single(self, key: str, body: object = None) -> Answer:
        try:
            context = _context(body)
        except _Refused as refused:
            return _answer(HTTPStatus.BAD_REQUEST, {"key": key, **_failure(refused.code, str(refused))})
        flag = self._flag(key)
        if flag is None:
            sentence = f"there is no flag {shown(key)} in environment {shown(self.snapshot.environment)}"
            return _answer(HTTPStatus.NOT_FOUND, {"key": key, **_failure(ErrorCode.FLAG_NOT_FOUND, sentence)})
        details = flag.details(context)
        status = HTTPStatus.OK if details.error_code is None else HTTPStatus.BAD_REQUEST
        return Answer(status, flag.write(details))

    def bulk(self, body: object = None, if_none_match: str | None = None, event_stream: str | None = None) -> Answer:
        """All flags for one context; one that has no answer for it is listed with its error. 304 without a body if one
        of the entity tags in `if_none_match` (a list, weak ones too, or `*`) is that of the answer.

        `event_stream`: where the client hears of changes, relative to the server's origin.
        """
        try:
            context = _context(body)
        except _Refused as refused:
            return _answer(HTTPStatus.BAD_REQUEST, _failure(refused.code, str(refused)))
        flags = _joined(self._flags(), context)
        content = b'{"flags":[%b],"metadata":%b%b}' % (flags, self._metadata, _event_streams(event_stream))
        tag = hashlib.blake2b(content, digest_size=16).hexdigest()
        headers = {"ETag": f'"{tag}"'}
        if is_named(tag, if_none_match):
            return Answer(HTTPStatus.NOT_MODIFIED, headers=headers)
        return Answer(HTTPStatus.OK, content, {**_JSON_HEADERS, **headers})

    def _flag(self, key: str) -> _Written | None:
        written = self._written.get(key)
        if written is None and (flag := self.snapshot.get(key)) is not None:
            written = self._written.setdefault(key, _Written(flag))
        return written

    def _flags(self) -> tuple[_Written, ...]:
        if self._all is None:
            self._all = tuple(filter(None, map(self._flag, self.snapshot.keys())))
        return self._all


def evaluate_single(snapshot: Snapshot, key: str, body: object = None) -> Answer:
    """One answer from a snapshot that is not asked again."""
    return Responder(snapshot).single(key, body)


def evaluate_bulk(snapshot: Snapshot, body: object = None, if_none_match: str | None = None) -> Answer:
    """See `Responder.bulk`; for a snapshot that is not asked again."""
    return Responder(snapshot).bulk(body, if_none_match)


def too_many_requests(retry_after_seconds: int) -> Answer:
    details = f"too many requests: try again in {retry_after_seconds} s"
    headers = {**_JSON_HEADERS, "Retry-After": str(retry_after_seconds)}
    return Answer(HTTPStatus.TOO_MANY_REQUESTS, _encoded({"errorDetails": details}), headers)


def internal_error(details: str) -> Answer:
    return _answer(HTTPStatus.INTERNAL_SERVER_ERROR, {"errorDetails": details})


def refetch(version: str, modified_at: int) -> bytes:
    """What an event stream says when something else is answered from now on, as one server-sent event.

    `version` names what is served, `modified_at` is the Unix time in seconds since when it is.
    """
    data = {"type": "refetchEvaluation", "etag": f'"{version}"', "lastModified": modified_at}
    return b"id: %b\nevent: message\ndata: %b\n\n" % (version.encode(), _encoded(data))


def _event_streams(request_uri: str | None) -> bytes:
    if request_uri is None:
        return b""
    return b',"eventStreams":%b' % _encoded([{"type": "sse", "endpoint": {"requestUri": request_uri}}])


def _body(key: str, details: Details) -> Body:
    if details.error_code is not None:
        return {"key": key, **_failure(details.error_code, details.error_details or "")}
    return {
        "key": key,
        "value": thaw(details.value),
        "reason": details.reason.value,
        "variant": details.variant,
        "metadata": dict(details.metadata),
    }


def _context(body: object) -> Context:
    request = _parsed(body)
    if request is None:
        return {}
    if not isinstance(request, Mapping):
        raise _Refused(ErrorCode.PARSE_ERROR, f"the body must be a JSON object such as {{}}, got {shown(request)}")
    context = request.get("context")
    if context is None:
        return {}
    if not isinstance(context, Mapping):
        raise _Refused(ErrorCode.INVALID_CONTEXT, f"'context' must be a JSON object, got {shown(context)}")
    _check_targeting_key(context.get(TARGETING_KEY))
    return context


def _check_targeting_key(key: object) -> None:
    if key is None:
        return
    if not isinstance(key, str):
        raise _Refused(ErrorCode.INVALID_CONTEXT, f"{TARGETING_KEY!r} must be a string, got {shown(key)}")
    try:
        key.encode()
    except UnicodeEncodeError:
        details = f"{TARGETING_KEY!r} must be Unicode text, got half of a surrogate pair in {shown(key)}"
        raise _Refused(ErrorCode.INVALID_CONTEXT, details) from None


def _parsed(body: object) -> object:
    if not isinstance(body, bytes | bytearray | memoryview | str):
        return body
    raw = bytes(body) if isinstance(body, memoryview) else body
    if not raw.strip():
        return None
    try:
        parsed: object = json.loads(raw, parse_constant=_no_json)
    except (ValueError, RecursionError) as problem:
        raise _Refused(ErrorCode.PARSE_ERROR, f"the body is not JSON: {_reason(problem)}") from None
    if parsed is None:
        raise _Refused(ErrorCode.PARSE_ERROR, "the body must be a JSON object such as {}, got null")
    return parsed


def _reason(problem: Exception) -> str:
    match problem:
        case RecursionError():
            return "it is nested too deeply"
        case UnicodeDecodeError():
            return "it is not UTF-8 text"
        case json.JSONDecodeError():
            return str(problem)
        case _:  # Python's own words are for its programmers
            return "a number is no number of JSON, or has more digits than are read"


def _no_json(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number of JSON")


def _failure(code: ErrorCode, details: str) -> Body:
    return {"errorCode": code.value, "errorDetails": details}


def _answer(status: HTTPStatus, body: Body) -> Answer:
    return Answer(status, _encoded(body))


def _encoded(value: object) -> bytes:
    """In the order of names, for a store may give an object back in another order than it was written in, and an entity
    tag must outlive a restart."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False, sort_keys=True).encode()


def is_named(tag: str, if_none_match: str | None) -> bool:
    """Whether a client has what *tag* stands for: one of a list of entity tags, weak ones too, or `*`."""
    if if_none_match is None:
        return False
    return if_none_match.strip() in ("*", tag) or tag in _ENTITY_TAG.findall(if_none_match)
