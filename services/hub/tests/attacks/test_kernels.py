"""Nobody else on the machine can listen to people's kernels, or debug them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from lab_testing.attack_target import Outcome, Target
from lab_testing.kernel_channels import Channels
from lab_testing.person import Person

pytestmark = pytest.mark.timeout(300)

SECRET = "salary_of_bob = 123456"
# A cell's code and its output go to everybody who listens, a hundred times over.
CELL = f"import time\nfor _ in range(100):\n    print({SECRET!r}, flush=True)\n    time.sleep(0.1)\n{SECRET}"


def run_cell(person: Person, kernel: str, code: str, began: threading.Event) -> list[str]:
    """Run code in a kernel as JupyterLab does. Returns what it printed."""
    printed: list[str] = []

    async def run() -> None:
        async with Channels.of(person, kernel) as channels:
            async for text in channels.execute(code):
                printed.append(text)
                began.set()

    asyncio.run(asyncio.wait_for(run(), 60))
    return printed


def test_nobody_listens_to_somebody_elses_kernel(
    target: Target, people: Callable[[str], Person], attack: Callable[..., Outcome]
) -> None:
    bob = people("bob")
    bob.start(directory="notebooks")
    bob.wait_until_ready()
    kernel = bob.start_kernel()["id"]
    printed: list[str] = []
    began = threading.Event()
    working = threading.Thread(target=lambda: printed.extend(run_cell(bob, kernel, CELL, began)))
    working.start()
    try:
        assert began.wait(30), "bob's cell is not running, so there is nothing to listen to"
        outcome = attack("kernels_in_the_clear", userid="carol", victim="bob", words=SECRET, listen=5)
    finally:
        working.join()
    assert SECRET in "".join(printed)
    assert outcome.tried > 0
    assert outcome.got == []


async def debug(person: Person, kernel: str) -> None:
    """Debug a notebook as JupyterLab does: attach, detach, and continue working in it."""
    async with Channels.of(person, kernel) as channels:
        async for _ in channels.execute(SECRET):
            pass
        await channels.debug(1, "initialize", clientID="jupyterlab", adapterID="python", pathFormat="path")
        await channels.debug(2, "attach", cwd="/", logToFile=False, justMyCode=False)
        await channels.debug(3, "disconnect", restart=False, terminateDebuggee=False)
        async for _ in channels.execute(CELL):
            pass


def test_nobody_debugs_somebody_elses_notebook(people: Callable[[str], Person], attack: Callable[..., Outcome]) -> None:
    bob = people("bob")
    bob.start(directory="notebooks")
    bob.wait_until_ready()
    kernel = bob.start_kernel()["id"]
    victim = {"victim": "bob", "expression": "salary_of_bob", "words": "123456"}
    with ThreadPoolExecutor(1) as pool:
        attacking = pool.submit(attack, "debuggers", userid="carol", seconds=20, **victim)
        asyncio.run(asyncio.wait_for(debug(bob, kernel), 60))
        outcome = attacking.result()
    assert outcome.tried > 0
    assert outcome.got == []
