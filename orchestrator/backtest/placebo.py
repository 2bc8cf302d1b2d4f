"""How the past is split into a canary and a control, though nothing was released: series by series.

A criterion that compares two arms is asked on a past in which only one of them was there. A placebo takes the series of
the control and gives some of them to the canary. Where the arms are those of a flag, these are the bands below the
percentage: the very keys that the release will reach. Where they are told apart by labels, it draws whole targets
(pods, instances), others for each release: what one target counts is never in both arms.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from flags.exposure_names import ARM, BAND, BAND_ENDS, BANDS, CANARY, CONTROL, EXPOSURES, FLAG
from orchestrator.backtest.matching import NAME, Matchers, hold, matchers_of, matchers_of_arm, written
from stages.criteria.arms import Arms

TARGET_LABELS = ("pod", "instance", "kubernetes_pod_name", "container_id", "host", "node")
"""Labels that tell one target of scraping from another."""
USUAL_SHARE = 0.1  # of the canary where no percentage says otherwise

Labels = Mapping[str, str]


class Impossible(Exception):
    """The past can't be split; the message says why, and what would help."""


class Split(Protocol):
    def asked(self, selector: str) -> str:
        """The selector of the series in the past that may count for *selector*."""
        ...

    def placed(self, selector: str, labels: Labels) -> Labels | None:
        """The labels of such a series as they would be in a release; None if it does not count for *selector*."""
        ...

    def begin(self, selectors: Iterable[str], seen: Sequence[Labels]) -> None:
        """Told of all series that were asked for by *selectors*, before the first of them is placed. Raises
        ``Impossible``."""
        ...


class AsItWas:
    """The whole past, for criteria without a control."""

    def asked(self, selector: str) -> str:
        return selector

    def placed(self, selector: str, labels: Labels) -> Labels | None:
        return labels

    def begin(self, selectors: Iterable[str], seen: Sequence[Labels]) -> None:
        pass


def bands_for(percentage: float) -> tuple[str, ...]:
    """The lowest bands that together come nearest to *percentage*."""
    ratios = [max(end / percentage, percentage / end) if percentage > 0 else end for end in BAND_ENDS]
    return BANDS[: ratios.index(min(ratios)) + 1]


class BandSplit:
    """Keys below the percentage are the canary, as far as bands allow: *percentage* is where the highest one ends."""

    def __init__(self, percentage: float) -> None:
        self._bands = bands_for(percentage)
        self.percentage = BAND_ENDS[len(self._bands) - 1]

    def asked(self, selector: str) -> str:
        found = matchers_of(selector)
        if not self._is_exposure(found):
            return selector
        return written({one for one in found if one[0] != ARM} | {(ARM, "=~", f"{CANARY}|{CONTROL}")})

    def placed(self, selector: str, labels: Labels) -> Labels | None:
        found = matchers_of(selector)
        if not self._is_exposure(found):
            return labels
        moved = {**labels, ARM: CANARY if labels.get(BAND) in self._bands else CONTROL}
        return moved if hold((one for one in found if one[0] == ARM), moved) else None

    def begin(self, selectors: Iterable[str], seen: Sequence[Labels]) -> None:
        pass

    def _is_exposure(self, found: Matchers) -> bool:
        return (NAME, "=", EXPOSURES) in found


FLAG_ARMS = Arms(canary=f'{{{ARM}="{CANARY}"}}', control=f'{{{ARM}="{CONTROL}"}}')
"""Those of what has no bands: how long exposures took."""


def while_released(flag: str) -> str:
    """The selector of what only counts while somebody has *flag*."""
    return written({(NAME, "=", EXPOSURES), (FLAG, "=", flag), (ARM, "=", CANARY)})


class TargetSplit:
    """Of the control's targets, a *share* drawn by *seed* is the canary: one at least, and never all.

    The draw ranks targets by a hash; a target that appears later falls to one side or the other by its own.
    """

    def __init__(self, arms: Arms, share: float, seed: str) -> None:
        self._arms = {
            CANARY: frozenset(matchers_of_arm(arms.canary)),
            CONTROL: frozenset(matchers_of_arm(arms.control)),
        }
        self._share, self._seed = share, seed
        self._labels: frozenset[str] = frozenset()  # that tell targets apart
        self._last_rank = ""  # of the canary

    def asked(self, selector: str) -> str:
        return written(self._bare(selector) | self._arms[CONTROL])

    def placed(self, selector: str, labels: Labels) -> Labels | None:
        wanted, arm = self._arm(selector), self.arm_of(labels)
        if wanted not in (None, arm):
            return None
        return {**labels, **{label: value for label, op, value in self._arms[arm] if op == "="}}

    def begin(self, selectors: Iterable[str], seen: Sequence[Labels]) -> None:
        asked = {label for selector in selectors for label, _, _ in self._bare(selector)}
        self._labels = _told_apart_by(seen, asked)
        ranks = sorted({self._rank(labels) for labels in seen})
        if len(ranks) < 2:
            raise Impossible(_alone(self._arms[CONTROL], seen, self._labels))
        drawn = min(max(round(self._share * len(ranks)), 1), len(ranks) - 1)
        self._last_rank = ranks[drawn - 1]

    def arm_of(self, labels: Labels) -> str:
        return CANARY if self._rank(labels) <= self._last_rank else CONTROL

    def _arm(self, selector: str) -> str | None:
        """The arm that *selector* is of; None: of both."""
        found = matchers_of(selector)
        arms = [arm for arm, matchers in self._arms.items() if matchers <= found]
        return max(arms, key=lambda arm: len(self._arms[arm]), default=None)

    def _bare(self, selector: str) -> Matchers:
        arm = self._arm(selector)
        return matchers_of(selector) - (self._arms[arm] if arm is not None else frozenset())

    def _rank(self, labels: Labels) -> str:
        target = "\0".join(f"{name}={labels.get(name, '')}" for name in sorted(self._labels))
        return hashlib.blake2b(f"{self._seed}\0{target}".encode(), digest_size=8).hexdigest()


def _told_apart_by(seen: Sequence[Labels], asked: set[str]) -> frozenset[str]:
    """The labels that usually name a target; where series have none of them, all that every series has, but for those
    that part good from bad or fast from slow."""
    usual = {name for name in TARGET_LABELS if any(name in labels for labels in seen)}
    if usual or not seen:
        return frozenset(usual)
    return frozenset.intersection(*(frozenset(labels) for labels in seen)) - asked - {NAME, "le"}


def _alone(control: Matchers, seen: Sequence[Labels], told_apart_by: frozenset[str]) -> str:
    if not seen:
        return f"no series of the control {written(control)} was there"
    target = ", ".join(f"{name} {seen[0].get(name, '')}" for name in sorted(told_apart_by)) or "one series"
    return (
        f"the control {written(control)} is a single target ({target}): it can't be split into a canary and a control; "
        "two pods or instances at least are needed for that"
    )
