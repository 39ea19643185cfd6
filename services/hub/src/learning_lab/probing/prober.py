"""What a user can open, asked as that user and remembered for a moment.

The looking is done by `probe_forker`, a process of its own (its docstring says why). This side keeps:
- nothing blocks the event loop: questions and answers travel over pipes;
- a start never uses a remembered answer (`Prober.look`); the menu may (`Prober.states`), and waits only briefly;
- a forker that dies is started again, and what it was asked is answered "error".
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import sys
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from prometheus_client import Histogram

PROBE_SECONDS = Histogram(
    "learning_lab_probe_seconds",
    "Seconds to look at a user's directories as that user",
    buckets=(0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10),
)

State = Literal["ok", "missing", "not_directory", "denied", "loop", "error", "timeout"]

SENTENCES: dict[str, str] = {
    "missing": "It is not there. It may have been moved or deleted.",
    "not_directory": "It is a file, not a directory.",
    "denied": "You are not permitted to open it.",
    "loop": "Its links lead in a circle.",
    "error": "It cannot be read at the moment.",
    "timeout": "The storage did not answer in time.",
}

_REMEMBERED = 5_000  # users whose last answer is kept for their menu


@dataclass(frozen=True, slots=True)
class Found:
    """What the user can do with one path.

    Attributes:
        state: "ok" or why not.
        real: the path without symlinks when ok, else "".
        writable: whether the user may create files in it.
        device, inode: which directory it is, whatever its name comes to mean.
    """

    state: State
    real: str = ""
    writable: bool = False
    device: int = 0
    inode: int = 0

    @property
    def sentence(self) -> str | None:
        """Why it cannot be opened, for the person; None when it can."""
        return SENTENCES.get(self.state)


@dataclass(frozen=True, slots=True)
class Account:
    """A Linux account, as the name service gives it."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str
    shell: str


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one question: the account (None: there is none), and what was found of each path."""

    account: Account | None
    found: dict[str, Found]


class Prober:
    """Asks the forker.

    Args:
        deadline: seconds a question may take.
        ttl: seconds for which `states` uses an answer again.
        log: where a forker that died is told.
    """

    def __init__(self, *, deadline: float, ttl: float, log: logging.Logger) -> None:
        self._deadline = deadline
        self._ttl = ttl
        self._log = log
        self._process: asyncio.subprocess.Process | None = None
        self._starting = asyncio.Lock()
        self._numbers = itertools.count(1)
        self._asked: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._known: OrderedDict[str, tuple[float, dict[str, Found]]] = OrderedDict()
        self._under_way: dict[str, asyncio.Task[Answer]] = {}
        self._listener: asyncio.Task[None] | None = None

    async def look(self, userid: str, paths: Iterable[str], make: Iterable[str] = ()) -> Answer:
        """Look at paths now, as the user.

        Args:
            userid: whose rights count.
            paths: absolute paths.
            make: those of them to create when only the last part is missing.

        Returns:
            An answer for every path; "timeout" for those not seen inside the deadline, "error" when nothing could look.
        """
        paths = list(paths)
        loop = asyncio.get_running_loop()
        before = loop.time()
        number = next(self._numbers)
        future: asyncio.Future[dict[str, Any]] = loop.create_future()
        question = {
            "id": number,
            "userid": userid,
            "paths": paths,
            "make": list(make),
            "deadline": self._deadline,
        }
        try:
            process = await self._forker()
            self._asked[number] = future
            assert process.stdin is not None
            process.stdin.write(json.dumps(question).encode() + b"\n")
            await process.stdin.drain()
            # The forker keeps the deadline; the second more is for a forker that is itself gone wrong.
            told = await asyncio.wait_for(future, self._deadline + 1)
        except TimeoutError:
            return Answer(None, {path: Found("timeout") for path in paths})
        except OSError as error:
            self._log.error("Cannot look at directories of user %r: %s", userid, error)
            return Answer(None, {path: Found("error") for path in paths})
        finally:
            self._asked.pop(number, None)
            PROBE_SECONDS.observe(loop.time() - before)
        account = told["account"]
        return Answer(
            Account(**{**account, "groups": tuple(account["groups"])}) if account else None,
            {
                path: Found(**{name: value for name, value in found.items() if name != "error"})
                for path, found in told["found"].items()
            },
        )

    async def states(self, userid: str, paths: Iterable[str], wait: float) -> dict[str, Found]:
        """What is known of paths for display.

        Args:
            userid: whose rights count.
            paths: absolute paths.
            wait: seconds to wait for an answer that is not there yet; it is remembered when it comes later.

        Returns:
            What was found of the paths that are known; the others are left out.
        """
        paths = list(paths)
        loop = asyncio.get_running_loop()
        when, known = self._known.get(userid, (0.0, {}))
        if loop.time() - when < self._ttl and all(path in known for path in paths):
            return known
        task = self._under_way.get(userid)
        if task is None:
            task = self._under_way[userid] = asyncio.create_task(self.look(userid, paths))
            task.add_done_callback(lambda done: self._remember(userid, done))
        await asyncio.wait([task], timeout=wait)
        if task.done() and not task.cancelled():
            return task.result().found
        return known

    def _remember(self, userid: str, task: asyncio.Task[Answer]) -> None:
        self._under_way.pop(userid, None)
        if task.cancelled() or task.exception():
            return
        self._known[userid] = (asyncio.get_running_loop().time(), task.result().found)
        self._known.move_to_end(userid)
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)

    async def _forker(self) -> asyncio.subprocess.Process:
        async with self._starting:
            if self._process is None or self._process.returncode is not None:
                self._process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    *("-I", "-S", str(Path(__file__).with_name("worker.py"))),
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    env={"LANG": "C.UTF-8"},  # nothing of the hub's environment: it holds the proxy's token
                    cwd="/",
                    limit=2**24,
                )
                self._listener = asyncio.create_task(self._listen(self._process))
            return self._process

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            told = json.loads(line)
            future = self._asked.get(told["id"])
            if future is not None and not future.done():
                future.set_result(told)
        await process.wait()
        self._log.error(
            "The process that looks at directories ended with %s; the next look starts it again",
            process.returncode,
        )
        for future in self._asked.values():
            if not future.done():
                future.set_exception(ConnectionError("the process that looks at directories ended"))

    async def close(self) -> None:
        """End the forker."""
        if self._listener is not None:
            self._listener.cancel()
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
