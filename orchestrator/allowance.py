"""What plans may name, by whoever runs the controller: hosts, secrets, files, commands, images. Pure but for ``read``.

Theory of operation. Whoever runs a controller may do everything that its user may, so plans that he hands in are free.
Those of everybody else (by HTTP, with a token; or from a cluster) are held to one ``Allowance``, twice: when a run is
to be started, where a refusal names the place in the plan, and at each call, where a name has become an address and the
allowance may be narrower than it was. Whose plan it is that something is done for is a variable of the task's context:
whoever forgets to set it is held to the allowance, and not free.
"""

import ipaddress
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from enum import Enum
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from orchestrator.errors import Permanent, UsageError
from stages.documents import read_document
from stages.problems import InvalidPlan

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

USUAL_FOLDER = Path("/etc/staged-rollout-plans")
MOST_BYTES = 256 * 1024
_SETS_THE_PROGRAM = ("PATH", "ENV", "BASH_ENV", "IFS")
_SET_THE_PROGRAM = ("LD_", "DYLD_", "PYTHON")
_METADATA = frozenset(
    map(ipaddress.ip_address, ("100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254"))
)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class Trust(Enum):
    """Whose plan it is: the controller's own user's; that of somebody with a token; or an object's of a cluster, whose
    author's own rights there were asked."""

    OWNER = "owner"
    HANDED = "handed"
    CLUSTER = "cluster"


ONE_FILE: ContextVar[bool] = ContextVar("one file", default=False)
"""Whether SQL that runs in a SQLite database may reach no other file: set for the thread in which it runs."""

_trust: ContextVar[Trust] = ContextVar("trust", default=Trust.HANDED)


@contextmanager
def acting_for(trust: Trust) -> Iterator[None]:
    """What the body does, and every task that it begins, is done for a plan of this kind."""
    token = _trust.set(trust)
    try:
        yield
    finally:
        _trust.reset(token)


def is_forbidden(address: Address) -> bool:
    """Whether nobody's service is there but a link's own, or a cloud's metadata with its credentials."""
    plain = plain_address(address)
    return plain.is_link_local or plain.is_multicast or plain in _METADATA


def plain_address(address: Address) -> Address:
    """An IPv4 address that is wrapped in one of IPv6, unwrapped."""
    if not isinstance(address, ipaddress.IPv6Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF) if address in _NAT64 else address


