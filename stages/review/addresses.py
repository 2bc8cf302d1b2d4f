"""Addresses in a plan: whether there can be a server, and whether a password would be shown.

Asked when a plan is read, and not of the models: a run that was started before must be read again after an upgrade.
"""

from collections.abc import Iterator
from urllib.parse import parse_qsl, urlsplit

from pydantic import BaseModel

from stages.plan import Prometheus
from stages.review.view import Finding, View

_PASSWORDS = ("password", "sslpassword")
_BLANKS_AND_BELOW = frozenset(map(chr, range(33))) | {"\x7f"}


def review_addresses(view: View) -> Iterator[Finding]:
    for place in view.places:
        if isinstance(place.part, Prometheus) and not _may_be_a_server(place.part.url):
            message = "the address of a Prometheus is expected, such as http://prometheus:9090"
            yield (*place.path, "url"), message


def address_warnings(view: View) -> Iterator[Finding]:
    for place in view.places:
        for name in _with_password(place.part):
            message = (
                "a password stands in this address, and the plan is kept and shown as it is; name where the secret is "
                "in its place, such as {env: NAME}"
            )
            yield (*place.path, name), message


def _may_be_a_server(url: str) -> bool:
    if "://" not in url:
        return True  # what has no scheme is told by whoever asks there
    if _BLANKS_AND_BELOW & set(url):
        return False
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and port != 0


def _with_password(part: BaseModel) -> Iterator[str]:
    for name, field in type(part).model_fields.items():
        value = getattr(part, name)
        if isinstance(value, str) and "://" in value and _password_in(value):
            yield field.alias or name


def _password_in(address: str) -> bool:
    try:
        parts = urlsplit(address)
        return bool(parts.password) or any(name.lower() in _PASSWORDS for name, _ in parse_qsl(parts.query))
    except ValueError:
        return False
