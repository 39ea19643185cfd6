"""The one check of a choice: from a name or a path of the browser's to a directory that a server may be rooted in.

Rules kept here (design, "rules of safety"):
- the list is read anew; no fresh read, no start (fail closed);
- what was asked for is looked up in that list, and then looked at as the user;
- where its links lead must itself be granted, or be the user's own;
- every refusal is one or two sentences for the person, with the HTTP status that says whose turn it is.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from k8s_annotations import AnnotationError, ClusterUnavailable, Grants, InvalidUserId, NamespaceNotFound
from learning_lab.errors import Refused
from learning_lab.probing.prober import Account, Answer, Prober
from learning_lab.settings import LearningLab

from .directories import Directory, NotGranted, check_real_path, is_own, resolve
from .grants_source import GrantsSource

_LONGEST_CHOICE = 4096  # bytes of a path (PATH_MAX)

# Whose turn it is: the person's (400, 403) or the people's who run the storage (503).
_STATUS = {"denied": 403, "timeout": 503, "error": 503}


@dataclass(frozen=True, slots=True)
class Chosen:
    """A choice that passed every check.

    Attributes:
        directory: what was granted.
        real: the directory without symlinks: the server's root.
        device, inode: which directory that was when it was looked at; the server has that one open, or does not start.
        account: the user's Linux account.
        home: the home directory of the server.
        shared: whether other people have the directory too.
    """

    directory: Directory
    real: str
    device: int
    inode: int
    account: Account
    home: str
    shared: bool


async def read_grants(source: GrantsSource, userid: str, log: logging.Logger) -> Grants:
    """Read the user's list now, for a start.

    Raises:
        Refused: 403 when nothing is set up for the user, 503 when it cannot be read.
    """
    try:
        return await source.fresh(userid)
    except (NamespaceNotFound, InvalidUserId) as error:
        log.warning("No list for user %r: %s", userid, error)
        message = "No notebook directories have been set up for you. Ask the people who run this lab to add you."
        raise Refused(403, message) from None
    except AnnotationError as error:
        log.error("Cannot read the list of user %r: %s", userid, error)
        retry_after = error.retry_after if isinstance(error, ClusterUnavailable) else None
        message = (
            "Your list of directories cannot be read at the moment, so nothing was started. Try again in a minute."
        )
        raise Refused(503, message, retry_after=retry_after or 30) from None


def resolve_choice(choice: object, grants: Grants, last: str) -> Directory:
    """Find what was asked for in the list. Pure.

    Args:
        choice: as it came, of any type; None or "" stands for `last`, else the default or only entry of the list.
        grants: the list.
        last: the path of the last start, "" for none.

    Raises:
        Refused: 400, with the names of what the user can open.
    """
    if choice is not None and not isinstance(choice, str):
        raise Refused(400, "The directory must be given as a name or a path.")
    wanted = choice or last or _fallback(grants)
    if not wanted:
        raise Refused(400, f"Choose a directory. {_can_open(grants)}")
    if len(wanted.encode("utf-8", "surrogatepass")) > _LONGEST_CHOICE:
        raise Refused(400, "That is too long for a directory. Choose one of the list.")
    try:
        return resolve(wanted, grants)
    except NotGranted as error:
        raise Refused(400, f"{error} {_can_open(grants)}") from None


async def look(prober: Prober, settings: LearningLab, directory: Directory, grants: Grants) -> Chosen:
    """Look at a directory as the user, now.

    Raises:
        Refused: it is not there (400), not permitted or leads elsewhere (403), or the storage does not answer (503).
    """
    userid = grants.userid
    own_home = settings.home_directory.replace("{userid}", userid)
    make = [directory.path] if directory.entry.source == "setting" and not directory.below else []
    # The roots are looked at too: a root that is itself a symlink (/s to /mnt/nas/s) is no escape.
    answer = await prober.look(userid, [directory.path, *grants.roots], make)
    found = answer.found[directory.path]
    if answer.account is None and _STATUS.get(found.state) != 503:
        raise Refused(403, "There is no account for you on this system. Tell the people who run this lab.")
    if found.state != "ok" or answer.account is None:
        status = _STATUS.get(found.state, 400)
        advice = "Try again in a minute." if status == 503 else "Choose another one."
        message = f"{directory.title} cannot be opened. {found.sentence} {advice}"
        raise Refused(status, message, retry_after=30 if status == 503 else None)
    real = _below_configured_root(found.real, grants.roots, answer)
    try:
        check_real_path(real, directory, grants)
    except NotGranted as error:
        raise Refused(403, str(error)) from None
    return Chosen(
        directory=directory,
        real=found.real,
        device=found.device,
        inode=found.inode,
        account=answer.account,
        home=own_home or answer.account.home,
        shared=not is_own(real, grants),
    )


def _below_configured_root(real: str, roots: tuple[str, ...], answer: Answer) -> str:
    for root in roots:
        real_root = answer.found[root].real
        if real_root and f"{real}/".startswith(f"{real_root}/"):
            return root + real[len(real_root) :]
    return real


def _fallback(grants: Grants) -> str:
    usable = grants.usable
    marked = [entry for entry in usable if entry.default] or (usable if len(usable) == 1 else ())
    return marked[0].path if marked else ""


def _can_open(grants: Grants) -> str:
    names = [entry.name for entry in grants.usable]
    if not names:
        return "There is none that you can open at the moment."
    shown = ", ".join(names[:10])
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return f"You can open: {shown}{more}."
