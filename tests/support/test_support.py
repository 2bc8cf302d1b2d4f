"""The helpers themselves, on real processes."""

import math
import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from pathlib import Path

import httpx
import psycopg
import pytest

from tests.support.metrics_app import MetricsApp
from tests.support.ports import free_port, is_listening
from tests.support.postgres import PostgresServer
from tests.support.process import Child, command, isolated_environment, rollout_in, wait_until
from tests.support.prometheus import Prometheus


def python(folder: Path, program: str, *, terminal: bool = False) -> Child:
    return Child([sys.executable, "-c", program], folder, terminal=terminal)


def test_a_free_port_has_no_listener() -> None:
    assert not is_listening(free_port())


def test_waiting_in_vain_says_for_what_and_what_was_seen_last() -> None:
    with pytest.raises(AssertionError, match=r"in vain for a miracle; last seen: 0"):
        wait_until(lambda: 0, what="a miracle", deadline_seconds=0.01, every_seconds=0.001)


def test_a_child_leaves_exit_code_output_and_errors(tmp_path: Path) -> None:
    with python(tmp_path, "import sys; print('out'); print('err', file=sys.stderr); sys.exit(7)") as child:
        assert child.wait() == 7
    assert (child.output, child.errors) == ("out\n", "err\n")


def test_an_exit_code_is_the_same_for_all_who_read_it_at_once(tmp_path: Path) -> None:
    children = [Child([command(), "--version"], tmp_path).start() for _ in range(4)]

    def read(child: Child) -> int:
        while (code := child.exit_code) is None:
            pass
        return code

    with ThreadPoolExecutor(12) as pool:
        assert set(pool.map(read, children * 3)) == {0}


def test_a_child_that_ends_before_it_said_what_is_awaited_fails_at_once_with_what_it_said(tmp_path: Path) -> None:
    with python(tmp_path, "print('good night')") as child, pytest.raises(AssertionError, match="good night"):
        child.wait_for("good morning", deadline_seconds=30)


def test_killing_a_child_kills_what_it_started(tmp_path: Path) -> None:
    program = "import subprocess, sys; p = subprocess.Popen(['sleep', '60']); print(p.pid, flush=True); p.wait()"
    with python(tmp_path, program) as child:
        child.wait_for("\n")
        grandchild = int(child.output)
        os.kill(grandchild, 0)
    wait_until(lambda: not is_alive(grandchild), what="the grandchild's end")


