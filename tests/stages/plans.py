"""Plans for tests: a small valid one to change, the whole example of the language, and how they are read."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from stages.load import LoadedPlan, load_plan
from stages.problems import InvalidPlan

EXAMPLE = (Path(__file__).parent / "example.yaml").read_text()
EXAMPLE_VARIABLES = {"REPO": "/srv/app", "APP_URL": "http://app:8000"}

SMALL = """\
apiVersion: stagedrollout.io/v1alpha1
kind: StagedRollout
metadata: {name: small}
spec:
  prometheus: {url: "http://localhost:9090"}
  database: {env: DATABASE_URL}
  flags:
    beta: {profiles: {slow: {rate: 1}}}
  gates:
    health:
      criteria:
        - {name: errors, query: "rate(errors[5m])", fail: "> 5", for: 1m}
  stages:
    - {name: beta, kind: monitoring, flag: beta, percentages: [5, 50, 100], gate: health, bake: 10m}
"""

STEPS = """\
apiVersion: stagedrollout.io/v1alpha1
kind: StagedRollout
metadata: {name: small}
spec:
  flags: {beta: {}}
  stages:
    - name: go
      kind: steps
      steps:
"""


class Files:
    """Files beside a plan. What is not there is missing, what is None cannot be read."""

    def __init__(self, **contents: bytes | None) -> None:
        self.contents: dict[str, bytes | None] = dict(contents)

    def __call__(self, path: str) -> bytes:
        if path not in self.contents:
            raise FileNotFoundError(path)
        content = self.contents[path]
        if content is None:
            raise PermissionError(13, "Permission denied")
        return content


CONFIG_MAP = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: limits}\n"
JOB = b"apiVersion: batch/v1\nkind: Job\nmetadata: {name: fill}\n"


def any_file(path: str) -> bytes:
    if path.endswith(".yaml"):
        return JOB if "job" in path else CONFIG_MAP
    return b"SELECT 1;\n"


def load(text: str, variables: Mapping[str, str] | None = None, sets: Sequence[str] = ()) -> LoadedPlan:
    return load_plan(text, "plan.yaml", variables or {}, sets, read_file=any_file)


def problems(
    text: str, variables: Mapping[str, str] | None = None, sets: Sequence[str] = (), files: Files | None = None
) -> list[str]:
    with pytest.raises(InvalidPlan) as caught:
        load_plan(text, "plan.yaml", variables or {}, sets, read_file=files or any_file)
    return [str(problem) for problem in caught.value.problems]


def the_problem(text: str, variables: Mapping[str, str] | None = None, sets: Sequence[str] = ()) -> str:
    found = problems(text, variables, sets)
    assert len(found) == 1, found
    return found[0]


def changed(old: str, new: str, text: str = SMALL) -> str:
    assert old in text, old
    return text.replace(old, new, 1)


def with_lines(*lines: str, text: str = SMALL) -> str:
    """The plan with lines added under ``spec``, at the end (line 15 is the first of them in SMALL)."""
    return text + "".join(f"  {line}\n" for line in lines)


def with_step(step: str) -> str:
    """A plan of one stage with one action, on line 10."""
    return STEPS + f"        - {step}\n"
