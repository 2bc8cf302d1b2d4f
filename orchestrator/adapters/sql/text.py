"""SQL files cut into statements, each with its line, and what such a file may not hold.

A scanner, not a parser: it knows what hides a semicolon (quotes, comments, dollar quotes, bodies between BEGIN and END)
and leaves everything else to the database. Were a file ever cut wrongly, the database would refuse a piece and the
transaction around all of them would be rolled back.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from orchestrator.errors import Permanent

MAX_WORDS = 1000  # of a statement, enough to tell what kind it is and where its body begins


class Dialect(StrEnum):
    POSTGRESQL = "PostgreSQL"
    SQLITE = "SQLite"


@dataclass(frozen=True, slots=True)
class Statement:
    """*text* without its semicolon; *line* is where it begins in its file, counted from 1."""

    text: str
    line: int
    words: tuple[str, ...]  # its first unquoted words, in capitals

    def line_at(self, offset: int) -> int:
        """The line of the file at the character *offset* of the statement."""
        return self.line + self.text.count("\n", 0, max(offset, 0))

    def begins(self, *words: str) -> bool:
        return self.words[: len(words)] == words


_COMMON = r"""
    (?P<space> \s++ | --[^\n]*+ )
  | (?P<comment> /\* )
  | (?P<quoted> '[^']*+(?:''[^']*+)*+' | "[^"]*+(?:""[^"]*+)*+" {more} )
  | (?P<word> [^\W\d][\w$]*+ )
  | (?P<end> ; )
  | (?P<dollar> {dollar} )
  | (?P<other> . )
"""
_TOKENS = {
    Dialect.POSTGRESQL: re.compile(
        r"(?P<escaped> [eE]'[^'\\]*+(?:(?:''|\\.)[^'\\]*+)*+' ) |"
        + _COMMON.format(more="", dollar=r"\$(?:[^\W\d]\w*+)?\$"),
        re.VERBOSE | re.DOTALL,
    ),
    Dialect.SQLITE: re.compile(
        _COMMON.format(more=r"| `[^`]*+(?:``[^`]*+)*+` | \[[^\]]*+\]", dollar=r"(?!)"), re.VERBOSE | re.DOTALL
    ),
}
_BODIES = {
    Dialect.POSTGRESQL: re.compile(r"CREATE (?:OR REPLACE )?(?:FUNCTION|PROCEDURE) .*\bBEGIN ATOMIC$"),
    Dialect.SQLITE: re.compile(r"CREATE (?:TEMP |TEMPORARY )?TRIGGER .*\bBEGIN$"),
}


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    start: int
    end: int


def _tokens(sql: str, dialect: Dialect) -> Iterator[_Token]:
    at = 0
    while at < len(sql):
        found = _TOKENS[dialect].match(sql, at)
        assert found is not None, "the last alternative takes any character"
        kind = str(found.lastgroup)
        end = found.end()
        if kind == "comment":
            end = _comment_end(sql, end, nested=dialect is Dialect.POSTGRESQL)
        elif kind == "dollar":
            close = sql.find(found.group(), end)
            end = len(sql) if close < 0 else close + len(found.group())
        yield _Token(kind, sql[at:end], at, end)
        at = end


def _comment_end(sql: str, at: int, *, nested: bool) -> int:
    depth = 1
    for mark in re.compile(r"/\*|\*/").finditer(sql, at):
        depth += (1 if nested else 0) if mark.group() == "/*" else -1
        if depth == 0:
            return mark.end()
    return len(sql)


class _Splitter:
    """Collects the tokens of one statement after the other."""

    def __init__(self, sql: str, dialect: Dialect) -> None:
        self._sql = sql
        self._dialect = dialect
        self._start: int | None = None
        self._end = 0
        self._words: list[str] = []
        self._depth = 0  # of BEGIN and CASE in a body

    def statements(self) -> Iterator[Statement]:
        for token in _tokens(self._sql, self._dialect):
            if token.kind in ("space", "comment"):
                continue
            if token.kind == "end" and self._depth == 0:
                yield from self._close()
                continue
            if self._start is None:
                self._refuse_client_command(token)
                self._start = token.start
            elif token.text == "\\" and self._dialect is Dialect.POSTGRESQL:
                self._refuse_client_command(token)
            self._end = token.end
            if token.kind == "word":
                self._take(token.text.upper())
        yield from self._close()

    def _close(self) -> Iterator[Statement]:
        if self._start is not None:
            yield Statement(self._sql[self._start : self._end], self._line(self._start), tuple(self._words))
        self._start, self._words, self._depth = None, [], 0

    def _line(self, at: int) -> int:
        return self._sql.count("\n", 0, at) + 1

    def _take(self, word: str) -> None:
        if len(self._words) < MAX_WORDS:
            self._words.append(word)
        if self._depth:
            self._depth += {"CASE": 1, "END": -1}.get(word, 0)
        elif word in ("BEGIN", "ATOMIC") and _BODIES[self._dialect].match(" ".join(self._words)):
            self._depth = 1

    def _refuse_client_command(self, token: _Token) -> None:
        """``\\i`` and its like are psql's own, ``.read`` and its like those of the sqlite3 shell."""
        mark, shell = ("\\", "psql") if self._dialect is Dialect.POSTGRESQL else (".", "sqlite3")
        if token.text == mark:
            command = self._sql[token.start :].split(None, 1)[0]
            raise Permanent(
                f"line {self._line(token.start)}: {command} is a command of {shell}, not SQL; "
                f"leave it out, or run the file with {shell} in a command action"
            )


def split(sql: str, dialect: Dialect) -> list[Statement]:
    """Raises ``Permanent``, beginning with the line, for what cannot be run in one transaction of ours."""
    statements = list(_Splitter(sql, dialect).statements())
    for statement in statements:
        reason = _transaction_control(statement) or _RULES[dialect](statement)
        if reason:
            raise Permanent(f"line {statement.line}: {reason}")
    return statements


def _transaction_control(statement: Statement) -> str | None:
    words = statement.words
    controls = (
        words[:1] in (("BEGIN",), ("COMMIT",), ("END",), ("ABORT",))
        or words[:2] in (("START", "TRANSACTION"), ("PREPARE", "TRANSACTION"))
        or (words[:1] == ("ROLLBACK",) and "TO" not in words[1:3])
    )
    if not controls:
        return None
    return (
        f"{words[0]} is not for the file to say; it runs in one transaction of its own, so leave BEGIN and COMMIT out"
    )


def _postgres_rules(statement: Statement) -> str | None:
    words = statement.words
    if statement.begins("COPY") and "STDIN" in words:
        return "COPY FROM STDIN needs data that no SQL file can give; use INSERT, or psql in a command action"
    alone = _runs_alone(words)
    return alone_sentence(alone) if alone else None


def alone_sentence(what: str) -> str:
    return (
        f"{what} cannot run inside a transaction, and SQL files are run in one; "
        "run it with psql in a command action that has a probe"
    )


def _runs_alone(words: tuple[str, ...]) -> str | None:
    """The name of a statement that PostgreSQL refuses inside a transaction block."""
    head = words[:2]
    if "CONCURRENTLY" in words and words[:1] in (("CREATE",), ("DROP",), ("REINDEX",)) and "INDEX" in words[:4]:
        return f"{words[0]} INDEX CONCURRENTLY"
    if words[:1] == ("REINDEX",) and ("CONCURRENTLY" in words or words[1:2] in (("DATABASE",), ("SYSTEM",))):
        return "REINDEX " + ("CONCURRENTLY" if "CONCURRENTLY" in words else words[1])
    if head == ("ALTER", "TABLE") and "DETACH" in words and words[-1:] == ("CONCURRENTLY",):
        return "DETACH PARTITION CONCURRENTLY"
    if words[:1] == ("VACUUM",):
        return "VACUUM"
    if head in (
        ("ALTER", "SYSTEM"),
        *((verb, what) for verb in ("CREATE", "DROP") for what in ("DATABASE", "TABLESPACE")),
    ):
        return " ".join(head)
    return None


def _sqlite_rules(statement: Statement) -> str | None:
    if statement.begins("VACUUM"):
        return "VACUUM cannot run inside a transaction, and SQL files are run in one; use sqlite3 in a command action"
    if statement.begins("PRAGMA"):
        for name in ("FOREIGN_KEYS", "JOURNAL_MODE", "SYNCHRONOUS"):
            if name in statement.words[1:3]:
                return (
                    f"PRAGMA {name.lower()} does nothing inside a transaction, and SQL files are run in one; "
                    "leave it out (foreign keys are not enforced while a file runs)"
                )
    return None


_RULES = {Dialect.POSTGRESQL: _postgres_rules, Dialect.SQLITE: _sqlite_rules}
