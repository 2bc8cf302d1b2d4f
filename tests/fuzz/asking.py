"""Made-up requests to every route of a real server, after its own description and against it, by schemathesis.

Its two endless streams are left out: what they refuse is in the table of hostile requests.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import response_schema_conformance

from tests.hostile.served import SECRETS, Served

OFTEN = "1000000"  # requests a second of one token: what is tried are the routes, and not how often they may be asked
STREAMS = ("/ofrep/v1/events", "/flags/v1/stream")
CALM = settings(
    database=None,
    deadline=None,
    phases=(Phase.generate,),
    suppress_health_check=list(HealthCheck),
)


def cases(here: Served) -> st.SearchStrategy[Any]:
    """One request to one of the routes, as its description has it or against it."""
    schema = schemathesis.openapi.from_url(here.url + "/openapi.json")
    schema.config.update(base_url=here.url)
    found = [one.ok() for one in schema.get_all_operations() if isinstance(one, Ok)]
    operations = [one for one in found if one.path not in STREAMS]
    modes = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
    return st.one_of(*(one.as_strategy(generation_mode=mode) for one in operations for mode in modes))


def ask(here: Served, times: int, first: int, strategy: st.SearchStrategy[Any]) -> Counter[tuple[str, int]]:
    """How often which route answered what. Raises AssertionError for a status of 5xx, or an answer that is not as
    described."""
    answers: Counter[tuple[str, int]] = Counter()
    drawn = random.Random(first)

    @seed(first)
    @settings(CALM, max_examples=times)
    @given(strategy)
    def one(case: Any) -> None:
        role = drawn.choice((None, *SECRETS))
        headers = {"Accept": "application/json"}
        if role is not None:
            headers["Authorization"] = f"Bearer {SECRETS[role]}"
        answer = case.call(headers=headers)
        answers[f"{case.method} {case.operation.path}", answer.status_code] += 1
        case.validate_response(answer, checks=[not_a_server_error, response_schema_conformance])

    one()
    return answers
