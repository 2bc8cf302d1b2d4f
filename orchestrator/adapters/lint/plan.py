"""The migrations of a whole plan, in the order in which they run, with what it accepts.

Files of a ``migration`` stage are held to every rule, and the stage accepts what it means. Files of ``sql`` actions,
which have no place for accepting, are only warned about. Down files are looked at for what their running would lose.
What the runner would refuse to run at all, such as a command of psql, is an error that nobody can accept.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.adapters.lint.findings import LintFinding, data_loss, lint_sql
from orchestrator.adapters.lint.heads import Novelties
from orchestrator.adapters.sql.alone import in_steps
from orchestrator.adapters.sql.text import Dialect, split
from orchestrator.errors import Permanent
from stages.actions import Action, SqlAction
from stages.checks import Check
from stages.kinds.base import Backup, Stage
from stages.kinds.migration import AskBeforeDown, LintAcceptance, Migration, MigrationStage
from stages.plan import StagedRollout
from stages.problems import Mark, Path, Problem, problem
from stages.questions import Question, RollbackSection
from stages.values import TextOrSecret
from stages.walk import Place, places

_WAYS_BACK = (Action, AskBeforeDown, Backup, Question, RollbackSection)

DialectOf = Callable[[TextOrSecret], Dialect | None]


@dataclass(frozen=True, slots=True)
class Generated:
    """SQL that a stage's own migrator would run (``alembic upgrade --sql``), and how to name it in findings."""

    text: str
    name: str


@dataclass(frozen=True, slots=True)
class Linted:
    """*errors* stand in the way, *warnings* do not, *notes* are worth knowing. Places are those of the SQL files."""

    errors: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()
    notes: tuple[Problem, ...] = ()


def lint_plan(
    documents: Sequence[tuple[str, StagedRollout]],
    files: Mapping[str, str],
    dialect_of: DialectOf,
    plan_file: str = "the plan",
    generated: Mapping[str, Generated] | None = None,
) -> Linted:
    """*dialect_of* says what a database is, None if that is not known here; *generated* has SQL by stage name.

    Raises ``Permanent`` if the linter for PostgreSQL does not work.
    """
    linting = _Linting(files, dialect_of, generated or {})
    for environment, document in documents:
        linting.take(environment, document)
    warnings = [*linting.warnings, *linting.unused(plan_file)]
    return Linted(_once(linting.errors), _once(warnings), _once(linting.notes))


def _once(problems: Sequence[Problem]) -> tuple[Problem, ...]:
    """Environments share their files."""
    return tuple(dict.fromkeys(problems))


@dataclass(frozen=True, slots=True)
class _Text:
    """One text to lint, where the plan names it."""

    place: Place
    stage: MigrationStage | None
    stage_path: Path
    name: str
    text: str
    database: TextOrSecret | None
    checks: tuple[str, ...] = ()  # SQL that looks for duplicates beforehand


