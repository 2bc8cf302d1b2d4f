"""What a plan needs installed beside the package itself, where its controller runs. Looks, and imports nothing."""

from collections.abc import Iterator, Mapping
from importlib.util import find_spec

from stages.notify import Channel


def missing_for(channels: Mapping[str, Channel]) -> Iterator[tuple[str, str]]:
    """Path and sentence of each channel that could not be told anything."""
    if find_spec("apprise") is not None:
        return
    for name, channel in channels.items():
        if channel.needs_apprise:
            remedy = "pip install 'staged-rollout[notify]' brings it; or use webhook"
            words = f"{channel.service} needs the extra `notify`, which is not installed at the controller: {remedy}"
            yield f"spec.notify.channels.{name}", words
