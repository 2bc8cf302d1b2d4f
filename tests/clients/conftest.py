import os
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.clients.world import Node, World, running
from tests.support.process import ROOT

HERE = Path(__file__).parent


@dataclass(frozen=True)
class NodeWithModules:
    binary: Path
    modules: Path


@pytest.fixture(scope="session")
def node_with_modules() -> NodeWithModules:
    """A real Node.js and the packages that the lock beside this file pins, installed the first time. Skips where they
    can't be had; in continuous integration (CI=true) fails.
    """
    provider = ROOT / ".ci" / "provide" / "node"
    command: list[str | Path] = [sys.executable, provider, "--modules", HERE]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        modules, binary = done.stdout.strip().splitlines()[-2:]
        return NodeWithModules(Path(binary), Path(modules))
    reason = (done.stderr.strip().splitlines() or ["no Node.js"])[-1]
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """The real application on a store of its own, open to this machine."""
    async with running(tmp_path) as world:
        yield world


@pytest.fixture
async def web(node_with_modules: NodeWithModules) -> AsyncIterator[Node]:
    """A process with the provider for browsers in it."""
    async with Node(node_with_modules.binary, node_with_modules.modules, HERE / "web.js") as node:
        yield node


@pytest.fixture
async def server(node_with_modules: NodeWithModules) -> AsyncIterator[Node]:
    """A process with the provider for servers in it."""
    async with Node(node_with_modules.binary, node_with_modules.modules, HERE / "server.js") as node:
        yield node


@pytest.fixture(params=("web", "server"))
def client(request: pytest.FixtureRequest) -> Node:
    """Either of them."""
    node: Node = request.getfixturevalue(request.param)
    return node