def is_alive(pid: int) -> bool:
    """Not ended; a zombie that nobody has asked for yet has."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent died")
def test_a_child_dies_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    program = (
        "import pathlib, time; from tests.support.process import Child;"
        f"child = Child(['sleep', '60'], pathlib.Path({str(tmp_path)!r})).start();"
        "print(child.pid, flush=True); time.sleep(60)"
    )
    root = str(Path(__file__).parent.parent.parent)
    parent = Child([sys.executable, "-c", program], tmp_path, environment={**os.environ, "PYTHONPATH": root})
    with parent:
        parent.wait_for("\n")
        os.kill(parent.pid, signal.SIGKILL)
        wait_until(lambda: not is_alive(int(parent.output)), what="the orphan's end")


def test_a_child_with_a_terminal_can_be_typed_to(tmp_path: Path) -> None:
    program = "import sys; print(sys.stdin.isatty() and sys.stdout.isatty()); print('hello', input('name? '))"
    with python(tmp_path, program, terminal=True) as child:
        child.wait_for("name? ")
        child.type("world\n")
        assert child.wait() == 0
    assert "True" in child.output
    assert "hello world" in child.output


def test_ctrl_c_typed_at_a_terminal_interrupts_the_child(tmp_path: Path) -> None:
    with python(tmp_path, "import time; print('ready', flush=True); time.sleep(60)", terminal=True) as child:
        child.wait_for("ready")
        child.type("\x03")
        assert child.wait() == -signal.SIGINT


def test_an_isolated_environment_points_at_no_folder_of_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROLLOUT_SERVER", "http://127.0.0.1:1")
    environment = isolated_environment(tmp_path)
    assert "ROLLOUT_SERVER" not in environment
    assert {
        name
        for name, value in environment.items()
        if name == "HOME" or name.startswith("XDG_")
        if str(tmp_path) not in value
    } <= {
        "XDG_DATA_DIRS",
        "XDG_CONFIG_DIRS",
    }


def test_series_set_by_http_and_in_process_are_served(metrics_app: MetricsApp) -> None:
    metrics_app.set("gauge", math.inf, quoted='a "b" \\ c')
    metrics_app.add("total", 2)
    metrics_app.add("total", 3)
    with httpx.Client(base_url=metrics_app.url, trust_env=False) as http:
        http.put("/series", json={"name": "late", "labels": {"app": "x"}, "value": "NaN"}).raise_for_status()
        assert http.get("/metrics").text == 'gauge{quoted="a \\"b\\" \\\\ c"} +Inf\nlate{app="x"} NaN\ntotal 5.0\n'
        http.request("DELETE", "/series", json={"name": "late", "labels": {"app": "x"}}).raise_for_status()
        assert "late" not in http.get("/metrics").text
        metrics_app.answer_scrapes_with(HTTPStatus.SERVICE_UNAVAILABLE)
        assert http.get("/metrics").status_code == HTTPStatus.SERVICE_UNAVAILABLE


def test_prometheus_scrapes_and_keeps_port_and_data_over_a_restart(
    prometheus_binary: Path, tmp_path: Path, metrics_app: MetricsApp
) -> None:
    metrics_app.set("temperature", 21, room="a")
    with Prometheus(prometheus_binary, tmp_path, [metrics_app.address], scrape_interval_ms=100) as prometheus:
        assert prometheus.wait_for("temperature")[0]["metric"]["room"] == "a"
        before = prometheus.wait_for("count_over_time(temperature[1m]) > 3")
        prometheus.stop()
        assert not is_listening(prometheus.port)
        prometheus.start()
        after = prometheus.wait_for("count_over_time(temperature[1m])")
        assert float(after[0]["value"][1]) >= float(before[0]["value"][1])
    assert not is_listening(prometheus.port)


def test_a_frozen_prometheus_accepts_and_does_not_answer(prometheus_binary: Path, tmp_path: Path) -> None:
    with Prometheus(prometheus_binary, tmp_path, []) as prometheus:
        prometheus.freeze()
        assert is_listening(prometheus.port)
        with pytest.raises(httpx.ReadTimeout):
            httpx.get(f"{prometheus.url}/-/ready", timeout=0.3, trust_env=False)
        prometheus.thaw()
        assert prometheus.query("vector(1)")[0]["value"][1] == "1"


def test_each_database_is_new_and_empty(postgres_server: PostgresServer) -> None:
    with postgres_server.database() as first, psycopg.connect(first) as connection:
        connection.execute("CREATE TABLE kept (id int)")
        connection.commit()
        with postgres_server.database() as second, psycopg.connect(second) as other:
            assert other.execute("SELECT count(*) FROM pg_tables WHERE tablename = 'kept'").fetchone() == (0,)


def test_a_postgres_server_keeps_port_and_data_when_it_is_killed(tmp_path: Path) -> None:
    with PostgresServer() as server:
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 1 AS id")
            connection.execute("CHECKPOINT")
        server.kill()
        assert not is_listening(server.port)
        server.start()
        with psycopg.connect(server.dsn()) as connection:
            assert connection.execute("SELECT id FROM kept").fetchone() == (1,)
    assert not is_listening(server.port)


def test_postgres_needs_the_password(postgres_server: PostgresServer) -> None:
    without = postgres_server.dsn().partition("@")[2]
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(f"postgresql://postgres@{without}")


def test_rollout_runs_with_folders_of_its_own_and_gives_its_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in = tmp_path / "rollout"
    stand_in.write_text(
        f"#!{sys.executable}\nimport json, os, sys\nprint(json.dumps([sys.argv[1:], dict(os.environ)]))\n"
    )
    stand_in.chmod(0o755)
    monkeypatch.setattr("tests.support.process.command", lambda: stand_in)
    with rollout_in(tmp_path, ROLLOUT_STORE="sqlite:///x") as rollout:
        arguments, environment = rollout.json("status", "r-1")
    assert arguments == ["status", "r-1", "--output", "json"]
    assert environment["XDG_STATE_HOME"] == str(rollout.state)
    assert environment["ROLLOUT_STORE"] == "sqlite:///x"


def test_what_rollout_started_is_killed_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.support.process.command", lambda: Path("/bin/sleep"))
    with rollout_in(tmp_path) as rollout:
        child = rollout.start("60")
        assert child.running
    assert child.exit_code == -signal.SIGKILL