class Allowance(BaseModel):
    """Names are whole, or beginnings that end in ``*``. *hosts* may also be ``*.example.org``, addresses and networks;
    only what stands there as an address or a network opens a link-local or metadata address. *folders*: where files
    may be. *commands*: first words, as plans write them. The defaults are those of ``rollout serve``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    hosts: tuple[str, ...] = ("*",)
    variables: tuple[str, ...] = ("PLAN_*",)
    folders: tuple[Path, ...] = (USUAL_FOLDER,)
    secrets: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()
    scripts: bool = False
    images: tuple[str, ...] = ("*",)

    @field_validator("folders")
    @classmethod
    def _absolute(cls, folders: tuple[Path, ...]) -> tuple[Path, ...]:
        for folder in folders:
            if not folder.is_absolute():
                raise ValueError(f"{folder} is relative; a folder is given from the root on, such as {USUAL_FOLDER}")
        return folders

    @classmethod
    def read(cls, file: Path) -> Self:
        """Raises UsageError with every problem of the file."""
        try:
            with file.open("rb") as opened:
                content = opened.read(MOST_BYTES + 1)
        except OSError as problem:
            raise UsageError(f"--allow {file} can't be read: {problem.strerror}") from None
        if len(content) > MOST_BYTES:
            raise UsageError(f"--allow {file} is larger than {MOST_BYTES // 1024} KiB")
        try:
            found = read_document(content.decode(), str(file)).data if content.strip() else None
            return cls.model_validate({} if found is None else found)
        except ValidationError as problem:
            raise UsageError(f"--allow {file}: {_sentences(problem)}") from None
        except InvalidPlan as problem:
            raise UsageError(f"--allow {problem}") from None
        except UnicodeDecodeError:
            raise UsageError(f"--allow {file} is not UTF-8 text") from None

    @property
    def is_free(self) -> bool:
        """Whether what is done now is for a plan of whoever runs the controller."""
        return _trust.get() is Trust.OWNER

    # --- each says why not, or nothing ----------------------------------------------------------------------------

    def variable(self, name: str) -> str | None:
        if self.is_free or _is_listed(name, self.variables):
            return None
        return f"plans may not use the environment variable {name}; {_lists('variables', self.variables)}"

    def secret(self, reference: str) -> str | None:
        """Of Kubernetes. What a cluster's object names was asked of its author's own rights."""
        if _trust.get() is not Trust.HANDED or _is_listed(reference, self.secrets):
            return None
        return f"plans may not use the secret {reference} of Kubernetes; {_lists('secrets', self.secrets)}"

    def file(self, named: str, path: Path) -> str | None:
        """*path* counts where it really is, so a link does not lead out of a folder."""
        if self.is_free:
            return None
        real = path.resolve()
        if any(real.is_relative_to(folder.resolve()) for folder in self.folders):
            return None
        return f"plans may not read the file {named}; {_lists('folders', map(str, self.folders))}"

    def host(self, name: str) -> str | None:
        """Before it is looked up: a name that is not listed may still be at an address of a network that is."""
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            may_be = self.is_free or self._has_name(name) or any("/" in entry for entry in self.hosts)
            return None if may_be else self._no_host(name)
        return self.address(name, address)

    def address(self, name: str, address: Address) -> str | None:
        """Where *name* is: checked before it is connected to, and nothing else is."""
        where = name if name == str(address) else f"{name} is at {address}, which"
        if is_forbidden(address) and (self.is_free or not self._has_address(address)):
            return f"{where} is a link-local or metadata address; these are never called unless `hosts` lists them"
        if self.is_free or self._has_name(name) or self._has_address(address):
            return None
        return self._no_host(name)

    def command(self, word: str) -> str | None:
        if self.is_free or _is_listed(word, self.commands):
            return None
        return f"plans may not run {word} where the controller runs; {_lists('commands', self.commands)}"

    def command_variable(self, name: str) -> str | None:
        """A listed command is the one that the controller's owner means."""
        if self.is_free or "*" in self.commands:
            return None
        if name not in _SETS_THE_PROGRAM and not name.startswith(_SET_THE_PROGRAM):
            return None
        return f"plans may not give commands the variable {name}, which says what is run; leave it out"

    def script(self) -> str | None:
        if self.is_free or self.scripts:
            return None
        return "plans may run no scripts where the controller runs; `scripts: true` in its --allow file lets them"

    def image(self, name: str) -> str | None:
        if self.is_free or _is_listed(name, self.images):
            return None
        return f"plans may not use the image {name}; {_lists('images', self.images)}"

    @cached_property
    def _networks(self) -> tuple[Network, ...]:
        return tuple(found for entry in self.hosts if (found := _network(entry)) is not None)

    def _has_name(self, name: str) -> bool:
        return any(
            entry in ("*", name) or (entry.startswith("*.") and name.endswith(entry[1:])) for entry in self.hosts
        )

    def _has_address(self, address: Address) -> bool:
        plain = plain_address(address)
        return any(plain in network for network in self._networks)

    def _no_host(self, name: str) -> str:
        return f"plans may not call {name}; the controller does not allow this host: {_lists('hosts', self.hosts)}"


NO_SOCKET = "plans may not use a socket of the controller's machine; name the database's host"
ANYWHERE = Allowance()
"""Every host, but for link-local and metadata addresses."""


def refuse(words: str | None) -> None:
    """Raises ``Permanent`` with *words*, if there are any."""
    if words is not None:
        raise Permanent(words)


def _is_listed(name: str, listed: Iterable[str]) -> bool:
    return any(name.startswith(one[:-1]) if one.endswith("*") else name == one for one in listed)


def _network(entry: str) -> Network | None:
    try:
        return ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return None


def _lists(setting: str, listed: Iterable[str]) -> str:
    there = ", ".join(listed) or "none"
    return f"`{setting}` of the controller's --allow file lists those that they may ({there})"


def _sentences(error: ValidationError) -> str:
    found: list[Any] = error.errors(include_url=False, include_input=False)
    return "; ".join(f"{'.'.join(map(str, one['loc'])) or 'the document'}: {one['msg']}" for one in found)
