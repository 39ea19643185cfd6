"""The audit log: one JSON object a line for every decision about a directory.

Who asked, for whom, by which route, what was asked for, what it was resolved to, whether it was allowed and why not.
Rules kept here:
- the file is the hub's user's alone (mode 0600), whoever made it and however often it is rotated; a name that somebody
  else could replace is refused;
- a thread writes (`logging.handlers.QueueListener`), so a slow disk does not hold up the event loop;
- a full disk stops the hub, so the log is bounded: at `LARGEST` bytes it becomes `<path>.1`, and `KEPT` of them are
  kept. logrotate may move the file away as well: the next line makes a new one.
"""

from __future__ import annotations

import json
import logging
import logging.handlers
import os
import queue
import stat
from datetime import UTC, datetime
from io import TextIOWrapper
from pathlib import Path

LARGEST = 2**25  # bytes of one file: a hundred thousand decisions
KEPT = 7  # files beside the one that is written
_LONGEST = 500  # characters of the asked text that are kept: it comes from the browser


def open_file(path: str) -> int:
    """Open the audit log's file for writing at its end; made when it is not there.

    Args:
        path: the file, perhaps relative to the hub's working directory.

    Returns:
        The descriptor. The file is for this process's user alone.

    Raises:
        OSError: it cannot be opened; the text (`strerror`) also says so of a link, of what is no file, and of a file
            that somebody else owns or could replace.
    """
    folder = Path(path).absolute().parent.stat()
    if folder.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not folder.st_mode & stat.S_ISVTX:
        raise PermissionError(0, "others may write in its directory")
    # Without O_NONBLOCK a FIFO would hold up the start.
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    try:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_nlink != 1:
            raise PermissionError(0, "it is not a file of the hub's own")
        os.fchmod(file, 0o600)
    except BaseException:
        os.close(file)
        raise
    return file


class AuditLog:
    """Writes the decisions.

    Args:
        path: the file (`open_file`), or "" for the hub's log, at level INFO.
        log: the hub's log. A line that cannot be written to the file goes there.

    Raises:
        OSError: the file cannot be opened.
    """

    def __init__(self, path: str, log: logging.Logger) -> None:
        self._listener: logging.handlers.QueueListener | None = None
        if not path:
            self._log = log
            return
        self._log = logging.Logger("learning_lab.access.audit", logging.INFO)
        lines: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
        self._log.addHandler(logging.handlers.QueueHandler(lines))
        self._listener = logging.handlers.QueueListener(lines, _File(path, log))
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
        """Write out what is queued, and close the file. A second call does nothing."""
        if self._listener is not None:
            self._listener.stop()
            for handler in self._listener.handlers:
                handler.close()
            self._listener = None


class _File(logging.handlers.WatchedFileHandler):
    """The file, opened again when somebody has moved it away (WatchedFileHandler's own doing), and rotated."""

    def __init__(self, path: str, log: logging.Logger) -> None:
        self._hubs_log = log
        super().__init__(path, encoding="ascii")

    def _open(self) -> TextIOWrapper:
        return TextIOWrapper(os.fdopen(open_file(self.baseFilename), "ab"), encoding="ascii")

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if self.stream is not None and self.stream.tell() >= LARGEST:
                self._rotate()
            super().emit(record)
        except (OSError, ValueError):  # no file could be opened, and the old one is closed
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  logging's own name
        """Write the decision to the hub's log, so that it is not lost."""
        self._hubs_log.exception("The audit log cannot be written. The decision was: %s", record.getMessage())

    def _rotate(self) -> None:
        for number in range(KEPT, 0, -1):
            older = Path(f"{self.baseFilename}.{number}")
            newer = Path(f"{self.baseFilename}.{number - 1}") if number > 1 else Path(self.baseFilename)
            if newer.exists():
                newer.replace(older)
