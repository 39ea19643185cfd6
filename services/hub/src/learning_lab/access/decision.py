"""The decision: from what somebody asked for to a directory that a server may be rooted in, or a refusal.

Every start, by whatever route, passes `Access.decide`. Rules kept here (design, "rules of safety"):
- the list is read anew; no fresh read, no start (fail closed);
- what was asked for is looked up in that list, and then looked at as the user;
- where its links lead must itself be granted, or be the user's own;
- every refusal is one or two sentences for the person, with the HTTP status that says whose turn it is;
- whatever is decided is in the audit log.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass

from prometheus_client import Counter

from k8s_annotations import AnnotationError, ClusterUnavailable, Grants, InvalidUserId, NamespaceNotFound
from learning_lab.errors import Refused
from learning_lab.probing.prober import Account, Answer, Prober
from learning_lab.settings import LearningLab

from .audit import AuditLog
from .directories import Directory, NotGranted, check_real_path, is_own, resolve
from .grants_source import GrantsSource

STARTS = Counter(
    "learning_lab_starts_checked_total",
    "Choices of a directory that were checked before a start, by how it ended",
    ["outcome"],
)

SHARED_UMASK = 0o002  # what one person makes the others can change (jupyterhub#2659)
OWN_UMASK = 0o022

_LONGEST_CHOICE = 4096  # bytes of a path (PATH_MAX)

# Whose turn it is: the person's (400, 403) or the people's who run the storage (503).
_STATUS = {"denied": 403, "timeout": 503, "error": 503}


@dataclass(frozen=True, slots=True)
class Choice:
    """What is asked for.

    Attributes:
        userid: whose server it is about.
        asked: a name or a path as it came, of any type; None or "" for the remembered, default or only directory.
        last: the path of the last start, "" for none.
        action: "start", "switch" or "open".
        by: the user id (or service) whose request it is.
        server: the server's name, "" for the default one.
        address: where the request comes from, "" when there is none.
    """

    userid: str
    asked: object
    last: str = ""
    action: str = "start"
    by: str = ""
    server: str = ""
    address: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """A choice that passed every check: all that a spawner needs to know of it.

    Attributes:
        userid: whose server it is.
        directory: what was granted.
        listed: the paths of the whole list.
        real: the directory without symlinks: the server's root.
        device, inode: which directory that was when it was looked at; the server has that one open, or does not start.
        account: the user's Linux account.
        home: the home directory of the server.
        umask: the server's.
    """

    userid: str
    directory: Directory
    listed: tuple[str, ...]
    real: str
    device: int
    inode: int
    account: Account
    home: str
    umask: int

    @property
    def mark(self) -> str:
        """The same for the same directory, whatever its name."""
        return hashlib.blake2b(self.real.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()

    @property
    def environment(self) -> dict[str, str]:
        """What the server's environment says of the directory and the account."""
        return {
            "JUPYTERHUB_ROOT_DIR": self.real,
            # JupyterLab keeps open tabs by user; without this the tabs of one directory show up in the next.
            "JUPYTERLAB_WORKSPACES_DIR": f"{self.home}/.jupyter/lab/workspaces-{self.mark}",
            "HOME": self.home,
            "USER": self.userid,
            "LOGNAME": self.userid,
            "SHELL": self.account.shell or "/bin/sh",
        }


class Access:
    """Decides what people may open.

    Args:
        source: reads what they are granted.
        prober: looks at directories as their user.
        audit: where decisions are written.
        settings: where homes are.
        log: where refusals are told.
    """

    def __init__(
        self, source: GrantsSource, prober: Prober, audit: AuditLog, settings: LearningLab, log: logging.Logger
    ) -> None:
        self.source, self.prober, self.audit = source, prober, audit
        self._settings, self._log = settings, log

    async def decide(self, choice: Choice) -> Decision:
        """Decide.

        Raises:
            Refused: with the sentence for the person; it is in the log and the audit log by then.
        """
        path: str | None = None
        try:
            grants = await read_grants(self.source, choice.userid, self._log)
            directory = resolve_choice(choice.asked, grants, choice.last)
            path = directory.path
            decision = await look(self.prober, self._settings, directory, grants)
        except Refused as error:
            self._log.warning("Refused to %s for user %r: %s", choice.action, choice.userid, error.jupyterhub_message)
            self._record(choice, path, str(error.status_code), error.jupyterhub_message)
            raise
        self._record(choice, path, "allowed", "")
        return decision

    def _record(self, choice: Choice, path: str | None, outcome: str, reason: str) -> None:
        STARTS.labels(outcome=outcome).inc()
        self.audit.decided(
            action=choice.action,
            by=choice.by,
            userid=choice.userid,
            server=choice.server,
            asked=choice.asked or "",
            path=path,
            allowed=not reason,
            reason=reason,
            address=choice.address,
        )

    def close(self) -> None:
        """Write out what is decided, and let go of connections."""
        self.audit.close()
        self.source.close()


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


async def look(prober: Prober, settings: LearningLab, directory: Directory, grants: Grants) -> Decision:
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
    return Decision(
        userid=userid,
        directory=directory,
        listed=tuple(entry.path for entry in grants.entries),
        real=found.real,
        device=found.device,
        inode=found.inode,
        account=answer.account,
        home=own_home or answer.account.home,
        umask=OWN_UMASK if is_own(real, grants) else SHARED_UMASK,
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
