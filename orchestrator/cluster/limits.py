"""What a plan from a cluster may not ask for: whatever would happen in the controller's own process and on its disk,
where RBAC has no say, and commands in images that nobody has allowed. Pure. (Which secrets and files it may read is the
policy of secrets'.)
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from orchestrator.plan_limits import commands_of
from stages.cluster import Kubernetes
from stages.command_pod import CommandPod
from stages.kinds.migration import Alembic
from stages.load import LoadedPlan
from stages.problems import Path, path_text
from stages.review.view import make_view
from stages.walk import Place

IMAGES, ACCOUNTS = "ROLLOUT_COMMAND_IMAGES", "ROLLOUT_COMMAND_ACCOUNTS"
"""Variables of the controller."""
_NO_COMMANDS = (
    "a plan from a cluster runs no commands in the controller's own container; name an image for them "
    "(spec.commands.image), or run a Job in their place (job: FILE)"
)
_NO_ALEMBIC = (
    "Alembic would run in the controller's own container; call it as a command in an image (spec.commands.image): "
    "migrations: [{command: [alembic, upgrade, head], probe: [...], irreversible: ...}]"
)
_NO_CONTEXT = "a plan from a cluster acts in that cluster alone; leave the context out"
_NO_SQLITE = "a SQLite file would be one on the controller's own disk; name a PostgreSQL database"


@dataclass(frozen=True, slots=True)
class CommandPolicy:
    """What commands may run in and as: images, and service accounts as ``NAMESPACE/NAME``; whole names, or beginnings
    that end in ``*``.
    """

    images: tuple[str, ...] = ()
    accounts: tuple[str, ...] = ()

    def refusals(self, plan: LoadedPlan) -> list[tuple[str, str]]:
        """Path and sentence of everything that is not allowed, each once."""
        pods = [one.site.command_pod for one in plan.to_program().environments]
        return list(dict.fromkeys(refusal for pod in pods if pod is not None for refusal in self._of(pod)))

    def _of(self, pod: CommandPod) -> Iterator[tuple[str, str]]:
        if not _is_listed(pod.image, self.images):
            yield "spec.commands.image", _not_listed(f"the image {pod.image}", "images", IMAGES, self.images)
        account = f"{pod.place.namespace}/{pod.service_account}"
        if pod.service_account is not None and not _is_listed(account, self.accounts):
            words = _not_listed(f"the service account {account}", "service accounts", ACCOUNTS, self.accounts)
            yield "spec.commands.service_account", words


def _is_listed(name: str, listed: Iterable[str]) -> bool:
    return any(name.startswith(one[:-1]) if one.endswith("*") else name == one for one in listed)


def _not_listed(what: str, kind: str, setting: str, listed: tuple[str, ...]) -> str:
    there = f"it has {', '.join(listed)}" if listed else "it has none yet"
    return (
        f"{what} is not among the {kind} that commands may run with; {setting} of the controller lists them ({there})"
    )


def refusals(plan: LoadedPlan) -> list[tuple[str, str]]:
    """Path and sentence of everything that is refused, each once."""
    found: dict[tuple[str, str], None] = {}
    for environment, document in plan.documents:
        has_image = document.spec.commands.image is not None
        for place in make_view(environment, document, {}).places:
            found |= dict.fromkeys((path_text(path), sentence) for path, sentence in _of(place, has_image))
    return list(found)


def _of(place: Place, has_image: bool) -> Iterator[tuple[Path, str]]:
    part: Any = place.part
    if isinstance(part, Alembic):
        yield place.path, _NO_ALEMBIC
    elif not has_image:
        yield from _commands(place)
    if isinstance(part, Kubernetes) and part.context is not None:
        yield (*place.path, "context"), _NO_CONTEXT
    database = getattr(part, "database", None)
    if isinstance(database, str) and database.lower().startswith("sqlite"):
        yield (*place.path, "database"), _NO_SQLITE


def _commands(place: Place) -> Iterator[tuple[Path, str]]:
    part: Any = place.part
    for path, _ in commands_of(place):
        yield path, _NO_COMMANDS
    if getattr(part, "script", None) is not None:
        yield (*place.path, "script"), _NO_COMMANDS
