"""The lab and its peer, plain JupyterHub with the same packages, side by side and serving the same people.

The sides take turns, and each goes first every other time. The machines are shared and noisy, so compare the ratios,
not the seconds.
"""

from __future__ import annotations

import contextlib
import secrets
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from lab_testing.embedded import EmbeddedLab, free_ports

PEER = "plain JupyterHub"
PEOPLE = [f"u{number:03d}" for number in range(1, 201)]
ADMINISTRATOR = "u200"
DIRECTORIES = """\
- /s/USER/notebooks
- {path: /s/USER/thesis, title: Thesis}
- {path: /s/shared/genomics, title: Genomics course}
- /s/shared/climate
- {path: /s/USER/archive, title: Archive}
"""
_WARM_SECONDS = 60


@dataclass
class Hub:
    """One of the two sides.

    Attributes:
        is_lab: whether it is the lab, and not its peer.
        running: the hub.
        proxy_api: where its proxy lists its routes: a URL, or the path of a Unix socket.
        proxy_token: the token for that.
    """

    is_lab: bool
    running: EmbeddedLab
    proxy_api: str | Path
    proxy_token: str

    @property
    def url(self) -> str:
        """The address of the hub."""
        return self.running.url


class NotWarm(RuntimeError):
    """The lab's warm parent did not become ready, so its starts would be slower than promised."""


@contextlib.contextmanager
def side_by_side() -> Iterator[list[Hub]]:
    """Run the lab and its peer, fresh, until the block ends.

    Raises:
        NotWarm: the lab's warm parent did not become ready.
    """
    token = secrets.token_hex(32)
    (port,) = free_ports(1)
    environ = {"CONFIGPROXY_AUTH_TOKEN": token, "PROXY_API_PORT": str(port), "LAB_ADMINS": ADMINISTRATOR}
    with tempfile.TemporaryDirectory() as directory:
        place, beside = Path(directory, "lab"), Path(directory, "plain")
        place.mkdir()
        (place / "namespaces.yaml").write_text(_namespaces())
        with (
            EmbeddedLab(place, environ={**environ, "TMPDIR": str(place)}) as lab,
            EmbeddedLab(beside, Path(__file__).with_name("plain_jupyterhub.py"), environ) as plain,
        ):
            _wait_until_warm(lab)
            (lab_api,) = place.glob("learning-lab-proxy-*/api")
            yield [Hub(True, lab, lab_api, token), Hub(False, plain, f"http://127.0.0.1:{port}", token)]


def turns(hubs: list[Hub], repeats: int, *, unmeasured: bool = False) -> Iterator[tuple[Hub, bool]]:
    """Give each side `repeats` turns.

    Args:
        hubs: the sides.
        repeats: how often each is measured.
        unmeasured: begin with one turn each that does not count, to fill the file cache and to create what a user's
            first start leaves in their home.

    Yields:
        The side, and whether this turn counts.
    """
    for repeat in range(0 if unmeasured else 1, repeats + 1):
        for hub in hubs if repeat % 2 else hubs[::-1]:
            yield hub, repeat > 0
        print(f"bench: {f'{repeat} of {repeats}' if repeat else 'unmeasured turn'} done", file=sys.stderr, flush=True)


def _namespaces() -> str:
    """A namespace for everybody, with five directories."""
    return yaml.safe_dump_all(
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {
                "name": userid,
                "labels": {"learning-lab.dev/user": "true"},
                "annotations": {
                    "learning-lab.dev/userid": userid,
                    "learning-lab.dev/notebook-dirs": DIRECTORIES.replace("USER", userid),
                },
            },
        }
        for userid in PEOPLE
    )


def _wait_until_warm(lab: EmbeddedLab) -> None:
    until = time.monotonic() + _WARM_SECONDS
    while "The warm parent is ready" not in lab.log.read_text(errors="replace"):
        if time.monotonic() > until:
            raise NotWarm(
                f"The warm parent was not ready after {_WARM_SECONDS} s. The end of the hub's log:\n{lab.tail(20)}"
            )
        time.sleep(0.1)
