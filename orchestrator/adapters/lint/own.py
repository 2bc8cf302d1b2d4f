"""Rules of ours: what squawk does not look for, and what applies to SQLite, which it does not know."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from orchestrator.adapters.lint.heads import Alteration, Novelties, alterations, kind_of, name_at, touched
from orchestrator.adapters.lint.tokens import Statement, Token
from orchestrator.adapters.sql.text import Dialect

Hit = tuple[str, int, str]  # rule, offset, what it is about

_READS_DATA = ("WITH", "UPDATE", "DELETE", "INSERT", "EXPLAIN")
_KEYS = {"id", "uuid", "guid", "key", "code", "name", "slug", "email", "version_num", "rowid", "ctid"}
_KEY_ENDS = ("_id", "_uuid", "_key", "_code", "_name", "_slug")
_END_OF_SET = {"WHERE", "FROM", "RETURNING"}
_SERIALS = {"SERIAL", "BIGSERIAL", "SMALLSERIAL", "SERIAL2", "SERIAL4", "SERIAL8"}
_WITH_DEPENDANTS = {"DROP TYPE", "DROP DOMAIN", "DROP EXTENSION", "DROP SEQUENCE", "DROP FUNCTION", "DROP OWNED"}


def hits(statement: Statement, dialect: Dialect, new: Novelties) -> Iterator[Hit]:
    yield from _data(statement, dialect, new)
    yield from _unique(statement)
    if dialect is Dialect.SQLITE:
        yield from _sqlite(statement)
    else:
        yield from _postgresql(statement, new)


# --- rows -------------------------------------------------------------------------------------------------------------


def _data(statement: Statement, dialect: Dialect, new: Novelties) -> Iterator[Hit]:
    """UPDATE and DELETE, also inside WITH. One without WHERE that fills only new columns destroys nothing."""
    if statement.words[0] not in _READS_DATA:
        return
    tokens = statement.tokens
    for index, token in enumerate(tokens):
        before = tokens[index - 1].word if index else ""
        if token.word == "DELETE" and tokens[index + 1 : index + 2] and tokens[index + 1].word == "FROM":
            table, _ = name_at(tokens, index + 2)
            if not _where(tokens[index:]) and not new.has(f"table:{table}"):
                yield "delete-without-where", token.start, table
        elif token.word == "UPDATE" and before not in ("ON", "DO", "FOR", "KEY", "NO"):
            yield from _update(tokens[index:], dialect, new)


def _update(tokens: Sequence[Token], dialect: Dialect, new: Novelties) -> Iterator[Hit]:
    skipped = 1 + (2 if len(tokens) > 1 and tokens[1].word == "OR" else 0)  # SQLite's UPDATE OR REPLACE
    table, at = name_at(tokens, skipped)
    if new.has(f"table:{table}"):
        return
    where = _where(tokens)
    fills = all(new.has(f"column:{table}.{column}") for column in _set_columns(tokens[at:]))
    if not where and not fills:
        yield "update-without-where", tokens[0].start, table
    elif dialect is Dialect.POSTGRESQL and not _is_bounded(where):
        yield "unbatched-backfill", tokens[0].start, table


def _where(tokens: Sequence[Token]) -> tuple[Token, ...]:
    """What stands behind the WHERE of the statement that begins with the first token."""
    depth = tokens[0].depth
    found: list[Token] | None = None
    for token in tokens:
        if token.depth < depth:
            break
        if token.depth == depth and token.word == "WHERE":
            found = []
        elif found is not None:
            found.append(token)
    return tuple(found or ())


def _set_columns(tokens: Sequence[Token]) -> list[str]:
    """The columns that SET assigns."""
    at = next((index for index, token in enumerate(tokens) if token.word == "SET"), len(tokens))
    depth, columns, expects = tokens[0].depth if tokens else 0, [], True
    for token in tokens[at + 1 :]:
        if token.depth == depth and token.word in _END_OF_SET:
            break
        if expects and token.kind in ("word", "name"):
            columns.append(token.identifier)
            expects = False
        if token.depth == depth and token.text == ",":
            expects = True
    return columns


def _is_bounded(where: Sequence[Token]) -> bool:
    """Whether few rows are meant: named by key, listed, in a range, or limited."""
    words = [token.word for token in where]
    if {"BETWEEN", "LIMIT", "CURRENT"} & set(words):
        return True
    ranges = sum(word in ("<", "<=", ">", ">=") for word in words)
    return ranges > 1 or any(_names_a_row(where, index) for index in range(len(where)))


def _names_a_row(where: Sequence[Token], index: int) -> bool:
    token = where[index]
    name = token.identifier if token.kind in ("word", "name") else ""
    if name not in _KEYS and not name.endswith(_KEY_ENDS):
        return False
    words = [one.word for one in where[index + 1 : index + 4]]
    return words[:2] in (["=", "'"], ["=", "0"], ["=", "$"]) or words in (["IN", "(", "'"], ["IN", "(", "0"])


# --- both databases ---------------------------------------------------------------------------------------------------


def _unique(statement: Statement) -> Iterator[Hit]:
    if kind_of(statement) == "CREATE INDEX" and "UNIQUE" in statement.words[:2]:
        yield "unique-on-existing-rows", statement.start, touched(statement)[0].partition(":")[2]
    for one in alterations(statement):
        table = touched(statement)[0].partition(":")[2]
        added = one.verb == "ADD CONSTRAINT" and one.constraint in ("UNIQUE", "PRIMARY") and "USING" not in one.words
        if added:
            yield "unique-on-existing-rows", one.tokens[0].start, table


def _postgresql(statement: Statement, new: Novelties) -> Iterator[Hit]:
    kind = kind_of(statement)
    if kind == "TRUNCATE":
        yield "ban-truncate", statement.start, _listed(statement)
    if kind in _WITH_DEPENDANTS and "CASCADE" in statement.words:
        yield "ban-drop-cascade", statement.start, kind.split()[1].lower()
    for one in alterations(statement):
        table = touched(statement)[0].partition(":")[2]
        what = f"{table}.{one.name}" if one.name else table
        if one.verb == "ADD COLUMN" and _SERIALS & set(one.words):
            yield "adding-field-with-default", one.tokens[0].start, what
        if one.verb == "ADD COLUMN" and "CHECK" in one.words:
            yield "constraint-missing-not-valid", one.tokens[one.words.index("CHECK")].start, what
        if one.verb == "VALIDATE CONSTRAINT" and what in new.in_transaction:
            yield "validating-in-same-transaction", one.tokens[0].start, what


def _listed(statement: Statement) -> str:
    return ", ".join(key.partition(":")[2] for key in touched(statement))


# --- SQLite -----------------------------------------------------------------------------------------------------------


def _sqlite(statement: Statement) -> Iterator[Hit]:
    kind, words = kind_of(statement), statement.words
    if kind == "DROP TABLE":
        yield "ban-drop-table", statement.start, _listed(statement)
    unguarded = kind.startswith(("CREATE ", "DROP ")) and "EXISTS" not in words[:8] and "OR" not in words[:2]
    if unguarded and kind.split()[1] in ("TABLE", "INDEX", "VIEW", "TRIGGER"):
        yield "prefer-robust-stmts", statement.start, ""
    for one in alterations(statement):
        yield from _sqlite_alteration(one, touched(statement)[0].partition(":")[2])


def _sqlite_alteration(one: Alteration, table: str) -> Iterator[Hit]:
    start, words = one.tokens[0].start, one.words
    match one.verb:
        case "DROP COLUMN":
            yield "ban-drop-column", start, f"{table}.{one.name}"
        case "RENAME COLUMN":
            yield "renaming-column", start, f"{table}.{one.name}"
        case "RENAME TO":
            yield "renaming-table", start, table
        case "ADD COLUMN":
            required = any(pair == ("NOT", "NULL") for pair in pairwise(words))
            if required and "DEFAULT" not in words and "GENERATED" not in words:
                yield "adding-required-field", start, f"{table}.{one.name}"
        case _:
            pass
