"""Which series of the past are a placebo's canary, and which its control."""

import pytest

from flags.exposure_names import selector
from orchestrator.backtest.placebo import BandSplit, Impossible, TargetSplit, bands_for
from stages.criteria.arms import Arms
from stages.criteria.selectors import of_arm

ARMS = Arms(canary='{track="canary"}', control='{track="stable"}')
BAD = {arm: of_arm('requests_total{code=~"5.."}', matchers) for arm, matchers in ARMS.model_dump().items()}
TOTAL = {arm: of_arm("requests_total", matchers) for arm, matchers in ARMS.model_dump().items()}


def targets(number: int, label: str = "pod") -> list[dict[str, str]]:
    codes = ("200", "500")
    return [{"track": "stable", label: f"p{index}", "code": code} for index in range(number) for code in codes]


def split_of(share: float = 0.25, seed: str = "1", number: int = 8, label: str = "pod") -> TargetSplit:
    split = TargetSplit(ARMS, share, seed)
    split.begin([BAD["canary"], TOTAL["canary"]], targets(number, label))
    return split


def canaries(split: TargetSplit, number: int = 8, label: str = "pod") -> set[str]:
    placed = [one for one in targets(number, label) if split.placed(TOTAL["canary"], one) is not None]
    return {one[label] for one in placed}


@pytest.mark.parametrize(
    ("percentage", "highest"), ((0.1, "0.1"), (1, "1"), (3, "2"), (4, "5"), (5, "5"), (20, "25"), (100, "100"))
)
def test_the_bands_below_the_percentage_are_the_canary_or_those_that_come_nearest(
    percentage: float, highest: str
) -> None:
    assert bands_for(percentage)[0] == "0.1"
    assert bands_for(percentage)[-1] == highest


def test_keys_of_a_band_below_the_percentage_are_moved_to_the_canary_and_others_stay() -> None:
    split = BandSplit(5)
    both, canary = selector("checkout", ("canary", "control")), selector("checkout", ("canary",))
    low, high = ({"flag": "checkout", "arm": "control", "band": band} for band in ("2", "50"))
    assert split.placed(both, low) == {**low, "arm": "canary"}
    assert split.placed(both, high) == high
    assert split.placed(canary, low) == {**low, "arm": "canary"}
    assert split.placed(canary, high) is None


def test_what_a_canary_would_have_counted_is_asked_of_both_arms_in_the_past() -> None:
    asked = BandSplit(5).asked(selector("checkout", ("canary",), outcome="error"))
    assert 'arm=~"canary|control"' in asked
    assert 'outcome="error"' in asked


def test_what_is_no_exposure_is_asked_as_it_is() -> None:
    assert BandSplit(5).asked('other_total{arm="canary"}') == 'other_total{arm="canary"}'


def test_the_canary_by_labels_is_asked_of_the_control() -> None:
    asked = TargetSplit(ARMS, 0.1, "1").asked(BAD["canary"])
    assert 'track="stable"' in asked
    assert "canary" not in asked
    assert 'code=~"5.."' in asked


def test_a_target_is_in_one_arm_with_all_that_it_counts() -> None:
    split = split_of()
    for one in targets(8):
        arms = [arm for arm in ("canary", "control") if split.placed(TOTAL[arm], one) is not None]
        assert len(arms) == 1
        bad = [arm for arm in ("canary", "control") if split.placed(BAD[arm], one) is not None]
        assert bad == arms


@pytest.mark.parametrize(("share", "number"), ((0.25, 2), (0.5, 4), (0.0, 1), (0.01, 1), (1.0, 7)))
def test_the_share_decides_how_many_targets_are_drawn_never_none_and_never_all(share: float, number: int) -> None:
    assert len(canaries(split_of(share))) == number


def test_other_releases_draw_other_targets_and_a_higher_step_keeps_those_of_the_lower() -> None:
    drawn = {seed: canaries(split_of(0.25, seed)) for seed in "123456789"}
    assert len({frozenset(one) for one in drawn.values()}) > 3
    assert drawn["1"] <= canaries(split_of(0.5, "1"))


def test_without_pods_and_instances_all_labels_but_those_that_were_asked_for_tell_targets_apart() -> None:
    assert len(canaries(split_of(0.5, label="shard"), label="shard")) == 4


@pytest.mark.parametrize(
    "seen", ([], targets(1), [{"track": "stable", "code": "200"}, {"track": "stable", "code": "500"}])
)
def test_a_control_of_one_target_is_refused_in_a_sentence(seen: list[dict[str, str]]) -> None:
    with pytest.raises(Impossible, match=r"single target|no series of the control"):
        TargetSplit(ARMS, 0.5, "1").begin([BAD["canary"]], seen)


def test_an_arm_whose_matchers_are_more_than_the_others_is_told_from_it() -> None:
    arms = Arms(canary='{track="canary",zone="a"}', control='{track!="canary"}')
    split = TargetSplit(arms, 0.5, "1")
    asked = split.asked(of_arm("requests_total", arms.canary))
    assert 'track!="canary"' in asked
    assert "zone" not in asked


def test_where_both_arms_are_asked_for_at_once_each_series_has_the_labels_of_its_arm() -> None:
    split = split_of()
    moved = [split.placed("requests_total", one) for one in targets(8)]
    assert sorted({one["track"] for one in moved if one is not None}) == ["canary", "stable"]
    assert None not in moved
