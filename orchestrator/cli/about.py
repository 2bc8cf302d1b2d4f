"""The command about itself."""

from argparse import Namespace

from orchestrator.cli.help import main_help
from orchestrator.errors import UsageError


def version_or_help(arguments: Namespace) -> int:
    """`rollout` alone shows the help, as an error: nothing was asked for."""
    if not arguments.version:
        print(main_help(), end="")
        return UsageError.exit_code
    from importlib.metadata import version

    print(f"rollout {version('staged-rollout')}")
    return 0
