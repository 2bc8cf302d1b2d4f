"""A real OpenID Connect provider for tests: npm's `oidc-provider`, of the versions in `oidc/package-lock.json`.

The packages are installed once into the user's cache folder.
"""

import json
import re
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from tests.support.ports import free_port
from tests.support.process import ROOT, Child, wait_until

FOLDER = Path(__file__).resolve().parent / "oidc"
PROVIDE = ROOT / ".ci" / "provide" / "node"
Json = dict[str, Any]


class Unavailable(Exception):
    """No provider can be had here; the message says why."""


def provided() -> tuple[Path, Path]:
    """Node.js, and the `node_modules` with `oidc-provider`."""
    command: list[str | Path] = [sys.executable, PROVIDE, "--modules", FOLDER]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Unavailable((done.stderr.strip().splitlines() or ["no Node.js"])[-1])
    modules, binary = done.stdout.strip().splitlines()[-2:]
    return Path(binary), Path(modules)


class OidcProvider:
    """On loopback. Its clients are `kim.sre`, `lee.dev` and `eve`, each with what stands behind the dot as a group; and
    `pages` and `pages-with-secret`, for people whom it sends back to port *pages_port*."""

    def __init__(self, folder: Path) -> None:
        binary, modules = provided()
        port, self.pages_port = free_port(), free_port()
        self.issuer = f"http://127.0.0.1:{port}"
        self._keys = folder / "keys.json"
        pages = f"http://127.0.0.1:{self.pages_port}/sign-in/return"
        self._child = Child([binary, FOLDER / "provider.mjs", modules, str(port), self._keys, pages], folder)

    def start(self, generation: int = 1) -> Self:
        """With keys of its own for each *generation*."""
        self._keys.write_text(json.dumps({"keys": _keys(generation)}))
        self._child.start()
        wait_until(self._answers, what="the provider")
        return self

    def stop(self) -> None:
        self._child.stop()

    def token(self, client: str, audience: str = "rollout", algorithm: str = "RS256") -> str:
        asked = {
            "grant_type": "client_credentials",
            "client_id": client,
            "client_secret": "secret",
            "resource": f"urn:{audience}:{algorithm}",
        }
        answer = httpx.post(f"{self.issuer}/token", data=asked, trust_env=False, timeout=20.0)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])

    def walk(self, browser: httpx.Client, url: str, person: str) -> str:
        """From where our server sends a browser to, through the provider's own forms, to where it sends it back."""
        for _ in range(20):
            answer = browser.get(url)
            if answer.has_redirect_location:
                url = str(answer.next_request.url) if answer.next_request is not None else ""
            else:
                form = re.search(r'<form[^>]* action="([^"]+)"', answer.text)
                assert form is not None, answer.text
                fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', answer.text))
                filled = {**fields, "login": person, "password": "any"}
                sent = browser.post(str(answer.url.join(form[1])), data=filled)
                assert sent.next_request is not None, sent.text
                url = str(sent.next_request.url)
            if not url.startswith(self.issuer):
                return url
        raise AssertionError(f"it goes round in circles: {url}")

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.issuer}/jwks", trust_env=False, timeout=5.0).status_code == 200
        except httpx.TransportError:
            return False

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._child.kill()


def _keys(generation: int) -> list[Json]:
    made = {
        "RS256": rsa.generate_private_key(65537, 2048),
        "ES256": ec.generate_private_key(ec.SECP256R1()),
        "EdDSA": ed25519.Ed25519PrivateKey.generate(),
    }
    keys = [(name, jwt.get_algorithm_by_name(name).to_jwk(key, as_dict=True)) for name, key in made.items()]
    return [
        {
            **{part: value for part, value in key.items() if part != "key_ops"},
            "kid": f"{name}-{generation}",
            "use": "sig",
        }
        for name, key in keys
    ]
