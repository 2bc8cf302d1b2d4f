"""OpenFeature Remote Evaluation Protocol 0.3 over a snapshot, without a web framework.

    POST /ofrep/v1/evaluate/flags/{key}   evaluate_single
    POST /ofrep/v1/evaluate/flags         evaluate_bulk

Real clients are stricter and looser than the specification. An answer always has `variant`, a refusal always has
`errorDetails`, and nothing is ever null; a float goes out with its point (10.0), for some clients take the type from
it. No body, `{}`, and a context that is missing, null or empty all mean the empty context.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from types import MappingProxyType
from typing import NoReturn

from flags.errors import ErrorCode, FlagError, shown
from flags.evaluate import TARGETING_KEY, CompiledFlag, Context
from flags.snapshot import Snapshot
from flags.values import thaw

Body = dict[str, object]

_ENTITY_TAG = re.compile(r'(?:W/)?"([^"]*)"')
_JSON_HEADERS: Mapping[str, str] = MappingProxyType({"Content-Type": "application/json"})


@dataclass(frozen=True, slots=True)
class Answer:
    """`content` is what goes over the wire, byte for byte what an ETag stands for; `body` the same, parsed."""

    status: int
    body: Body | None
    headers: Mapping[str, str] = field(default_factory=lambda: _JSON_HEADERS)
    content: bytes = b""


class _Refused(FlagError):
    """The request cannot be evaluated."""

    def __init__(self, code: ErrorCode, details: str) -> None:
        self.code = code
        super().__init__(details)


def evaluate_single(snapshot: Snapshot, key: str, body: object = None) -> Answer:
    """`body`: the request's bytes or text, or the object parsed from them."""
    try:
        context = _context(body)
    except _Refused as refused:
        return _answer(HTTPStatus.BAD_REQUEST, {"key": key, **_failure(refused.code, str(refused))})
    flag = snapshot.get(key)
    if flag is None:
        details = f"there is no flag {key!r} in environment {snapshot.environment!r}"
        return _answer(HTTPStatus.NOT_FOUND, {"key": key, **_failure(ErrorCode.FLAG_NOT_FOUND, details)})
    evaluated = _evaluated(flag, context)
    return _answer(HTTPStatus.BAD_REQUEST if "errorCode" in evaluated else HTTPStatus.OK, evaluated)


def evaluate_bulk(snapshot: Snapshot, body: object = None, if_none_match: str | None = None) -> Answer:
    """All flags for one context; one that has no answer for it is listed with its error. 304 without a body if one of
    the entity tags in `if_none_match` (a list, weak ones too, or `*`) is that of the answer."""
    try:
        context = _context(body)
    except _Refused as refused:
        return _answer(HTTPStatus.BAD_REQUEST, _failure(refused.code, str(refused)))
    flags = [_evaluated(flag, context) for flag in map(snapshot.get, snapshot.keys()) if flag is not None]
    answer: Body = {"flags": flags, "metadata": {"environment": snapshot.environment}}
    content = _encoded(answer)
    tag = hashlib.blake2b(content, digest_size=16).hexdigest()
    headers = MappingProxyType({"ETag": f'"{tag}"'})
    if if_none_match is not None and _names(if_none_match, tag):
        return Answer(HTTPStatus.NOT_MODIFIED, None, headers)
    return Answer(HTTPStatus.OK, answer, MappingProxyType({**_JSON_HEADERS, **headers}), content)


def too_many_requests(retry_after_seconds: int) -> Answer:
    details = f"too many requests: try again in {retry_after_seconds} s"
    headers = MappingProxyType({**_JSON_HEADERS, "Retry-After": str(retry_after_seconds)})
    body: Body = {"errorDetails": details}
    return Answer(HTTPStatus.TOO_MANY_REQUESTS, body, headers, _encoded(body))


def internal_error(details: str) -> Answer:
    return _answer(HTTPStatus.INTERNAL_SERVER_ERROR, {"errorDetails": details})


def _evaluated(flag: CompiledFlag, context: Context) -> Body:
    details = flag.details(context)
    if details.error_code is not None:
        return {"key": flag.key, **_failure(details.error_code, details.error_details or "")}
    return {
        "key": flag.key,
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
        reason = "it is nested too deeply" if isinstance(problem, RecursionError) else str(problem)
        raise _Refused(ErrorCode.PARSE_ERROR, f"the body is not JSON: {reason}") from None
    if parsed is None:
        raise _Refused(ErrorCode.PARSE_ERROR, "the body must be a JSON object such as {}, got null")
    return parsed


def _no_json(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number of JSON")


def _failure(code: ErrorCode, details: str) -> Body:
    return {"errorCode": code.value, "errorDetails": details}


def _answer(status: HTTPStatus, body: Body) -> Answer:
    return Answer(status, body, content=_encoded(body))


def _encoded(body: Body) -> bytes:
    return json.dumps(body, separators=(",", ":"), allow_nan=False).encode()


def _names(if_none_match: str, tag: str) -> bool:
    return if_none_match.strip() in ("*", tag) or tag in _ENTITY_TAG.findall(if_none_match)
