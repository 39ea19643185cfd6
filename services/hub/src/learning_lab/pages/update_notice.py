"""What people read about an update of the lab: that one is coming, and that there was one.

The image-update job (`image_updater`) writes two times into a ConfigMap, which Kubernetes keeps as a folder of files in
the hub's container; `notice` makes a sentence of them. Whatever else is in the folder is no notice: a page is never
the worse for it.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

PLANNED = "planned-at"
UPDATED = "updated-at"
_TOLD_AFTER = timedelta(hours=12)
_TOLD_BEFORE = timedelta(days=8)  # what is further away is no time that the job wrote
_LONGEST = 64  # characters of a time


def notice(folder: str, now: datetime) -> str | None:
    """The sentence for the hub's pages.

    Args:
        folder: where the two files are; empty for none.
        now: an aware time; its time zone is the one that the sentence is told in.

    Returns:
        Plain text, or None when there is nothing to tell.
    """
    if not folder:
        return None
    planned, updated = (_time(Path(folder, name)) for name in (PLANNED, UPDATED))
    if planned and now < planned < now + _TOLD_BEFORE:
        return (
            f"The lab will be updated at {_said(planned, now)}. Running servers will be stopped, so save your work"
            " first. You can start again a minute later."
        )
    if updated and now - _TOLD_AFTER < updated <= now:
        return f"The lab was updated at {_said(updated, now)}. Running servers were stopped; your files are all there."
    return None


def _time(file: Path) -> datetime | None:
    try:
        with file.open() as there:
            found = datetime.fromisoformat(there.read(_LONGEST).strip())
    except (OSError, ValueError):
        return None
    return found if found.tzinfo else None


def _said(time: datetime, now: datetime) -> str:
    local = time.astimezone(now.tzinfo)
    day = "" if local.date() == now.date() else f"{local:%A} "
    return f"{day}{local:%H:%M %Z}".rstrip()
