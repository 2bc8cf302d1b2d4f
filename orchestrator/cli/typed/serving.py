"""`rollout serve`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.cli.typed.parts import Parser, command

if TYPE_CHECKING:
    from orchestrator.cli.typed.parts import Commands


def add(commands: Commands) -> None:
    serve = command(
        commands, "serve", "serve.serve", "Run a controller until it is told to end (Ctrl-C, SIGTERM).",
        """
        It takes up every run of the store that has not ended. On SIGTERM runs stay where they are, and the next
        controller goes on. Beyond loopback it listens only if somebody could have a token: one that was made before
        (`rollout token create`), of a file, or of a provider.
        """,
    )  # fmt: skip
    serve.add_argument("--listen", metavar="HOST:PORT", help="where to serve (127.0.0.1:8040)")
    serve.add_argument(
        "--flagd-listen",
        metavar="HOST:PORT",
        help="also serve flags to flagd's in-process providers (usual port: 8015)",
    )
    serve.add_argument("--token-file", metavar="FILE", help="JSON list of {name, role, groups, sha256, expires}")
    _add_oidc(serve)
    _add_limits(serve)
    serve.add_argument(
        "--advertise", metavar="URL",
        help="where other controllers of a shared store reach this one (else by the address that it listens on)",
    )  # fmt: skip
    serve.add_argument(
        "--in-cluster", action="store_true",
        help="be driven by the StagedRollouts of a namespace (kubeconfig, or the service account of the pod)",
    )  # fmt: skip
    serve.add_argument("--namespace", metavar="NAME", help="which one (else the context's, or the pod's own)")
    serve.add_argument(
        "--keep-finished", metavar="TIME",
        help="how long finished runs are kept whole, and then as their report (30d), or forever",
    )  # fmt: skip
    serve.add_argument("--until-idle", action="store_true", help="end when no run is under way any more")


def _add_limits(serve: Parser) -> None:
    serve.add_argument(
        "--allow", metavar="FILE",
        help="what plans of others than yourself may name: hosts, variables, secrets, files, commands, images",
    )  # fmt: skip
    serve.add_argument(
        "--trust-proxy", metavar="ADDRESS", action="append", default=[],
        help="a proxy whose X-Forwarded-For and X-Forwarded-Proto are believed, or a network of them (may be repeated)",
    )  # fmt: skip
    serve.add_argument(
        "--requests-per-second", metavar="N", type=float, help="of one token, on average (50); flags are not counted"
    )
    serve.add_argument("--tls-cert", metavar="FILE", help="speak TLS: the certificate with its chain, PEM")
    serve.add_argument("--tls-key", metavar="FILE", help="and its key, PEM; both are read again when they change")


def _add_oidc(serve: Parser) -> None:
    group = serve.add_argument_group(
        "sign-in by an OpenID Connect provider", "whose JSON Web Tokens are taken as tokens (docs/security.md)"
    )
    group.add_argument("--oidc-issuer", metavar="URL", help="the provider, exactly as it names itself")
    group.add_argument(
        "--oidc-audience", metavar="NAME", action="append", default=[],
        help="which of its tokens are meant for this server (may be repeated)",
    )  # fmt: skip
    group.add_argument(
        "--oidc-role", metavar="VALUE=ROLE", action="append", default=[],
        help="the role of whoever has VALUE in the claim; * is everybody (may be repeated)",
    )  # fmt: skip
    group.add_argument(
        "--oidc-client-id", metavar="ID", help="who this server is to the provider: people sign in there, at the pages"
    )
    group.add_argument("--oidc-client-secret-file", metavar="FILE", help="its secret, if it has one")
    group.add_argument(
        "--oidc-scope", metavar="NAME", action="append", default=[],
        help="what else is asked for then beside openid, such as groups (may be repeated)",
    )  # fmt: skip
    group.add_argument("--oidc-role-claim", metavar="CLAIM", help="where VALUE is looked for (groups)")
    group.add_argument("--oidc-name-claim", metavar="CLAIM", help="who it is, for the journal (sub)")
    group.add_argument("--oidc-groups-claim", metavar="CLAIM", help="groups, for approvals (groups)")
