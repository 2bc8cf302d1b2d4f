"""Secrets of commands, requests, databases, clusters and notifications, runs that go well and badly, and no channel
that shows one in any form."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
import structlog

from orchestrator.adapters.http_client import HttpClient
from orchestrator.adapters.secrets import Secrets
from orchestrator.adapters.sql import SqlReader
from orchestrator.cli.hosting import log_to
from orchestrator.errors import RolloutError
from stages.checks import HttpRequest
from stages.values import SecretRef, TextOrSecret
from tests.hostile.planting import (
    IN_THE_OPEN,
    OURS,
    PLANTED,
    channels,
    children_of,
    echoing,
    forms,
    tried,
    walk,
)
from tests.hostile.served import SECRETS, Served, served
from tests.support.cluster import Cluster
from tests.support.ports import free_port
from tests.support.process import wait_until

SPOKEN = 'echo "out $TOKEN"; echo "err $TOKEN" >&2; printf %s "$TOKEN" | base64; printf "u:%s" "$TOKEN" | base64 >&2; '
STEPS = {
    "succeeds": f"{{command: [sh, -c, '{SPOKEN} exit 0'], undo: none}}",
    "fails": f"{{command: [sh, -c, '{SPOKEN} exit 3'], undo: none}}",
    "takes-long": f"{{command: [sh, -c, '{SPOKEN} sleep 20'], timeout: 1s, undo: none}}",
    "echoed": '{http: {url: "URL/echo", method: POST, headers: {X-A: {env: PLANTED_HEADER}}}, undo: none}',
    "refused": '{http: {url: "http://127.0.0.1:1/", method: POST, headers: {X-A: {env: PLANTED_HEADER}}}, undo: none}',
}
CHECKS = {
    "asked": "checks: [{name: it, http: {url: 'URL/x', headers: {X-A: {env: PLANTED_HEADER}}}}]",
    "measured": "prometheus: {url: 'URL/p', bearer: {env: PLANTED_HEADER}}\n  checks: [{name: it, query: up}]",
    "spoke": f"checks: [{{name: it, script: '{SPOKEN} exit 4'}}]",
}
ALLOW = """\
variables: [PLANTED_*]
secrets: [planted/*]
commands: ["sh"]
scripts: true
"""
NEVER_ENDS = "{command: [sh, -c, 'sleep 300'], undo: none}"


def shown(found: Mapping[str, str], planted: Mapping[str, str]) -> set[tuple[str, str]]:
    """Which of the planted secrets can be read, and where."""
    every = {form: name for name, secret in {**planted, **SECRETS}.items() for form in forms(secret)}
    return {(where, name) for where, text in found.items() for form, name in every.items() if form in text}


def test_no_channel_shows_a_planted_secret(tmp_path: Path) -> None:
    with echoing() as echo, served(tmp_path, ALLOW, **PLANTED, SOMETHING_ELSE="of-nobodys-business") as here:
        runs = [walk(here, echo, name, step) for name, step in STEPS.items()]
        asked = [walk(here, echo, name, "{wait: 1s}", spec.replace("URL", echo.url)) for name, spec in CHECKS.items()]
        for run in runs:
            wait_until(lambda run=run: tried(here, run), what=f"{run} to be tried")  # type: ignore[misc]
        for run in asked:
            wait_until(lambda run=run: tried(here, run, ("CheckAnswered", "HoldSet")), what=f"{run} to be asked")  # type: ignore[misc]
        wait_until(lambda: echo.hooked, what="a notification")
        found = channels(here, echo, tmp_path, [*runs, *asked])
    assert PLANTED["PLANTED_HEADER"] in echo.sent, "the secrets were not in use"
    assert PLANTED["PLANTED_HOOK"] in echo.sent
    assert not shown(found, PLANTED)
    assert "err ***" in found[f"export {runs[1]}"], "what the command said was not kept"
    open_ = {where for where, text in found.items() if IN_THE_OPEN in text}
    assert any(where.endswith("/journal") for where in open_), "the search finds nothing at all"
    assert any(where.startswith("file rollout.db") for where in open_)


def test_a_command_has_what_the_plan_gives_it_and_nothing_else_of_the_controllers(tmp_path: Path) -> None:
    with echoing() as echo, served(tmp_path, ALLOW, **PLANTED, SOMETHING_ELSE="of-nobodys-business") as here:
        run = walk(here, echo, "never-ends", NEVER_ENDS)
        sleeping = wait_until(lambda: _with_token(here), what=f"the command of {run}")
        others = {process: own for process, own in children_of(here.child.pid).items() if "TOKEN" not in own}
    for own in sleeping.values():
        assert {name for name in own if not name.startswith("ROLLOUT_")} - {"PWD", "OLDPWD", "SHLVL", "_"} == {
            *(name for name in OURS if name in own),
            "TOKEN",
        }
        assert own["TOKEN"] == PLANTED["PLANTED_COMMAND"]
    assert others, "who watches the command was not seen"
    for own in others.values():
        assert not shown({"its environment": repr(own)}, PLANTED)
        assert "SOMETHING_ELSE" not in own


def _with_token(here: Served) -> dict[int, dict[str, str]]:
    return {process: own for process, own in children_of(here.child.pid).items() if "TOKEN" in own}


@pytest.fixture
def kubeconfig(control_plane: Cluster, cluster_namespace: str, tmp_path: Path) -> Path:
    """Its context is in the test's own namespace."""
    content = json.loads(control_plane.kubeconfig.read_text())
    content["contexts"][0]["context"]["namespace"] = cluster_namespace
    path = tmp_path / "kubeconfig"
    path.write_text(json.dumps(content))
    return path


def test_no_store_shows_a_password_of_a_database_or_a_secret_of_the_cluster(
    tmp_path: Path, postgres_dsn: str, kubeconfig: Path, control_plane: Cluster, cluster_namespace: str
) -> None:
    nobody = f"127.0.0.1:{free_port()}"
    planted = {
        "PLANTED_DSN": f"postgresql://shop:planted%2Fdsn-77c1@{nobody}/shop",
        "PLANTED_QUERY": f"postgresql://{nobody}/shop?user=shop&password=planted-query-19ab",
        **PLANTED,
    }
    passwords = {"dsn": "planted/dsn-77c1", "query": "planted-query-19ab", "cluster": "planted/cluster+e4"}
    store = psycopg.conninfo.conninfo_to_dict(postgres_dsn)
    passwords["store"] = str(store["password"])
    literal = f"--from-literal=key={passwords['cluster']}"
    control_plane.kubectl("create", "secret", "generic", "planted", "--namespace", cluster_namespace, literal)
    checks = [
        *(f"{{name: {n}, sql: SELECT 1, database: {{env: {n}}}}}" for n in ("PLANTED_DSN", "PLANTED_QUERY")),
        "{name: it, http: {url: 'URL/x', headers: {X-A: {secret: planted/key}}}}",
    ]
    environment = {**planted, "ROLLOUT_STORE": postgres_dsn, "KUBECONFIG": str(kubeconfig)}
    with echoing() as echo, served(tmp_path, ALLOW, **environment) as here:
        specs = [f"checks: [{check.replace('URL', echo.url)}]" for check in checks]
        runs = [walk(here, echo, f"asks-{number}", "{wait: 1s}", spec) for number, spec in enumerate(specs)]
        for run in runs:
            wait_until(lambda run=run: tried(here, run, ("CheckAnswered", "HoldSet")), what=f"{run} to be asked")  # type: ignore[misc]
        found = {**channels(here, echo, tmp_path, runs), **tables(postgres_dsn)}
    assert passwords["cluster"] in echo.sent, "the secret was not in use"
    assert not shown(found, {**planted, **passwords})
    assert any(IN_THE_OPEN in text for where, text in found.items() if where.startswith("table"))
    assert any("can't be reached" in text for text in found.values()), "no database was asked"


def tables(dsn: str) -> dict[str, str]:
    """Every row of every table of a store, as text."""
    with psycopg.connect(dsn) as connection:
        names = connection.execute(
            "SELECT schemaname || '.' || tablename FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', "
            "'information_schema')"
        ).fetchall()
        return {
            f"table {name}": "\n".join(
                str(row) for row in connection.execute(f"SELECT t::text, * FROM {name} t".encode()).fetchall()
            )
            for (name,) in names
        }


# --- logs -------------------------------------------------------------------------------------------------------------


@contextmanager
def everything_logged() -> Iterator[io.StringIO]:
    """What a controller would write into its log, of every library and at every level."""
    root, stream = logging.getLogger(), io.StringIO()
    before, root.handlers = (root.handlers, root.level), []
    try:
        log_to(stream)
        root.setLevel(logging.DEBUG)
        yield stream
    finally:
        root.handlers, level = before
        root.setLevel(level)


async def test_neither_tracebacks_nor_libraries_at_debug_level_put_a_secret_into_the_log() -> None:
    planted = {**PLANTED, "DSN": "postgresql://shop:planted-dsn-2a@127.0.0.1:1/shop"}
    secrets = Secrets(environ=planted)
    reference = {name: SecretRef(env=name) for name in planted}
    with echoing() as echo, everything_logged() as stream:
        log = structlog.get_logger()
        header: dict[str, TextOrSecret] = {"X-A": reference["PLANTED_HEADER"]}
        for url in (echo.url, "http://127.0.0.1:1/"):
            try:
                reply = await HttpClient(secrets).request(HttpRequest(url=url, headers=header))
                logging.getLogger("somebody").debug("answered %r", reply)
                raise ValueError(f"no such {reply.text}")
            except (ValueError, RolloutError):
                log.exception("broken", reply=secrets.resolve(reference["PLANTED_COMMAND"]))
        try:
            await SqlReader(secrets).fetch(reference["DSN"], "SELECT 1", 5.0)
        except RolloutError as error:
            error.__cause__ = ValueError(f"could not use {planted['DSN']}")
            log.exception("run.crashed")
            logging.getLogger("asyncio").exception("it was never retrieved")
        await asyncio.sleep(0)
    assert "Traceback" in stream.getvalue()
    assert "***" in stream.getvalue()
    assert not shown({"log": stream.getvalue()}, {**planted, "password": "planted-dsn-2a"})
