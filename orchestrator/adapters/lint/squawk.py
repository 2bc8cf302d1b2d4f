"""squawk, the linter for PostgreSQL's migrations: a program that reads SQL and prints what it found as JSON.

It is given the file with comments blanked out, because comments can switch its rules off and only the plan may accept
a finding, and without the settings that a project may keep for its own use of it.
"""

import json
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from orchestrator.adapters.lint.tokens import Lines, Statement
from orchestrator.errors import Permanent

TIMEOUT_SECONDS = 20.0
POSTGRESQL_VERSION = "14.0"  # the oldest that is maintained: what it does at once, later ones do too
NEVER_ASKED = ("require-lock-timeout", "require-statement-timeout")  # our runner sets them: one for every statement


@dataclass(frozen=True, slots=True)
class Raw:
    """What squawk says, at an *offset* of the text."""

    rule: str
    offset: int
    message: str


def run(sql: str, statements: Sequence[Statement]) -> list[Raw]:
    """Raises ``Permanent`` if the program is missing or fails."""
    if not statements:
        return []
    visible = only(sql, statements)
    command = [str(program()), "--reporter", "json", "--config", "/dev/null", "--pg-version", POSTGRESQL_VERSION]
    command += ["--exclude", ",".join(NEVER_ASKED)]
    try:
        done = subprocess.run(  # noqa: S603 - our own program and fixed words; the SQL goes in by standard input
            command, input=visible.encode(), capture_output=True, timeout=TIMEOUT_SECONDS, check=False
        )
        found = json.loads(done.stdout or b"[]")
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        raise Permanent(f"squawk, which lints SQL, did not work: {error}") from None
    if done.returncode not in (0, 1):
        words = done.stderr.decode(errors="replace").strip()[:200]
        raise Permanent(f"squawk, which lints SQL, ended with {done.returncode}: {words}")
    lines = Lines(visible)
    return [Raw(one["rule_name"], lines.offset(one["line"], one["column"]), one["message"]) for one in found]


def only(sql: str, statements: Sequence[Statement]) -> str:
    """*sql* with everything but the statements blanked out, each at its place, in single bytes."""
    text = ["\n" if character == "\n" else " " for character in sql]
    for statement in statements:
        for token in statement.tokens:
            text[token.start : token.end] = [letter if letter.isascii() else "x" for letter in token.text]
        if statement.end < len(text):
            text[statement.end] = ";"
    return "".join(text)


@cache
def program() -> Path:
    """Beside the Python that runs us, where its package puts it, or on the path."""
    folders = (Path(sys.executable).parent, Path(sysconfig.get_path("scripts")))
    beside = next((folder / "squawk" for folder in folders if (folder / "squawk").is_file()), None)
    found = beside or shutil.which("squawk")
    if found is None:
        raise Permanent("squawk, which lints SQL, is not installed; install the package squawk-cli")
    return Path(found)
