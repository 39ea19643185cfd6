"""The lab's own parts of the hub process: made once from the settings, shared by spawners and handlers."""

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

JUPYTER_CONFIG = str(Path(__file__).with_name("singleuser") / "jupyter")  # what every user's server is configured with


class Services:
    """The settings and the things that do I/O for them.

    Attributes:
        settings: every option.
        grants: reads what users are granted.
        prober: looks at directories as their user.
        audit: writes decisions.
        plain: starts servers the plain way.
        warm: forks them; None where it is turned off.
        turns: those of the starts that come at once.
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
        """Those of this process, made at the first call from `LearningLab.instance()`."""
        if cls._instance is None:
            cls._instance = cls(LearningLab.instance(), logging.getLogger(traitlets.log.get_logger().name))
            atexit.register(cls._instance.close)
        return cls._instance

    def close(self) -> None:
        """Write out what is decided, and let go of connections. The parents of servers end by themselves."""
        self.audit.close()
        self.grants.close()
