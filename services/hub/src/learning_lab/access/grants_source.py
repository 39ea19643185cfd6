"""What is granted to a user, read for the hub: off the event loop, inside a deadline.

Rules kept here:
- a start asks `GrantsSource.fresh`: a new read, or an error and so no start (fail closed);
- the menu asks `GrantsSource.for_display`: a new read, else the last known list with a sentence that says so;
- reads run in threads of their own, so a cluster that hangs never holds up the event loop, other threads, or the
  hub's end.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from prometheus_client import Histogram

from k8s_annotations import (
    AnnotationError,
    ClusterReader,
    ClusterUnavailable,
    Grants,
    ManifestReader,
    NamespaceNotFound,
    Reader,
    marking_problem,
    namespace_name,
    parse_grants,
    user_namespace,
)
from learning_lab.blocking import CallLimit, DaemonThreads, in_thread
from learning_lab.settings import LearningLab

READ_SECONDS = Histogram(
    "learning_lab_namespace_read_seconds",
    "Seconds to read a user's namespace, by how it ended",
    ["outcome"],
    buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10),
)

_DISPLAY_AGE = 0.05  # seconds: the menu may be that old, which saves a busy hub a thread switch for most of its pages
_REMEMBERED = 20_000  # users whose last known list is kept for display: twice the people of a large company


@dataclass(frozen=True, slots=True)
class Shown:
    """A list for display.

    Attributes:
        grants: the list; None when nothing is known of the user.
        notice: a sentence for the person when the list is not fresh or not there, else None.
        stale: whether `grants` is the last known list instead of a fresh one.
    """

    grants: Grants | None
    notice: str | None = None
    stale: bool = False


def make_reader(settings: LearningLab) -> Reader:
    """Make the reader that the settings name.

    Raises:
        NotConfigured: when there is no service account and no kubeconfig.
    """
    if settings.reader == "file":
        return ManifestReader(Path(settings.namespaces_file))
    return ClusterReader(
        kubeconfig=Path(settings.kubeconfig) if settings.kubeconfig else None,
        context=settings.kube_context or None,
        deadline=settings.read_deadline,
    )


class GrantsSource:
    """Reads what users are granted.

    Args:
        reader: where namespaces come from. It blocks; it is called in threads only.
        settings: prefix, roots, default directory and deadlines.
        log: where a failed read is told, with the user id and the reason.
    """

    def __init__(self, reader: Reader, settings: LearningLab, log: logging.Logger) -> None:
        self._reader = reader
        self._settings = settings
        self._log = log
        self._threads = DaemonThreads()
        self._reads = CallLimit(settings.read_threads)
        self._rules: dict[str, Any] = {
            "roots": tuple(settings.roots),
            "prefix": settings.prefix,
            "default_directory": settings.default_directory,
        }
        self._last_known: OrderedDict[str, Grants] = OrderedDict()

    async def fresh(self, userid: str) -> Grants:
        """Read the user's namespace now.

        Args:
            userid: the user id as the authenticator returned it.

        Returns:
            What is granted, bad entries included.

        Raises:
            AnnotationError: one of its kinds; the message names what was tried and what to do next.
        """
        loop = asyncio.get_running_loop()
        before = loop.time()
        outcome = "ok"
        try:
            # The reader keeps its own deadline; a second more covers one that does not (a file on a dead mount).
            grants = await self._reads.call(
                partial(in_thread, self._threads, self._read, userid), self._settings.read_deadline + 1
            )
        except TimeoutError:
            outcome = "timeout"
            raise ClusterUnavailable(
                f"Reading the namespace of {userid!r} took longer than {self._settings.read_deadline:g} s."
                " Try again; if it stays, look at the reader's source (c.LearningLab.reader)."
            ) from None
        except AnnotationError as error:
            outcome = type(error).__name__
            if isinstance(error, NamespaceNotFound):
                self._last_known.pop(userid, None)  # an answer, and it says: nothing is granted
            raise
        finally:
            READ_SECONDS.labels(outcome=outcome).observe(loop.time() - before)
        self._last_known[userid] = grants
        self._last_known.move_to_end(userid)
        if len(self._last_known) > _REMEMBERED:
            self._last_known.popitem(last=False)
        return grants

    async def for_display(self, userid: str) -> Shown:
        """Read the user's list for the menu: never raises for a reader that fails."""
        try:
            namespace = self._reader.peek(namespace_name(userid), _DISPLAY_AGE)
            if namespace is not None and marking_problem(namespace, userid, self._settings.prefix) is None:
                return Shown(parse_grants(userid, namespace.annotations, namespace.labels, **self._rules))
            return Shown(await self.fresh(userid))
        except NamespaceNotFound as error:
            self._log.warning("No list for user %r: %s", userid, error)
            return Shown(
                None,
                "No notebook directories have been set up for you yet. Ask the people who run this lab to add you.",
            )
        except AnnotationError as error:
            self._log.error("Cannot read the list of user %r: %s", userid, error)
        last_known = self._last_known.get(userid)
        if last_known is None:
            return Shown(
                None,
                "Your list of directories cannot be read at the moment. Try again in a minute;"
                " if it stays, tell the people who run this lab.",
            )
        return Shown(
            last_known,
            "Your list of directories cannot be read at the moment: this is the last known one."
            " Nothing can be started until it can be read again.",
            stale=True,
        )

    def _read(self, userid: str) -> Grants:
        namespace = user_namespace(self._reader, userid, self._settings.prefix)
        return parse_grants(userid, namespace.annotations, namespace.labels, **self._rules)

    def close(self) -> None:
        """Let go of connections."""
        self._reader.close()
