"""Sign-in with the tokens of a real OpenID Connect provider, by the real command."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.support.oidc_provider import OidcProvider, Unavailable
from tests.support.process import Rollout, rollout_in, wait_until

pytestmark = [pytest.mark.acceptance, pytest.mark.npm]
SETTINGS = ("--oidc-audience", "rollout", "--oidc-role", "sre=admin", "--oidc-role", "dev=viewer")


@dataclass
class House:
    provider: OidcProvider
    rollout: Rollout
    url: str

    def ask(self, token: str, path: str = "/api/v1/runs") -> httpx.Response:
        headers = {"Authorization": f"Bearer {token}"}
        return httpx.get(f"{self.url}{path}", headers=headers, trust_env=False, timeout=20.0)


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OidcProvider]:
    try:
        with OidcProvider(tmp_path_factory.mktemp("provider")) as made:
            yield made
    except Unavailable as problem:
        if os.environ.get("CI") == "true":
            pytest.fail(str(problem))
        pytest.skip(str(problem))


@pytest.fixture(scope="module")
def house(provider: OidcProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder: Path = tmp_path_factory.mktemp("house")
    with rollout_in(folder) as rollout:
        rollout.start("serve", "--listen", "127.0.0.1:0", "--oidc-issuer", provider.issuer, *SETTINGS)
        note = wait_until(lambda: next(folder.rglob("controller.json"), None), what="the controller's note")
        assert note is not None
        yield House(provider, rollout, json.loads(note.read_text())["url"])


@pytest.mark.parametrize("algorithm", ("RS256", "PS256", "ES256", "EdDSA"))
def test_who_the_provider_vouches_for_is_let_in_however_it_signs(house: House, algorithm: str) -> None:
    answer = house.ask(house.provider.token("lee.dev", algorithm=algorithm))
    assert (answer.status_code, answer.json()) == (200, [])


def test_a_role_is_what_the_groups_of_the_token_stand_for(house: House) -> None:
    assert house.ask(house.provider.token("kim.sre"), "/api/v1/tokens").status_code == 200
    assert house.ask(house.provider.token("lee.dev"), "/api/v1/tokens").status_code == 403
    refused = house.ask(house.provider.token("eve"))
    assert refused.status_code == 403
    assert "eve has no role here" in refused.json()["message"]


def test_the_command_takes_such_a_token_and_what_is_done_by_it_bears_its_name(house: House) -> None:
    environment = {"ROLLOUT_SERVER": house.url, "ROLLOUT_TOKEN": house.provider.token("kim.sre")}
    with rollout_in(house.rollout.folder / "elsewhere", **environment) as rollout:
        made = rollout.run("token", "create", "shop", "--role", "viewer")
        assert made.code == 0, made.errors
        (shown,) = [one for one in rollout.json("token", "list") if one["name"] == "shop"]
    assert shown["by"] == "kim.sre"


def test_a_token_for_another_audience_is_refused(house: House) -> None:
    answer = house.ask(house.provider.token("kim.sre", audience="billing"))
    assert answer.status_code == 401
    assert "meant for somebody else" in answer.json()["message"]


def test_the_provider_may_go_away_and_come_back_with_other_keys(house: House) -> None:
    old, spare = house.provider.token("lee.dev"), house.provider.token("kim.sre")
    assert house.ask(old).status_code == 200
    house.provider.stop()
    assert house.ask(old).status_code == 200
    assert house.ask(spare).status_code == 200  # seen for the first time: its key is known
    house.provider.start(generation=2)
    new = house.provider.token("lee.dev")
    wait_until(lambda: house.ask(new).status_code == 200, what="the new key", deadline_seconds=60, every_seconds=2.0)
    assert house.ask(old).status_code == 401
