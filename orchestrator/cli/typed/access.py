"""Tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.cli.typed.parts import Parser, command, with_output, with_reason, with_server

if TYPE_CHECKING:
    from orchestrator.cli.typed.parts import Commands


def add(commands: Commands) -> None:
    token = command(commands, "token", "tokens.usage", "Say who may speak to the controller, and as what.")
    actions = token.add_subparsers(dest="action", metavar="ACTION", parser_class=Parser, prog="rollout token")
    create = command(
        actions, "create", "tokens.create", "Make a token, and print it as the last line: nobody can be told again.",
        """
        Its name goes into the journal with whatever is done by it. Roles include those before them: viewer reads,
        operator starts and commands runs and sets flags, approver advances and lifts the kill switch, admin makes
        tokens. Only an admin may.
        """,
    )  # fmt: skip
    create.add_argument("name", metavar="NAME")
    create.add_argument("--role", choices=("viewer", "operator", "approver", "admin"), required=True)
    create.add_argument(
        "--group", dest="groups", action="append", default=[], metavar="GROUP",
        help="for approvals (may be repeated)",
    )  # fmt: skip
    create.add_argument(
        "--expires", metavar="WHEN", default="90d",
        help="a time from now (90d, which is usual), a date in UTC (2027-01-31), an ISO time with its zone, or never",
    )  # fmt: skip
    create.add_argument("--environment", metavar="NAME", help="whose flags an application reads with it")
    listed = command(actions, "list", "tokens.list_tokens", "Show the tokens that were made, newest first.")
    revoke = command(
        actions, "revoke", "tokens.revoke", "Revoke a token: at once here, within two seconds on every controller."
    )
    revoke.add_argument("token", metavar="NAME|ID")
    with_reason(revoke, required=True)
    block = command(
        actions, "block", "tokens.block", "Take away what the OpenID Connect provider vouches for.",
        """
        Of a subject, all tokens and sessions; or one token, by its `jti`. At once here, within two seconds on every
        controller. It is listed among the tokens as `blocked`, and `rollout token revoke ID` ends it.
        """,
    )  # fmt: skip
    block.add_argument("subject", metavar="SUBJECT", nargs="?", help="`sub` of the provider's tokens")
    block.add_argument("--jti", metavar="ID", help="of one token, instead")
    block.add_argument("--expires", metavar="WHEN", default="never", help="as of `create` (never)")
    with_reason(block, required=True)
    log = command(actions, "log", "tokens.log", "Show who made and revoked tokens, and who was refused what.")
    log.add_argument("--limit", metavar="N", type=int, default=100, help="how many, newest first (100)")
    for parser in (create, listed, revoke, block, log):
        with_server(parser)
    for parser in (listed, revoke, block, log):
        with_output(parser)
