"""Whatever goes wrong, the answer has one form, a status that fits and nothing of the inside."""

from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from orchestrator.api.limits import EVALUATION_BYTES, OTHER_BYTES
from orchestrator.errors import StoreError, Temporary
from tests.orchestrator.api.fake_service import FakeService, app_of, client_of

COMMANDS = "/api/v1/runs/search/commands"
JSON = {"Content-Type": "application/json"}


async def test_an_unknown_path_and_a_wrong_method_are_said_in_the_same_form(admin: httpx.AsyncClient) -> None:
    unknown = await admin.get("/api/v1/nothing")
    assert (unknown.status_code, unknown.json()["error"]) == (404, "NotFound")
    wrong = await admin.delete("/api/v1/runs")
    assert (wrong.status_code, wrong.json()["error"]) == (405, "MethodNotAllowed")
    assert wrong.headers["Allow"] == "GET, POST"
    assert wrong.json()["message"] == "DELETE is not possible at /api/v1/runs; GET or POST is."


@pytest.mark.parametrize(
    ("body", "path", "message"),
    (
        ({"command": "pause", "raeson": "x"}, "raeson", "is not known here"),
        ({}, "command", "is missing"),
        ({"command": "halt"}, "command", "Input should be 'pause'"),
    ),
)
async def test_a_body_that_is_not_valid_is_answered_with_every_problem(
    admin: httpx.AsyncClient, body: object, path: str, message: str
) -> None:
    answer = await admin.post(COMMANDS, json=body)
    assert (answer.status_code, answer.json()["error"]) == (422, "InvalidRequest")
    assert answer.json()["problems"][0]["path"] == path
    assert message in answer.json()["problems"][0]["message"]
    assert answer.json()["message"].startswith(f"The request is not valid: {path}: ")


async def test_several_problems_are_counted_in_the_sentence(admin: httpx.AsyncClient) -> None:
    answer = await admin.get("/api/v1/runs/search/events?after=-1&limit=0")
    assert {problem["path"] for problem in answer.json()["problems"]} == {"after", "limit"}
    assert answer.json()["message"].endswith("(and 1 more).")


@pytest.mark.parametrize(
    ("content", "headers", "status", "error"),
    (
        (b"{", JSON, 400, "BadRequest"),
        (b"[" * 200_000, JSON, 400, "BadRequest"),
        (b"\xff", JSON, 400, "BadRequest"),
        (b"command=pause", {"Content-Type": "application/x-www-form-urlencoded"}, 415, "UnsupportedMediaType"),
        (b"[]", JSON, 422, "InvalidRequest"),
        (b"", JSON, 422, "InvalidRequest"),
    ),
)
async def test_a_body_that_is_no_json_object_is_refused(
    admin: httpx.AsyncClient, content: bytes, headers: dict[str, str], status: int, error: str
) -> None:
    answer = await admin.post(COMMANDS, content=content, headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (status, error)


async def test_a_body_that_announces_too_much_is_refused_before_it_is_read(admin: httpx.AsyncClient) -> None:
    answer = await admin.post(COMMANDS, content=b" " * (OTHER_BYTES + 1), headers=JSON)
    assert (answer.status_code, answer.json()["error"]) == (413, "TooLarge")
    assert "1,048,576 bytes" in answer.json()["message"]


@pytest.mark.parametrize("path", (COMMANDS, "/ofrep/v1/evaluate/flags/new-api", "/feature-flags/disable-all"))
async def test_a_body_that_grows_too_large_is_refused_also_without_a_length(
    admin: httpx.AsyncClient, path: str
) -> None:
    async def endless() -> Any:
        for _ in range(OTHER_BYTES // EVALUATION_BYTES + 1):
            yield b" " * EVALUATION_BYTES

    answer = await admin.post(path, content=endless(), headers=JSON)
    assert answer.status_code == 413
    assert answer.headers["Connection"] == "close"


async def test_a_fault_inside_is_answered_without_a_word_of_it(service: FakeService, admin: httpx.AsyncClient) -> None:
    async def broken(run: str) -> dict[str, Any]:
        raise RuntimeError("password=hunter2")

    service.status = broken  # type: ignore[method-assign]
    with capture_logs() as logs:
        answer = await admin.get("/api/v1/runs/search")
    assert (answer.status_code, answer.json()["error"]) == (500, "InternalError")
    assert "hunter2" not in answer.text
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert [entry["event"] for entry in logs] == ["request failed"]


async def test_a_store_that_is_away_and_a_busy_moment_are_told_apart_from_faults(
    service: FakeService, admin: httpx.AsyncClient
) -> None:
    async def away(run: str) -> dict[str, Any]:
        raise StoreError("the disk is full")

    async def busy(run: str) -> dict[str, Any]:
        raise Temporary("not now", retry_after_seconds=1.2)

    service.status = away  # type: ignore[method-assign]
    answer = await admin.get("/api/v1/runs/search")
    assert (answer.status_code, answer.json()["message"]) == (503, "the disk is full")
    service.status = busy  # type: ignore[method-assign]
    answer = await admin.get("/api/v1/runs/search")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2")


async def test_every_refusal_is_logged_with_who_and_what(service: FakeService) -> None:
    async with client_of(app_of(service), "viewer") as client:
        with capture_logs() as logs:
            await client.post(COMMANDS, json={"command": "pause"})
    assert [(one["event"], one["by"], one["path"], one["status"]) for one in logs] == [
        ("refused", "viewer-person", COMMANDS, 403)
    ]
    assert "operator" in logs[0]["why"]


async def test_every_answer_has_the_security_headers(admin: httpx.AsyncClient, stranger: httpx.AsyncClient) -> None:
    answers = [await admin.get("/api/v1/runs"), await admin.get("/nothing"), await stranger.get("/api/v1/runs")]
    answers += [await stranger.get("/"), await stranger.get("/healthz")]
    for answer in answers:
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == "no-store"
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert "Access-Control-Allow-Origin" not in answer.headers
