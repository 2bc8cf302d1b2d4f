"""Heads that are signed, and what is told of keys and messages that are not what they should be."""

from pathlib import Path

import pytest

from orchestrator.errors import UsageError
from orchestrator.signing import Checker, Signer
from tests.support.keys import signing_keys

RUN, HEAD = "search-1a2b3c", "3:" + 64 * "a"


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    """A private and a public one."""
    return signing_keys(tmp_path)


def test_a_signature_is_good_for_one_head_of_one_run_and_one_key(keys: tuple[Path, Path], tmp_path: Path) -> None:
    private, public = keys
    signature, checker = Signer.read(private).sign(RUN, HEAD), Checker.read(public)
    assert checker.is_signed(RUN, HEAD, signature)
    assert not checker.is_signed("other-1a2b3c", HEAD, signature)
    assert not checker.is_signed(RUN, "4" + HEAD[1:], signature)
    assert not checker.is_signed(RUN, HEAD, signature[:-4] + "AAA=")
    assert not checker.is_signed(RUN, HEAD, "no base64!")


@pytest.mark.parametrize("content", ("", "no key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"))
def test_a_file_that_is_no_key_is_refused_with_how_one_is_made(tmp_path: Path, content: str) -> None:
    file = tmp_path / "key.pem"
    file.write_text(content)
    with pytest.raises(UsageError, match=r"ROLLOUT_SIGNING_KEY: .* no Ed25519 private key in PEM .*openssl genpkey"):
        Signer.read(file)
    with pytest.raises(UsageError, match=r"--public-key: .* no Ed25519 public key in PEM; .openssl pkey"):
        Checker.read(file)


def test_a_key_of_another_kind_and_one_that_is_not_there_are_refused(keys: tuple[Path, Path], tmp_path: Path) -> None:
    _, public = keys
    with pytest.raises(UsageError, match="no Ed25519 private key"):
        Signer.read(public)
    with pytest.raises(UsageError, match="can't be read: No such file"):
        Checker.read(tmp_path / "nothing")
