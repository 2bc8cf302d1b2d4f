"""How requests are read: by uvicorn's parser in C, with the bound that it lacks.

h11 refuses a head beyond 64 KiB, the C parser takes one of any size, and trailers too. So what belongs to no body is
counted for each request: line, headers, trailers, and the framing of chunks, for which a body earns as much again.
"""

from __future__ import annotations

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from orchestrator.api.limits import KIB

HEAD_BYTES = 64 * KIB


class BoundedProtocol(HttpToolsProtocol):
    _body_bytes = 0
    _other_bytes = 0
    _has_completed = False

    def data_received(self, data: bytes) -> None:
        body_before, self._has_completed = self._body_bytes, False
        super().data_received(data)
        if self._has_completed:  # requests in a row: the counting begins anew
            return
        self._other_bytes += len(data) - (self._body_bytes - body_before)
        if self._other_bytes > HEAD_BYTES + self._body_bytes and not self.transport.is_closing():
            self.send_400_response("The head of the request is too large.")

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._body_bytes = self._other_bytes = 0
        self._has_completed = True
        super().on_message_complete()
