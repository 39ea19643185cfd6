"""Ask an image registry which digest a tag means: the OCI distribution specification, HEAD and the token log-in.

Rules kept here:
- a password goes over https (or to this machine) only, and only where the registry says;
- no redirect is followed;
- what cannot be asked is an `UpdateError` with one sentence.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import urllib3

TIMEOUT = urllib3.Timeout(connect=5, read=15)
# https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests, and Docker's older names
MANIFESTS = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
DOCKER_HUB = "registry-1.docker.io"  # where the registry of the names below answers
_DOCKER_HUB_NAMES = {"docker.io", "index.docker.io"}
_SECURE = ("https://", "http://127.0.0.1:", "http://localhost:")
_TOKEN = re.compile("[!-~]+")
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')


class UpdateError(Exception):
    """Nothing was restarted. The text says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Image:
    """A reference with a tag: ``registry.example.com/learning-lab/hub:staging``."""

    registry: str
    repository: str
    tag: str

    @classmethod
    def parse(cls, reference: str) -> Image | None:
        """Take a reference apart; None for one by digest, which never changes its meaning.

        The rule of what is a registry's name is Docker's: a first part with a dot or a colon, or ``localhost``
        (distribution/reference, normalize.go). Without one it is Docker Hub's.
        """
        if "@" in reference:
            return None
        first, slash, rest = reference.partition("/")
        if not slash or not ("." in first or ":" in first or first == "localhost"):
            first, rest = DOCKER_HUB, reference
        first = _registry(first)
        if first == DOCKER_HUB and "/" not in rest:
            rest = f"library/{rest}"
        repository, colon, tag = rest.rpartition(":")
        return cls(first, repository, tag) if colon else cls(first, rest, "latest")


class Registry:
    """Asks registries for digests (OCI distribution specification, with the token log-in that Docker defined).

    Args:
        addresses: where a registry answers, by name; https://NAME for others.
        credentials: "user:password" by registry.
    """

    def __init__(self, addresses: Mapping[str, str], credentials: Mapping[str, str]) -> None:
        self._addresses = addresses
        self._credentials = credentials
        self._http = urllib3.PoolManager(timeout=TIMEOUT, retries=urllib3.Retry(2, redirect=0, backoff_factor=0.5))

    def digest(self, image: Image) -> str:
        """The digest that a tag means now.

        Raises:
            UpdateError: the registry cannot be asked, refuses, or answers with something else.
        """
        address = self._addresses.get(image.registry, f"https://{image.registry}")
        url = f"{address}/v2/{image.repository}/manifests/{image.tag}"
        headers = {"Accept": MANIFESTS}
        answer = self._ask("HEAD", url, headers)
        if answer.status == 401:
            challenge = answer.headers.get("WWW-Authenticate", "")
            headers["Authorization"] = self._authorization(image.registry, address, challenge)
            answer = self._ask("HEAD", url, headers)
        if answer.status != 200:
            raise UpdateError(f"{url} answered {answer.status}. Check the name, the tag and UPDATE_CREDENTIALS.")
        digest = answer.headers.get("Docker-Content-Digest", "")
        if not DIGEST.fullmatch(digest):
            raise UpdateError(f"{url} answered without a digest. Is it a registry?")
        return digest

    def _authorization(self, registry: str, address: str, challenge: str) -> str:
        """Answer a challenge (distribution's token authentication specification)."""
        basic = self._credentials.get(registry)
        encoded = "Basic " + base64.b64encode(basic.encode()).decode() if basic else ""
        if challenge.lower().startswith("basic") and encoded and f"{address}:".startswith(_SECURE):
            return encoded
        asked = dict(_CHALLENGE.findall(challenge))
        realm = asked.pop("realm", "")
        # The password goes where the registry says, so never in the clear.
        if not challenge.lower().startswith("bearer") or not realm.startswith("https://"):
            raise UpdateError(f"{registry} wants a log-in. Give UPDATE_CREDENTIALS, as docs/promote.md says.")
        answer = self._ask("GET", f"{realm}?{urlencode(asked)}", {"Authorization": encoded} if encoded else {})
        try:
            found = json.loads(answer.data)
            token = found.get("token") or found["access_token"]
        except (ValueError, KeyError, AttributeError, TypeError):
            token = None
        # Anything else cannot be in a header, and http.client would quote it in its exception.
        if not isinstance(token, str) or not _TOKEN.fullmatch(token):
            raise UpdateError(f"The log-in of {registry} failed: {answer.status}. Check UPDATE_CREDENTIALS.")
        return f"Bearer {token}"

    def _ask(self, method: str, url: str, headers: Mapping[str, str]) -> urllib3.BaseHTTPResponse:
        try:
            return self._http.request(method, url, headers=dict(headers))
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            reason = (str(getattr(error, "reason", None) or error) or type(error).__name__).splitlines()[0]
            raise UpdateError(f"{url} cannot be asked: {reason}. Is the registry up?") from None


def addresses(text: str) -> dict[str, str]:
    """Read UPDATE_REGISTRIES: ``localhost:5001=http://registry:5000``, with spaces between several.

    Raises:
        UpdateError: a part is not of that form.
    """
    found = {}
    for part in text.split():
        name, equals, url = part.partition("=")
        if not equals or not url.startswith(("https://", "http://")):
            raise UpdateError(f"UPDATE_REGISTRIES has {part!r}; each part must be NAME=http(s)://HOST:PORT.")
        found[name] = url.rstrip("/")
    return found


def credentials(file: str) -> dict[str, str]:
    """Read the log-ins of a docker config.json: "user:password" by registry.

    Raises:
        UpdateError: it cannot be read.
    """
    if not file:
        return {}
    try:
        entries = json.loads(Path(file).read_text())["auths"].items()
        return {
            _registry(name.removeprefix("https://").partition("/")[0]): base64.b64decode(
                entry["auth"], validate=True
            ).decode()
            for name, entry in entries
            if entry.get("auth")
        }
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        raise UpdateError(f"UPDATE_CREDENTIALS names {file}, which is no docker config.json.") from None


def _registry(name: str) -> str:
    return DOCKER_HUB if name in _DOCKER_HUB_NAMES else name
