"""`export` and `verify`: a run's journal for those who don't take our word for it."""

import json
import re
import sys
from argparse import Namespace
from collections.abc import Iterable, Iterator
from pathlib import Path

from orchestrator.audit import Head, Verified, head_of
from orchestrator.audit import verify as verify_lines
from orchestrator.cli.output import show
from orchestrator.cli.sources import Json, open_source
from orchestrator.core.telling import time_words
from orchestrator.errors import Tampered, UsageError
from orchestrator.signing import Checker

# the sentence of reports as text, the object of reports as JSON, and the field of messages to webhooks
_REPORTED = re.compile(
    r"has ([0-9]+) entries; the hash of the last one, which stands for all of them, is\s+([0-9a-f]{64})"
)
_REPORTED_JSON = re.compile(r'"chain":\s*{\s*"entries":\s*([0-9]+),\s*"head":\s*"([0-9a-f]{64})"')
_TOLD = re.compile(r'"head":\s*"([1-9][0-9]*):([0-9a-f]{64})"')


def export(arguments: Namespace) -> int:
    for line in _lines(arguments.run, arguments.server):
        print(line)
    return 0


def verify(arguments: Namespace) -> int:
    heads = [head_of(text, f"--head {text}") for text in arguments.head]
    checker = Checker.read(Path(arguments.public_key)) if arguments.public_key is not None else None
    heads += [_head_of_report(Path(name), checker) for name in arguments.report]
    found = verify_lines(lines_of(arguments), heads)
    show(_shown(found), arguments.output, _sentence)
    return 0


def lines_of(arguments: Namespace) -> Iterable[str]:
    """Of a run, or of a file that holds its journal."""
    if arguments.run == "-":
        return sys.stdin
    file = Path(arguments.run)
    if not file.is_file():
        return _lines(arguments.run, arguments.server)
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} can't be read: {error}") from error


def _lines(run: str, server: str | None) -> Iterator[str]:
    source = open_source(server)
    after = 0
    while lines := source.journal(run, after):
        yield from lines
        after += len(lines)


def _head_of_report(file: Path, checker: Checker | None) -> Head:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the report {file} can't be read: {error}") from error
    if checker is not None:
        _check_signature(file, text, checker)
    found = _REPORTED.search(text) or _REPORTED_JSON.search(text) or _TOLD.search(text)
    if found is None:
        raise UsageError(
            f"{file} is no report of a run and no message about one: it does not say what the newest hash is"
        )
    return head_of(f"{found[1]}:{found[2]}", f"the report {file}")


def _check_signature(file: Path, text: str, checker: Checker) -> None:
    """Raises ``Tampered``."""
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        message = None
    told = message if isinstance(message, dict) else {}
    run, head, signature = (str(told.get(name, "")) for name in ("run", "head", "signature"))
    if not signature:
        raise Tampered(f"{file} bears no signature: only messages of a controller that was given a key do")
    if not checker.is_signed(run, head, signature):
        raise Tampered(f"{file} was not signed with this key, or its run or head was changed since")


def _shown(found: Verified) -> Json:
    return {
        "run": found.run,
        "entries": found.entries,
        "head": f"{found.entries}:{found.head}",
        "heads": found.heads,
        "kept_since": found.kept_since,
    }


def _sentence(found: Json) -> str:
    if found["kept_since"] is not None:
        fits = {0: "", 1: "; it fits the head"}.get(found["heads"], f"; it fits all {found['heads']} heads")
        return f"{found['run']}: kept as its report since {time_words(found['kept_since'])}{fits}\nhead {found['head']}"
    beside = {0: "; no head from elsewhere was given, so a cut end would not be seen", 1: " and fit the head"}
    fit = beside.get(found["heads"], f" and fit all {found['heads']} heads")
    return f"{found['run']}: all {found['entries']} entries are what was written{fit}\nhead {found['head']}"
