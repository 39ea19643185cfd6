"""The lab's own parts of the hub process: made once from the settings, shared by spawners and handlers."""

from __future__ import annotations

import logging
from typing import ClassVar

from .audit import AuditLog
from .namespaces import GrantsSource, make_reader
from .probe import Prober
from .settings import LearningLab


class Lab:
    """The settings and the three things that do I/O for them.

    Attributes:
        settings: every option.
        grants: reads what users are granted.
        prober: looks at directories as their user.
        audit: writes decisions.
    """

    _instance: ClassVar[Lab | None] = None

    def __init__(self, settings: LearningLab, log: logging.Logger) -> None:
        self.settings = settings
        self.log = log
        self.grants = GrantsSource(make_reader(settings), settings, log)
        self.prober = Prober(deadline=settings.probe_deadline, ttl=settings.menu_probe_ttl, log=log)
        self.audit = AuditLog(settings.audit_log, log)

    @classmethod
    def instance(cls) -> Lab:
        """The lab of this process, made at the first call from `LearningLab.instance()`."""
        if cls._instance is None:
            cls._instance = cls(LearningLab.instance(), logging.getLogger("traitlets"))
        return cls._instance