@dataclass(slots=True)
class _Linting:
    files: Mapping[str, str]
    dialect_of: DialectOf
    generated: Mapping[str, Generated]
    errors: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    notes: list[Problem] = field(default_factory=list)
    _accepted: dict[Path, str] = field(default_factory=dict)
    _used: set[Path] = field(default_factory=set)

    def take(self, environment: str, document: StagedRollout) -> None:
        new: dict[str, Novelties] = {}
        for text in self._texts(environment, document):
            self._lint(text, new.setdefault(repr(text.database), Novelties()))

    def unused(self, plan_file: str) -> Iterator[Problem]:
        for path, rule in self._accepted.items():
            if path not in self._used:
                message = f"nothing is found by {rule}, so there is nothing to accept; take the entry out"
                yield problem(Mark(plan_file), path, message)

    # --- what there is to lint

    def _texts(self, environment: str, document: StagedRollout) -> Iterator[_Text]:
        section = next((one for one in document.spec.environments if one.name == environment), None)
        default = (section.database if section is not None else None) or document.spec.database
        general = _asking_for_duplicates(document.spec.checks)
        for place in places(document):
            part = place.part
            if not place.is_for(environment) or any(isinstance(one, _WAYS_BACK) for one in place.around):
                continue
            if isinstance(part, MigrationStage):
                self._note_acceptances(part, place.path)
            owner = part if isinstance(part, Stage) else place.inside(Stage)
            for name, text in self._written(part):
                database = getattr(part, "database", None) or (owner.database if owner is not None else None) or default
                checks = general + (_asking_for_duplicates(owner.checks) if owner is not None else ())
                stage = owner if isinstance(owner, MigrationStage) and not isinstance(part, SqlAction) else None
                yield _Text(place, stage, place.path[:3], name, text, database, checks)

    def _written(self, part: object) -> Iterator[tuple[str, str]]:
        if isinstance(part, SqlAction):
            yield part.sql, self.files.get(part.sql, "")
        elif isinstance(part, Migration) and part.up is not None:
            yield part.up, self.files.get(part.up, "")
        elif isinstance(part, MigrationStage) and part.name in self.generated:
            made = self.generated[part.name]
            yield made.name, made.text

    def _note_acceptances(self, stage: MigrationStage, path: Path) -> None:
        if stage.alembic is not None and stage.name not in self.generated:
            return  # its SQL is not there to be looked at
        is_read = bool(stage.migrations) or stage.name in self.generated
        for index, one in enumerate(stage.lint.accept if is_read else ()):
            self._accepted[*path, "lint", "accept", index] = one.rule

    # --- linting it

    def _lint(self, text: _Text, new: Novelties) -> None:
        known = self.dialect_of(text.database) if text.database is not None else None
        dialect = known or Dialect.POSTGRESQL
        found = lint_sql(text.text, dialect, text.name, new=new)
        if known is None and any(one.rule.name == "syntax-error" for one in found):
            dialect = Dialect.SQLITE
            found = lint_sql(text.text, dialect, text.name)
        found = [one for one in found if not _is_asked_for(one, text.checks)]
        if self._refuse(text.name, text.text, dialect, is_ours=not isinstance(text.place.part, MigrationStage)):
            found = []
        for one in found:
            self._judge(one, text)
        if found and known is None:
            message = f"the database is not known here, so it was read as SQL of {dialect}"
            self.notes.append(problem(Mark(text.name), (), message))
        self._look_at_down(text, dialect)

    def _refuse(self, name: str, sql: str, dialect: Dialect, *, is_ours: bool = True) -> bool:
        """Whether the runner would not run the file; *is_ours* if it is our runner that does."""
        if not is_ours:
            return False
        try:
            in_order = split(sql, dialect)
            if dialect is Dialect.POSTGRESQL:
                in_steps(in_order)
        except Permanent as error:
            line = re.match(r"line (\d+): ", str(error))
            words = str(error).removeprefix(line.group()) if line else str(error)
            self.errors.append(Problem(name, int(line.group(1)) if line else 0, 1 if line else 0, "", words))
            return True
        return False

    def _judge(self, finding: LintFinding, text: _Text) -> None:
        made = Problem(finding.file, finding.line, finding.column, "", finding.message)
        path = self._acceptance(finding, text)
        if path is not None:
            self._used.add(path)
        elif finding.is_warning or text.stage is None:
            self.warnings.append(made)
        else:
            self.errors.append(made)

    def _acceptance(self, finding: LintFinding, text: _Text) -> Path | None:
        accept: tuple[LintAcceptance, ...] = text.stage.lint.accept if text.stage is not None else ()
        for index, one in enumerate(accept):
            if one.rule == finding.rule.name:
                return (*text.stage_path, "lint", "accept", index)
        return None

    def _look_at_down(self, text: _Text, dialect: Dialect) -> None:
        part, stage = text.place.part, text.stage
        down = getattr(part, "down", None) if isinstance(part, Migration | SqlAction) else None
        if down is None or self._refuse(down, self.files.get(down, ""), dialect):
            return
        if stage is None or stage.on_rollback == "keep":
            return
        for one in data_loss(self.files.get(down, ""), dialect, down):
            about = f" ({one.what})" if one.what else ""
            message = f"at a rollback, {one.rule.name}{about}: {one.rule.sentence}"
            self.notes.append(Problem(one.file, one.line, one.column, "", message))


def _asking_for_duplicates(checks: Sequence[Check]) -> tuple[str, ...]:
    return tuple(one.sql for one in checks if one.sql is not None and re.search(r"\bhaving\b", one.sql, re.IGNORECASE))


def _is_asked_for(finding: LintFinding, checks: Sequence[str]) -> bool:
    """Whether a check of the plan looks for duplicates in the table before the unique index is built."""
    if finding.rule.name != "unique-on-existing-rows" or not finding.what:
        return False
    return any(re.search(rf"\b{re.escape(finding.what)}\b", one, re.IGNORECASE) for one in checks)
