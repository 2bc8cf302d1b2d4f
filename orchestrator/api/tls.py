"""TLS of the server: a certificate and its key from two files, read again when they have changed.

Theory of operation. Each handshake gets the newest pair that fitted: before one, the files are looked at, once a second
at most, and what changed is made a context of its own. A pair that does not fit is left alone, for files are written
one after the other, and whoever renews them may be in between: the one before goes on, and the log says why.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

import structlog

from orchestrator.errors import UsageError

log = structlog.get_logger()

LOOK_SECONDS: Final = 1.0
_Stamp = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True)
class Pair:
    """What the files had, in PEM, and a context for it. *stamp* tells it from what comes later."""

    chain: bytes
    key: bytes
    context: ssl.SSLContext
    stamp: _Stamp


class Certificates:
    """Raises ``UsageError``, with the file and the remedy, if the two can't be used from the start."""

    def __init__(self, certificate: Path, key: Path, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.certificate = certificate
        self._key = key
        self._monotonic = monotonic
        self._looked_at = monotonic()
        self._failed: _Stamp | None = None
        self._pair = self._read()

    def context(self) -> ssl.SSLContext:
        """For a listening socket. What a handshake shows is decided when it comes."""
        made = _context()
        made.load_cert_chain(self.certificate, self._key, _no_password)
        made.sni_callback = self._choose
        return made

    def current(self) -> Pair:
        now = self._monotonic()
        if now - self._looked_at >= LOOK_SECONDS:
            self._looked_at = now
            self._renew()
        return self._pair

    def _choose(self, handshake: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        handshake.context = self.current().context

    def _renew(self) -> None:
        try:
            stamp = self._stamp()
            if stamp in (self._pair.stamp, self._failed):
                return
            self._failed = stamp
            self._pair = self._read()
        except UsageError as problem:
            log.warning("the certificate can't be renewed, the one before goes on", why=str(problem))
        else:
            self._failed = None
            log.warning("certificate renewed", file=str(self.certificate))

    def _stamp(self) -> _Stamp:
        try:
            found = [file.stat() for file in (self.certificate, self._key)]
        except OSError as problem:
            raise _unreadable(problem) from None
        return tuple((one.st_ino, one.st_mtime_ns, one.st_size) for one in found)

    def _read(self) -> Pair:
        stamp = self._stamp()
        try:
            chain, key = self.certificate.read_bytes(), self._key.read_bytes()
        except OSError as problem:
            raise _unreadable(problem) from None
        context = _context()
        try:
            context.load_cert_chain(self.certificate, self._key, _no_password)
        except ssl.SSLError as problem:
            raise UsageError(self._words(problem)) from None
        return Pair(chain, key, context, stamp)

    def _words(self, problem: ssl.SSLError) -> str:
        if problem.reason == "KEY_VALUES_MISMATCH":
            return f"--tls-key {self._key} is not the key of the certificate in --tls-cert {self.certificate}"
        for option, file, start in (
            ("--tls-cert", self.certificate, b"-----BEGIN CERTIFICATE-----"),
            ("--tls-key", self._key, b"PRIVATE KEY-----"),
        ):
            if start not in file.read_bytes():
                return f"{option} {file} has no {start.decode().strip('-')} in it: PEM is expected"
        return f"--tls-cert {self.certificate} and --tls-key {self._key} can't be used: {problem.reason or problem}"


def _context() -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    made.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")  # of 1.2: forward secrecy, authenticated; as all of 1.3
    made.set_alpn_protocols(["http/1.1"])
    return made


def _no_password() -> NoReturn:
    """OpenSSL would ask on the terminal."""
    raise UsageError("--tls-key is encrypted: give a key without a password, readable by the controller alone")


def _unreadable(problem: OSError) -> UsageError:
    return UsageError(f"the TLS file {problem.filename} can't be read: {(problem.strerror or str(problem)).lower()}")
