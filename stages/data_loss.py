"""Which tables and columns SQL drops: a small scan of its words, for PostgreSQL and SQLite.

It reads words, not grammar: comments and texts are taken out first, then what follows DROP and TRUNCATE is looked at.
It would rather name too much than too little.
"""

import re

_NOISE = re.compile(
    r"--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'|\$([A-Za-z_]\w*)?\$(?P<body>.*?)\$\1\$",
    re.DOTALL,
)
_NAME = r'((?:"[^"]+"|[\w$]+)(?:\.(?:"[^"]+"|[\w$]+))*)'
_IF_EXISTS = r"(?:if\s+exists\s+)?"
_DROP = re.compile(rf"\bdrop\s+(table|schema|database|materialized\s+view)\s+{_IF_EXISTS}{_NAME}", re.IGNORECASE)
_TRUNCATE = re.compile(rf"\btruncate\s+(?:table\s+)?(?:only\s+)?{_NAME}", re.IGNORECASE)
_ALTER = re.compile(rf"\balter\s+table\s+{_IF_EXISTS}(?:only\s+)?{_NAME}(.*)", re.IGNORECASE | re.DOTALL)
_DROP_PART = re.compile(rf"\bdrop\s+(column\s+)?{_IF_EXISTS}{_NAME}", re.IGNORECASE)
_NO_COLUMN = frozenset({"constraint", "default", "not", "expression", "identity", "if"})


def losses(sql: str, ignored: tuple[str, ...] = ()) -> list[str]:
    """What *sql* drops, in words such as ``the table metrics``, each once; tables named in *ignored* left out."""
    plain = _plain(sql)
    found: list[str] = []
    for statement in plain.split(";"):
        found += [f"the {_one_space(kind)} {_bare(name)}" for kind, name in _DROP.findall(statement)]
        found += [f"everything in the table {_bare(name)}" for name in _TRUNCATE.findall(statement)]
        altered = _ALTER.search(statement)
        if altered is not None:
            found += _columns(_bare(altered[1]), altered[2])
    left_out = {f"the table {name}" for name in ignored}
    return [words for words in dict.fromkeys(found) if words not in left_out]


def _plain(sql: str) -> str:
    """Without comments and texts; what stands between dollar signs is code more often than not, and is kept."""
    return _NOISE.sub(lambda match: _plain(match["body"]) if match["body"] is not None else " ", sql)


def _columns(table: str, rest: str) -> list[str]:
    return [
        f"the column {_bare(name)} of {table}"
        for is_column, name in _DROP_PART.findall(rest)
        if is_column or name.lower() not in _NO_COLUMN
    ]


def _bare(name: str) -> str:
    return name.replace('"', "")


def _one_space(words: str) -> str:
    return " ".join(words.lower().split())
