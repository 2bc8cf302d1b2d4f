"""Sign-in with the tokens of a real OpenID Connect provider, by the real command."""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from orchestrator.app import send_form
from orchestrator.errors import Permanent
from tests.support.oidc_provider import OidcProvider, Unavailable
from tests.support.process import Rollout, rollout_in, wait_until

pytestmark = [pytest.mark.acceptance, pytest.mark.npm]
ROLES = ("--oidc-role", "sre=admin", "--oidc-role", "dev=viewer")
SETTINGS = ("--oidc-audience", "rollout", "--oidc-client-id", "pages", *ROLES)


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
        listen = f"127.0.0.1:{provider.pages_port}"
        rollout.start("serve", "--listen", listen, "--oidc-issuer", provider.issuer, *SETTINGS)
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


@pytest.fixture
def browser() -> Iterator[httpx.Client]:
    with httpx.Client(trust_env=False, timeout=20.0) as made:
        yield made


def sent_back(house: House, browser: httpx.Client, person: str, page: str = "/") -> str:
    """The address that the provider sends a browser back to."""
    form = browser.get(f"{house.url}/sign-in", params={"page": page})
    assert "sign in at 127.0.0.1" in form.text
    there = browser.get(f"{house.url}/sign-in/provider", params={"page": page})
    assert there.status_code == 303
    return house.provider.walk(browser, there.headers["Location"], person)


def test_people_sign_in_to_the_pages_at_the_provider_and_out_again(house: House, browser: httpx.Client) -> None:
    answer = browser.get(sent_back(house, browser, "lee.dev", "/runs/search"))
    assert answer.status_code == 200
    assert answer.headers["Refresh"] == "0; url=/runs/search"
    page = browser.get(house.url)
    assert "Signed in as lee.dev, viewer" in page.text
    secret = re.search(r'name="form" value="(\w+)"', page.text)
    assert secret is not None
    assert browser.post(f"{house.url}/sign-out", data={"form": secret[1]}).status_code == 303
    assert "Signed in" not in browser.get(house.url).text
    assert browser.get(f"{house.url}/api/v1/runs").status_code == 401


def test_only_the_browser_that_went_may_come_back_and_only_once(house: House, browser: httpx.Client) -> None:
    back = sent_back(house, browser, "lee.dev")
    with httpx.Client(trust_env=False, timeout=20.0) as other:
        stolen = other.get(back)
        assert (stolen.status_code, "rollout" in other.cookies) == (401, False)
        assert "was not begun in this browser" in stolen.text
        other.get(f"{house.url}/sign-in/provider")
        assert "was not begun in this browser" in other.get(back).text
    assert browser.get(back).status_code == 200
    assert browser.get(back).status_code == 401


def test_who_has_no_role_is_told_so_and_gets_no_session(house: House, browser: httpx.Client) -> None:
    answer = browser.get(sent_back(house, browser, "eve"))
    assert (answer.status_code, "rollout" in browser.cookies) == (403, False)
    assert "eve has no role here" in answer.text


def test_a_person_whom_somebody_blocks_is_out_at_once_and_in_again_when_that_ends(
    house: House, browser: httpx.Client
) -> None:
    token = house.provider.token("lee.dev")
    assert browser.get(sent_back(house, browser, "lee.dev")).status_code == 200
    assert house.ask(token).status_code == 200
    blocked = house.rollout.json("token", "block", "lee.dev", "--reason", "a lost laptop")
    assert blocked["role"] == "blocked"
    assert "are blocked here" in house.ask(token).json()["message"]
    assert house.ask(house.provider.token("lee.dev")).status_code == 401
    assert house.ask(house.provider.token("kim.sre")).status_code == 200
    assert "Signed in as" not in browser.get(house.url).text
    assert browser.get(sent_back(house, browser, "lee.dev")).status_code == 401
    assert house.rollout.run("token", "revoke", blocked["id"], "--reason", "it was found").code == 0
    assert house.ask(token).status_code == 200


async def test_a_client_with_a_secret_shows_it_as_the_provider_expects(provider: OidcProvider) -> None:
    form = {
        "grant_type": "authorization_code",
        "code": "none",
        "redirect_uri": "http://127.0.0.1/",
        "code_verifier": "v",
    }
    for secret, status in (("a secret/+", 400), ("another", 401)):
        with pytest.raises(Permanent, match=f"answered {status}"):
            await send_form(f"{provider.issuer}/token", form, ("pages-with-secret", secret))


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
