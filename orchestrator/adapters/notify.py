"""Messages to people, sent to a webhook as JSON. The key lets a receiver drop what is sent a second time; the head says
what the journal was then, so that it can't be written anew behind the back of whoever keeps the message.
"""

from datetime import UTC, datetime

from orchestrator.adapters.http import PUT_OFF, excerpt
from orchestrator.adapters.http_client import HttpClient, Reply, server_of
from orchestrator.core.effect import Notice
from orchestrator.errors import Permanent, Temporary
from orchestrator.ports import Clock, Scene
from orchestrator.signing import Signer
from stages.checks import HttpRequest
from stages.notify import Channel

LIMIT_SECONDS = 5.0


class WebhookMessenger:
    """Signs each head where there is a *signer*."""

    def __init__(self, client: HttpClient, clock: Clock, signer: Signer | None = None) -> None:
        self._client = client
        self._clock = clock
        self._signer = signer

    async def deliver(self, notice: Notice, channel: Channel, scene: Scene) -> None:
        if channel.webhook is None:
            service = ", ".join(channel.model_fields_set)
            raise Permanent(f"the channel {notice.channel} is of a kind not supported yet ({service}); use webhook")
        key = f"{scene.run}/{notice.key}"
        request = HttpRequest(
            url=self._client.secrets.resolve(channel.webhook.url, scene.directory),
            method="POST",
            headers=channel.webhook.headers,
            json_=self._body(notice, scene),
            timeout=LIMIT_SECONDS,
        )
        reply = await self._client.request(request, headers={"Idempotency-Key": key}, directory=scene.directory)
        if not 200 <= reply.status < 300:
            raise self._refusal(reply, notice.channel, server_of(request.url))

    def _body(self, notice: Notice, scene: Scene) -> dict[str, str]:
        """``at`` is when it is sent, RFC 3339 in UTC."""
        redact = self._client.secrets.redactor.redact
        signed = {"signature": self._signer.sign(scene.run, scene.head)} if self._signer is not None else {}
        return {
            "title": redact(notice.title),
            "text": redact(notice.text),
            "severity": notice.severity.value,
            "run": scene.run,
            "key": notice.key,
            "head": scene.head,
            **signed,
            "at": datetime.fromtimestamp(self._clock.now(), UTC).isoformat(timespec="milliseconds"),
        }

    def _refusal(self, reply: Reply, channel: str, server: str) -> Temporary | Permanent:
        said = self._client.secrets.redactor.redact(excerpt(reply))
        detail = f"the channel {channel} at {server} answered with {reply.status}{said}"
        if reply.status >= 500 or reply.status in PUT_OFF:
            return Temporary(detail, reply.retry_after_seconds)
        return Permanent(detail)
