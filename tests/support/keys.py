"""Keys as `openssl genpkey -algorithm ed25519` and `openssl pkey -pubout` write them."""

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat


def signing_keys(folder: Path) -> tuple[Path, Path]:
    """The files of a new private key and of its public half."""
    private, public, key = folder / "signing.pem", folder / "signing.pub", Ed25519PrivateKey.generate()
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return private, public
