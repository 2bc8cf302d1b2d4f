"""The `rollout` command.

Speed is a feature of it: ``rollout --help`` within 150 ms, ``rollout status`` within 300 ms. So it stands on argparse
and ``http.client`` of the standard library (docs/cli.md has the figures), prints its own tables, and each module
imports what is slow (plans, the store, the controller) inside the function that needs it.
"""

import sys
from collections.abc import Sequence

from orchestrator.errors import RolloutError

INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; its exit code. No exception and no traceback leaves it (argparse's own exits aside)."""
    words = list(sys.argv[1:] if argv is None else argv)
    _make_printable()
    if words in (["--help"], ["-h"]):
        from orchestrator.cli.help import main_help

        print(main_help(), end="")
        return 0
    if words[:1] == ["__complete"]:
        from orchestrator.cli.completion import answer

        return answer(words[1:])
    from orchestrator.cli.parser import make_parser

    arguments = make_parser(words[0] if words else None).parse_args(words)
    if getattr(arguments, "cacert", None):
        import os

        from orchestrator.cli.settings import CACERT

        os.environ[CACERT] = arguments.cacert  # for this command alone, wherever in it a controller is spoken to
    try:
        code: int = arguments.perform(arguments)
        sys.stdout.flush()
    except RolloutError as error:
        return _say(error)
    except KeyboardInterrupt:
        print("rollout: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        return _reader_gone()
    except Exception as error:  # noqa: BLE001 - nobody who types a command is helped by a traceback
        return _unexpected(error)
    return code


def _make_printable() -> None:
    """Where a terminal takes no UTF-8, a letter that it lacks is a question mark and no error."""
    for stream in (sys.stdout, sys.stderr):
        is_narrow = (getattr(stream, "encoding", None) or "utf-8").lower().replace("-", "") != "utf8"
        if is_narrow and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def _say(error: RolloutError) -> int:
    from orchestrator.cli.show import error_lines

    print("\n".join(error_lines(error)), file=sys.stderr)
    return error.exit_code


def _reader_gone() -> int:
    """`rollout list | head` is no error. Python would complain when it flushes at the end, so it gets a place to."""
    import os

    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _unexpected(error: Exception) -> int:
    from orchestrator.cli.crash import keep_traceback
    from orchestrator.redaction import redact_all

    where = keep_traceback(error)
    kept = f"; what happened is in {where}" if where else ""
    said = " ".join(redact_all(str(error)).split())[:300]
    print(f"rollout: something unexpected happened: {type(error).__name__}: {said}{kept}", file=sys.stderr)
    return 1
