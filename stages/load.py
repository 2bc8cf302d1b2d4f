"""Reading plans: from the text of a file to documents that can be compiled, or every problem at its place.

The steps: YAML with positions; ``--set``; ``${NAME}`` expanded into one document for each environment; the models; the
review of what models cannot see; the files that travel along; the digest over all of it. Pure but for *read_file*.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from stages.compile import DEFAULT_ENVIRONMENT, compile_plan
from stages.criteria.ready_made import written_path
from stages.documents import Document, read_document
from stages.expand import Expansion, environment_values
from stages.files import Bundle, ReadFile, bundle_findings
from stages.partial import Remainder
from stages.plan import StagedRollout
from stages.problems import InvalidPlan, Mark, Path, Problem, problem
from stages.review import Finding, View, review, review_together, warnings
from stages.review.view import make_view
from stages.schedule import KIND
from stages.sentences import complaints, text_paths
from stages.settings import apply_settings
from stages.step import Program
from stages.values import WRITTEN, Json

SHOWN_DIGEST = 12
NO_PLAN = (
    "ScheduledChecks is no plan: `rollout check FILE` asks its rounds now, and `rollout start FILE` has them asked at "
    "their times"
)


@dataclass(frozen=True, slots=True)
class LoadedPlan:
    """A valid plan. ``documents`` and ``raw`` (as JSON, what a journal keeps) have one entry for each environment, in
    order; ``files`` maps paths as written in the plan to texts; ``digest`` is hexadecimal SHA-256 over both."""

    name: str
    digest: str
    documents: tuple[tuple[str, StagedRollout], ...]
    files: Mapping[str, str] = field(default_factory=dict)
    raw: tuple[tuple[str, Json], ...] = ()
    warnings: tuple[Problem, ...] = ()

    @property
    def short_digest(self) -> str:
        return self.digest[:SHOWN_DIGEST]

    def to_program(self, directory: str | None = None) -> Program:
        return compile_plan(self.documents, self.digest, self.files, directory)


def load_plan(
    text: str,
    name_of_file: str,
    variables: Mapping[str, str],
    sets: Sequence[str] = (),
    *,
    read_file: ReadFile,
) -> LoadedPlan:
    """*variables* are the submitter's; *read_file* gets paths as written in the plan. Raises InvalidPlan alone."""
    source = read_document(text, name_of_file)
    problems = apply_settings(source, sets)
    if problems:
        raise InvalidPlan(problems)
    return _Loading(source, variables, Bundle(read_file)).load()


def load_data(data: Json, name: str, variables: Mapping[str, str], *, read_file: ReadFile) -> LoadedPlan:
    """A plan that is no text, but data: its problems have paths, and no lines. Otherwise as ``load_plan``."""
    return _Loading(Document(name, data, marks={(): Mark(name)}), variables, Bundle(read_file)).load()


def from_raw(raw: Sequence[tuple[str, Json]], files: Mapping[str, str]) -> LoadedPlan:
    """A plan that was loaded before, from what was kept of it."""
    documents = tuple((environment, StagedRollout.model_validate(data)) for environment, data in raw)
    name = documents[0][1].metadata.name
    return LoadedPlan(name, digest_of(raw, files), documents, dict(files), tuple((key, data) for key, data in raw))


