"""TLS as a plan sets it: whom to trust, and the certificate to show.

The files are read anew for each request, so that certificates may be renewed while a run lasts; a context is made
once for each content, for that takes milliseconds.
"""

import os
import ssl
import tempfile
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import certifi

from orchestrator.adapters.secrets import Secrets
from orchestrator.errors import Permanent
from stages.values import SecretRef, TextOrSecret

if TYPE_CHECKING:
    from stages.plan import Tls

CONTEXTS = 32  # that are kept
LONGEST_FILE_BYTES = 1024 * 1024  # a system's whole bundle of authorities has a quarter of it


@dataclass(frozen=True, slots=True)
class Credentials:
    """Texts in PEM. Without *ca* the usual authorities are trusted; *server_name* is who the certificate must be of,
    if that is not the URL's host."""

    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    server_name: str | None = None
    verify: bool = True

    def __repr__(self) -> str:
        return f"Credentials(server_name={self.server_name!r}, verify={self.verify})"  # the key is a secret


def credentials_of(tls: "Tls", secrets: Secrets, directory: str | None) -> Credentials:
    """Reads what *tls* refers to. Raises ``Permanent``, which names what can't be read."""
    ca, cert = (None if part is None else _public(part, secrets, directory) for part in (tls.ca, tls.cert))
    key = None if tls.key is None else secrets.resolve(_reference(tls.key), directory)
    return Credentials(ca, cert, key, tls.server_name, verify=not tls.insecure_skip_verify)


@cache
def usual_context() -> ssl.SSLContext:
    """One for the process: loading the authorities takes 20 ms."""
    return _usual()


@lru_cache(CONTEXTS)
def context_of(credentials: Credentials) -> ssl.SSLContext:
    """Raises ``Permanent`` for certificates that are none."""
    context = _usual() if credentials.ca is None else _trusting(credentials.ca)
    if not credentials.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if credentials.cert is not None:
        _show(context, credentials.cert, credentials.key or "")
    return context


def _usual() -> ssl.SSLContext:
    """Trusts the authorities that the environment names, else those that browsers do, wherever this runs."""
    file, folder = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    if file or folder:
        return ssl.create_default_context(cafile=file or None, capath=folder or None)
    return ssl.create_default_context(cafile=certifi.where())


def _public(part: TextOrSecret, secrets: Secrets, directory: str | None) -> str:
    """The text of certificates, which are no secrets unless they are referred to like one."""
    if not isinstance(part, str):
        return secrets.resolve(part, directory)
    try:
        with secrets.allowed_path(part, directory).open("rb") as file:
            content = file.read(LONGEST_FILE_BYTES + 1)
    except OSError as error:
        raise Permanent(f"the certificates in {part} can't be read: {error.strerror}") from error
    if len(content) > LONGEST_FILE_BYTES:
        raise Permanent(f"the certificates in {part} are more than {LONGEST_FILE_BYTES // 1024} KiB")
    return content.decode("ascii", errors="replace")


def _reference(part: TextOrSecret) -> SecretRef:
    return SecretRef(file=part) if isinstance(part, str) else part


def _trusting(ca: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cadata=ca)
    except (ssl.SSLError, ValueError) as error:
        raise Permanent("tls.ca holds no certificates in PEM form") from error


def _show(context: ssl.SSLContext, cert: str, key: str) -> None:
    """OpenSSL reads them from a file only: one that nobody else can open, and that is gone at once."""
    with tempfile.TemporaryDirectory(prefix="rollout-") as folder:
        file = Path(folder) / "pem"
        file.touch(mode=0o600)
        file.write_text(f"{cert}\n{key}\n")
        try:
            context.load_cert_chain(file, password=_no_password)
        except (ssl.SSLError, ValueError) as error:
            reason = getattr(error, "reason", None) or "they are not in PEM form, or the key needs a password"
            raise Permanent(f"tls.cert and tls.key can't be used together: {reason}") from error


def _no_password() -> str:
    """Else OpenSSL would ask for it at the terminal."""
    return ""
