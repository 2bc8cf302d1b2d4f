"""PostgreSQL's statements that refuse to run inside a transaction: which a file has, and what each is about.

Also an enum value that the rest of its file uses: that must be committed before it may be used.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from orchestrator.adapters.sql.text import Dialect, Statement, bare
from orchestrator.errors import Permanent


class Kind(StrEnum):
    CREATE_INDEX = "CREATE INDEX CONCURRENTLY"
    DROP_INDEX = "DROP INDEX CONCURRENTLY"
    REINDEX = "REINDEX"
    DETACH = "DETACH PARTITION CONCURRENTLY"
    CREATE_OBJECT = "CREATE"  # of what no schema holds: a database, a tablespace, a subscription
    DROP_OBJECT = "DROP"
    REPEATABLE = "repeatable"  # doing it twice is as good as once
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Alone:
    """*name* and *table* are as written, quotes included. *quiet*: no statement of others queues while it waits."""

    kind: Kind
    title: str
    name: str = ""
    table: str = ""
    scope: str = ""  # of what sort the name is: INDEX, TABLE, DATABASE ...
    quiet: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """One statement of a file that is run one by one; *alone* is None for what gets a transaction."""

    statement: Statement
    alone: Alone | None


_IDENTIFIER = r'(?:"(?:[^"]|"")+"|[^\W\d][\w$]*)'
_NAME = rf"{_IDENTIFIER}(?: ?\. ?{_IDENTIFIER})*"
_FORMS: tuple[tuple[Kind, str], ...] = (
    (
        Kind.CREATE_INDEX,
        rf"CREATE (?:UNIQUE )?INDEX CONCURRENTLY (?:IF NOT EXISTS )?(?P<name>{_NAME}) ON (?:ONLY )?(?P<table>{_NAME})",
    ),
    (Kind.DROP_INDEX, rf"DROP INDEX CONCURRENTLY (?:IF EXISTS )?(?P<name>{_NAME})"),
    (
        Kind.REINDEX,
        (
            r"REINDEX (?:\([^)]*\bCONCURRENTLY\b[^)]*\) ?(?P<scope>INDEX|TABLE|SCHEMA|DATABASE|SYSTEM)"
            r"|(?:\([^)]*\) ?)?(?P<scope2>INDEX|TABLE|SCHEMA|DATABASE|SYSTEM) CONCURRENTLY"
            rf"|(?:\([^)]*\) ?)?(?P<scope3>SCHEMA|DATABASE|SYSTEM))\b ?(?P<name>{_NAME})?"
        ),
    ),
    (
        Kind.DETACH,
        (
            rf"ALTER TABLE (?:IF EXISTS )?(?:ONLY )?(?P<table>{_NAME}) ?\*? ?"
            rf"DETACH PARTITION (?P<name>{_NAME}) CONCURRENTLY"
        ),
    ),
    (Kind.CREATE_OBJECT, rf"CREATE (?P<scope>DATABASE|TABLESPACE|SUBSCRIPTION) (?P<name>{_NAME})"),
    (Kind.DROP_OBJECT, rf"DROP (?P<scope>DATABASE|TABLESPACE|SUBSCRIPTION) (?:IF EXISTS )?(?P<name>{_NAME})"),
    (Kind.REPEATABLE, r"(?P<scope>VACUUM|ALTER SYSTEM|CLUSTER(?=$| VERBOSE$| ?\(VERBOSE\)$))"),
    (Kind.OTHER, rf"(?P<scope>ALTER DATABASE) (?P<name>{_NAME}) SET TABLESPACE"),
    (Kind.OTHER, rf"(?P<scope>ALTER SUBSCRIPTION) (?P<name>{_NAME}) (?:REFRESH|SET|ADD|DROP) PUBLICATION"),
)
_PATTERNS = tuple((kind, re.compile(form, re.IGNORECASE)) for kind, form in _FORMS)
_UNNAMED = re.compile(r"CREATE (?:UNIQUE )?INDEX CONCURRENTLY ON\b", re.IGNORECASE)
_NEW_VALUE = re.compile(rf"ALTER TYPE {_NAME} ADD VALUE (?:IF NOT EXISTS )?(?P<label>'(?:[^']|'')*')", re.IGNORECASE)
_GONE_WITH_THE_TRANSACTION = re.compile(
    r"CREATE (?:LOCAL |GLOBAL )?TEMP(?:ORARY)?\b"
    r"|(?:PREPARE|DECLARE|LOCK|SAVEPOINT|SET (?:LOCAL|CONSTRAINTS|TRANSACTION))\b",
    re.IGNORECASE,
)


def alone(statement: Statement) -> Alone | None:
    """What a statement is, if it must run outside of a transaction. Raises ``Permanent``, beginning with the line."""
    text = bare(statement.text, Dialect.POSTGRESQL)
    if _UNNAMED.match(text):
        raise Permanent(
            f"line {statement.line}: give the index a name, so that one that was left half built can be found"
        )
    for kind, pattern in _PATTERNS:
        found = pattern.match(text)
        if found is not None:
            return _described(kind, found.groupdict(), text)
    return None


def _described(kind: Kind, parts: dict[str, str | None], text: str) -> Alone:
    scope = (parts.get("scope") or parts.get("scope2") or parts.get("scope3") or "").upper()
    concurrently = "CONCURRENTLY" in text.upper().split(" ON ", 1)[0]
    match kind:
        case Kind.REPEATABLE:
            title = scope
        case Kind.OTHER:
            title = f"{scope} {parts['name']}"
        case Kind.REINDEX:
            title = f"REINDEX {scope}{' CONCURRENTLY' if concurrently else ''} {parts['name'] or ''}".strip()
        case Kind.CREATE_OBJECT | Kind.DROP_OBJECT:
            title = f"{kind.value} {scope} {parts['name']}"
        case _:
            title = f"{kind.value} {parts['name']}"
    quiet = kind in (Kind.CREATE_INDEX, Kind.DROP_INDEX) or (kind is Kind.REINDEX and concurrently)
    return Alone(kind, title, parts.get("name") or "", parts.get("table") or "", scope, quiet)


def in_steps(statements: Sequence[Statement]) -> tuple[Step, ...]:
    """The steps of a file that must be run one by one; none for a file that runs in one transaction."""
    steps = tuple(Step(statement, alone(statement)) for statement in statements)
    cause = next((step for step in steps if step.alone is not None), None)
    if cause is not None and cause.alone is not None:
        _refuse_what_would_not_last(steps, f"{cause.alone.title} in line {cause.statement.line}")
        return steps
    value = _used_value(statements)
    if value is not None:
        _refuse_what_would_not_last(steps, f"the enum value {value}, which it adds and uses")
        return steps
    return ()


def _used_value(statements: Sequence[Statement]) -> str | None:
    for index, statement in enumerate(statements):
        added = _NEW_VALUE.match(bare(statement.text, Dialect.POSTGRESQL))
        if added is None:
            continue
        label = added["label"]
        later = (one.text for one in statements[index + 1 :] if not one.begins("ALTER", "TYPE"))
        if any(label in text for text in later):
            return label
    return None


def _refuse_what_would_not_last(steps: Sequence[Step], cause: str) -> None:
    for step in steps:
        found = _GONE_WITH_THE_TRANSACTION.match(bare(step.statement.text, Dialect.POSTGRESQL))
        if found is not None:
            raise Permanent(
                f"line {step.statement.line}: {found.group().upper()} lasts no longer than its transaction or session, "
                f"and this file runs statement by statement because of {cause}; put the two into files of their own"
            )
