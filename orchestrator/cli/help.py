"""The first page: what `rollout --help` says. It needs no parser, which would take most of the time."""

GROUPS: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = (
    (
        "Begin",
        (
            ("start PLAN", "start a run, or attach to one that is under way, and watch it"),
            ("validate PLAN", "say everything that is wrong with a plan"),
            ("rehearse PLAN", "walk it forward and back in a simulated world, with all that can go wrong"),
            ("backtest PLAN", "how often its gates would have failed on nothing, by your Prometheus"),
            ("check FILE", "ask the checks of a file now, and say how they were answered"),
            ("bundle PLAN", "print it with its files as objects for `kubectl apply`"),
            ("schema", "print the JSON Schema of plans, for editors"),
            ("completion SHELL", "print what makes bash, zsh or fish complete all of this"),
            ("serve", "run a controller for many runs"),
        ),
    ),
    (
        "Look",
        (
            ("list", "runs, newest first"),
            ("status RUN", "where a run stands, and why nothing moves"),
            ("explain RUN", "the same in full sentences, with who can do what"),
            ("watch RUN", "follow it to its end"),
            ("history RUN", "everything that happened, and who asked for it"),
            ("report RUN", "what was planned, what happened, on which evidence"),
            ("runbook RUN", "the manual way back, as commands"),
            ("export RUN", "its journal as it was written, for auditors"),
            ("verify RUN|FILE", "whether a journal is what was written"),
        ),
    ),
    (
        "Act (with --reason TEXT)",
        (
            ("pause, resume RUN", "hold in place; go on"),
            ("approve, reject RUN", "answer what waits for a person"),
            ("withdraw RUN", "take an approval back, while others are missing"),
            ("advance RUN", "take the next step without waiting for the rest of the bake"),
            ("rollback RUN", "bring everything back to what was there before"),
            ("stop RUN", "end the run, and leave the world as it is"),
            ("resolve RUN [TARGET]", "take a target as it is, where something waits for a person"),
            ("fire RUN TRIGGER", "fire a trigger by hand"),
            ("ack RUN", "end an escalation"),
            ("freeze, unfreeze", "let no run go forward in an environment, or in any; and go on"),
        ),
    ),
    (
        "Flags",
        (
            ("flag list, get, evaluate", "look at flags"),
            ("flag set KEY", "change one"),
            ("flag disable-all, lift", "the kill switch, and back"),
        ),
    ),
    (
        "Scheduled checks",
        (
            ("start FILE", "have its rounds asked at their times; `rollout check FILE` asks them now"),
            ("schedule list, show, stop", "how they were answered, and when they are due; end them"),
        ),
    ),
    (
        "Who may speak to a controller",
        (
            ("token create, revoke", "tokens, each with a role"),
            ("token list, log", "those there are; who made and revoked them, and who was refused"),
        ),
    ),
)

EPILOG = """\
RUN is a run's name, the beginning of one, or the name of a plan (its newest run).
Commands speak to --server URL or ROLLOUT_SERVER (token in ROLLOUT_TOKEN), else to your own controller on this machine;
with --context NAME, to the API server of a cluster alone, whose StagedRollouts they read and command.
Without one, `start` runs a controller itself, and what only looks reads the store (ROLLOUT_STORE).

Exit codes: 0 promoted or done, 1 error, 2 invalid plan or usage, 3 rolled back, 4 stopped, 5 rollback failed.
`rollout COMMAND --help` says more of each.
"""


def main_help() -> str:
    lines = [
        "Usage: rollout COMMAND ...",
        "",
        "Takes a change that is spread over several systems from 0 % to 100 %, one gate at a time, and brings it",
        "back by itself when the evidence turns bad.",
    ]
    for title, commands in GROUPS:
        lines += ["", f"{title}:"]
        lines += [f"  {name:<26}{what}" for name, what in commands]
    return "\n".join([*lines, "", EPILOG])
