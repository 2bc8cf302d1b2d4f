"""The real flagd provider in process, against the real command; flags written to a file and taken over from one."""

import socket
from collections.abc import Iterator

import pytest
from openfeature.contrib.provider.flagd import FlagdProvider
from openfeature.contrib.provider.flagd.config import ResolverType
from openfeature.evaluation_context import EvaluationContext

from tests.acceptance.worlds.host import Host
from tests.support.process import wait_until

pytestmark = pytest.mark.acceptance
REASON = ("--reason", "because of the test")
SOMEBODY = EvaluationContext("somebody")


@pytest.fixture
def flagd_port(host: Host, free_port: int) -> Iterator[int]:
    """Of a controller without runs."""
    with host.rollout.start("serve", "--listen", "127.0.0.1:0", "--flagd-listen", f"127.0.0.1:{free_port}"):
        wait_until(host.controller, what="a controller")
        yield free_port


def test_a_provider_of_flagd_follows_every_change_and_the_kill_switch(host: Host, flagd_port: int) -> None:
    host.ok("flag", "set", "new", "--percentage", "100", "--state", "enabled", *REASON)
    provider = FlagdProvider(host="127.0.0.1", port=flagd_port, resolver_type=ResolverType.IN_PROCESS)

    def is_on() -> bool:
        return provider.resolve_boolean_details("new", False, SOMEBODY).value

    try:
        provider.initialize(EvaluationContext())
        assert is_on()
        host.ok("flag", "set", "new", "--percentage", "0", *REASON)
        wait_until(lambda: not is_on(), what="the lowered percentage")
        host.ok("flag", "set", "new", "--percentage", "100", *REASON)
        wait_until(is_on, what="the raised percentage")
        host.ok("flag", "disable-all", *REASON)
        wait_until(lambda: not is_on(), what="the kill switch")
    finally:
        provider.shutdown()


def test_what_is_exported_is_can_be_taken_over_again_and_elsewhere(host: Host, flagd_port: int) -> None:
    words = ("--percentage", "12.5", "--state", "enabled", "--target", "team=a,b", "--parameter", "limit=3")
    host.ok("flag", "set", "new", *words, *REASON)
    file = host.write("flags.json", host.ok("flag", "export").output)
    said = host.ok("flag", "--environment", "staging", "import", file, *REASON).output
    assert "1 flags written in staging" in said
    assert host.json("flag", "--environment", "staging", "get", "new")["percentage"] == 12.5
    host.ok("flag", "set", "new", "--percentage", "0", *REASON)
    assert "1 flags written in production, 0 were the same already" in host.ok("flag", "import", file, *REASON).output
    flag = host.json("flag", "get", "new")
    assert (flag["percentage"], flag["targets"], flag["parameters"]) == (12.5, {"team": ["a", "b"]}, {"limit": 3})


def test_an_address_that_is_in_use_is_a_plain_refusal(host: Host) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = host.refused("serve", "--listen", "127.0.0.1:0", "--flagd-listen", f"127.0.0.1:{port}")
    assert f"can't serve flagd on 127.0.0.1:{port}" in said
    assert "choose another with --flagd-listen HOST:PORT" in said
