"""What a cluster tells about a version that a plan moves there: are there pods enough, and is there room for a copy?"""

from collections.abc import Iterator

from orchestrator.cluster_facts import AT_ONCE, ClusterFacts, is_at_once, is_taken
from orchestrator.findings import Finding, Level
from stages.actions import Site
from stages.actions.workload import VersionAction
from stages.cluster import SetVersion, Version, VersionArm

FEWEST_OF_A_VERSION = 2


def of_version(action: VersionAction, where: str, facts: ClusterFacts) -> Iterator[Finding]:
    """For one step of its stage. What concerns each of its Deployments alone is told elsewhere."""
    if action.is_made:
        yield from (Finding(level, where, words) for level, words in _of_copy(action, facts))
    arms = [facts.workloads.get(one) for one in (action.workload, action.second)]
    if arms[0] is None or (arms[1] is None and not action.is_made):
        return
    total = sum(one.replicas for one in arms if one is not None and one.made_of in ("", action.workload))
    yield from (Finding(level, where, words) for level, words in _of_pods(action, total))


def _of_copy(action: VersionAction, facts: ClusterFacts) -> Iterator[tuple[Level, str]]:
    """The run makes the second Deployment."""
    original, copy = facts.workloads.get(action.workload), facts.workloads.get(action.second)
    if original is not None and original.strategy == AT_ONCE:
        yield Level.ERROR, is_at_once(action.workload)
    if copy is None:
        return
    if copy.made_of == action.workload:
        yield Level.NOTE, f"an earlier run has left {action.second}, a copy of {action.workload}; it is taken over"
    else:
        yield Level.ERROR, is_taken(action.second, action.workload)


def _of_pods(action: VersionAction, total: int) -> Iterator[tuple[Level, str]]:
    if total == 0:
        yield Level.ERROR, f"{action.workload} has no pods, so there is no version to move; scale it first"
        return
    if total < FEWEST_OF_A_VERSION:
        yield Level.WARNING, f"{action.workload} has 1 pod, so half of all requests meet the new version on its way"
        return
    share = _share_of(action, total)
    if share > 2 * action.percentage:
        words = f"of {total} pods {action.percentage:g} % is 1, so {share:.0f} % of requests meet the new version"
        yield Level.WARNING, words


def _share_of(action: VersionAction, total: int) -> float:
    """The share of the pods that run the new version at its step, in per cent."""
    now = Version(stable=VersionArm(replicas=total, image=""), canary=VersionArm(replicas=0, image=""))
    operation = action.forward(Site("", ""), now.value())
    assert isinstance(operation, SetVersion)
    new = operation.stable if action.percentage >= 100 else operation.canary
    assert new is not None, "below 100 % there are two"
    return 100 * new.replicas / total
