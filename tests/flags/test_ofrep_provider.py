"""The real OpenFeature provider against these answers, over HTTP on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import unquote

import pytest
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import FlagNotFoundError, TargetingKeyMissingError
from openfeature.flag_evaluation import Reason

from flags import FlagDocument, Snapshot
from flags.ofrep import evaluate_single

PREFIX = "/ofrep/v1/evaluate/flags/"
SNAPSHOT = Snapshot(
    [
        FlagDocument("new-api", percentage=30, parameters={"rate": 5, "strict": True}),
        FlagDocument("team/share", variants={"on": 10.0, "off": 0.0}, percentage=100),
        FlagDocument("size", variants={"on": 10, "off": 0}),
        FlagDocument("color", variants={"on": "blue", "off": ""}),
        FlagDocument("theme", variants={"on": {"dark": True}, "off": {}}),
    ]
)
USER_1, USER_2 = EvaluationContext("user-1"), EvaluationContext("user-2")


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        answer = evaluate_single(SNAPSHOT, unquote(self.path.removeprefix(PREFIX)), body)
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.content)))
        self.end_headers()
        self.wfile.write(answer.content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name is the base class's
        pass


@pytest.fixture
def provider() -> Iterator[OFREPProvider]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    provider = OFREPProvider(f"http://127.0.0.1:{server.server_port}")
    try:
        yield provider
    finally:
        provider.session.close()
        server.shutdown()
        server.server_close()
        thread.join()


def test_the_provider_reads_values_of_every_type(provider: OFREPProvider) -> None:
    assert provider.resolve_boolean_details("new-api", False, USER_2).value is True
    assert provider.resolve_boolean_details("new-api", True, USER_1).value is False
    assert provider.resolve_float_details("team/share", 1.5).value == 10.0
    assert provider.resolve_integer_details("size", 3).value == 0
    assert provider.resolve_string_details("color", "red").value == ""
    assert provider.resolve_object_details("theme", {"x": 1}).value == {}


def test_the_provider_reads_reason_variant_and_parameters(provider: OFREPProvider) -> None:
    details = provider.resolve_boolean_details("new-api", False, USER_2)
    assert (details.reason, details.variant) == (Reason.SPLIT, "on")
    assert details.flag_metadata == {"rate": 5, "strict": True}
    parameters = provider.resolve_object_details("new-api.parameters", {}, USER_2)
    assert parameters.value == {"rate": 5, "strict": True}


def test_the_provider_understands_the_refusals(provider: OFREPProvider) -> None:
    with pytest.raises(TargetingKeyMissingError, match="targetingKey"):
        provider.resolve_boolean_details("new-api", True)
    with pytest.raises(FlagNotFoundError, match="there is no flag 'nowhere'"):
        provider.resolve_boolean_details("nowhere", True, USER_1)
