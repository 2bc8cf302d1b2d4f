"""`rollout rehearse`: a plan walked in a simulated world; nothing outside is asked or touched."""

import sys
import time
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.cli.output import printable, show
from orchestrator.cli.plans import load, warn

if TYPE_CHECKING:
    from orchestrator.rehearse import Result

BAR_EVERY_SECONDS = 0.1
BAR_WIDTH = 24


def rehearse(arguments: Namespace) -> int:
    """0: every scenario ends as promised. 1: some do not, or were not walked. 2: the plan is not valid."""
    from orchestrator.cli.rehearsed import as_markdown, as_text
    from orchestrator.rehearse import Asked, rehearse

    plan = load(arguments.plan, arguments.settings)
    warn(plan)
    asked = Asked(tuple(arguments.scenarios), arguments.environment, arguments.seed, arguments.most)
    progress = _Progress()
    try:
        result: Result = rehearse(plan, asked, progress.tell, str(Path(arguments.plan).absolute().parent))
    finally:
        progress.close()
    show(result.to_json(), arguments.output, as_markdown if arguments.output == "md" else as_text)
    return 0 if result.is_fine and not result.cut else 1


class _Progress:
    """On standard error, on a terminal only: a rehearsal is over before a line a minute would help."""

    def __init__(self) -> None:
        self._is_terminal = sys.stderr.isatty()
        self._shown_at = 0.0
        self._has_bar = False

    def tell(self, done: int, total: int, words: str) -> None:
        now = time.monotonic()
        if not self._is_terminal or now - self._shown_at < BAR_EVERY_SECONDS:
            return
        self._shown_at = now
        full = BAR_WIDTH * done // max(total, 1)
        bar = "█" * full + "░" * (BAR_WIDTH - full)
        sys.stderr.write(f"\r\x1b[K{bar} {done:,} of {total:,}  {printable(words)[:50]}")
        sys.stderr.flush()
        self._has_bar = True

    def close(self) -> None:
        if self._has_bar:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._has_bar = False
