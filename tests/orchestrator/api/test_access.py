"""Which role may ask what, as data: every route of the server is in this table, or the first test fails."""

from typing import Any

import pytest

from orchestrator.api.app import create_app
from orchestrator.api.tokens import TokenStore
from orchestrator.errors import UsageError
from tests.orchestrator.api.fake_service import ROLES, SECRETS, FakeService, app_of, client_of
from tests.orchestrator.api.matrix import EVALUATE, MATRIX

CASES: tuple[tuple[str, str, Any, str, str | None], ...] = tuple(
    (method, path, body, needed, role) for method, _, path, body, needed in MATRIX for role in (None, *ROLES)
)


def expected_refusal(needed: str, role: str | None, loopback: bool) -> int | None:
    """The status of the refusal, None if the request is let in."""
    if needed == "open" or (needed == "local" and (loopback or role is not None)):
        return None
    if role is None:
        return 401
    return 403 if ROLES.index(role) < ROLES.index(needed) else None


def test_every_route_is_in_the_table() -> None:
    paths = app_of(FakeService()).openapi()["paths"]
    routes = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    assert routes == {(method, path) for method, path, *_ in MATRIX}


@pytest.mark.parametrize("loopback", (True, False))
@pytest.mark.parametrize("case", CASES)
async def test_a_route_lets_in_exactly_its_role_and_those_above(
    service: FakeService, case: tuple[str, str, Any, str, str | None], loopback: bool
) -> None:
    method, path, body, needed, role = case
    async with client_of(app_of(service, loopback=loopback), role) as client:
        answer = await client.request(method, path, json=body)
    refusal = expected_refusal(needed, role, loopback)
    if refusal is None:
        assert answer.status_code not in (401, 403, 404, 405, 500), answer.text
    else:
        assert answer.status_code == refusal, answer.text
        assert answer.json().keys() in ({"error", "message"}, {"errorCode", "errorDetails"})


async def test_an_unknown_path_tells_nothing_to_somebody_without_a_token(service: FakeService) -> None:
    async with client_of(app_of(service)) as client:
        assert (await client.get("/api/v1/secrets")).status_code == 401
        assert (await client.get("/api/v2/runs")).status_code == 401


async def test_without_a_token_nothing_of_the_body_is_looked_at(service: FakeService) -> None:
    async with client_of(app_of(service)) as client:
        answer = await client.post("/api/v1/runs", content=b"{", headers={"Content-Type": "application/json"})
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"


async def test_a_wrong_token_is_refused_also_where_none_is_needed(service: FakeService) -> None:
    async with client_of(app_of(service)) as client:
        for header in ({"Authorization": "Bearer nonsense"}, {"X-API-Key": "nonsense"}, {"Authorization": "Digest x"}):
            answer = await client.post("/ofrep/v1/evaluate/flags/new-api", json=EVALUATE, headers=header)
            assert answer.status_code == 401
            assert answer.headers["Access-Control-Allow-Origin"] == "*"
            assert "nonsense" not in answer.text


async def test_evaluation_takes_the_token_as_an_api_key_too(service: FakeService) -> None:
    async with client_of(app_of(service, loopback=False)) as client:
        sent = {"X-API-Key": SECRETS["viewer"]}
        answer = await client.post("/ofrep/v1/evaluate/flags/new-api", json=EVALUATE, headers=sent)
        assert answer.status_code == 200
        assert (await client.get("/api/v1/runs", headers=sent)).status_code == 401


async def test_the_page_beyond_loopback_takes_a_token_as_basic_authorization_too(service: FakeService) -> None:
    async with client_of(app_of(service, loopback=False)) as client:
        assert (await client.get("/", auth=("anybody", SECRETS["viewer"]))).status_code == 200
        assert (await client.get("/", auth=("anybody", "wrong"))).status_code == 401
        assert (await client.get("/", headers={"Authorization": "Basic %%%"})).status_code == 401
        assert (await client.get("/api/v1/runs", auth=("anybody", SECRETS["viewer"]))).status_code == 401


async def test_the_page_on_loopback_does_not_answer_to_a_foreign_name(service: FakeService) -> None:
    async with client_of(app_of(service)) as client:
        for host, status in (("localhost:8040", 200), ("[::1]:8040", 200), ("127.0.0.1", 200), ("evil.example", 403)):
            assert (await client.get("/", headers={"Host": host})).status_code == status


def test_a_server_beyond_loopback_without_tokens_is_refused() -> None:
    with pytest.raises(UsageError, match="needs tokens: give --token-file"):
        create_app(FakeService(), TokenStore(), listen_is_loopback=False)  # type: ignore[arg-type]
