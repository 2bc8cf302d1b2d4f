"""Shell completion."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.cli.typed.parts import command

if TYPE_CHECKING:
    from orchestrator.cli.typed.parts import Commands


def add(commands: Commands) -> None:
    made = command(
        commands, "completion", "completion.script", "Print what makes a shell complete commands, runs and flags.",
        """
        bash: `source <(rollout completion bash)` in ~/.bashrc. zsh: `source <(rollout completion zsh)` in ~/.zshrc,
        below `compinit`. fish: `rollout completion fish | source` in ~/.config/fish/config.fish.
        """,
    )  # fmt: skip
    made.add_argument("shell", metavar="SHELL", choices=("bash", "zsh", "fish"), help="bash, zsh or fish")
