"""``call_http``: one request that changes something.

What became of it is told by whether it can have arrived. One that never left, or that the server put off (429), changed
nothing. A clean 4xx is a refusal. Everything else that is not an expected status (no answer, 5xx) may have been carried
out: it is unknown, or tried again if the plan calls the request idempotent. The effect's id travels along as
``Idempotency-Key``, so that a server that keeps such keys carries it out once in any case; and the epoch of the
controller's hold on the run as ``X-Rollout-Epoch``: a server that remembers the highest of a run can refuse what is
sent by a controller that has lost it.
"""

from orchestrator.adapters.http_client import HttpClient, NoAnswer, Reply, Unreachable, Unreadable, server_of
from orchestrator.core.effect import Effect, EffectState, Outcome
from orchestrator.errors import Permanent, RolloutError
from orchestrator.failpoints import Point, reach
from orchestrator.ports import Scene, Seen
from stages.effects import AnyObservation, CallHttp

EXCERPT_CHARACTERS = 500
PUT_OFF = (408, 425, 429)  # the server has not begun


class HttpPerformer:
    def __init__(self, client: HttpClient) -> None:
        self._client = client

    async def perform(self, effect: Effect, scene: Scene, resumed: bool) -> Outcome:
        operation = effect.operation
        assert isinstance(operation, CallHttp), f"{operation.op} is not for the HTTP adapter"
        if resumed and not operation.idempotent:
            detail = (
                f"{_named(operation)} may have been sent before the controller was interrupted; "
                "it is not called idempotent, so it is not sent again"
            )
            return Outcome(state=EffectState.UNKNOWN, detail=detail)
        outcome = await self._send(operation, effect, scene)
        return outcome.model_copy(update={"detail": self._client.secrets.redactor.redact(outcome.detail)})

    async def _send(self, operation: CallHttp, effect: Effect, scene: Scene) -> Outcome:
        headers = {"Idempotency-Key": effect.id, "X-Rollout-Run": scene.run, "X-Rollout-Epoch": str(scene.epoch)}
        try:
            reach(Point.HTTP_SENDING)
            reply = await self._client.request(operation.request, headers=headers, directory=scene.directory)
            reach(Point.HTTP_ANSWERED)
        except Unreachable as problem:
            return Outcome(state=EffectState.TEMPORARY, detail=f"nothing was sent: {problem}")
        except NoAnswer as problem:
            return _maybe(operation, str(problem), again=EffectState.TEMPORARY)
        except Unreadable as problem:
            return _maybe(operation, str(problem), again=EffectState.REFUSED)
        except RolloutError as problem:
            return Outcome(state=EffectState.REFUSED, detail=str(problem))
        return _judge(operation, effect, reply)

    async def observe(self, observation: AnyObservation, scene: Scene) -> Seen:
        raise Permanent(f"an HTTP call has nothing that can be seen ({observation.op} in {scene.environment})")


def _judge(operation: CallHttp, effect: Effect, reply: Reply) -> Outcome:
    detail = f"{_named(operation)} was answered with {reply.status}{excerpt(reply)}"
    if reply.status in operation.request.statuses:
        return Outcome(state=EffectState.DONE, detail=detail, observed={"ran": effect.id})
    if reply.status in PUT_OFF:
        return Outcome(state=EffectState.TEMPORARY, detail=detail, retry_after_seconds=reply.retry_after_seconds)
    if reply.status >= 500:
        return _maybe(operation, detail, again=EffectState.TEMPORARY, retry_after_seconds=reply.retry_after_seconds)
    if reply.status < 300:
        return _maybe(operation, f"{detail}, which is not the expected status", again=EffectState.REFUSED)
    return Outcome(state=EffectState.REFUSED, detail=detail)


def _maybe(operation: CallHttp, detail: str, again: EffectState, retry_after_seconds: float | None = None) -> Outcome:
    """It may have been carried out: unknown, unless the plan says that repeating it does no harm."""
    if operation.idempotent:
        return Outcome(state=again, detail=detail, retry_after_seconds=retry_after_seconds)
    return Outcome(state=EffectState.UNKNOWN, detail=f"{detail}; it may have been carried out")


def _named(operation: CallHttp) -> str:
    return f"{operation.request.method} to {server_of(operation.request.url)}"


def excerpt(reply: Reply) -> str:
    """What a server said besides the status, on one line."""
    said = reply.note or " ".join(reply.text[: EXCERPT_CHARACTERS * 2].split())[:EXCERPT_CHARACTERS]
    return f": {said}" if said else ""
