"""Who may speak to a controller, as `rollout serve` is told."""

from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from orchestrator.errors import UsageError

if TYPE_CHECKING:
    from orchestrator.allowance import Allowance
    from orchestrator.api.credentials import Credentials
    from orchestrator.api.oidc import Oidc, OidcSettings
    from orchestrator.api.tls import Certificates
    from orchestrator.api.tokens import Token
    from orchestrator.token_port import TokenStorage

_OIDC: Final = (
    "oidc_audience",
    "oidc_role",
    "oidc_client_id",
    "oidc_client_secret_file",
    "oidc_scope",
    "oidc_role_claim",
    "oidc_name_claim",
    "oidc_groups_claim",
)
MOST_SECRET_LETTERS: Final = 4096


@dataclass(frozen=True, slots=True)
class Access:
    token_file: Path | None = None
    oidc: "OidcSettings | None" = None
    tls: "Certificates | None" = None
    proxies: tuple[str, ...] = ()
    requests_per_second: float | None = None
    allowance: "Allowance | None" = None

    def check(self) -> None:
        """Raises ``UsageError`` for what is wrong with it, before anything is opened."""
        from orchestrator.api.tokens import TokenStore

        if self.token_file is not None:
            TokenStore.read(self.token_file)

    @property
    def scheme(self) -> str:
        return "http" if self.tls is None else "https"

    def credentials(self, storage: "TokenStorage", owner: "Token") -> "Credentials":
        """*storage* has the tokens that were made, *owner* is the one of whoever runs the controller."""
        from orchestrator.api.credentials import REQUESTS_PER_SECOND, Credentials
        from orchestrator.api.tokens import TokenStore

        tokens = TokenStore.read(self.token_file) if self.token_file is not None else None
        often = self.requests_per_second or REQUESTS_PER_SECOND
        return Credentials(tokens, storage, owner, oidc=self._provider(), requests_per_second=often)

    def _provider(self) -> "Oidc | None":
        if self.oidc is None:
            return None
        import time

        from orchestrator.api.oidc import Oidc
        from orchestrator.app import fetch, send_form

        return Oidc(self.oidc, fetch, time.time, time.monotonic, send_form)


def access_of(arguments: Namespace) -> Access:
    """Raises ``UsageError``."""
    token_file = Path(arguments.token_file) if arguments.token_file else None
    proxies = tuple(_network(one) for one in arguments.trust_proxy)
    often, allowance = _often(arguments.requests_per_second), _allowance(arguments)
    return Access(token_file, _oidc(arguments), _tls(arguments), proxies, often, allowance)


def _allowance(arguments: Namespace) -> "Allowance | None":
    if arguments.allow is None:
        return None
    from orchestrator.allowance import Allowance

    return Allowance.read(Path(arguments.allow))


def _network(text: str) -> str:
    from ipaddress import ip_network

    try:
        return str(ip_network(text))
    except ValueError:
        raise UsageError(
            f"--trust-proxy {text!r}: an address such as 10.0.0.7, or a network such as 10.0.0.0/24"
        ) from None


def _often(given: float | None) -> float | None:
    if given is not None and not 0 < given < float("inf"):
        raise UsageError(f"--requests-per-second {given:g}: more than 0 is expected")
    return given


def _tls(arguments: Namespace) -> "Certificates | None":
    if arguments.tls_cert is None and arguments.tls_key is None:
        return None
    if arguments.tls_cert is None or arguments.tls_key is None:
        raise UsageError("--tls-cert FILE and --tls-key FILE belong together: name both")
    from orchestrator.api.tls import Certificates

    return Certificates(Path(arguments.tls_cert), Path(arguments.tls_key))


def _oidc(arguments: Namespace) -> "OidcSettings | None":
    given = {name: getattr(arguments, name) for name in _OIDC if getattr(arguments, name)}
    if arguments.oidc_issuer is None:
        if given:
            raise UsageError(
                f"--{next(iter(given)).replace('_', '-')} belongs to --oidc-issuer URL: name the provider too"
            )
        return None
    from orchestrator.api.oidc import OidcSettings

    claims = {name.removeprefix("oidc_"): value for name, value in given.items() if name.endswith("_claim")}
    roles = tuple(_role(one) for one in arguments.oidc_role)
    if given.keys() & {"oidc_client_secret_file", "oidc_scope"} and arguments.oidc_client_id is None:
        raise UsageError("--oidc-client-secret-file and --oidc-scope belong to --oidc-client-id: name the client too")
    scopes = tuple(dict.fromkeys(("openid", *arguments.oidc_scope)))
    secret = _secret_in(arguments.oidc_client_secret_file)
    return OidcSettings(
        arguments.oidc_issuer,
        tuple(arguments.oidc_audience),
        roles,
        **claims,
        client_id=arguments.oidc_client_id,
        client_secret=secret,
        scopes=scopes,
    )


def _secret_in(file: str | None) -> str | None:
    if file is None:
        return None
    try:
        found = Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UsageError(f"--oidc-client-secret-file {file} can't be read: {reason}") from None
    if not found or len(found) > MOST_SECRET_LETTERS:
        raise UsageError(f"--oidc-client-secret-file {file} holds no secret")
    return found


def _role(text: str) -> tuple[str, str]:
    """A group's name may have a ``=`` in it."""
    value, _, role = text.rpartition("=")
    return value, role
