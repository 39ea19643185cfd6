"""Every option of the lab, in one place.

Rules kept here:
- an option is a trait with a help text; ``c.LearningLab.<name>`` in ``jupyterhub_config.py`` sets it;
- a container can set the same option with the environment variable ``LEARNING_LAB_<NAME>``; the file takes precedence;
- an invalid value stops the start with one line that names the option (`SettingError`), never a traceback.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from traitlets import Bool, Enum, Float, Int, List, TraitError, Unicode
from traitlets.config import SingletonConfigurable

from .errors import SettingError
from .serving.addresses import is_address
from .serving.forwarded import TrustedProxies

ENVIRONMENT_PREFIX = "LEARNING_LAB_"

# https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#syntax-and-character-set
_DNS_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


class LearningLab(SingletonConfigurable):
    """The options that a site can set for its lab."""

    title = Unicode("Learning Lab", help="The name of the lab, shown in the header and the title of each page.").tag(
        config=True
    )

    help_url = Unicode(
        "",
        help="""Where users get help: an https:, http: or mailto: address. It is the Help link on every page, and
        messages that ask a user to contact somebody name it. Empty: no link.""",
    ).tag(config=True)

    prefix = Unicode(
        "learning-lab.dev",
        help="""The prefix of the label and the annotations that a user's namespace carries
        (`<prefix>/user`, `<prefix>/userid`, `<prefix>/notebook-dirs`, `dir.<prefix>/<owner>`).""",
    ).tag(config=True)

    roots = List(
        Unicode(),
        default_value=["/s"],
        help="""The directories under which every notebook directory must lie. The first one is the root of the
        directories that labels grant. In the environment: separated by colons.""",
    ).tag(config=True)

    default_directory = Unicode(
        "/s/{userid}/notebooks",
        help="""The only directory of a user whose namespace lists none. `{userid}` stands for the user id. If only its
        last part is missing, it is created, as the user, at the first start. Empty: such a user has no directory.""",
    ).tag(config=True)

    reader = Enum(
        ["cluster", "file"],
        default_value="cluster",
        help="""Where namespaces are read from: `cluster`, the Kubernetes API (with the service account in a pod, else
        with the kubeconfig), or `file`, a file of manifests (`namespaces_file`).""",
    ).tag(config=True)

    namespaces_file = Unicode(
        "",
        help="The file of Namespace manifests that the reader `file` reads. It is read again when it changes.",
    ).tag(config=True)

    kubeconfig = Unicode(
        "",
        help="The kubeconfig that the reader `cluster` uses outside a pod. Empty: KUBECONFIG, else ~/.kube/config.",
    ).tag(config=True)

    kube_context = Unicode("", help="The context of the kubeconfig to use. Empty: its current context.").tag(
        config=True
    )

    read_deadline = Float(
        8.0, help="How many seconds one read of a namespace may take, including retries, before it fails."
    ).tag(config=True)

    read_threads = Int(16, help="How many namespaces may be read at the same time.").tag(config=True)

    probe_deadline = Float(
        5.0,
        help="""How many seconds the check of a directory, made as the user, may take when a server starts. A storage
        system that hangs delays its own users by this much, and nobody else.""",
    ).tag(config=True)

    menu_probe_wait = Float(
        0.3,
        help="""How many seconds the menu waits for the checks of its directories. Directories whose check has not
        finished by then are shown without its result.""",
    ).tag(config=True)

    menu_probe_ttl = Float(
        10.0,
        help="How many seconds the menu keeps showing the result of a check. A start always checks again.",
    ).tag(config=True)

    audit_log = Unicode(
        "audit.jsonl",
        help="""The file to which every decision is appended, one JSON object per line: who asked for what, what it was
        resolved to, whether it was allowed, and if not, why. A relative path is relative to the hub's working
        directory, where JupyterHub keeps its database too. Only the hub may read or write the file; at 32 MiB it
        becomes `<file>.1`, and seven such files are kept. Empty: the lines go to the hub's log.""",
    ).tag(config=True)

    home_directory = Unicode(
        "",
        help="""The home directory of a user's server, with `{userid}` for the user id. Empty: the account's own home.
        Set it where homes are not mounted, for instance to `/s/{userid}`.""",
    ).tag(config=True)

    update_notice = Unicode(
        "",
        help="""The folder where the ConfigMap is mounted in which the image-update job records when the lab will be or
        was updated; the pages show it. Empty: they show nothing.""",
    ).tag(config=True)

    warm = Bool(
        True,
        help="""Whether to fork users' servers from a process that has already imported JupyterLab, which makes a start
        several times faster. This applies to servers that are processes beside the hub. A server that cannot be forked
        is started the normal way.""",
    ).tag(config=True)

    warm_modules = Unicode(
        "warm-modules.txt",
        help="""The file that lists the modules to import before servers are forked, and marks those that each server
        must import for itself. The lab makes it when it is missing or packages have changed. This takes a few seconds,
        during which servers are started the normal way. A relative path is below the hub's working directory.""",
    ).tag(config=True)

    warm_leave_out = List(
        Unicode(),
        help="""Modules and packages that each server must import for itself, because they must not be forked. Modules
        that on import start a thread, read a variable that differs between users, or ask for something random are
        detected and need not be listed. In the environment: separated by colons.""",
    ).tag(config=True)

    trusted_proxies = Unicode(
        "",
        help="""The proxies between browsers and the lab's own proxy (an ingress, a load balancer): their addresses or
        networks, separated by commas, such as `10.42.0.0/16, 192.0.2.7`; or, if these are not known, how many proxies
        there are, such as `1`. The hub believes X-Forwarded-For and X-Forwarded-Proto from these proxies and from
        nobody else, so never name a network in which users' own processes run. Empty: there are none. If a proxy is not
        named here, all users behind it share one address for the limits on log-ins, and cookies are not marked
        Secure.""",
    ).tag(config=True)

    address = Unicode(
        "",
        help="""The address that users open, such as `https://lab.example.com`, without a path. A page opened at another
        address redirects there, so proxies in front of the lab must pass on the header `Host` unchanged. Empty:
        whatever address the lab is reached at.""",
    ).tag(config=True)

    address_per_person = Bool(
        True,
        help="""Whether each user's server has its own address below `address`, such as
        `https://alice.lab.example.com`, so that browsers keep users' pages apart. This needs a host name that can have
        names below it (not an IP address, and not `localhost` alone), all of which lead to the lab; with https, a
        certificate for `*.lab.example.com` too; and a proxy that runs with `--host-routing` (the hub passes that to a
        proxy that it starts itself). Where `address` is empty or cannot have names below it, all servers share one
        address.""",
    ).tag(config=True)

    open_beside = Bool(
        False,
        help="Whether a user may have a second directory open alongside the first (JupyterHub's named servers).",
    ).tag(config=True)

    def check(self) -> None:
        """Check what a single trait cannot.

        Raises:
            SettingError: an option is wrong. The message is one line and names the option.
        """
        if not _DNS_SUBDOMAIN.fullmatch(self.prefix) or len(self.prefix) > 253:
            raise SettingError(
                f"c.LearningLab.prefix is {self.prefix!r}: it must be a DNS name such as learning-lab.dev"
            )
        if not self.roots:
            raise SettingError("c.LearningLab.roots is empty: name at least one directory, such as /s")
        for root in self.roots:
            path = Path(root)
            if not path.is_absolute() or ".." in path.parts or str(path) != root or root == "/":
                raise SettingError(
                    f"c.LearningLab.roots has {root!r}: a root must be an absolute path without '..', and not / itself"
                )
            if not path.is_dir():
                raise SettingError(f"c.LearningLab.roots has {root!r}: there is no such directory on this machine")
        for option in ("default_directory", "home_directory"):
            text = getattr(self, option)
            if text and (not text.startswith("/") or "{" in text.replace("{userid}", "")):
                raise SettingError(
                    f"c.LearningLab.{option} is {text!r}: it must be an absolute path; only {{userid}} is filled in"
                )
        if self.address and not is_address(self.address):
            raise SettingError(
                f"c.LearningLab.address is {self.address!r}: it must be http:// or https:// with a host and no path"
            )
        if self.help_url and not self.help_url.startswith(("https://", "http://", "mailto:")):
            raise SettingError(
                f"c.LearningLab.help_url is {self.help_url!r}: it must begin with https:, http: or mailto:"
            )
        for option in ("read_deadline", "probe_deadline", "menu_probe_wait", "read_threads"):
            if getattr(self, option) <= 0:
                raise SettingError(f"c.LearningLab.{option} is {getattr(self, option)}: it must be above 0")
        try:
            TrustedProxies.parse(self.trusted_proxies)
        except ValueError as error:
            raise SettingError(f"c.LearningLab.trusted_proxies is {self.trusted_proxies!r}: {error}") from None
        if self.reader == "file":
            self._check_file()
        else:
            self._check_cluster()

    def _check_file(self) -> None:
        if not self.namespaces_file:
            raise SettingError("c.LearningLab.namespaces_file is empty: the reader 'file' needs a file of manifests")
        try:
            with Path(self.namespaces_file).open("rb"):
                pass
        except OSError as error:
            raise SettingError(
                f"c.LearningLab.namespaces_file is {self.namespaces_file!r}: it cannot be read ({error.strerror})"
            ) from None

    def _check_cluster(self) -> None:
        in_pod = "KUBERNETES_SERVICE_HOST" in os.environ and not self.kubeconfig and not self.kube_context
        named = self.kubeconfig or os.environ.get("KUBECONFIG") or "~/.kube/config"
        if not in_pod and not any(Path(part).expanduser().is_file() for part in named.split(os.pathsep) if part):
            raise SettingError(
                f"c.LearningLab.kubeconfig: there is no {named} and this is not a pod, so the reader 'cluster' has no"
                " cluster to ask"
            )


def environment_settings(environ: Mapping[str, str]) -> dict[str, Any]:
    """Read the options that the environment sets.

    Args:
        environ: the environment, for instance ``os.environ``. Only names that begin with ``LEARNING_LAB_`` count.

    Returns:
        A mapping from option names to values of the option's own type.

    Raises:
        SettingError: a variable names no option, or its value is not of the option's type.
    """
    traits = LearningLab.class_traits(config=True)
    found: dict[str, Any] = {}
    for variable, text in environ.items():
        if not variable.startswith(ENVIRONMENT_PREFIX):
            continue
        name = variable.removeprefix(ENVIRONMENT_PREFIX).lower()
        trait = traits.get(name)
        if trait is None:
            raise SettingError(
                f"{variable} is set, but there is no option {name!r}. The options are: {', '.join(sorted(traits))}"
            )
        try:
            found[name] = text.split(":") if isinstance(trait, List) else trait.from_string(text)
            LearningLab(**{name: found[name]})
        except (TraitError, ValueError) as error:
            raise SettingError(f"{variable} is {text!r}: {error}") from None
    return found
