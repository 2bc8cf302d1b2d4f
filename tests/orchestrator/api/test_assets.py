"""The script of the pages: who is sent it, how, and what stands there without it."""

import gzip
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from orchestrator.api.assets import Bundle
from orchestrator.api.shell import LINKS
from tests.orchestrator.api.browser import Browser
from tests.orchestrator.api.fake_service import SECRETS, FakeService

SCRIPT, STYLE = "page-AB12CD34.js", "page-EF56.css"
ADDRESSES = (*(path for path, _ in LINKS), "/runs/search-a1b2c3", "/runs/search-a1b2c3/report")


@pytest.fixture
def built(tmp_path: Path) -> Path:
    (tmp_path / SCRIPT).write_text("console.log(1);" * 100)
    (tmp_path / STYLE).write_text("body { margin: 0 }")
    (tmp_path / "manifest.json").write_text(json.dumps({"script": SCRIPT, "style": STYLE}))
    return tmp_path


@pytest.fixture
async def scripted(service: FakeService, built: Path) -> AsyncIterator[Browser]:
    made = Browser(service, pages=built)
    yield made
    await made.close()


def policy_of(answer: httpx.Response) -> dict[str, str]:
    parts = (part.strip().partition(" ") for part in answer.headers["Content-Security-Policy"].split(";"))
    return {name: value for name, _, value in parts}


@pytest.mark.parametrize("path", ADDRESSES)
async def test_who_is_signed_in_is_sent_the_script_and_words_for_those_who_run_none(
    scripted: Browser, path: str
) -> None:
    await scripted.sign_in(SECRETS["operator"])
    answer = await scripted.ask("GET", path)
    assert answer.status_code == 200
    assert re.findall(r"<script[^>]*>", answer.text) == [f'<script type="module" src="/assets/{SCRIPT}">']
    assert f'<link rel="stylesheet" href="/assets/{STYLE}">' in answer.text
    assert "<style" not in answer.text
    assert "<h1>" in answer.text
    csrf = (await scripted.ask("GET", "/api/v1/me")).json()["csrf"]
    assert f'<meta name="csrf" content="{csrf}">' in answer.text
    assert answer.headers["Cache-Control"] == "no-store"


async def test_a_page_with_a_script_runs_ours_alone_and_speaks_with_us_alone(scripted: Browser) -> None:
    await scripted.sign_in(SECRETS["operator"])
    policy = policy_of(await scripted.ask("GET", "/"))
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "connect-src": "'self'",
        "img-src": "'self' data:",
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
        "base-uri": "'none'",
        "form-action": "'self'",
        "frame-ancestors": "'none'",
    }


async def test_names_and_reasons_of_others_become_no_html_beside_the_script(
    scripted: Browser, service: FakeService
) -> None:
    service.runs["search-a1b2c3"].holds.append({"reason": "paused", "detail": "<script>alert(1)</script>"})
    await scripted.sign_in(SECRETS["operator"])
    for path in ("/", "/runs/search-a1b2c3"):
        assert (await scripted.ask("GET", path)).text.count("<script") == 1


@pytest.mark.parametrize("path", ADDRESSES)
async def test_where_no_script_was_built_the_pages_are_words_and_forbid_scripts(browser: Browser, path: str) -> None:
    await browser.sign_in(SECRETS["operator"])
    answer = await browser.ask("GET", path)
    assert answer.status_code == 200
    assert "<script" not in answer.text
    assert "script-src" not in policy_of(answer)
    assert (await browser.ask("GET", f"/assets/{SCRIPT}")).status_code == 404


async def test_without_a_session_no_script_is_sent_whatever_else_lets_one_in(scripted: Browser) -> None:
    answer = await scripted.ask("GET", "/", auth=("anybody", SECRETS["viewer"]))
    assert answer.status_code == 200
    assert "<script" not in answer.text


async def test_the_files_may_be_kept_for_ever_and_come_compressed_to_who_takes_that(scripted: Browser) -> None:
    whole = await scripted.ask("GET", f"/assets/{SCRIPT}", headers={"Accept-Encoding": "identity"})
    assert whole.headers["Content-Type"] == "text/javascript; charset=utf-8"
    assert whole.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert whole.headers["X-Content-Type-Options"] == "nosniff"
    assert "content-encoding" not in whole.headers
    smaller = await scripted.ask("GET", f"/assets/{SCRIPT}", headers={"Accept-Encoding": "br, gzip"})
    assert smaller.headers["Content-Encoding"] == "gzip"
    assert int(smaller.headers["Content-Length"]) < len(whole.content)
    assert smaller.content == whole.content  # the client unpacked it
    style = await scripted.ask("GET", f"/assets/{STYLE}")
    assert style.headers["Content-Type"] == "text/css; charset=utf-8"


@pytest.mark.parametrize("name", ("manifest.json", "sources.sha256", "..%2Fmanifest.json", "%2e%2e/app.py", "x" * 300))
async def test_nothing_else_is_served_from_there(scripted: Browser, name: str) -> None:
    assert (await scripted.ask("GET", f"/assets/{name}")).status_code in (401, 404)


async def test_what_is_built_while_a_server_runs_comes_with_the_next_one(scripted: Browser, built: Path) -> None:
    await scripted.ask("GET", "/")
    (built / SCRIPT).unlink()
    assert (await scripted.ask("GET", f"/assets/{SCRIPT}")).status_code == 200


@pytest.mark.parametrize("manifest", ("", "{}", "[]", '{"script": "a.js", "style": "a.css"}'))
def test_half_a_build_is_none(tmp_path: Path, manifest: str) -> None:
    (tmp_path / "manifest.json").write_text(manifest)
    assert Bundle.read(tmp_path) is None


def test_what_is_compressed_is_the_file(built: Path) -> None:
    bundle = Bundle.read(built)
    assert bundle is not None
    assert bundle.files.keys() == {SCRIPT, STYLE}
    assert gzip.decompress(gzip.compress(bundle.files[SCRIPT])) == (built / SCRIPT).read_bytes()
