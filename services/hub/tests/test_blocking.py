"""Blocking calls that may never return."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time

import pytest

from learning_lab.blocking import CallLimit, DaemonThreads, in_thread


async def test_a_free_thread_is_used_again_and_a_new_one_made_when_none_is_free() -> None:
    threads = DaemonThreads()
    one_by_one = {await in_thread(threads, threading.get_ident) for _ in range(20)}
    assert len(one_by_one) == 1
    together = threading.Barrier(5, timeout=5)
    await asyncio.gather(*(in_thread(threads, together.wait) for _ in range(5)))


async def test_what_a_call_raises_reaches_who_waits() -> None:
    with pytest.raises(ZeroDivisionError):
        await in_thread(DaemonThreads(), lambda: 1 // 0)


async def test_a_place_is_free_only_when_its_call_has_ended() -> None:
    threads, limit = DaemonThreads(), CallLimit(1)
    end = threading.Event()
    with pytest.raises(TimeoutError):
        await limit.call(lambda: in_thread(threads, end.wait), 0.05)
    with pytest.raises(TimeoutError):
        await limit.call(lambda: in_thread(threads, time.time), 0.05)
    end.set()
    assert await limit.call(lambda: in_thread(threads, time.time), 5)


def test_a_call_that_hangs_does_not_keep_the_process_from_ending() -> None:
    program = (
        "import time; from learning_lab.blocking import DaemonThreads; DaemonThreads().submit(time.sleep, 60); print(1)"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=20, check=True)
    assert ended.stdout == b"1\n"
