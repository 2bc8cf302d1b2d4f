"""A real controller inside the test's own process."""

import asyncio
import json
import os
import socket
import stat
from pathlib import Path

import pytest
import trustme

from orchestrator.api.tls import Certificates
from orchestrator.cli.access import Access
from orchestrator.cli.client import Client
from orchestrator.cli.hosting import bind, hosted
from orchestrator.cli.settings import DEFAULT_PORT, find_controller
from orchestrator.errors import RolloutError, StoreError, UsageError
from tests.orchestrator.cli.conftest import Cli

LISTEN = "127.0.0.1:0"
PLAN = """\
apiVersion: stagedrollout.io/v1alpha1
kind: StagedRollout
metadata: {name: tiny}
spec:
  flags: {beta: {}}
  checks: [{name: somebody says go, manual: "Go?"}]
  stages: [{name: raise, kind: monitoring, flag: beta, percentages: [5, 50], bake: 3s}]
"""


async def test_a_controller_is_found_by_its_owner_alone_while_it_runs(state: Path) -> None:
    async with hosted(bind(LISTEN)) as here:
        note = state / "controller.json"
        assert stat.S_IMODE(note.stat().st_mode) == 0o600
        assert json.loads(note.read_text())["pid"] == os.getpid()
        found = find_controller()
        assert found == here.address
        assert await asyncio.to_thread(Client(here.address).is_ready)
    assert not note.exists()
    assert find_controller() is None


async def test_a_stranger_can_not_command_it(state: Path) -> None:
    async with hosted(bind(LISTEN)) as here:
        stranger = Client(type(here.address)(here.address.url, "guessed"))
        with pytest.raises(RolloutError, match="token"):
            await asyncio.to_thread(stranger.runs)


async def test_commands_of_another_terminal_reach_a_run_that_lives_here(state: Path, cli: Cli, tmp_path: Path) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text(PLAN)
    async with hosted(bind(LISTEN)):
        started = await asyncio.to_thread(cli, "start", str(plan), "--detach")
        run = started.out.strip()
        assert run.startswith("tiny-")
        paused = await asyncio.to_thread(cli, "pause", "tiny", "--reason", "lunch")
        assert paused.code == 0, paused.err
        status = (await asyncio.to_thread(cli, "status", run[:6], "--output", "json")).json
        assert {hold["reason"] for hold in status["holds"]} >= {"paused"}
        again = await asyncio.to_thread(cli, "pause", "tiny")
        assert again.code == 1
        assert "is paused already" in again.err
    # the controller has gone: the store is read, and says that nobody watches
    status = (await asyncio.to_thread(cli, "status", "tiny", "--output", "json")).json
    assert {hold["reason"] for hold in status["holds"]} >= {"paused", "no_controller"}
    listed = (await asyncio.to_thread(cli, "list", "--active", "--output", "json")).json
    assert [one["run"] for one in listed] == [run]
    refused = await asyncio.to_thread(cli, "watch", "tiny")
    assert refused.code == 1
    assert "stands still: no controller runs" in refused.err
    # and the next one goes on with it
    async with hosted(bind(LISTEN)):
        stopped = await asyncio.to_thread(cli, "stop", "tiny", "--reason", "enough")
        assert stopped.code == 0, stopped.err
        followed = await asyncio.to_thread(cli, "history", run, "--follow")
        assert "stopped" in followed.out.splitlines()[-1]
        history = (await asyncio.to_thread(cli, "history", run, "--output", "json")).json
    assert [entry["seq"] for entry in history] == list(range(1, len(history) + 1))
    assert (await asyncio.to_thread(cli, "status", "nothing")).err.startswith("rollout: there is no run nothing;")


async def test_a_second_controller_is_kept_off_the_store(state: Path) -> None:
    async with hosted(bind(LISTEN)) as here:
        with pytest.raises(StoreError, match="Another controller"):
            async with hosted(bind(LISTEN)):
                pass
        assert find_controller() == here.address


def test_an_address_that_is_in_use_is_refused_if_it_was_asked_for() -> None:
    with bind(LISTEN) as taken, pytest.raises(RolloutError, match="is in use; choose another with --listen"):
        bind(f"127.0.0.1:{taken.getsockname()[1]}")


def test_without_a_wish_any_free_port_will_do() -> None:
    with socket.socket() as usual:
        usual.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            usual.bind(("127.0.0.1", DEFAULT_PORT))
            usual.listen()
        except OSError:
            pass  # somebody else has it, which is as good
        with bind(None) as found:
            assert found.getsockname()[1] not in (0, DEFAULT_PORT)


async def test_beyond_loopback_nobody_is_served_without_tokens(state: Path) -> None:
    with pytest.raises(UsageError, match=r"needs tokens, .*give --token-file"):
        async with hosted(bind("0.0.0.0:0")):
            pass
    assert find_controller() is None


async def test_beyond_loopback_a_token_that_was_made_before_is_enough(state: Path, cli: Cli) -> None:
    async with hosted(bind(LISTEN)):
        made = await asyncio.to_thread(cli, "token", "create", "ada", "--role", "viewer")
    assert made.code == 0
    async with hosted(bind("0.0.0.0:0")) as here:
        ada = Client(type(here.address)(here.address.url, made.out.splitlines()[-1]))
        assert await asyncio.to_thread(ada.runs) == []


async def test_over_tls_its_owner_reaches_it_whatever_name_the_certificate_is_for(
    state: Path, tmp_path: Path, cli: Cli
) -> None:
    made = trustme.CA().issue_cert("rollout.example.org")
    cert, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    cert.write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
    key.write_bytes(made.private_key_pem.bytes())
    async with hosted(bind(LISTEN), Access(tls=Certificates(cert, key))) as here:
        assert here.address.url.startswith("https://127.0.0.1:")
        said = await asyncio.to_thread(cli, "list")
    assert (said.code, said.err) == (0, "")


async def test_a_token_file_lets_others_in(state: Path, tmp_path: Path) -> None:
    from orchestrator.api.tokens import hashed

    file = tmp_path / "tokens.json"
    file.write_text(json.dumps([{"name": "ada", "role": "viewer", "sha256": hashed("hers")}]))
    async with hosted(bind(LISTEN), Access(file)) as here:
        ada = Client(type(here.address)(here.address.url, "hers"))
        assert await asyncio.to_thread(ada.runs) == []
        with pytest.raises(RolloutError, match="needs the role operator; ada is viewer"):
            await asyncio.to_thread(ada.disable_all, {})
