"""The names under which exposure is counted, and the selectors with which a gate reads them back.

Applications write these series (`flags.exposure`), gates read them; both take the names from here. Nothing outside the
standard library is needed.

A key's *band* is where it stands on the flag, whatever the flag says at the moment. The bands end where rollouts stop,
so at such a percentage the keys that have the flag are whole bands, and can be followed back to before they had it.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

EXPOSURES: Final = "rollout_exposures_total"
SECONDS: Final = "rollout_exposure_seconds"
EVALUATIONS: Final = "rollout_evaluations_total"

FLAG: Final = "flag"
VARIANT: Final = "variant"
ARM: Final = "arm"
BAND: Final = "band"
OUTCOME: Final = "outcome"
REASON: Final = "reason"

EXPOSURES_LABELS: Final = (FLAG, VARIANT, ARM, BAND, OUTCOME)
SECONDS_LABELS: Final = (FLAG, VARIANT, ARM)
EVALUATIONS_LABELS: Final = (FLAG, VARIANT, REASON)

CANARY: Final = "canary"
"""Keys that were drawn and have the flag."""
CONTROL: Final = "control"
"""Keys that were drawn and do not have it."""
TARGET: Final = "target"
"""Who has the flag by targeting: in neither arm, for these were chosen and not drawn."""
NO_ARM: Final = "none"
"""Without a targeting key nobody is drawn."""

OK: Final = "ok"
ERROR: Final = "error"

REASONS: Final = (
    "CACHED",
    "DEFAULT",
    "DISABLED",
    "ERROR",
    "SPLIT",
    "STALE",
    "STATIC",
    "TARGETING_MATCH",
    "UNKNOWN",
)
"""OpenFeature's standard reasons; any other is counted under `other`."""

OTHER: Final = "other"
"""The flag under which all are counted that are not known or are too many, and the variant likewise."""

BAND_ENDS: Final = (0.1, 1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0)
"""Upper ends of the bands in per cent; each begins where the one before it ends."""
BANDS: Final = ("0.1", "1", "2", "5", "10", "25", "50", "100")
"""The bands as the label has them: by their upper ends."""
NO_BAND: Final = "none"


@dataclass(frozen=True, slots=True)
class Selectors:
    """Instant vector selectors of one flag's series, each to be summed. `bad` are errors, `total` all outcomes.

    `cohort` and `late` are for whole bands below the percentage only; None where there is none (below 0.1 %).
    """

    canary_bad: str
    canary_total: str
    control_bad: str
    control_total: str
    canary_seconds: str
    """A classic histogram, without its `_bucket`; likewise the control's."""
    control_seconds: str
    drawn_bad: str
    drawn_total: str
    """Both arms."""
    cohort_bad: str | None
    cohort_total: str | None
    """The keys below the percentage, in whichever arm they are: over the time before a step, what share they had."""
    late: str | None
    """Keys below the percentage that still do not have the flag: rises only while the change has not arrived."""


def bands_below(percentage: float) -> tuple[str, ...]:
    """The bands that lie wholly below the percentage, lowest first."""
    return tuple(band for band, end in zip(BANDS, BAND_ENDS, strict=True) if end <= percentage)


def selectors(flag: str, percentage: float) -> Selectors:
    """ValueError for the flag `other`, which cannot be told from those that have no series of their own."""
    if flag == OTHER:
        raise ValueError(
            f"a flag with the key {OTHER!r} has no series of its own: give it another key to compare its arms"
        )
    below, drawn = bands_below(percentage), (CANARY, CONTROL)
    return Selectors(
        canary_bad=selector(flag, (CANARY,), outcome=ERROR),
        canary_total=selector(flag, (CANARY,)),
        control_bad=selector(flag, (CONTROL,), outcome=ERROR),
        control_total=selector(flag, (CONTROL,)),
        canary_seconds=selector(flag, (CANARY,), metric=SECONDS),
        control_seconds=selector(flag, (CONTROL,), metric=SECONDS),
        drawn_bad=selector(flag, drawn, outcome=ERROR),
        drawn_total=selector(flag, drawn),
        cohort_bad=selector(flag, drawn, below, outcome=ERROR) if below else None,
        cohort_total=selector(flag, drawn, below) if below else None,
        late=selector(flag, (CONTROL,), below) if below else None,
    )


def selector(
    flag: str,
    arms: Collection[str],
    bands: Collection[str] = (),
    *,
    outcome: str | None = None,
    metric: str = EXPOSURES,
) -> str:
    """`metric{flag="...", ...}` of these arms; without `bands` or `outcome` of all."""
    matchers = [_equals(FLAG, flag), _one_of(ARM, arms)]
    if bands:
        matchers.append(_one_of(BAND, bands))
    if outcome is not None:
        matchers.append(_equals(OUTCOME, outcome))
    return f"{metric}{{{','.join(matchers)}}}"


def _equals(label: str, value: str) -> str:
    return f"{label}={_quoted(value)}"


def _one_of(label: str, values: Collection[str]) -> str:
    if len(values) == 1:
        return _equals(label, *values)
    return f"{label}=~{_quoted('|'.join(value.replace('.', '[.]') for value in values))}"


def _quoted(text: str) -> str:
    """PromQL writes strings as Go does, which JSON's are a part of once nothing but controls and quotes is escaped."""
    return json.dumps(text, ensure_ascii=False)
