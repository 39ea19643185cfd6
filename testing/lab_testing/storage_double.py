"""A prober over a pretend storage that contains what a test says."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from learning_lab.probing.prober import Account, Answer, Found, Prober

ALICE = Account(1001, 1001, (1001, 2000), "/home/alice", "/bin/sh")


class Storage(Prober):
    """Answers for alice as the test has set it up, and records what it was asked.

    Args:
        account: her account; None if she has none.
    """

    def __init__(self, account: Account | None = ALICE) -> None:
        self.account = account
        self.found: dict[str, Found] = {"/s": Found("ok", "/s")}
        self.make: list[str] = []
        self.shown: set[str] = set()  # what the menu asked for

    def has(self, path: str, state: Any = "ok", real: str = "", **more: Any) -> Storage:
        """Put something there, or make it fail."""
        self.found[path] = Found(state, (real or path) if state == "ok" else "", **more)
        return self

    async def look(self, userid: str, paths: Iterable[str], make: Iterable[str] = ()) -> Answer:
        assert userid == "alice"
        self.make = list(make)
        return Answer(self.account, {path: self.found.get(path, Found("missing")) for path in paths})

    async def states(self, userid: str, paths: Iterable[str], wait: float) -> dict[str, Found]:
        assert userid == "alice"
        self.shown = set(paths)
        return {path: self.found.get(path, Found("missing")) for path in self.shown}
