"""Plans on the submitter's side: reading the file with what it names, `validate`, `schema`."""

import json
import os
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.cli.client import Json
from orchestrator.cli.output import note, printable, show
from orchestrator.cli.settings import state_dir, store_url
from orchestrator.cli.show import problem_line
from orchestrator.errors import InvalidPlan, UsageError

if TYPE_CHECKING:
    from stages.load import LoadedPlan
    from stages.problems import InvalidPlan as Problems

MAX_BYTES = 1 << 20


def load(file: str, settings: list[str]) -> "LoadedPlan":
    """Raises InvalidPlan with every problem, or UsageError for a file that can't be read."""
    from stages.load import load_plan
    from stages.problems import InvalidPlan as Invalid

    path = Path(file)
    text = read_text(path)
    try:
        return load_plan(text, file, os.environ, settings, read_file=lambda name: (path.parent / name).read_bytes())
    except Invalid as error:
        raise refused(error) from None


def refused(error: "Problems") -> InvalidPlan:
    """What a loader found wrong, as the error that ends a command."""
    found = InvalidPlan(str(error))
    found.problems = error.problems  # type: ignore[attr-defined]
    return found


def linted(plan: "LoadedPlan", file: str) -> tuple["LoadedPlan", list[Json]]:
    """The plan with what the lint of its migrations warns of, and its notes. Raises InvalidPlan for what it finds."""
    from dataclasses import replace

    from orchestrator.app import lint_plan
    from stages.problems import InvalidPlan as Invalid

    found = lint_plan(plan, file, str(Path(file).absolute().parent))
    if found.errors:
        raise refused(Invalid(found.errors))
    notes = [
        {"level": "note", "where": f"{one.file}:{one.line}" if one.line else one.file, "sentence": one.message}
        for one in found.notes
    ]
    return replace(plan, warnings=(*plan.warnings, *found.warnings)), notes


def read_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"the plan {path} can't be read: {(error.strerror or str(error)).lower()}") from None
    except ValueError:  # a NUL in it
        raise UsageError(f"the plan {str(path)!r} can't be read: no file has such a name") from None
    if len(content) > MAX_BYTES:
        raise UsageError(f"{path} is no plan: it has more than 1 MiB")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is no plan: byte {error.start + 1} is not UTF-8") from None


def submission(plan: "LoadedPlan", file: str, supersede: str | None, reason: str) -> Json:
    """The plan as the API takes it."""
    return {
        "plan": plan.name,
        "digest": plan.digest,
        "documents": [{"environment": environment, "plan": document} for environment, document in plan.raw],
        "files": dict(plan.files),
        "directory": str(Path(file).absolute().parent),
        "supersede": supersede,
        "reason": reason,
    }


def warn(plan: "LoadedPlan") -> None:
    for warning in plan.warnings:
        note(f"warning: {warning}")


def validate(arguments: Namespace) -> int:
    """0: nothing stands in the way. 1: the document is valid, and would not get far now. 2: it is not valid."""
    plan, notes = linted(load(arguments.plan, arguments.settings), arguments.plan)
    found = _described(plan)
    if notes or not arguments.offline:
        found["findings"] = notes if arguments.offline else [*_surveyed(plan, arguments.plan), *notes]
    show(found, arguments.output, _as_text)
    bad = sum(one["level"] == "error" for one in found.get("findings", ()))
    if bad:
        note(f"rollout: the plan is valid, but {bad} thing{' is' if bad == 1 else 's are'} not as it needs")
    return 1 if bad else 0


def _described(plan: "LoadedPlan") -> Json:
    return {
        "plan": plan.name,
        "digest": plan.digest,
        "valid": True,
        "environments": [
            {
                "name": environment.name,
                "stages": [
                    {"name": stage.name, "kind": stage.kind, "steps": [step.name for step in stage.steps]}
                    for stage in environment.stages
                ],
            }
            for environment in plan.to_program().environments
        ],
        "files": sorted(plan.files),
        "warnings": [
            {name: getattr(one, name) for name in ("file", "line", "column", "path", "message")}
            for one in plan.warnings
        ],
    }


def _surveyed(plan: "LoadedPlan", file: str) -> list[Json]:
    import asyncio
    from dataclasses import asdict

    from orchestrator.app import Settings, survey_plan

    directory = str(Path(file).absolute().parent)
    found = asyncio.run(survey_plan(Settings(store_url(), state_dir()), plan, directory))
    return [{**asdict(one), "level": str(one.level)} for one in found]


def _as_text(found: Json) -> str:
    lines = [f"plan {printable(found['plan'])} is valid (digest {found['digest'][:12]})"]
    for environment in found["environments"]:
        lines.append(f"  {printable(environment['name'])}")
        for stage in environment["stages"]:
            steps = f": {', '.join(stage['steps'])}" if stage["steps"] else ""
            lines.append(printable(f"    {stage['name']} ({stage['kind']}){steps}"))
    if found["files"]:
        lines.append(printable(f"  files that travel along: {', '.join(found['files'])}"))
    lines += [f"warning: {printable(problem_line(one))}" for one in found["warnings"]]
    lines += [printable(f"{one['level']}: {one['where']}: {one['sentence']}") for one in found.get("findings", ())]
    return "\n".join(lines)


def schema(_arguments: Namespace) -> int:
    from stages.schema import json_schema

    print(json.dumps(json_schema(), indent=2, ensure_ascii=False))
    return 0
