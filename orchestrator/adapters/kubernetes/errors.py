"""What an API server answers when it does not do what it is asked, told apart as far as callers need it."""

import re
from collections.abc import Mapping
from typing import Any

from orchestrator.errors import Permanent, RolloutError, Temporary

LONGEST_MESSAGE = 600
_DENIED = re.compile(
    r'User "(?P<user>[^"]*)" cannot (?P<verb>\S+) resource "(?P<resource>[^"]+)" in API group "(?P<group>[^"]*)"'
    r'(?: in the namespace "(?P<namespace>[^"]+)")?'
)


class Answered(RolloutError):
    """The cluster answered with an error. *causes* are the single ones that its answer lists, as it words them."""

    causes: tuple[Mapping[str, Any], ...] = ()


class Stale(Answered, Permanent):
    """The object was changed since it was read; or, on a server-side apply, fields of it belong to others."""


class Exists(Answered, Permanent):
    """There is an object of that name already."""


class Absent(Answered, Permanent):
    """There is no such object."""


class Forbidden(Answered, Permanent):
    """The cluster does not allow it. If not *is_for_want_of_rights*, a quota or a policy is against it."""

    is_for_want_of_rights = False


class Invalid(Answered, Permanent):
    """The cluster refuses what it was sent."""


class Gone(Answered, Temporary):
    """What is asked for is too old for the cluster to know; list again."""


class Unauthenticated(Answered, Temporary):
    """The cluster does not accept the credentials. There may be others later: they are read anew for a later try."""


class Unavailable(Answered, Temporary):
    """The cluster can't do it now."""


def error_of(status: int, body: Mapping[str, Any], title: str, retry_after_seconds: float | None) -> Answered:
    """The error for an answer with an HTTP *status* of 400 or more. *body*: the ``Status`` object that came with it,
    empty if none did; *title*: which cluster answered."""
    error = _kind_of(status, body)(_sentence(status, body, title))
    if isinstance(error, Temporary):
        error.retry_after_seconds = retry_after_seconds
    details = body.get("details")
    causes = details.get("causes") if isinstance(details, dict) else None
    error.causes = tuple(one for one in causes or () if isinstance(one, dict))
    if isinstance(error, Forbidden):
        error.is_for_want_of_rights = _DENIED.search(str(body.get("message", ""))) is not None
    return error


def _kind_of(status: int, body: Mapping[str, Any]) -> type[Answered]:
    match status:
        case 401:
            return Unauthenticated
        case 403:
            return Forbidden
        case 404:
            return Absent
        case 409:
            return Exists if body.get("reason") == "AlreadyExists" else Stale
        case 410:
            return Gone
        case 408 | 429:
            return Unavailable
        case _:
            return Invalid if status < 500 or _is_of_no_schema(body) else Unavailable


def _is_of_no_schema(body: Mapping[str, Any]) -> bool:
    """A server-side apply of what does not fit the schema is answered as a failure of the server (500)."""
    return str(body.get("message", "")).startswith("failed to create typed patch object")


def _sentence(status: int, body: Mapping[str, Any], title: str) -> str:
    said = str(body.get("message") or f"HTTP status {status}")[:LONGEST_MESSAGE].rstrip(". ")
    denied = _DENIED.search(said) if status == 403 else None
    if denied is not None:
        return _denial(denied, title)
    if status == 401:
        return f"{title} does not accept the credentials that the controller shows ({said}); log in again there"
    return f"{title} says: {said}"


def _denial(denied: re.Match[str], title: str) -> str:
    """Who may not do what, and the rule of a Role that would allow it."""
    user, verb, resource, group = (denied[name] for name in ("user", "verb", "resource", "group"))
    plain, _, subresource = resource.partition("/")
    named = (f"{plain}.{group}" if group else plain) + (f"/{subresource}" if subresource else "")
    namespace = denied["namespace"]
    where, role = (f" in namespace {namespace}", "Role") if namespace else ("", "ClusterRole")
    rule = f'{{apiGroups: ["{group}"], resources: ["{resource}"], verbs: ["{verb}"]}}'
    return f"{title} does not let {user} {verb} {named}{where}; bind it to a {role} with the rule {rule}"
