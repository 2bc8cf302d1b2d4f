"""Where a traceback goes: into a file for whoever mends it, never onto the terminal."""

import sys
import time
import traceback
from pathlib import Path

from orchestrator.cli.settings import state_dir
from orchestrator.redaction import redact_all

MOST_BYTES = 1024 * 1024


def keep_traceback(error: Exception) -> Path | None:
    """Appends to ``errors.log`` of the state directory; None if that can't be written."""
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    command = " ".join(Path(part).name if index == 0 else part for index, part in enumerate(sys.argv[:2]))
    text = redact_all("".join(traceback.format_exception(error)))
    try:
        folder = state_dir()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = folder / "errors.log"
        if path.exists() and path.stat().st_size > MOST_BYTES:
            path.replace(path.with_name("errors.log.1"))
        with path.open("a", encoding="utf-8") as file:
            path.chmod(0o600)
            file.write(f"--- {when} {command}\n{text}\n")
    except OSError:
        return None
    return path
