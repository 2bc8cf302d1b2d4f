"""The other controllers of a store, over HTTP: a request is passed on as it came, with a short deadline."""

from orchestrator.adapters.http_client import HttpClient
from orchestrator.errors import Permanent, Temporary
from orchestrator.ports import Member, Passed, PassedAnswer
from stages.checks import HttpRequest

ANSWER_SECONDS = 20.0
AGAIN_SECONDS = 2.0
MOST_BYTES = 16 * 1024 * 1024


class HttpPeers:
    def __init__(self, http: HttpClient) -> None:
        self._http = http

    async def ask(self, member: Member, passed: Passed) -> PassedAnswer:
        request = HttpRequest.model_validate(
            {"method": passed.method, "url": member.address.rstrip("/") + passed.path, "timeout": ANSWER_SECONDS}
        )
        try:
            reply = await self._http.request(request, headers=passed.headers, content=passed.body, max_bytes=MOST_BYTES)
        except (Temporary, Permanent) as error:
            raise Temporary(
                f"the controller {member.name} at {member.address}, which acts for this run, can't be asked ({error}); "
                "when it is gone another one takes the run over within seconds",
                AGAIN_SECONDS,
            ) from None
        return PassedAnswer(reply.status, reply.headers, reply.body)
