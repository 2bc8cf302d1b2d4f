"""What a statement is about: the tables it touches, the actions of an ALTER TABLE, and what is new because of it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from orchestrator.adapters.lint.tokens import Statement, Token

_KEPT_WORDS = {"IF", "NOT", "EXISTS", "ONLY"}
_TABLE_ADJECTIVES = {"GLOBAL", "LOCAL", "TEMP", "TEMPORARY", "UNLOGGED"}
_CONSTRAINTS = {"CHECK", "FOREIGN", "UNIQUE", "PRIMARY", "EXCLUDE", "CONSTRAINT", "LIKE", "NOT"}


@dataclass(frozen=True, slots=True)
class Alteration:
    """One action of ALTER TABLE: *verb* such as ``ADD COLUMN``, *name* of what it is about, *tokens* with the verb."""

    verb: str
    name: str
    tokens: tuple[Token, ...]

    @property
    def words(self) -> tuple[str, ...]:
        return tuple(token.word for token in self.tokens)

    @property
    def constraint(self) -> str:
        """``CHECK``, ``FOREIGN``, ``UNIQUE``, ``PRIMARY`` or ``EXCLUDE`` of ADD CONSTRAINT."""
        return next((word for word in self.words if word in _CONSTRAINTS - {"CONSTRAINT", "LIKE", "NOT"}), "")


@dataclass(slots=True)
class Novelties:
    """What the statements so far have made, so that nobody uses it yet.

    Keys are ``table:users``, ``column:users.age``, ``constraint:users.user_fk``, ``index:i``, ``type:e``, ``schema:s``.
    *maybe* are those made by IF NOT EXISTS, which may have been there.
    """

    certain: set[str] = field(default_factory=set)
    maybe: set[str] = field(default_factory=set)
    checks: dict[str, set[str]] = field(default_factory=dict)  # constraint -> words of it, as identifiers
    validated: dict[str, set[str]] = field(default_factory=dict)  # table -> words of its validated constraints
    in_transaction: set[str] = field(default_factory=set)  # constraints that the transaction under way has added

    def has(self, key: str, *, certainly: bool = False) -> bool:
        return key in self.certain or (not certainly and key in self.maybe)

    def add(self, key: str, *, certainly: bool = True) -> None:
        (self.certain if certainly else self.maybe).add(key)


def name_at(tokens: Sequence[Token], at: int) -> tuple[str, int]:
    """The (qualified) name that begins at *at* behind IF [NOT] EXISTS and ONLY, and where it has ended.

    The schema ``public`` is left out, as most do.
    """
    while at < len(tokens) and tokens[at].word in _KEPT_WORDS:
        at += 1
    parts: list[str] = []
    while at < len(tokens) and tokens[at].kind in ("word", "name"):
        parts.append(tokens[at].identifier)
        if at + 1 >= len(tokens) or tokens[at + 1].text != ".":
            at += 1
            break
        at += 2
    return ".".join(parts[1:] if parts[:1] == ["public"] and len(parts) > 1 else parts), at


def names_from(tokens: Sequence[Token], at: int) -> list[str]:
    """A list of names divided by commas."""
    found = []
    while True:
        name, at = name_at(tokens, at)
        found.append(name)
        while at < len(tokens) and tokens[at].text == "*":
            at += 1
        if at >= len(tokens) or tokens[at].text != ",":
            return [name for name in found if name]
        at += 1


def _after(statement: Statement, *words: str) -> int:
    """The index behind the first of *words* in the statement, or its length."""
    for index, token in enumerate(statement.tokens):
        if token.word in words:
            return index + 1
    return len(statement.tokens)


def kind_of(statement: Statement) -> str:
    """``CREATE TABLE``, ``CREATE INDEX`` and so on, without what stands between the two words."""
    words = statement.words
    if not words or words[0] not in ("CREATE", "DROP", "ALTER", "REINDEX"):
        return words[0] if words else ""
    skipped = {"UNIQUE", "OR", "REPLACE", "MATERIALIZED", *_TABLE_ADJECTIVES}
    what = next((word for word in words[1:] if word not in skipped), "")
    return f"{words[0]} {what}"


def touched(statement: Statement) -> list[str]:
    """The tables that a statement changes or takes away, as keys of ``Novelties``; of others what it takes away."""
    tokens, kind = statement.tokens, kind_of(statement)
    if kind in ("ALTER TABLE", "CREATE TABLE"):
        return [f"table:{name_at(tokens, _after(statement, 'TABLE'))[0]}"]
    if kind == "CREATE INDEX":
        return [f"table:{name_at(tokens, _after(statement, 'ON'))[0]}"]
    if kind in ("DROP TABLE", "DROP INDEX", "DROP TYPE", "DROP SCHEMA"):
        what = kind.split()[1]
        at = _after(statement, what)
        at += at < len(tokens) and tokens[at].word == "CONCURRENTLY"
        return [f"{what.lower()}:{name}" for name in names_from(tokens, at)]
    if kind in ("ALTER TYPE", "ALTER SCHEMA", "ALTER INDEX"):
        what = kind.split()[1]
        return [f"{what.lower()}:{name_at(tokens, _after(statement, what))[0]}"]
    if kind == "TRUNCATE":
        at = 1 + (len(tokens) > 1 and tokens[1].word == "TABLE")
        return [f"table:{name}" for name in names_from(tokens, at)]
    return []


def alterations(statement: Statement) -> Iterator[Alteration]:
    """The actions of an ALTER TABLE, which commas divide outside of parentheses."""
    if kind_of(statement) != "ALTER TABLE":
        return
    _, at = name_at(statement.tokens, _after(statement, "TABLE"))
    current: list[Token] = []
    base = statement.tokens[0].depth
    for token in statement.tokens[at:]:
        if token.text == "," and token.depth == base:
            yield _alteration(current)
            current = []
        else:
            current.append(token)
    yield _alteration(current)


def _alteration(tokens: Sequence[Token]) -> Alteration:
    words = [token.word for token in tokens[:2]]
    verb = words[0] if words else ""
    second = words[1] if len(words) > 1 else ""
    if verb == "ADD" and second in _CONSTRAINTS:
        name = name_at(tokens, 2)[0] if second == "CONSTRAINT" else ""
        return Alteration("ADD CONSTRAINT", name, tuple(tokens))
    if verb in ("ADD", "DROP", "ALTER", "RENAME", "VALIDATE"):
        explicit = second in ("COLUMN", "CONSTRAINT")
        if verb == "RENAME" and second == "TO":
            return Alteration("RENAME TO", name_at(tokens, 2)[0], tuple(tokens))
        what = second if explicit else "COLUMN"
        return Alteration(f"{verb} {what}", name_at(tokens, 2 if explicit else 1)[0], tuple(tokens))
    return Alteration(verb, "", tuple(tokens))


def learn(statement: Statement, new: Novelties) -> None:
    """Notes what *statement* makes."""
    kind, tokens = kind_of(statement), statement.tokens
    certainly = "EXISTS" not in statement.words[:8]
    if kind in ("CREATE TABLE", "CREATE TYPE", "CREATE SCHEMA", "CREATE VIEW"):
        what = kind.split()[1]
        key = "table" if what == "VIEW" else what.lower()
        new.add(f"{key}:{name_at(tokens, _after(statement, what))[0]}", certainly=certainly)
    elif kind == "CREATE INDEX":
        at = _after(statement, "INDEX")
        at += at < len(tokens) and tokens[at].word == "CONCURRENTLY"
        new.add(f"index:{name_at(tokens, at)[0]}", certainly=certainly)
    elif kind in ("COMMIT", "END"):
        new.in_transaction.clear()
    elif kind == "ALTER TABLE":
        table = touched(statement)[0].removeprefix("table:")
        for one in alterations(statement):
            _learn_alteration(one, table, new)


def _learn_alteration(one: Alteration, table: str, new: Novelties) -> None:
    certainly = "EXISTS" not in one.words[:6]
    words = {token.identifier for token in one.tokens if token.kind in ("word", "name")}
    match one.verb:
        case "ADD COLUMN":
            new.add(f"column:{table}.{one.name}", certainly=certainly)
        case "ADD CONSTRAINT" if one.name:
            new.add(f"constraint:{table}.{one.name}")
            new.checks[f"{table}.{one.name}"] = words
            new.in_transaction.add(f"{table}.{one.name}")
        case "VALIDATE CONSTRAINT":
            known = new.checks.get(f"{table}.{one.name}", {one.name})
            new.validated.setdefault(table, set()).update(known)
        case "RENAME TO" if new.has(f"table:{table}"):
            new.add(f"table:{one.name}", certainly=new.has(f"table:{table}", certainly=True))
        case _:
            pass
