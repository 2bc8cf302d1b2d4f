"""Exposure for applications that ask their flags through OpenFeature, whatever provider is behind it.

exposure = Exposure()
api.add_hooks([ExposureHook(exposure)])                       # counts evaluations; their outcome is not known here
flags = OpenFeatureExposure(exposure, api.get_client())
with flags.exposure("batchOptimization", EvaluationContext("user-1")) as on:      # counts outcome and latency
    embed_all(documents) if on else embed_each(documents)
"""

from __future__ import annotations

from openfeature.client import OpenFeatureClient
from openfeature.evaluation_context import EvaluationContext
from openfeature.flag_evaluation import FlagEvaluationDetails, FlagEvaluationOptions, FlagValueType, Reason
from openfeature.hook import Hook, HookContext, HookHints

from flags.exposure import Answer, Exposure
from flags.exposure_block import Block, Expected


class ExposureHook(Hook):
    """Counts every evaluation once, by flag, variant and reason, in `rollout_evaluations_total`."""

    def __init__(self, exposure: Exposure) -> None:
        self._exposure = exposure

    def finally_after(
        self, hook_context: HookContext, details: FlagEvaluationDetails[FlagValueType], hints: HookHints
    ) -> None:
        reason = Reason.ERROR if details.error_code else details.reason or Reason.UNKNOWN
        self._exposure.evaluated(hook_context.flag_key, details.variant, str(reason))


class OpenFeatureExposure:
    """Blocks behind boolean flags of an OpenFeature client.

    `banded` is whether the provider draws as flagd and this package do; with any other a key's band does not tell
    whether it is below a percentage, and is not recorded. `targeted` is whether the reason TARGETING_MATCH is given for
    targets alone; flagd's own providers give it for a percentage too, so with these nobody can be told to be targeted.
    """

    def __init__(
        self, exposure: Exposure, client: OpenFeatureClient, *, banded: bool = True, targeted: bool = True
    ) -> None:
        self._exposure = exposure
        self._client = client
        self._banded = banded
        self._targeted = targeted

    def exposure(
        self,
        key: str,
        context: EvaluationContext | None = None,
        default: bool = False,
        *,
        expected: Expected = (),
    ) -> Block:
        """Asks the provider now; as `Exposure.exposure` otherwise. A flag that could not be evaluated answers
        `default`, and its block is in neither arm."""
        asked = _Asked()
        details = self._client.get_boolean_details(key, default, context, FlagEvaluationOptions([asked]))
        return self._block(key, details, asked, expected)

    async def exposure_async(
        self,
        key: str,
        context: EvaluationContext | None = None,
        default: bool = False,
        *,
        expected: Expected = (),
    ) -> Block:
        """`with await flags.exposure_async(...) as on:` for a provider that has to wait for its answer."""
        asked = _Asked()
        details = await self._client.get_boolean_details_async(key, default, context, FlagEvaluationOptions([asked]))
        return self._block(key, details, asked, expected)

    def _block(self, key: str, details: FlagEvaluationDetails[bool], asked: _Asked, expected: Expected) -> Block:
        targeted = self._targeted and details.reason == Reason.TARGETING_MATCH
        answer = Answer(details.value, details.variant, targeted, self._banded)
        targeting_key = None if details.error_code else asked.targeting_key
        return self._exposure.answered(key, targeting_key, answer, expected=expected)


class _Asked(Hook):
    """Sees for whom one evaluation is: the client merges contexts of its own into the one that it is given."""

    targeting_key: str | None = None

    def before(self, hook_context: HookContext, hints: HookHints) -> None:
        self.targeting_key = hook_context.evaluation_context.targeting_key
