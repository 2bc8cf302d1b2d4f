import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from starlette.datastructures import Headers

from orchestrator.api.auth import admit
from orchestrator.api.context import ApiContext
from orchestrator.api.credentials import Clocks, Credentials
from orchestrator.api.errors import Unauthorized
from orchestrator.api.tokens import Token, TokenStore, hashed, new_secret
from orchestrator.errors import UsageError

EXPIRES = datetime(2026, 3, 1, tzinfo=UTC)
GOOD = {"name": "ci", "role": "operator", "sha256": hashed("x")}


def token(secret: str, **more: Any) -> Token:
    return Token(**{"name": "kim", "role": "approver", "groups": ("sre",), "sha256": hashed(secret), **more})


def test_a_secret_has_256_bits_and_is_never_the_same() -> None:
    assert len(new_secret()) == 43
    assert new_secret() != new_secret()


def test_a_token_is_found_by_its_secret_alone() -> None:
    store = TokenStore([token("one"), token("two", name="lee")])
    found = store.find("two")
    assert found is not None
    assert found.actor.name == "lee"
    assert store.find(hashed("two")) is None
    assert store.find("") is None


def test_two_tokens_of_one_person_both_work() -> None:
    store = TokenStore([token("old")]).plus(token("new"))
    assert store.find("old") is not None
    assert store.find("new") is not None


async def test_a_token_works_until_the_moment_it_expires() -> None:
    at = EXPIRES.timestamp() - 1
    credentials = Credentials(TokenStore([token("x", expires=EXPIRES)]), clocks=Clocks(lambda: at))
    headers = Headers({"authorization": "bearer x"})
    context = ApiContext(None, credentials, True)  # type: ignore[arg-type]
    assert await admit(context, "/api/v1/runs", headers, "::1") is not None
    at += 1
    with pytest.raises(Unauthorized, match="The token of kim has expired"):
        await admit(context, "/api/v1/runs", headers, "::1")


def test_a_file_of_tokens_is_read(tmp_path: Path) -> None:
    file = tmp_path / "tokens.json"
    file.write_text(json.dumps([GOOD, {**GOOD, "sha256": hashed("y"), "expires": "2027-01-01T00:00:00Z"}]))
    assert len(TokenStore.read(file)) == 2


@pytest.mark.parametrize(
    ("content", "sentence"),
    (
        ("{", "is not JSON"),
        ("[]", "has no token in it"),
        ("{}", "document: "),
        (json.dumps([{**GOOD, "role": "boss"}]), "0.role: "),
        (json.dumps([{**GOOD, "sha256": "plain-text-secret"}]), "0.sha256: "),
        (json.dumps([{**GOOD, "expires": "2027-01-01T00:00:00"}]), "0.expires: .*timezone"),
        (json.dumps([{**GOOD, "secret": "s3"}]), "0.secret: "),
        (json.dumps([GOOD, GOOD]), "Two tokens have the same sha256"),
    ),
)
def test_a_bad_file_of_tokens_is_refused_with_its_place_and_without_its_secrets(
    tmp_path: Path, content: str, sentence: str
) -> None:
    file = tmp_path / "tokens.json"
    file.write_text(content)
    with pytest.raises(UsageError, match=sentence) as caught:
        TokenStore.read(file)
    assert "plain-text-secret" not in str(caught.value)
    assert hashed("x") not in str(caught.value)


def test_a_file_of_tokens_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere.json can't be read: No such file"):
        TokenStore.read(tmp_path / "nowhere.json")
