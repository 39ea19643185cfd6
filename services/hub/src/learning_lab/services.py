"""The lab's services in the hub process, created once from the settings and shared by spawners and handlers."""

from __future__ import annotations

import atexit
import logging
from pathlib import Path
from typing import ClassVar

import traitlets.log

from .access.audit import AuditLog
from .access.grants_source import GrantsSource, make_reader
from .forking.parents import PlainParent, StartTurns
from .probing.prober import Prober
from .settings import LearningLab
from .warm.start import WarmParent

JUPYTER_CONFIG = str(Path(__file__).with_name("singleuser") / "jupyter")  # the configuration of every user's server


class Services:
    """The settings, and the objects that do the hub's I/O.

    Attributes:
        settings: every option.
        grants: reads what users are granted.
        prober: checks directories as their user.
        audit: records decisions.
        plain: starts servers the normal way.
        warm: forks servers; None if it is turned off.
        turns: decides whose turn it is when many servers start at once.
    """

    _instance: ClassVar[Services | None] = None

    def __init__(self, settings: LearningLab, log: logging.Logger) -> None:
        self.settings = settings
        self.log = log
        self.grants = GrantsSource(make_reader(settings), settings, log)
        self.prober = Prober(deadline=settings.probe_deadline, ttl=settings.menu_probe_ttl, log=log)
        self.audit = AuditLog(settings.audit_log, log)
        self.turns = StartTurns()
        self.plain = PlainParent(log)
        environ = {"JUPYTER_CONFIG_PATH": JUPYTER_CONFIG}
        modules = Path(settings.warm_modules)
        self.warm = WarmParent(modules, settings.warm_leave_out, environ, log) if settings.warm else None

    @classmethod
    def instance(cls) -> Services:
        """This process's services, created on the first call from `LearningLab.instance()`."""
        if cls._instance is None:
            cls._instance = cls(LearningLab.instance(), logging.getLogger(traitlets.log.get_logger().name))
            atexit.register(cls._instance.close)
        return cls._instance

    def close(self) -> None:
        """Write out pending audit lines and close connections. The parents of servers end by themselves."""
        self.audit.close()
        self.grants.close()
