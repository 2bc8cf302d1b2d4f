"""What PostgreSQL's errors mean to somebody who runs a rollout."""

import psycopg

from orchestrator.errors import StoreError
from orchestrator.journal.postgresql.address import Address

_AGAIN = ("40001", "40P01")  # serialization, deadlock: nothing was written, and the same may work now


def is_lost(problem: psycopg.Error) -> bool:
    """Whether the connection went, and not only what was asked on it."""
    state = problem.sqlstate or ""
    if not state:
        return isinstance(problem, psycopg.OperationalError | psycopg.InterfaceError)
    return state[:2] == "08" or state in ("57P01", "57P02", "57P03", "57P05", "25P03")


def is_worth_another_try(problem: psycopg.Error) -> bool:
    return is_lost(problem) or problem.sqlstate in _AGAIN


def as_store_error(problem: psycopg.Error, address: Address) -> StoreError:
    return StoreError(f"The store {address.name} {_sentence(problem, address)}")


def words(problem: psycopg.Error) -> str:
    """The server's message with its detail and hint, or the driver's, on one line."""
    told = problem.diag.message_primary
    parts = [told, problem.diag.message_detail, problem.diag.message_hint] if told else [str(problem)]
    return "; ".join(" ".join(part.split()) for part in parts if part)


def _sentence(problem: psycopg.Error, address: Address) -> str:
    told = words(problem)
    state = problem.sqlstate or _state_from(told)
    match state:
        case "28P01" | "28000":
            return f"refuses this user ({told}): put user and password right."
        case "3D000":
            return f"is not there ({told}): create the database, or name another one."
        case "42501":
            return f"can't be used by this role ({told}): {remedy(address)}"
        case "25006":
            return (
                "only takes readers, as a standby does: name the primary, or all hosts with "
                "target_session_attrs=read-write."
            )
        case "3F000" | "42P01" | "42703":
            return (
                f"is not whole ({told}): restore the schema {address.schema} from a backup, or drop what is left of it."
            )
        case "57014" | "55P03":
            return "is kept busy by others, nothing was written: look for long transactions in pg_stat_activity."
        case "53100":
            return f"is out of room ({told}), nothing was written: free some space, the controller goes on by itself."
        case _ if state[:2] == "53":
            return f"has no room for this controller ({told}): raise its limits, the controller then goes on by itself."
        case _ if is_lost(problem):
            return f"can't be reached ({told}): the controller goes on by itself when it is back."
        case _:
            return f"failed: {told}."


def _state_from(told: str) -> str:
    """Of an error in connecting, of which the driver gives the words alone."""
    states = {"authentication failed": "28P01", "no password supplied": "28P01"}
    if 'database "' in told and "does not exist" in told:
        return "3D000"
    return next((state for words, state in states.items() if words in told), "")


def remedy(address: Address) -> str:
    return (
        "the schema and all that is in it must belong to it. Let an administrator run, in that database: "
        f"CREATE SCHEMA {address.schema} AUTHORIZATION the_role; or, if it is there, ALTER SCHEMA {address.schema} "
        "OWNER TO the_role; and give the tables in it to that role too."
    )