def digest_of(raw: Sequence[tuple[str, Json]], files: Mapping[str, str]) -> str:
    """SHA-256 over the documents as canonical JSON (sorted keys, no blanks) and the files."""
    whole = {"documents": [[environment, data] for environment, data in raw], "files": dict(files)}
    canonical = json.dumps(whole, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


@dataclass(slots=True)
class _Loading:
    source: Document
    variables: Mapping[str, str]
    bundle: Bundle
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)

    def load(self) -> LoadedPlan:
        if is_schedule(self.source):
            raise InvalidPlan([self.source.problem(("kind",), NO_PLAN)])
        drop_extensions(self.source.data)
        expanded = self._expanded()
        documents = [(environment, self._document(document, environment)) for environment, document in expanded]
        valid = tuple((environment, document) for environment, document in documents if document is not None)
        if not self.problems:
            for index, findings in review_together(valid, self.bundle.files):
                self._note(expanded[index][1], findings)
        if self.problems:
            raise InvalidPlan(self.problems)
        raw = tuple((environment, to_raw(document)) for environment, document in valid)
        files = dict(sorted(self.bundle.files.items()))
        found = tuple(dict.fromkeys(self.warnings))
        return LoadedPlan(valid[0][1].metadata.name, digest_of(raw, files), valid, files, raw, found)

    def _expanded(self) -> list[tuple[str, Document]]:
        known = environment_values(self.source, self.variables)
        sections = {index: values for index, (_, values) in enumerate(known)}
        found: list[tuple[str, Document]] = []
        for name, values in known or [("", {})]:
            expansion = Expansion(self.source, self.variables, values, name, sections)
            found.append((name or DEFAULT_ENVIRONMENT, expansion.run()))
            self.problems += expansion.problems
        return found

    def _document(self, document: Document, environment: str) -> StagedRollout | None:
        try:
            valid = validated(StagedRollout, document)
        except ValidationError as error:
            self.problems += model_problems(StagedRollout, document, error)
            self._review_rest(document, environment, error)
            return None
        view = make_view(environment, valid, document.data)
        self._note(document, review(view))
        self._note(document, list(bundle_findings(self.bundle, view.places)))
        self.warnings += _problems(document, list(warnings(view)))
        return valid

    def _note(self, document: Document, findings: Sequence[Finding]) -> None:
        self.problems += _problems(document, findings)

    def _review_rest(self, document: Document, environment: str, error: ValidationError) -> None:
        """Names and files of what is valid in itself, so that all problems are told at once."""
        rest = Remainder(document.data)
        valid = rest.valid_part(error)
        if valid is None:
            return
        view: View = make_view(environment, valid, document.data)
        findings = [*review(view, whole=False), *bundle_findings(self.bundle, view.places)]
        self._note(document, [(rest.original(path), message) for path, message in findings])


def _problems(document: Document, findings: Sequence[Finding]) -> list[Problem]:
    return [document.problem(written_path(document.data, path), message) for path, message in findings]


def to_raw(document: StagedRollout) -> Json:
    """The document as JSON, as it was written (defaults are left out), from which the same model is read back."""
    return document.model_dump(mode="json", by_alias=True, exclude_unset=True)


def is_schedule(document: Document) -> bool:
    return isinstance(document.data, dict) and document.data.get("kind") == KIND


def drop_extensions(data: Any) -> None:
    """``x-...`` keys under ``spec`` only hold YAML anchors."""
    spec = data.get("spec") if isinstance(data, dict) else None
    if isinstance(spec, dict):
        for key in [key for key in spec if key.startswith("x-")]:
            del spec[key]


def model_problems(root: type[BaseModel], document: Document, error: ValidationError) -> Iterator[Problem]:
    for path, message, kind in complaints(root, error):
        mark = document.key_mark(path) if kind == "extra_forbidden" else document.mark(path)
        yield problem(mark, path, message)


Model = TypeVar("Model", bound=BaseModel)


def validated(root: type[Model], document: Document) -> Model:
    """Where a text was meant and a number or boolean was written, the text is what was written."""
    try:
        return root.model_validate(document.data, context=WRITTEN)
    except ValidationError as error:
        meant = text_paths(root, error) & document.texts.keys()
        if not meant:
            raise
        for path in meant:
            _put(document.data, path, document.texts[path])
        return root.model_validate(document.data, context=WRITTEN)


def _put(data: Any, path: Path, value: str) -> None:
    for part in path[:-1]:
        data = data[part]
    data[path[-1]] = value
