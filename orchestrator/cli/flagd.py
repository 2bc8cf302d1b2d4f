"""`rollout flag export` and `rollout flag import`: flags as a file that flagd reads, and from one."""

import sys
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from orchestrator.cli import ask
from orchestrator.cli.client import Json
from orchestrator.cli.flags import DEFAULT_ENVIRONMENT
from orchestrator.cli.output import note, printable, show
from orchestrator.cli.sources import open_client, open_source
from orchestrator.errors import UsageError

if TYPE_CHECKING:
    from flags.model import FlagDocument

MOST_BYTES = 16 * 1024 * 1024


def export(arguments: Namespace) -> int:
    """Prints the flags of one environment: flagd's format, with a part of our own for what it has no words for."""
    from flags.flagd import export as to_text
    from flags.flagd import unsaid

    environment = str(arguments.environment or DEFAULT_ENVIRONMENT)
    found = open_source(arguments.server).flags(environment)
    documents = [_document(one) for one in found]
    for sentence in unsaid(documents):
        note(printable(sentence))
    if any(one.get("killed") for one in found):
        note("the kill switch is thrown; the file says what the flags return to")
    print(to_text(documents, environment), end="")
    return 0


def _document(shown: Json) -> "FlagDocument":
    """What is shown of a flag beside its document (who holds it, who wrote it) is left out."""
    from flags.model import FlagDocument

    return FlagDocument.from_json({name: shown[name] for name in FlagDocument.__slots__ if name in shown})


def import_(arguments: Namespace) -> int:
    """Everything that is in the way is said before the controller is asked for anything."""
    import json

    from flags.errors import FlagError
    from flags.flagd import read

    text = _text_of(arguments.file)
    try:
        read(text, arguments.environment)
    except FlagError as problem:
        raise UsageError(f"{arguments.file}: {problem}") from None
    client = open_client(arguments.server)
    reason = ask.reason(arguments, f"import {arguments.file}")
    query = f"?{urlencode({'environment': arguments.environment})}" if arguments.environment else ""
    body = {"flagd": json.loads(text), "reason": reason}
    answer: Json = client.request("POST", f"/api/v1/flags/import{query}", body)
    if arguments.output == "table":
        for sentence in answer["notes"]:
            note(printable(sentence))
        for key, run in sorted(answer["runs"].items()):
            note(
                f"run {printable(run)} uses {printable(key)} and holds until `rollout resume` with --keep or --release"
            )
    show(answer, arguments.output, _imported)
    return 0


def _text_of(file: str) -> bytes:
    try:
        text = sys.stdin.buffer.read(MOST_BYTES + 1) if file == "-" else _read(Path(file))
    except OSError as problem:
        raise UsageError(f"{file} can't be read: {(problem.strerror or str(problem)).lower()}") from None
    if len(text) > MOST_BYTES:
        raise UsageError(f"{file} is larger than {MOST_BYTES:,} bytes, which is what is taken at once")
    return text


def _read(path: Path) -> bytes:
    with path.open("rb") as opened:
        return opened.read(MOST_BYTES + 1)


def _imported(answer: Json) -> str:
    where = printable(answer["environment"])
    lines = [f"{len(answer['written'])} flags written in {where}, {len(answer['unchanged'])} were the same already"]
    return "\n".join([*lines, *(f"  {printable(key)}" for key in answer["written"])])
