"""What is found in one file of SQL: squawk's findings and ours, in our words, less what concerns new objects only.

squawk judges statement by statement. Whether a statement touches something that anybody uses yet is known here, from
the statements before it: an index on a table that the plan has just created blocks nobody.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from orchestrator.adapters.lint import squawk
from orchestrator.adapters.lint.heads import Alteration, Novelties, alterations, kind_of, learn, touched
from orchestrator.adapters.lint.own import Hit, hits
from orchestrator.adapters.lint.tokens import Lines, Statement, statements
from orchestrator.adapters.sql.text import Dialect
from stages.lint import RULES, Family, LintRule

_ABOUT_THE_TEXT = {"syntax-error", "ban-concurrent-index-creation-in-transaction"}
IGNORED = frozenset({"table:alembic_version"})  # a migrator's own bookkeeping
_STEADY_DEFAULTS = {
    "ABS", "ARRAY_FILL", "COALESCE", "CONCAT", "CONCAT_WS", "CURRENT_SETTING", "DATE_TRUNC", "FORMAT", "INITCAP",
    "INT4RANGE", "INT8RANGE", "JSONB_BUILD_ARRAY", "JSONB_BUILD_OBJECT", "JSON_BUILD_ARRAY", "JSON_BUILD_OBJECT",
    "LEFT", "LENGTH", "LOWER", "MAKE_DATE", "MAKE_INTERVAL", "MD5", "NOW", "NULLIF", "REPEAT", "REPLACE", "RIGHT",
    "ROUND", "STATEMENT_TIMESTAMP", "TIMEZONE", "TO_CHAR", "TO_JSONB", "TO_TIMESTAMP", "TRANSACTION_TIMESTAMP", "TRIM",
    "TSTZRANGE", "UPPER",
}  # fmt: skip  # functions whose value is the same for all rows of one statement
_TYPE_LENGTHS = {"VARCHAR", "CHAR", "CHARACTER", "VARYING", "NUMERIC", "DECIMAL", "BIT", "TIMESTAMP", "TIME"}
_CHECK_NAMES = ("_check", "_chk", "_ck", "ck_", "chk_", "check_", "_not_null", "_nn")


@dataclass(frozen=True, slots=True)
class LintFinding:
    """*line* and *column* from 1, in characters. *what* names what it is about, if it has a name.

    An error unless accepted; *is_warning* where our runner takes the harm out of it.
    """

    file: str
    line: int
    column: int
    rule: LintRule
    what: str
    is_warning: bool = False

    @property
    def message(self) -> str:
        about = f" ({self.what})" if self.what else ""
        return f"{self.rule.name}{about}: {self.rule.sentence}; instead: {self.rule.rewrite}"

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.message}"


def lint_sql(
    text: str, dialect: Dialect, file_name: str, known_tables: Iterable[str] = (), new: Novelties | None = None
) -> list[LintFinding]:
    """In the order of the text. *known_tables* are new ones, which the plan has created before.

    With *new* what the text creates is added to it, for the files that follow. Raises ``Permanent`` if the linter for
    PostgreSQL does not work.
    """
    new = Novelties() if new is None else new
    new.in_transaction.clear()
    for table in known_tables:
        new.add(f"table:{table}")
    return list(_Linting(text, dialect, file_name, new).findings())


def data_loss(text: str, dialect: Dialect, file_name: str) -> list[LintFinding]:
    """What would destroy data if the text, such as a down file, were run."""
    return [one for one in lint_sql(text, dialect, file_name) if one.rule.family is Family.DESTROYS]


class _Linting:
    def __init__(self, text: str, dialect: Dialect, file_name: str, new: Novelties) -> None:
        self._text = text
        self._lines = Lines(text)
        self._dialect = dialect
        self._file = file_name
        self._new = new
        self._statements = statements(text, dialect)
        self._replaced = _replaced_tables(self._statements)
        self._added = _added_constraints(self._statements)
        self._is_stepwise = _is_stepwise(self._statements)

    def findings(self) -> Iterator[LintFinding]:
        raw = squawk.run(self._text, self._statements) if self._dialect is Dialect.POSTGRESQL else []
        rest = deque(sorted(raw, key=lambda one: one.offset))
        for index, statement in enumerate(self._statements):
            end = self._statements[index + 1].start if index + 1 < len(self._statements) else len(self._text) + 1
            here = []
            while rest and rest[0].offset < end:
                here.append(rest.popleft())
            found = [hit for one in here if (hit := refined(statement, one, self._new)) is not None]
            found += hits(statement, self._dialect, self._new)
            yield from self._told(statement, [hit for hit in found if not self._is_harmless(statement, hit)])
            learn(statement, self._new)

    def _told(self, statement: Statement, found: Sequence[Hit]) -> Iterator[LintFinding]:
        """Each once. A missing guard is a warning where a transaction is one, and not worth it beside an error."""
        alone = "CONCURRENTLY" in statement.words
        seen: set[tuple[str, str]] = set()
        for name, offset, what in sorted(found, key=lambda hit: hit[1]):
            rule = RULES[name]
            unguarded = name == "prefer-robust-stmts"
            if (name, what) in seen or (unguarded and (statement.in_block or (len(found) > 1 and not alone))):
                continue
            seen.add((name, what))
            line, column = self._lines.place(offset)
            yield LintFinding(self._file, line, column, rule, what, is_warning=unguarded and not alone)

    def _is_harmless(self, statement: Statement, hit: Hit) -> bool:
        """Whether nobody uses yet what it is about, or gets it back in the same file."""
        rule, _, what = hit
        if rule in _ABOUT_THE_TEXT:
            return False
        keys = touched(statement)
        destroys = RULES[rule].family is Family.DESTROYS
        if keys and all(key in IGNORED or self._is_new(key, destroys) for key in keys):
            return True
        if rule == "validating-in-same-transaction":
            return self._is_stepwise
        if rule == "ban-drop-table":
            return bool(keys) and {key.partition(":")[2] for key in keys} <= self._replaced
        if rule == "ban-drop-constraint":
            return what in self._added
        return rule in ("ban-drop-column", "renaming-column") and self._new.has(f"column:{what}", certainly=destroys)

    def _is_new(self, key: str, destroys: bool) -> bool:
        kind, _, name = key.partition(":")
        in_new_schema = "." in name and self._new.has(f"schema:{name.partition('.')[0]}", certainly=destroys)
        return self._new.has(key, certainly=destroys) or (kind != "schema" and in_new_schema)


def _replaced_tables(found: Sequence[Statement]) -> set[str]:
    """Tables whose rows were copied into a new one that then takes the name, which is how SQLite changes a table."""
    made = {key for one in found if kind_of(one) == "CREATE TABLE" for key in touched(one)}
    return {
        action.name
        for one in found
        for action in alterations(one)
        if action.verb == "RENAME TO" and touched(one)[0] in made
    }


def _is_stepwise(found: Sequence[Statement]) -> bool:
    """Whether our runner gives each statement a transaction of its own, because one of them refuses any."""
    return any("CONCURRENTLY" in one.words for one in found) and not any(one.begins("BEGIN") for one in found)


def _added_constraints(found: Sequence[Statement]) -> set[str]:
    return {
        f"{touched(one)[0].partition(':')[2]}.{action.name}"
        for one in found
        for action in alterations(one)
        if action.verb == "ADD CONSTRAINT" and action.name
    }


# --- squawk's findings in our rules -----------------------------------------------------------------------------------


def refined(statement: Statement, raw: squawk.Raw, new: Novelties) -> Hit | None:
    """The rule of ours that squawk's finding stands for, or None if it is none of ours."""
    action = _action_at(statement, raw.offset)
    table = next((key.partition(":")[2] for key in touched(statement)), "")
    what = f"{table}.{action.name}" if action is not None and action.name and action.verb != "RENAME TO" else table
    name = _rule(raw, statement, action, table, new)
    return None if name is None else (name, raw.offset, what)


