"""The lab's services in the hub process, created once from the settings and shared by spawners and handlers."""

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
JUPYTER_CONFIG = str(Path(__file__).with_name("singleuser") / "jupyter")  # the configuration of every user's server


class Services:
    """The settings, and the objects that do the hub's I/O.

    Attributes:
        settings: every option.
        access: decides what people may open.
        plain: starts servers the normal way.
        warm: forks servers; None if it is turned off.
        servers: starts servers, warm or plain, in turn when many are started at once.
        templates: the lab's own, outside JupyterHub's pages. They escape what they are given.
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
        modules = Path(settings.warm_modules)
        self.warm = WarmParent(modules, settings.warm_leave_out, environ, log) if settings.warm else None
        self.servers = Servers(self.warm, self.plain, log)

    @classmethod
    def instance(cls) -> Services:
        """This process's services, created on the first call from `LearningLab.instance()`."""
        if cls._instance is None:
            cls._instance = cls(LearningLab.instance(), logging.getLogger(traitlets.log.get_logger().name))
            atexit.register(cls._instance.close)
        return cls._instance

    def close(self) -> None:
        """Write out pending audit lines and close connections. The parents of servers end by themselves."""
        self.access.close()


def make_templates(paths: Sequence[str], options: Mapping[str, Any]) -> Environment:
    """Make the environment for templates that are not pages of JupyterHub's.

    Args:
        paths: the folders, a site's before the lab's: JupyterHub's `template_paths`.
        options: as in JupyterHub's `jinja_environment_options`.
    """
    given = {name: value for name, value in options.items() if name not in {"autoescape", "enable_async", "loader"}}
    return Environment(loader=FileSystemLoader(paths), autoescape=True, **given)
