"""Heads of journals signed with Ed25519, for whoever keeps a message and can't trust who runs the store.

The key stays with the controller; its public half is all that it takes to check. What is signed is one text, so that a
signature is good for nothing else: a line that says what this is, the run, and the head.
"""

import base64
import binascii
from pathlib import Path
from typing import Any, Self

from orchestrator.errors import UsageError

VARIABLE = "ROLLOUT_SIGNING_KEY"
MAKE_ONE = "`openssl genpkey -algorithm ed25519 -out FILE` makes one"
MOST_BYTES = 64 * 1024


class Signer:
    def __init__(self, key: Any) -> None:
        self._key = key

    @classmethod
    def read(cls, file: Path) -> Self:
        """A private key in PEM, without a passphrase. Raises UsageError, with nothing of the file in it."""
        serialization, kinds = _imported()
        try:
            key = serialization.load_pem_private_key(_content(file, VARIABLE), None)
        except (ValueError, TypeError):
            key = None
        if not isinstance(key, kinds.Ed25519PrivateKey):
            raise UsageError(f"{VARIABLE}: {file} is no Ed25519 private key in PEM without a passphrase; {MAKE_ONE}")
        return cls(key)

    def sign(self, run: str, head: str) -> str:
        return base64.b64encode(self._key.sign(_text(run, head))).decode()


class Checker:
    """Tells who signed, by the public half of the key."""

    def __init__(self, key: Any) -> None:
        self._key = key

    @classmethod
    def read(cls, file: Path) -> Self:
        """Raises UsageError."""
        serialization, kinds = _imported()
        try:
            key = serialization.load_pem_public_key(_content(file, "--public-key"))
        except (ValueError, TypeError):
            key = None
        if not isinstance(key, kinds.Ed25519PublicKey):
            remedy = "`openssl pkey -in FILE -pubout` prints that of a private one"
            raise UsageError(f"--public-key: {file} is no Ed25519 public key in PEM; {remedy}")
        return cls(key)

    def is_signed(self, run: str, head: str, signature: str) -> bool:
        from cryptography.exceptions import InvalidSignature

        try:
            self._key.verify(base64.b64decode(signature, validate=True), _text(run, head))
        except (InvalidSignature, binascii.Error, ValueError):
            return False
        return True


def _text(run: str, head: str) -> bytes:
    return f"staged rollout: head of a journal\n{run}\n{head}\n".encode()


def _content(file: Path, what: str) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(MOST_BYTES)
    except OSError as problem:
        raise UsageError(f"{what}: {file} can't be read: {problem.strerror}") from None


def _imported() -> tuple[Any, Any]:
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError:
        raise UsageError("signing needs the extra `signing`: pip install 'staged-rollout[signing]'") from None
    return serialization, ed25519
