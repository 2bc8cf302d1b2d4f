"""Reading scheduled checks: as :mod:`stages.load` reads plans, with every problem at its place."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from stages.compile import DEFAULT_ENVIRONMENT
from stages.documents import Document, read_document
from stages.expand import Expansion
from stages.files import Bundle, ReadFile, bundle_findings
from stages.load import LoadedPlan, digest_of, drop_extensions, is_schedule, model_problems, validated
from stages.plan import StagedRollout
from stages.problems import InvalidPlan, Problem
from stages.review import Finding, review, warnings
from stages.review.view import make_view
from stages.schedule import KIND, ScheduledChecks, as_plan, path_in_schedule
from stages.settings import apply_settings
from stages.values import Json


@dataclass(frozen=True, slots=True)
class LoadedSchedule:
    """A valid document; *raw* is it as JSON. *plan* is the one that would ask everything, with the files that travel
    along: what may be named, what is asked of the world, and where, is worked out of that."""

    document: ScheduledChecks
    raw: Json
    plan: LoadedPlan

    @property
    def name(self) -> str:
        return self.plan.name

    @property
    def digest(self) -> str:
        return self.plan.digest


def load_schedule(
    text: str,
    name_of_file: str,
    variables: Mapping[str, str],
    sets: Sequence[str] = (),
    *,
    read_file: ReadFile,
) -> LoadedSchedule:
    """Raises InvalidPlan alone."""
    source = read_document(text, name_of_file)
    problems = apply_settings(source, sets)
    if not problems and not is_schedule(source):
        problems = [source.problem(("kind",), f"a document of kind {KIND} is expected here")]
    if problems:
        raise InvalidPlan(problems)
    drop_extensions(source.data)
    expansion = Expansion(source, variables, {})
    document = expansion.run()
    if expansion.problems:
        raise InvalidPlan(expansion.problems)
    return _reviewed(document, Bundle(read_file))


def is_scheduled(text: str, name_of_file: str) -> bool:
    """Whether a text is meant to be one. Raises InvalidPlan for what is no YAML."""
    return is_schedule(read_document(text, name_of_file))


def from_raw_schedule(raw: Json, files: Mapping[str, str]) -> LoadedSchedule:
    """One that was loaded before, from what was kept of it."""
    return _loaded(ScheduledChecks.model_validate(raw), raw, dict(files))


def _reviewed(document: Document, bundle: Bundle) -> LoadedSchedule:
    try:
        valid = validated(ScheduledChecks, document)
    except ValidationError as error:
        raise InvalidPlan(list(model_problems(ScheduledChecks, document, error))) from None
    raw = valid.model_dump(mode="json", by_alias=True, exclude_unset=True)
    plan = as_plan(raw)
    view = make_view(DEFAULT_ENVIRONMENT, plan, document.data)
    problems = _problems(document, [*review(view), *bundle_findings(bundle, view.places)])
    if problems:
        raise InvalidPlan(problems)
    return _loaded(valid, raw, dict(sorted(bundle.files.items())), _problems(document, list(warnings(view))), plan)


def _problems(document: Document, findings: Sequence[Finding]) -> list[Problem]:
    found = [
        (path_in_schedule(path), message.replace("the stage name", "the round name")) for path, message in findings
    ]
    return [document.problem(path, message) for path, message in found]


def _loaded(
    document: ScheduledChecks,
    raw: Json,
    files: Mapping[str, str],
    warned: Sequence[Problem] = (),
    plan: StagedRollout | None = None,
) -> LoadedSchedule:
    staged = plan if plan is not None else as_plan(raw)
    kept = staged.model_dump(mode="json", by_alias=True, exclude_unset=True)
    documents, dumped = ((DEFAULT_ENVIRONMENT, staged),), ((DEFAULT_ENVIRONMENT, kept),)
    digest = digest_of([(DEFAULT_ENVIRONMENT, raw)], files)
    loaded = LoadedPlan(document.metadata.name, digest, documents, files, dumped, tuple(warned))
    return LoadedSchedule(document, raw, loaded)
