"""Before a run that has ended is taken back: what would come back, what would not, and what somebody changed since."""

from collections.abc import Iterator
from typing import Any

from orchestrator.cli.client import Client
from orchestrator.cli.output import clock, duration, printable
from orchestrator.errors import RolloutError

Json = dict[str, Any]


def told(client: Client, run: str, *, with_schema: bool) -> list[str] | None:
    """Lines for people; None of a run that has not ended, or whose rollback is refused: that says why by itself."""
    status = client.status(run)
    if status["phase"] != "ended":
        return None
    try:
        offers = client.offers(str(status["run"]))["commands"]
    except RolloutError:  # an older controller does not know the question
        return None
    offer = next((one for one in offers if _is_meant(one, with_schema)), None)
    if offer is None or offer["refused"] is not None:
        return None
    return list(_lines(client, status, offer))


def _is_meant(offer: Json, with_schema: bool) -> bool:
    return (offer["command"], bool(offer.get("with_schema"))) == ("rollback", with_schema)


def _lines(client: Client, status: Json, offer: Json) -> Iterator[str]:
    yield f"{printable(status['run'])}: {printable(status['outcome']).replace('_', ' ')}, ended {_ago(status)}"
    yield from _listed("comes back, in a run of its own", offer["returns"])
    yield from _listed("does not come back", offer["stays"])
    yield from _listed("was changed since; of two values a flag takes the safer one", list(_drifted(client, status)))
    yield "Workloads and the rest are looked at when it begins: what somebody changed is left, listed and asked about."


def _ago(status: Json) -> str:
    import time

    from orchestrator.cli.picture import seconds_of

    ended = status.get("ended")
    return f"{clock(ended)} UTC ({duration(time.time() - seconds_of(ended))} ago)" if ended else "-"


def _listed(what: str, found: list[str]) -> Iterator[str]:
    if found:
        yield f"  {what}:"
        yield from (f"    {printable(one)}" for one in found)


def _drifted(client: Client, status: Json) -> Iterator[str]:
    """Flags that stand elsewhere than where the run left them."""
    left = status.get("percentages") or {}
    for flag in client.flags(str(status["environment"])):
        share = float(flag["percentage"]) if flag["state"] == "enabled" else 0.0
        was = left.get(flag["key"])
        if was is not None and was != share:
            by = f", by {flag['by']}" if flag.get("by") else ""
            yield f"flag {flag['key']} stands at {share:g} %, and was left at {was:g} %{by}"
        if flag["key"] in left and flag.get("run") not in (None, status["run"]):
            yield f"flag {flag['key']} is moved by {flag['run']} now, which has to end first"
