"""The lab's own parts of the hub process: made once from the settings, shared by spawners and handlers."""

from __future__ import annotations

import atexit
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import traitlets.log
from jinja2 import Environment, FileSystemLoader

from .access.audit import AuditLog
from .access.decision import Access
from .access.grants_source import GrantsSource, make_reader
from .forking.parents import PlainParent
from .forking.servers import Servers
from .probing.prober import Prober
from .settings import LearningLab
from .warm.start import WarmParent

TEMPLATES = Path(__file__).with_name("pages") / "templates"
JUPYTER_CONFIG = str(Path(__file__).with_name("singleuser") / "jupyter")  # what every user's server is configured with


class Services:
    """The settings and the things that do I/O for them.

    Attributes:
        settings: every option.
        access: decides what people may open.
        plain: starts servers the plain way.
        warm: forks them; None where it is turned off.
        servers: starts them, the one way or the other.
        templates: the lab's, without JupyterHub's around them, which may await. They escape what they are given.
    """

    _instance: ClassVar[Services | None] = None

    def __init__(self, settings: LearningLab, log: logging.Logger) -> None:
        self.settings = settings
        self.log = log
        self.access = Access(
            GrantsSource(make_reader(settings), settings, log),
            Prober(deadline=settings.probe_deadline, ttl=settings.menu_probe_ttl, log=log),
            AuditLog(settings.audit_log, log),
            settings,
            log,
        )
        self.templates = make_templates([str(TEMPLATES)], {})
        self.plain = PlainParent(log)
        environ = {"JUPYTER_CONFIG_PATH": JUPYTER_CONFIG}
        self.warm = WarmParent(settings.warm_leave_out, environ, log) if settings.warm else None
        self.servers = Servers(self.warm, self.plain, log)

    @classmethod
    def instance(cls) -> Services:
        """Those of this process, made at the first call from `LearningLab.instance()`."""
        if cls._instance is None:
            cls._instance = cls(LearningLab.instance(), logging.getLogger(traitlets.log.get_logger().name))
            atexit.register(cls._instance.close)
        return cls._instance

    def close(self) -> None:
        """Write out what is decided, and let go of connections. The parents of servers end by themselves."""
        self.access.close()


def make_templates(paths: Sequence[str], options: Mapping[str, Any]) -> Environment:
    """Make the environment for what is not a whole page of JupyterHub's.

    Args:
        paths: the folders, a site's before the lab's: JupyterHub's `template_paths`.
        options: as JupyterHub's `jinja_environment_options`.
    """
    given = {name: value for name, value in options.items() if name not in {"autoescape", "enable_async", "loader"}}
    return Environment(loader=FileSystemLoader(paths), autoescape=True, **given)
