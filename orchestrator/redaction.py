"""The masking of secrets in texts that may repeat them: in whichever of the usual forms they come back."""

import html
import json
import re
import threading
from base64 import b64encode
from collections.abc import Iterator
from typing import TextIO
from urllib.parse import parse_qsl, quote, quote_plus, unquote, urlsplit
from weakref import WeakSet

SHORTEST_REDACTED = 4  # what is shorter would blot out ordinary words, and is no secret
SHORTEST_LINE = 8
MOST_SECRETS = 2_000  # of passwords that are changed again and again, the oldest are forgotten
LONGEST_FORM = 6  # times as long as the secret: a quotation mark in HTML
MASK = "***"
_ESCAPE = re.compile(r"%[0-9A-F]{2}")
_WIDTHS = (76, 64)  # of the lines of longer base64
_URL_SAFE = str.maketrans("+/", "-_")
_PASSWORDS = ("password", "sslpassword", "passwd")
_every: "WeakSet[Redactor]" = WeakSet()


class Redactor:
    """Replaces every secret it was told of by ``***``, also as it looks in an URL, in JSON, in HTML or in base64.

    Safe in any thread: a log is written by many.
    """

    def __init__(self) -> None:
        self._known: dict[str, frozenset[str]] = {}  # the one that was used last comes last
        self._longest_first: tuple[str, ...] | None = ()
        self._lock = threading.Lock()
        _every.add(self)

    def add(self, secret: str) -> None:
        with self._lock:
            known = self._known.pop(secret, None)
            self._known[secret] = known if known is not None else _forms(secret)
            if known is None:
                self._longest_first = None
                if len(self._known) > MOST_SECRETS:
                    del self._known[next(iter(self._known))]

    def redact(self, text: str) -> str:
        known = self._longest_first
        for form in self._sorted() if known is None else known:
            if form in text:
                text = text.replace(form, MASK)
        return text

    def _sorted(self) -> tuple[str, ...]:
        with self._lock:
            every = frozenset[str]().union(*self._known.values())
            found = tuple(sorted(every, key=lambda form: (-len(form), form)))
            self._longest_first = found
        return found


def redact_all(text: str) -> str:
    """Without whatever any redactor of this process knows: for logs and tracebacks, which belong to no one world."""
    for redactor in list(_every):
        text = redactor.redact(text)
    return text


class RedactedStream:
    """A text stream for logs: what libraries and tracebacks repeat of a secret is masked in it too."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        return self._stream.write(redact_all(text))

    def flush(self) -> None:
        self._stream.flush()


def _forms(secret: str) -> frozenset[str]:
    """A secret as it may appear elsewhere: trimmed, its longer lines, escaped, and the password of an address."""
    plain = {secret, secret.strip()}
    plain |= {line.strip() for line in secret.splitlines() if len(line.strip()) >= SHORTEST_LINE}
    plain |= passwords_of(secret)
    return frozenset(
        form
        for text in plain
        if len(text) >= SHORTEST_REDACTED
        for form in _written(text)
        if len(form) >= min(len(text), SHORTEST_LINE)
    )


def _written(text: str) -> Iterator[str]:
    yield text
    strays = "surrogateescape"  # of a variable that is no UTF-8
    for escaped in (quote(text, "", errors=strays), quote(text, errors=strays), quote_plus(text, errors=strays)):
        yield escaped
        yield _ESCAPE.sub(lambda found: found[0].lower(), escaped)
    yield json.dumps(text)[1:-1]
    yield json.dumps(text, ensure_ascii=False)[1:-1]
    yield html.escape(text)
    if len(text) >= SHORTEST_LINE:
        yield from _base64(text)


def _base64(text: str) -> Iterator[str]:
    """Also where something stands before it, such as the user of basic authorization: by how many bytes that shifts
    the rest has three answers. Characters that depend on what is around are left out."""
    content = text.encode("utf-8", "surrogateescape")
    for shift in range(3):
        encoded = b64encode(b"\0" * shift + content).decode().rstrip("=")
        inner = encoded[(shift * 8 + 5) // 6 : (shift + len(content)) * 8 // 6]
        for found in (encoded, inner) if shift == 0 else (inner,):
            yield found
            yield found.translate(_URL_SAFE)
        if shift == 0:
            yield from (encoded[at : at + width] for width in _WIDTHS for at in range(0, len(encoded), width))


def passwords_of(address: str) -> set[str]:
    """Of an URL: before its host, or in its query; as it is written there, and as it is meant."""
    try:
        parts = urlsplit(address)
        password = parts.password
    except ValueError:
        return set()
    if not parts.scheme:
        return set()
    found = {password, unquote(password)} if password else set()
    found |= {value for name, value in parse_qsl(parts.query) if name.lower() in _PASSWORDS}
    return found
