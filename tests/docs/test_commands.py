"""Every command of the docs: those of `rollout` are understood by its parser, and carried out where they can be."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestrator.cli.parser import make_parser
from tests.docs.blocks import Block, blocks
from tests.docs.commands import simple_commands
from tests.support.ports import free_port
from tests.support.process import ROOT, Rollout, rollout_in, wait_until

ELSEWHERE = {
    "cd": "the folder of what follows it",
    "createdb": "asks a PostgreSQL of the reader's; tests/acceptance/test_postgresql_store.py has one",
    "createuser": "likewise",
    "curl": "of a stream that does not end; tests/orchestrator/api has it",
    "echo": "of the shell",
    "export": "of the shell",
    "kubectl": "your cluster; tests/cluster applies the same manifests to a real API server",
    "kustomize": "likewise",
    "make": "a target of the Makefile, which a test looks up",
    "openssl": "not ours",
    "pg_dump": "asks a PostgreSQL of the reader's; tests/acceptance/test_postgresql_store.py has one",
    "pg_restore": "likewise",
    "pip": "asks a registry; `make wheel-check` does",
    "podman": "builds an image",
    "printf": "of the shell",
    "prometheus": "the tutorial's, which tests/docs/test_tutorial.py starts",
    "python": "a module, which a test looks up",
    "python3": "one line of the standard library",
    "sed": "the tutorial's, which tests/docs/test_tutorial.py types",
    "sha256sum": "not ours",
    "source": "of the shell",
    "tail": "of the shell",
    "sqlite3": "not ours; tests/docs/test_operations.py makes such a backup",
    "sudo": "needs root",
}
PICTURES = {  # blocks that show something and are typed nowhere
    ("CONTRIBUTING.md", "flags  <-"): "the layers",
    ("docs/cli.md", "embedding-fingerprints"): "the live view",
    ("docs/rehearse.md", "$ rollout rehearse"): "a whole output; the test of it is below",
    ("docs/rehearse.md", "{plan, digest"): "the form of a JSON document",
}
NOT_HERE = (  # understood, and not carried out here
    (r"^backtest ", "asks a Prometheus for days; tests/acceptance/test_backtest.py has one"),
    (r"--context ", "your cluster; tests/cluster has one"),
    (r"--server https?://", "another machine's controller"),
    (r"^serve ?", "here a controller runs already, and a second one is refused"),
    (r"--public-key ", "a message that was signed; tests/orchestrator/test_signing.py makes one"),
    (r"^watch ", "goes on until a run has ended; tests/docs/test_tutorial.py watches some"),
    (r"examples/", "asks a database, or is compared as a whole below"),
    (r"^flag .*queueBasedProcessing", "the demonstration's; tests/acceptance/test_demo.py runs it"),
)
CODES = {  # but 0
    "check ops.yaml": 1,  # asks a Prometheus and a service that are not here, and says so
    "check ops.yaml --round morning": 1,
}
OWN_TESTS = {"docs/tutorial.md": "test_tutorial.py"}
PLAN = """\
apiVersion: stagedrollout.io/v1alpha1
kind: StagedRollout
metadata: {name: batch-embeddings}
spec:
  flags: {batchEmbeddings: {}}
  checks: [{name: the controller answers, http: {url: "http://127.0.0.1:PORT/healthz"}}]
  stages: [{name: batch, kind: batch, flag: batchEmbeddings, percentages: [5, 100], bake: 1h, settle: 0s}]
  notify: {channels: {nobody: {webhook: {url: "http://127.0.0.1:9/"}}}, escalation: [{after: 0m, channels: [nobody]}]}
"""


def shell_blocks() -> list[Block]:
    """Fenced as sh, bash or nothing, or set in; what is none of a shell's is in PICTURES."""
    found = [block for block in blocks() if block.language in ("sh", "bash", "", "indented")]
    return [block for block in found if _picture(block) is None]


def _picture(block: Block) -> tuple[str, str] | None:
    return next((one for one in PICTURES if block.page == one[0] and block.text.startswith(one[1])), None)


def program(words: list[str]) -> str:
    return Path(words[0]).name


