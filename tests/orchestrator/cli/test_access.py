"""Who may speak to a controller, as `rollout serve` is told."""

import pytest

from orchestrator.cli.access import access_of
from orchestrator.cli.parser import make_parser
from orchestrator.errors import UsageError
from tests.orchestrator.cli.conftest import Cli

ISSUER = ("--oidc-issuer", "https://id.example.org")


def test_a_provider_is_named_with_whom_its_tokens_are_for_and_what_they_stand_for() -> None:
    words = ["serve", *ISSUER, "--oidc-audience", "rollout", "--oidc-role", "cn=sre,o=house=approver"]
    words += ["--oidc-role", "*=viewer", "--oidc-name-claim", "email", "--oidc-role-claim", "roles"]
    found = access_of(make_parser("serve").parse_args(words)).oidc
    assert found is not None
    assert (found.issuer, found.audiences) == ("https://id.example.org", ("rollout",))
    assert found.roles == (("cn=sre,o=house", "approver"), ("*", "viewer"))
    assert (found.name_claim, found.role_claim, found.groups_claim) == ("email", "roles", "groups")


def test_proxies_are_addresses_or_networks() -> None:
    words = ["serve", "--trust-proxy", "10.0.0.7", "--trust-proxy", "fd00::/8", "--requests-per-second", "5"]
    found = access_of(make_parser("serve").parse_args(words))
    assert (found.proxies, found.requests_per_second) == (("10.0.0.7/32", "fd00::/8"), 5.0)


def test_without_a_provider_there_is_none() -> None:
    assert access_of(make_parser("serve").parse_args(["serve"])).oidc is None


@pytest.mark.parametrize(
    ("words", "sentence"),
    (
        (("--tls-cert", "x"), "--tls-cert FILE and --tls-key FILE belong together"),
        (("--tls-key", "x"), "--tls-cert FILE and --tls-key FILE belong together"),
        (("--tls-cert", "/nowhere/x", "--tls-key", "/nowhere/y"), "/nowhere/x can't be read: no such file"),
        (("--trust-proxy", "proxy.example"), "an address such as 10.0.0.7"),
        (("--trust-proxy", "10.0.0.7/8"), "an address such as 10.0.0.7"),
        (("--requests-per-second", "0"), "more than 0 is expected"),
        (("--requests-per-second", "nan"), "more than 0 is expected"),
        (("--oidc-audience", "x"), "--oidc-audience belongs to --oidc-issuer URL"),
        (("--oidc-role-claim", "x"), "--oidc-role-claim belongs to --oidc-issuer URL"),
        (ISSUER, "needs --oidc-audience"),
        ((*ISSUER, "--oidc-audience", "x"), "needs --oidc-role VALUE=ROLE"),
        ((*ISSUER, "--oidc-audience", "x", "--oidc-role", "sre"), "VALUE=ROLE is expected"),
        ((*ISSUER, "--oidc-audience", "x", "--oidc-role", "sre=boss"), "with one of viewer, operator"),
    ),
)
def test_what_does_not_go_together_is_said_before_anything_is_opened(
    cli: Cli, words: tuple[str, ...], sentence: str
) -> None:
    with pytest.raises(UsageError, match=sentence):
        access_of(make_parser("serve").parse_args(["serve", *words]))
    said = cli("serve", *words)
    assert said.code == 2
