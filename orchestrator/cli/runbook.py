"""`runbook`: the way back for a person, out of the journal alone."""

import json
from argparse import Namespace

from orchestrator.cli.auditing import lines_of


def runbook(arguments: Namespace) -> int:
    from orchestrator.audit import replay
    from orchestrator.core.fold import fold
    from orchestrator.core.runbook import build, to_markdown, to_script

    made = build(fold(replay(lines_of(arguments))))
    if arguments.format == "json":
        print(json.dumps(made, indent=2, ensure_ascii=False))
    else:
        print({"md": to_markdown, "sh": to_script}[arguments.format](made), end="")
    return 0
