"""`rollout token ...`: who may speak to the controller, and as what."""

from argparse import Namespace
from datetime import UTC, datetime, timedelta

from orchestrator.cli import ask
from orchestrator.cli.client import Json
from orchestrator.cli.output import clock, note, printable, show, table
from orchestrator.cli.sources import open_client
from orchestrator.errors import UsageError

NEVER = "never"


def usage(_arguments: Namespace) -> int:
    raise UsageError("`rollout token` needs one of create, list, revoke, block, log")


def create(arguments: Namespace) -> int:
    expires = expiry(arguments.expires, datetime.now(UTC))
    wanted: Json = {"name": arguments.name, "role": arguments.role, "groups": arguments.groups}
    if expires is not None:
        wanted["expires"] = expires.isoformat()
    if arguments.environment is not None:
        wanted["environment"] = arguments.environment
    made = open_client(arguments.server).create_token(wanted)
    until = f"until {clock(made['expires'])} UTC" if made["expires"] else "until it is revoked"
    note(f"token {made['id']} of {printable(made['name'])}, {made['role']}, {until}; it is shown this once:")
    print(made["secret"])
    return 0


def list_tokens(arguments: Namespace) -> int:
    show(open_client(arguments.server).tokens(), arguments.output, _as_table)
    return 0


def revoke(arguments: Namespace) -> int:
    client = open_client(arguments.server)
    reason = ask.reason(arguments, f"revoke {arguments.token}")
    show(client.revoke_token(arguments.token, reason), arguments.output, _revoked)
    return 0


def block(arguments: Namespace) -> int:
    if (arguments.subject is None) == (arguments.jti is None):
        raise UsageError("`rollout token block` needs a SUBJECT, or --jti ID: one of the two")
    expires = expiry(arguments.expires, datetime.now(UTC))
    client = open_client(arguments.server)
    whom = arguments.subject or arguments.jti
    wanted: Json = {"reason": ask.reason(arguments, f"block {whom}")}
    wanted["subject" if arguments.subject is not None else "token_id"] = whom
    if expires is not None:
        wanted["expires"] = expires.isoformat()
    show(client.block(wanted), arguments.output, _blocked)
    return 0


def log(arguments: Namespace) -> int:
    show(open_client(arguments.server).audit(arguments.limit), arguments.output, _log)
    return 0


def expiry(text: str, now: datetime) -> datetime | None:
    """None for *never*. Raises UsageError for what is no time, or one that is over."""
    if text == NEVER:
        return None
    found = _from_now(text, now) or _date(text)
    if found is None:
        raise UsageError(
            f"--expires {text!r}: a time from now such as 90d, a date such as 2027-01-31, or never is expected"
        )
    if found <= now:
        raise UsageError(f"--expires {text}: that is over already")
    return found


def _from_now(text: str, now: datetime) -> datetime | None:
    from stages.values import parse_duration

    try:
        return now + timedelta(seconds=float(parse_duration(text)))
    except (ValueError, OverflowError):
        return None


def _date(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    if found.tzinfo is None and len(text) > len("2027-01-31"):
        raise UsageError(f"--expires {text}: which zone? write 2027-01-31T12:00:00Z or ...+02:00")
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def _as_table(found: list[Json]) -> str:
    heads = ("id", "name", "role", "groups", "state", "created", "by", "expires", "revoked")
    return table(heads, [_row(one) for one in found], "no token was made here; those of a token file are not shown")


def _row(one: Json) -> list[str]:
    revoked = one["revoked"]
    why = f"by {revoked['by']}: {revoked['reason']}" if revoked else "-"
    times = [clock(one["created"]), one["by"], clock(one["expires"] or NEVER)]
    return [one["id"], one["name"], one["role"], ", ".join(one["groups"]) or "-", one["state"], *times, why]


def _revoked(one: Json) -> str:
    return f"token {one['id']} of {printable(one['name'])} is revoked: here at once, everywhere within two seconds"


def _blocked(one: Json) -> str:
    return (
        f"the provider's {printable(one['name'])} is blocked: here at once, everywhere within two seconds; "
        f"`rollout token revoke {one['id']}` ends that"
    )


def _log(found: list[Json]) -> str:
    rows = [[clock(one["time"]), one["what"], one["by"], _words(one["detail"])] for one in found]
    return table(("time", "what", "by", "detail"), rows, "nothing has happened yet")


def _words(detail: Json) -> str:
    return " ".join(f"{name}={value}" for name, value in sorted(detail.items()) if value not in (None, ""))
