"""The tutorial as a reader goes through it: every block is typed, in its order, into real shells."""

import json
import os
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.docs.blocks import Block, blocks
from tests.support.ports import free_port
from tests.support.process import ROOT, Child, Result, command, isolated_environment, wait_until

PAGE = [block for block in blocks() if block.page == "docs/tutorial.md"]
SHORTER = {  # nobody has to look on here
    "bake: 10s": "bake: 1s",
    "settle: 2s": "settle: 1s",
    "watch: 10s": "watch: 1s",
    "percentages: [25, 50, 100]": "percentages: [25, 100]",
    "rehearse checkout.yaml": "rehearse checkout.yaml --scenario gate",
    "[5s]": "[2s]",
    "scrape_interval: 1s": "scrape_interval: 500ms",
    "scrape_timeout: 1s": "scrape_timeout: 500ms",
}


@dataclass
class Reader:
    """Types blocks. Ports of the page are others here, and what a terminal of its own is for goes on behind."""

    folder: Path
    environment: dict[str, str]
    ports: dict[str, str]
    terminals: list[Child] = field(default_factory=list)
    said: str = ""

    def does(self, block: Block) -> None:
        text = self.here(block.text)
        if block.language == "yaml" and (name := re.match(r"# (\S+\.yaml)\n", text)):
            (self.folder / name[1]).write_text(text)
        elif re.match(r"# terminal \d\n", text):
            self.terminals.append(self._terminal(text))
        elif block.language == "sh":
            for line in text.splitlines():
                done = self.types(line)
                assert done.code == 0, f"{block}: {line}: {done.output}{done.errors}"
                self.said += done.output + done.errors

    def here(self, text: str) -> str:
        for shown, here in (self.ports | SHORTER).items():
            text = text.replace(shown, here)
        return text

    def _terminal(self, text: str) -> Child:
        return Child(["bash", "-ec", f"exec {text.splitlines()[1]}"], self.folder, environment=self.environment).start()

    def types(self, line: str) -> Result:
        """A plain `rollout` is forked, which is cheap; everything else is for a shell."""
        plain = line.startswith("rollout ") and not re.search(r"[|;&<>$]", line)
        words: list[str | Path] = (
            [command(), *shlex.split(line)[1:]] if plain else ["bash", "-euo", "pipefail", "-c", line]
        )
        with Child(words, self.folder, environment=self.environment) as child:
            return Result(child.wait(120), child.output, child.errors)


@pytest.fixture
def reader(tmp_path: Path, prometheus_binary: Path) -> Iterator[Reader]:
    ports = {shown: str(free_port()) for shown in ("8040", "8081", "9090")}
    environment = isolated_environment(tmp_path)
    path = f"{command().parent}:{prometheus_binary.parent}:{environment['PATH']}"
    reader = Reader(tmp_path, environment | {"PATH": path, "PYTHONPATH": str(ROOT)}, ports)
    settings = Path("examples", "shop", "prometheus.yml")
    (tmp_path / settings.parent).mkdir(parents=True)
    (tmp_path / settings).write_text(reader.here((ROOT / settings).read_text()))
    reader.ports["/tmp/shop-metrics"] = str(tmp_path / "metrics")
    yield reader
    for terminal in reversed(reader.terminals):
        terminal.kill()


def test_the_tutorial_goes_as_it_says(reader: Reader) -> None:
    for block in PAGE:
        if "validate" in block.text and block.language == "sh":
            wait_until(lambda: "errors is 0" in _validated(reader), what="the shop's metrics in Prometheus")
        reader.does(block)
    for line in _shown():
        assert re.search(line, reader.said), f"the page shows what nobody said: {line}\n{reader.said}"
    runs = json.loads(reader.types("rollout list -o json").output)
    assert [run["outcome"] for run in reversed(runs)] == ["promoted", "rolled_back", "rolled_back"]
    assert "exit code 3" in reader.said
    told = [terminal.output for terminal in reader.terminals if "the shop is at" in terminal.output]
    assert told
    assert "promoted" in told[0]
    assert "rolls back" in told[0]


def _validated(reader: Reader) -> str:
    return reader.types("rollout validate checkout.yaml").output


def _shown() -> Iterator[str]:
    """What the page shows of outputs, as patterns: numbers, names of runs and times are others each time."""
    for block in PAGE:
        if block.language == "text":
            for line in block.text.splitlines():
                escaped = re.sub(r"-[0-9a-f]{6}\b", "-RUN", line)
                escaped = re.sub(r"\d+m \d+s|\b\d+s\b|\d+\.\d+", "NUMBER", escaped.replace("for 2s", "for TWO"))
                yield (
                    re.escape(escaped)
                    .replace(r"\-RUN", "-[0-9a-f]{6}")
                    .replace("NUMBER", r"[\d.msh ]+")
                    .replace("TWO", "[23]s")  # as looks fall after the first one
                )


def test_the_page_has_what_is_typed() -> None:
    assert sum(block.language == "sh" for block in PAGE) >= 12
    assert {"checkout.yaml"} == set(re.findall(r"^# (\S+\.yaml)$", "".join(b.text for b in PAGE), re.MULTILINE))
    assert os.access(ROOT / ".ci" / "provide" / "prometheus", os.R_OK)
