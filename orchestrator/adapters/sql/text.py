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
    """*text* without its semicolon; *line* and *column* are where it begins in its file, counted from 1."""

    text: str
    line: int
    words: tuple[str, ...]  # its first unquoted words, in capitals
    column: int = 1

    def line_at(self, offset: int) -> int:
        """The line of the file at the character *offset* of the statement."""
        return self.line + self.text.count("\n", 0, max(offset, 0))

    def place_at(self, offset: int | None) -> str:
        """Line and column of the file at the character *offset*, in words; its own line if there is no offset."""
        if offset is None or offset < 0:
            return f"line {self.line}"
        start = self.text.rfind("\n", 0, offset) + 1
        column = offset - start + (self.column if start == 0 else 1)
        return f"line {self.line_at(offset)}, column {column}"

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


def bare(sql: str, dialect: Dialect) -> str:
    """*sql* without comments, with single spaces between its words; quoted texts stay as they are."""
    parts = ("" if token.kind in ("space", "comment") else token.text for token in _tokens(sql, dialect))
    return re.sub(r"\x00+", " ", "".join(part or "\x00" for part in parts)).strip()


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
            text, column = self._sql[self._start : self._end], self._start - self._sql.rfind("\n", 0, self._start)
            yield Statement(text, self._line(self._start), tuple(self._words), column)
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
    """Raises ``Permanent``, beginning with the line, for what is not ours to run."""
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
    return f"{words[0]} is not for the file to say; its transaction is made for it, so leave BEGIN and COMMIT out"


def _postgres_rules(statement: Statement) -> str | None:
    words = statement.words
    if statement.begins("COPY") and "STDIN" in words:
        return "COPY FROM STDIN needs data that no SQL file can give; use INSERT, or psql in a command action"
    return None


def _sqlite_rules(statement: Statement) -> str | None:
    if statement.begins("PRAGMA"):
        for name in ("FOREIGN_KEYS", "SYNCHRONOUS"):
            if name in statement.words[1:3]:
                return (
                    f"PRAGMA {name.lower()} lasts no longer than the connection and does nothing inside a transaction; "
                    "leave it out (foreign keys are not enforced while a file runs)"
                )
    return None


_RULES = {Dialect.POSTGRESQL: _postgres_rules, Dialect.SQLITE: _sqlite_rules}
