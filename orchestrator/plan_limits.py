"""Every place of a plan that names what its controller would reach, read or run, and whether that is allowed. Pure but
for looking where links of files lead.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path as File
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from orchestrator.allowance import NO_SOCKET, Allowance
from stages.actions import Action, ApplyAction, ImageAction, JobAction
from stages.checks import HttpRequest, Source
from stages.flag_systems import FlagdSystem, UnleashSystem
from stages.kinds.migration import Alembic
from stages.manifests import objects_of
from stages.notify import Channel, Heartbeat, Webhook
from stages.plan import Commands, Prometheus, StagedRollout, Tls
from stages.problems import Path, path_text
from stages.review.view import make_view
from stages.values import SecretRef
from stages.walk import Place

_WORDS = ("command", "observe", "probe")
_CONTAINERS = ("containers", "initContainers", "ephemeralContainers")
Documents = Sequence[tuple[str, StagedRollout]]


def refusals(documents: Documents, files: Mapping[str, str], allowance: Allowance) -> list[tuple[str, str]]:
    """Path and sentence of everything that is not allowed, each once."""
    if allowance.is_free:
        return []
    found: dict[tuple[str, str], None] = {}
    for environment, document in documents:
        has_image = document.spec.commands.image is not None
        for place in make_view(environment, document, {}).places:
            said = (
                *_named(place, allowance),
                *_called(place, allowance),
                *_run(place, allowance, has_image),
                *_images(place, files, allowance),
            )
            found |= dict.fromkeys((path_text(path), words) for path, words in said if words is not None)
    return list(found)


def commands_of(place: Place) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """Commands that are written there, each with its path."""
    part: Any = place.part
    for name in _WORDS:
        words = getattr(part, name, None)
        if isinstance(words, tuple):
            yield (*place.path, name), words
    if isinstance(part, Action) and isinstance(part.undo, tuple):
        yield (*place.path, "undo"), part.undo


def _named(place: Place, allowance: Allowance) -> Iterator[tuple[Path, str | None]]:
    part, path = place.part, place.path
    match part:
        case SecretRef():
            yield path, _secret(part, allowance)
        case Tls():
            for name in ("ca", "cert", "key"):
                if isinstance(file := getattr(part, name), str):
                    yield (*path, name), _file(file, allowance)
        case FlagdSystem() if part.file is not None:
            yield (*path, "file"), _file(part.file, allowance)
        case Source():
            if part.file is not None:
                yield (*path, "file"), _file(part.file, allowance)
            if part.env is not None:
                yield (*path, "env"), allowance.variable(part.env)
        case _:
            pass
    if isinstance(database := getattr(part, "database", None), str):
        yield (*path, "database"), database_words(database, allowance)


def _called(place: Place, allowance: Allowance) -> Iterator[tuple[Path, str | None]]:
    """Hosts, as far as the plan tells: what is in a secret is checked when it is called."""
    part, path = place.part, place.path
    if isinstance(part, Channel) and part.host is not None and part.webhook is None:
        yield (*path, part.service), allowance.host(part.host)
    if isinstance(part, HttpRequest | Prometheus | UnleashSystem | Webhook | Heartbeat):
        for name in ("url", "ended"):
            if isinstance(url := getattr(part, name, None), str):
                yield (*path, name), _url(url, allowance)


def _secret(reference: SecretRef, allowance: Allowance) -> str | None:
    if reference.env is not None:
        return allowance.variable(reference.env)
    if reference.file is not None:
        return _file(reference.file, allowance)
    return allowance.secret(reference.secret or "")


def _file(name: str, allowance: Allowance) -> str | None:
    return allowance.file(name, File(name).expanduser())


def _url(url: str, allowance: Allowance) -> str | None:
    try:
        host = urlsplit(url).hostname
    except ValueError:
        return None  # whoever asks there says so
    return allowance.host(host) if host else None


def database_words(url: str, allowance: Allowance) -> str | None:
    """Why a database may not be named, as far as its address tells."""
    if url.startswith("sqlite:"):
        name = url.removeprefix("sqlite:///").partition("?")[0]
        return _file(name, allowance)
    try:
        parts = urlsplit(url)
        written = parse_qs(parts.query).get("host") or [parts.netloc.rpartition("@")[2]]
        hosts = [urlsplit(f"//{unquote(one)}").hostname or "" for host in written for one in host.split(",")]
    except ValueError:
        return None
    if not all(hosts):
        return NO_SOCKET
    return next((words for host in hosts if (words := allowance.host(host)) is not None), None)


def _run(place: Place, allowance: Allowance, has_image: bool) -> Iterator[tuple[Path, str | None]]:
    """What would run in the controller's own process tree. Alembic always does."""
    part: Any = place.part
    if isinstance(part, Alembic):
        yield (*place.path, "command"), allowance.command(part.command[0])
    elif not has_image:
        for path, words in commands_of(place):
            yield path, allowance.command(words[0])
        if getattr(part, "script", None) is not None:
            yield (*place.path, "script"), allowance.script()
    variables = getattr(part, "vars", None)
    if isinstance(variables, dict) and not has_image:
        for name in variables:
            yield (*place.path, "vars", name), allowance.command_variable(name)


def _images(place: Place, files: Mapping[str, str], allowance: Allowance) -> Iterator[tuple[Path, str | None]]:
    match part := place.part:
        case Commands() if part.image is not None:
            yield (*place.path, "image"), allowance.image(part.image)
        case ImageAction():
            yield (*place.path, "to"), allowance.image(part.to)
        case ApplyAction() | JobAction():
            name = "apply" if isinstance(part, ApplyAction) else "job"
            for image in _of_manifest(files.get(getattr(part, name), "")):
                yield (*place.path, name), allowance.image(image)
        case _:
            pass


def _of_manifest(text: str) -> Iterator[str]:
    try:
        objects = objects_of(text)
    except ValueError:
        return  # whoever applies it says so
    for one in objects:
        yield from _of_content(one.content)


def _of_content(content: Any) -> Iterator[str]:
    if isinstance(content, Mapping):
        for key, value in content.items():
            if key in _CONTAINERS and isinstance(value, Sequence):
                yield from (str(one["image"]) for one in value if isinstance(one, Mapping) and "image" in one)
            yield from _of_content(value)
    elif isinstance(content, list | tuple):
        for one in content:
            yield from _of_content(one)