def rollouts(page: str | None = None) -> Iterator[tuple[Block, list[str]]]:
    for block in shell_blocks():
        for words in simple_commands(block.text):
            if program(words) == "rollout" and page in (None, block.page):
                yield block, words[1:]


def not_here(words: list[str]) -> bool:
    return any(re.search(pattern, " ".join(words)) for pattern, _ in NOT_HERE)


PAGES = sorted({block.page for block, words in rollouts() if not not_here(words)} - set(OWN_TESTS))


@pytest.mark.parametrize("block", shell_blocks(), ids=str)
def test_every_command_is_known(block: Block) -> None:
    for words in simple_commands(block.text):
        if program(words) == "rollout":
            make_parser(words[1] if words[1:] else None).parse_args(words[1:])
        else:
            assert program(words) in ELSEWHERE, f"{block}: {words}"


def test_every_reason_is_needed() -> None:
    used = {program(words) for block in shell_blocks() for words in simple_commands(block.text)}
    assert set(ELSEWHERE) - used == set()
    assert {_picture(block) for block in blocks() if block.language in ("", "indented")} - {None} == set(PICTURES)
    lines = [" ".join(words) for _, words in rollouts()]
    assert [pattern for pattern, _ in NOT_HERE if not any(re.search(pattern, line) for line in lines)] == []
    assert [line for line in CODES if line not in lines] == []


def test_every_target_and_module_is_there() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for block in shell_blocks():
        for words in simple_commands(block.text):
            if program(words) == "make":
                assert {word for word in words[1:] if "=" not in word} <= targets, f"{block}: {words}"
            if program(words) == "python" and "-m" in words:
                module = ROOT / words[words.index("-m") + 1].replace(".", "/")
                assert module.with_suffix(".py").exists() or (module / "__main__.py").exists(), f"{block}: {words}"


# --- carried out ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rollout]:
    """A folder with the files that the docs name, and a controller with a run of a plan that bakes for an hour."""
    folder, port = tmp_path_factory.mktemp("desk"), free_port()
    (folder / "plan.yaml").write_text(PLAN.replace("PORT", str(port)))
    schedule = next(block for block in blocks() if "kind: ScheduledChecks" in block.text)
    (folder / "ops.yaml").write_text(schedule.text)
    with rollout_in(folder) as rollout:
        rollout.start("serve", "--listen", f"127.0.0.1:{port}").wait_for("controller at")
        started = rollout.run("start", "plan.yaml", "--detach")
        assert started.code == 0, started.errors
        wait_until(lambda: rollout.json("status", started.last_line)["percentages"], what="the first step")
        yield rollout


@pytest.mark.parametrize("page", PAGES)
def test_what_can_be_carried_out_works(desk: Rollout, page: str) -> None:
    for block in shell_blocks():
        if block.page == page:
            for line in block.text.replace("\\\n", " ").splitlines():
                for words in simple_commands(line):
                    if program(words) == "rollout" and not not_here(words[1:]):
                        _carry_out(desk, block, words[1:], re.search(r"> (\S+)", line.partition("#")[0]))


def _carry_out(desk: Rollout, block: Block, words: list[str], into: re.Match[str] | None) -> None:
    next_year = str(datetime.now(UTC).year + 1)
    words = [
        re.sub(r"^20\d\d(?=-)", next_year, "batch-embeddings" if word in ("RUN", "$run") else word) for word in words
    ]
    if words == ["start", "plan.yaml"]:  # it shows the run for as long as that lasts
        desk.start(*words).wait_for("batch")
        return
    done = desk.run(*words)
    assert done.code == CODES.get(" ".join(words), 0), f"{block}: {words}: {done.output}{done.errors}"
    if into is not None:
        (desk.folder / into[1]).write_text(done.output)


def test_the_output_that_the_page_about_rehearsals_shows_is_the_output(tmp_path: Path) -> None:
    block = next(block for block in blocks() if block.text.startswith("$ rollout rehearse"))
    typed, _, shown = block.text.partition("\n")
    with rollout_in(tmp_path) as rollout:
        plan = ROOT / typed.split()[-1]
        assert rollout.run("rehearse", plan, deadline_seconds=120).output == shown