def _action_at(statement: Statement, offset: int) -> Alteration | None:
    found = None
    for one in alterations(statement):
        if one.tokens and one.tokens[0].start <= offset:
            found = one
    return found


def _rule(raw: squawk.Raw, statement: Statement, action: Alteration | None, table: str, new: Novelties) -> str | None:
    match raw.rule:
        case "prefer-robust-stmts":
            return raw.rule if "EXISTS`" in raw.message else None
        case "ban-truncate-cascade":
            return None  # any TRUNCATE is found by us
        case "adding-field-with-default":
            return None if action is None else _default_rule(action)
        case "constraint-missing-not-valid":
            constraint = action.constraint if action is not None else ""
            return {"CHECK": raw.rule, "EXCLUDE": "adding-exclusion-constraint"}.get(constraint)
        case "adding-not-nullable-field":
            checked = new.validated.get(table, set())
            is_checked = action is not None and any(_is_about(word, action.name) for word in checked)
            return None if is_checked else raw.rule
        case "ban-drop-constraint":
            return raw.rule if action is not None and _loses(action, table, new) else None
        case "renaming-object":
            verb = action.verb if action is not None else kind_of(statement)
            return None if verb in ("ALTER INDEX", "RENAME CONSTRAINT") else raw.rule
        case _:
            return raw.rule if raw.rule in RULES else None


def _is_about(word: str, column: str) -> bool:
    """A word of a validated check, or its name if the check itself was added before this plan."""
    return word == column or f"_{column}_" in f"_{word}_"


def _default_rule(action: Alteration) -> str | None:
    """squawk takes any function in a default for one that differs by row, and any generated column for a stored one."""
    words = action.words
    if "GENERATED" in words and "IDENTITY" not in words:
        return "adding-stored-generated-column" if "STORED" in words else None
    if "DEFAULT" in words and "IDENTITY" not in words:
        rest = words[words.index("DEFAULT") + 1 :]
        called = {word for word, after in pairwise(rest) if after == "(" and word.isidentifier()}
        if called <= _STEADY_DEFAULTS | _TYPE_LENGTHS | {"CHECK", "ARRAY"}:
            return None
    return "adding-field-with-default"


def _loses(action: Alteration, table: str, new: Novelties) -> bool:
    """Whether dropping the constraint loses what it kept: not if it is the plan's own, or by its name a plain check."""
    is_check = action.name.startswith(_CHECK_NAMES) or action.name.endswith(_CHECK_NAMES)
    return not is_check and not new.has(f"constraint:{table}.{action.name}")
