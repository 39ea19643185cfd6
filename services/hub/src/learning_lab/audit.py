"""The audit log: one JSON object a line for every decision about a directory.

Who asked, for whom, by which route, what was asked for, what it was resolved to, whether it was allowed and why not.
Lines are written by a thread (`logging.handlers.QueueListener`), so a slow disk does not hold up the event loop; when
no file is set they go to the hub's log at level INFO.
"""

from __future__ import annotations

import json
import logging
import logging.handlers
import queue
from datetime import UTC, datetime

_LONGEST = 500  # characters of the asked text that are kept: it comes from the browser


class AuditLog:
    """Writes the decisions.

    Args:
        path: the file to append to (mode 0600), or "" for the hub's log.
        log: the hub's log.
    """

    def __init__(self, path: str, log: logging.Logger) -> None:
        self._listener: logging.handlers.QueueListener | None = None
        if not path:
            self._log = log
            return
        self._log = logging.Logger("learning_lab.audit", logging.INFO)
        lines: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
        self._log.addHandler(logging.handlers.QueueHandler(lines))
        # WatchedFileHandler: logrotate may move the file away.
        self._listener = logging.handlers.QueueListener(lines, logging.handlers.WatchedFileHandler(path))
        self._listener.start()

    def decided(
        self,
        *,
        action: str,
        by: str,
        userid: str,
        server: str,
        asked: object,
        path: str | None,
        allowed: bool,
        reason: str = "",
        address: str = "",
    ) -> None:
        """Write one decision.

        Args:
            action: "start" or "switch".
            by: the user id (or service) whose request it was.
            userid: whose server it is about.
            server: the server's name, "" for the default one.
            asked: what the request named, as it came.
            path: the directory it was resolved to, None when it was refused before that.
            allowed: the decision.
            reason: why it was refused.
            address: where the request came from, "" when there was none (a remembered choice).
        """
        line = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "action": action,
            "by": by,
            "user": userid,
            "server": server,
            "asked": asked[:_LONGEST] if isinstance(asked, str) else repr(asked)[:_LONGEST],
            "path": path,
            "allowed": allowed,
            "reason": reason,
            "address": address,
        }
        # ASCII only: a newline or a terminal's escape in what was asked cannot make a line of its own.
        self._log.info("%s", json.dumps(line, ensure_ascii=True))

    def close(self) -> None:
        """Write out what is queued."""
        if self._listener is not None:
            self._listener.stop()
