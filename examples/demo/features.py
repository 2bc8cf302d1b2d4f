"""Flags as the service reads them: through the OpenFeature SDK and its remote evaluation (OFREP) provider.

Nothing here is the product's own code. An application in any language reads its flags the same way.
"""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from threading import Lock

from openfeature import api
from openfeature.client import OpenFeatureClient
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import ErrorCode

MAX_AGE_SECONDS = 1.0
PATIENCE_SECONDS = 0.1  # no user waits longer than that for a flag
RETRY_AFTER_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Feature:
    """One flag for one user (or team): on or off, and the parameters that go with it."""

    on: bool = False
    parameters: Mapping[str, object] = field(default_factory=dict)

    @property
    def variant(self) -> str:
        return "on" if self.on else "off"


OFF = Feature()


def connect(url: str) -> OpenFeatureClient:
    """A client whose flags come from the controller at `url`, whether it runs already or not."""
    logging.getLogger("openfeature").setLevel(logging.CRITICAL)  # a controller that is away is expected, and handled
    provider = OFREPProvider(url, timeout=PATIENCE_SECONDS)
    provider.session.trust_env = False  # loopback needs no proxy
    api.set_provider(provider)
    return api.get_client()


class Features:
    """Remembers each answer for a second. While the controller is away or slow its last one stays; before that: off."""

    def __init__(self, client: OpenFeatureClient) -> None:
        self._client = client
        self._answers: dict[tuple[str, str], tuple[float, Feature]] = {}
        self._ask_again_at = 0.0
        self._lock = Lock()

    def read(self, flag: str, key: str) -> Feature:
        """The flag for the targeting key `key`."""
        now = time.monotonic()
        asked_at, known = self._answers.get((flag, key), (-MAX_AGE_SECONDS, OFF))
        if now - asked_at < MAX_AGE_SECONDS or now < self._ask_again_at:
            return known
        answer = self._ask(flag, key)
        if answer is None:
            self._ask_again_at = now + RETRY_AFTER_SECONDS
            return known
        with self._lock:
            self._answers[flag, key] = (now, answer)
        return answer

    def _ask(self, flag: str, key: str) -> Feature | None:
        details = self._client.get_boolean_details(flag, False, EvaluationContext(key))
        if details.error_code is ErrorCode.FLAG_NOT_FOUND:
            return OFF
        if details.error_code is not None:
            return None
        return Feature(details.value, details.flag_metadata)
