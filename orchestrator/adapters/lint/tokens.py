"""SQL read as far as the lint needs it: statements as words, each with its place in the file.

A scanner, not a parser: it knows what hides a semicolon, how deep a word is nested, and what runs inside a DO block.
The grammar is the linter's business for PostgreSQL, and the database's for SQLite.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from orchestrator.adapters.sql.text import Dialect

_COMMON = r"""
    (?P<blank> \s++ | --[^\n]*+ )
  | (?P<comment> /\* )
  | (?P<text> '[^']*+(?:''[^']*+)*+' )
  | (?P<name> "[^"]*+(?:""[^"]*+)*+" {names} )
  | (?P<dollar> {dollar} )
  | (?P<word> [^\W\d][\w$]*+ )
  | (?P<number> \d[\w.]*+ )
  | (?P<symbol> :: | <= | >= | <> | != | . )
"""
_ESCAPED = r"(?P<escaped> [eE]'[^'\\]*+(?:(?:''|\\.)[^'\\]*+)*+' ) |"
_TOKENS = {
    Dialect.POSTGRESQL: re.compile(
        _ESCAPED + _COMMON.format(names="", dollar=r"\$(?:[^\W\d]\w*+)?\$"), re.VERBOSE | re.DOTALL
    ),
    Dialect.SQLITE: re.compile(
        _COMMON.format(names=r"| `[^`]*+(?:``[^`]*+)*+` | \[[^\]]*+\]", dollar=r"(?!)"), re.VERBOSE | re.DOTALL
    ),
}
_BODY = re.compile(
    r"CREATE (?:OR REPLACE )?(?:(?:FUNCTION|PROCEDURE) .*\bBEGIN ATOMIC|(?:TEMP |TEMPORARY )?TRIGGER .*\bBEGIN)$"
)
_RUN_BY_BLOCKS = {"ALTER", "CREATE", "DELETE", "DROP", "INSERT", "TRUNCATE", "UPDATE", "WITH"}
_BLOCK_WORDS = {"BEGIN", "THEN", "ELSE", "LOOP"}
MAX_HEAD = 200  # words of a statement in which a body can begin


@dataclass(frozen=True, slots=True)
class Token:
    """*word* is what rules compare: an unquoted word in capitals, a symbol as it is, ``'`` for a text, ``0`` for a
    number, and nothing that any rule knows for a quoted name. *depth* counts the parentheses around it."""

    kind: str
    text: str
    start: int
    depth: int
    word: str

    @property
    def end(self) -> int:
        return self.start + len(self.text)

    @property
    def identifier(self) -> str:
        """As the database compares it: unquoted in small letters, quoted as it stands."""
        if self.kind == "name":
            mark = self.text[-1]
            return self.text[1:-1].replace(mark * 2, mark)
        return self.text.lower()


@dataclass(frozen=True)
class Statement:
    """*in_block*: it stands in a DO block, where a condition may guard it."""

    tokens: tuple[Token, ...]
    in_block: bool = False

    @property
    def start(self) -> int:
        return self.tokens[0].start

    @property
    def end(self) -> int:
        return self.tokens[-1].end

    @cached_property
    def words(self) -> tuple[str, ...]:
        return tuple(token.word for token in self.tokens)

    def begins(self, *words: str) -> bool:
        return tuple(token.word for token in self.tokens[: len(words)]) == words


def statements(sql: str, dialect: Dialect) -> list[Statement]:
    """In order; a DO block is replaced by the statements inside it, whatever they depend on."""
    found: list[Statement] = []
    for statement in _split(list(_scan(sql, dialect)), dialect):
        if statement.begins("DO") and dialect is Dialect.POSTGRESQL:
            found += _of_block(statement, dialect)
        else:
            found.append(statement)
    return found


def _scan(sql: str, dialect: Dialect, offset: int = 0) -> Iterator[Token]:
    at = depth = 0
    while at < len(sql):
        match = _TOKENS[dialect].match(sql, at)
        assert match is not None, "the last alternative takes any character"
        kind, end = str(match.lastgroup), match.end()
        if kind == "comment":
            end = _comment_end(sql, end, nested=dialect is Dialect.POSTGRESQL)
        elif kind == "dollar":
            close = sql.find(match.group(), end)
            end = len(sql) if close < 0 else close + len(match.group())
        text, start, at = sql[at:end], at, end
        if kind in ("blank", "comment"):
            continue
        depth -= text == ")"
        yield Token(kind, text, start + offset, max(depth, 0), _word(kind, text))
        depth += text == "("


def _word(kind: str, text: str) -> str:
    match kind:
        case "word":
            return text.upper()
        case "text" | "escaped" | "dollar":
            return "'"
        case "number":
            return "0"
        case "name":
            return '"'
        case _:
            return text


def _comment_end(sql: str, at: int, *, nested: bool) -> int:
    depth = 1
    for mark in re.compile(r"/\*|\*/").finditer(sql, at):
        depth += (1 if nested else 0) if mark.group() == "/*" else -1
        if depth == 0:
            return mark.end()
    return len(sql)


def _split(tokens: Sequence[Token], dialect: Dialect) -> Iterator[Statement]:
    """At semicolons outside the bodies of SQL functions (PostgreSQL) and of triggers (SQLite)."""
    current: list[Token] = []
    body = 0  # of BEGIN and CASE
    for token in tokens:
        if token.text == ";" and body == 0:
            if current:
                yield Statement(tuple(current))
            current = []
            continue
        current.append(token)
        if body:
            body += {"CASE": 1, "END": -1}.get(token.word, 0)
        elif token.word in ("BEGIN", "ATOMIC") and _opens_body(current, dialect):
            body = 1
    if current:
        yield Statement(tuple(current))


def _opens_body(tokens: Sequence[Token], dialect: Dialect) -> bool:
    head = " ".join(token.word for token in tokens[:MAX_HEAD])
    return bool(_BODY.match(head)) and (dialect is Dialect.SQLITE or head.endswith("ATOMIC"))


def _of_block(statement: Statement, dialect: Dialect) -> Iterator[Statement]:
    for token in statement.tokens:
        if token.kind != "dollar":
            continue
        mark = token.text.index("$", 1) + 1
        body = token.text[mark:-mark] if len(token.text) >= 2 * mark else token.text[mark:]
        yield from _run_inside(list(_scan(body, dialect, token.start + mark)))


def _run_inside(tokens: Sequence[Token]) -> Iterator[Statement]:
    """The statements of a PL/pgSQL body; what decides between them is passed over."""
    current: list[Token] = []
    for token in tokens:
        is_run = bool(current) and current[0].word in _RUN_BY_BLOCKS
        if token.text == ";":
            if is_run:
                yield Statement(tuple(current), in_block=True)
            current = []
        elif not is_run and token.word in _BLOCK_WORDS:
            current = []
        else:
            current.append(token)


class Lines:
    """Offsets of a text as lines and columns, and back."""

    def __init__(self, text: str) -> None:
        self._starts = [0, *(match.end() for match in re.finditer("\n", text))]

    def place(self, offset: int) -> tuple[int, int]:
        """Line and column, both from 1, the column in characters."""
        line = bisect_right(self._starts, offset)
        return line, offset - self._starts[line - 1] + 1

    def offset(self, line: int, column: int) -> int:
        """Of a place given as line and column, both from 0."""
        return self._starts[min(line, len(self._starts) - 1)] + column
