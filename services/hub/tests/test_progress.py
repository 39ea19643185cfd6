"""The steps of a start, as the pending page is told them."""

from __future__ import annotations

import asyncio

from learning_lab.spawners.mixin import LabSpawnerMixin


class Starting(LabSpawnerMixin):
    """A spawner whose start is told by the test."""

    def step(self, progress: int) -> None:
        self._step(progress, f"{progress} of 100")


async def test_a_step_that_comes_while_another_is_sent_is_told_too() -> None:
    starting = Starting()
    starting.step(10)
    told = []
    async with asyncio.timeout(2):
        async for step in starting.progress():
            told.append(step["progress"])
            if step["progress"] == 10:  # whoever is told takes its time, as a slow browser does
                starting.step(30)
                starting.step(50)
            if step["progress"] == 50:
                break
    assert told == [10, 30, 50]


async def test_who_comes_late_is_told_every_step_once() -> None:
    starting = Starting()
    starting.step(10)
    starting.step(30)
    told = []
    async with asyncio.timeout(2):
        async for step in starting.progress():
            told.append(step["progress"])
            if len(told) == 2:
                asyncio.get_running_loop().call_later(0.01, starting.step, 50)
            if len(told) == 3:
                break
    assert told == [10, 30, 50]
