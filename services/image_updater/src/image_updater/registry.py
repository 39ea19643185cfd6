"""Ask an image registry for a tag's digest: the OCI distribution specification, with HEAD and the token log-in.

Rules kept here:
- a password is sent only over https (or to this machine), and only to where the registry says;
- redirects are not followed;
- a failure is an `UpdateError` with one sentence.
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
DOCKER_HUB = "registry-1.docker.io"  # the actual address of the registry with the names below
_DOCKER_HUB_NAMES = {"docker.io", "index.docker.io"}
_SECURE = ("https://", "http://127.0.0.1:", "http://localhost:")
_TOKEN = re.compile("[!-~]+")
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')


class UpdateError(Exception):
    """Nothing was restarted. The message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Image:
    """A reference with a tag: ``registry.example.com/learning-lab/hub:staging``."""

    registry: str
    repository: str
    tag: str

    @classmethod
    def parse(cls, reference: str) -> Image | None:
        """Parse a reference. Returns None for a reference by digest, which always means the same image.

        The rule for a registry's name is Docker's (distribution/reference, normalize.go): the first part is one if it
        contains a dot or a colon, or is ``localhost``. Otherwise the registry is Docker Hub.
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
        addresses: registries' addresses, by name; the others are at https://NAME.
        credentials: "user:password", by registry.
    """

    def __init__(self, addresses: Mapping[str, str], credentials: Mapping[str, str]) -> None:
        self._addresses = addresses
        self._credentials = credentials
        self._http = urllib3.PoolManager(timeout=TIMEOUT, retries=urllib3.Retry(2, redirect=0, backoff_factor=0.5))

    def digest(self, image: Image) -> str:
        """The digest that a tag currently points to.

        Raises:
            UpdateError: the registry cannot be reached, refuses, or answers with something unexpected.
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
        # The registry decides where the password is sent, so insist on https.
        if not challenge.lower().startswith("bearer") or not realm.startswith("https://"):
            raise UpdateError(f"{registry} requires a log-in. Set UPDATE_CREDENTIALS, as docs/promote.md says.")
        answer = self._ask("GET", f"{realm}?{urlencode(asked)}", {"Authorization": encoded} if encoded else {})
        try:
            found = json.loads(answer.data)
            token = found.get("token") or found["access_token"]
        except (ValueError, KeyError, AttributeError, TypeError):
            token = None
        # Nothing else may be in a header, and http.client would quote it in its exception.
        if not isinstance(token, str) or not _TOKEN.fullmatch(token):
            raise UpdateError(f"The log-in to {registry} failed: {answer.status}. Check UPDATE_CREDENTIALS.")
        return f"Bearer {token}"

    def _ask(self, method: str, url: str, headers: Mapping[str, str]) -> urllib3.BaseHTTPResponse:
        try:
            return self._http.request(method, url, headers=dict(headers))
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            reason = (str(getattr(error, "reason", None) or error) or type(error).__name__).splitlines()[0]
            raise UpdateError(f"{url} cannot be reached: {reason}. Is the registry up?") from None


def addresses(text: str) -> dict[str, str]:
    """Parse UPDATE_REGISTRIES: ``localhost:5001=http://registry:5000``, several separated by spaces.

    Raises:
        UpdateError: a part does not have that form.
    """
    found = {}
    for part in text.split():
        name, equals, url = part.partition("=")
        if not equals or not url.startswith(("https://", "http://")):
            raise UpdateError(f"UPDATE_REGISTRIES has {part!r}; each part must be NAME=http(s)://HOST:PORT.")
        found[name] = url.rstrip("/")
    return found


def credentials(file: str) -> dict[str, str]:
    """Read the log-ins from a Docker config.json: "user:password", by registry.

    Raises:
        UpdateError: the file cannot be read.
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
        raise UpdateError(f"UPDATE_CREDENTIALS names {file}, which is not a Docker config.json.") from None


def _registry(name: str) -> str:
    return DOCKER_HUB if name in _DOCKER_HUB_NAMES else name
