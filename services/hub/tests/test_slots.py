"""Whose password is checked next."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from learning_lab.login.limits import Turn
from learning_lab.login.slots import KNOWN, Turns

CLEAN, SUSPECT = 1, 2


def go() -> Turn:
    return Turn.GO


class Queue:
    """Attempts that wait, by name; `order` is in which order they got a thread."""

    def __init__(self, turns: Turns) -> None:
        self.turns = turns
        self.order: list[str] = []
        self.tasks: list[asyncio.Task[None]] = []

    async def send(self, name: str, address: str, rank: int = CLEAN, ready: Callable[[], Turn] = go) -> None:
        async def attempt() -> None:
            if await self.turns.take(rank, address, ready, 5) is Turn.GO:
                self.order.append(name)
                await asyncio.sleep(0)
                self.turns.free(address)

        self.tasks.append(asyncio.create_task(attempt()))
        await asyncio.sleep(0)

    async def finish(self) -> list[str]:
        await asyncio.gather(*self.tasks)
        return self.order


async def test_addresses_take_turns_so_a_flood_delays_itself() -> None:
    turns = Turns(1, 100, 100)
    queue = Queue(turns)
    assert await turns.take(CLEAN, "elsewhere", go, 1) is Turn.GO
    for number in range(20):
        await queue.send(f"flood {number}", "192.0.2.66")
    await queue.send("alice", "192.0.2.1")
    turns.free("elsewhere")
    order = await queue.finish()
    assert order.index("alice") <= 1
    assert [name for name in order if name != "alice"] == [f"flood {number}" for number in range(20)]


async def test_known_browsers_go_first_and_those_who_fail_a_lot_last() -> None:
    turns = Turns(1, 100, 100)
    queue = Queue(turns)
    assert await turns.take(CLEAN, "elsewhere", go, 1) is Turn.GO
    await queue.send("guesser", "a", SUSPECT)
    await queue.send("newcomer", "b", CLEAN)
    await queue.send("alice", "c", KNOWN)
    turns.free("elsewhere")
    assert await queue.finish() == ["alice", "newcomer", "guesser"]


async def test_one_address_never_holds_all_threads() -> None:
    turns = Turns(4, 100, 100)
    held = [await turns.take(CLEAN, "192.0.2.66", go, 1) for _ in range(3)]
    assert held == [Turn.GO] * 3
    with pytest.raises(TimeoutError):
        await turns.take(CLEAN, "192.0.2.66", go, 0.02)
    assert await turns.take(CLEAN, "192.0.2.1", go, 0.02) is Turn.GO


async def test_who_stops_waiting_leaves_nothing_behind() -> None:
    turns = Turns(1, 100, 100)
    assert await turns.take(CLEAN, "a", go, 1) is Turn.GO
    with pytest.raises(TimeoutError):
        await turns.take(CLEAN, "a", go, 0.01)
    cancelled = asyncio.create_task(turns.take(CLEAN, "b", go, 5))
    await asyncio.sleep(0)
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    assert turns.waiting == 0
    turns.free("a")
    assert await turns.take(CLEAN, "c", go, 0.1) is Turn.GO


async def test_a_thread_given_to_somebody_who_is_cancelled_in_that_moment_is_given_back() -> None:
    turns = Turns(1, 100, 100)
    assert await turns.take(CLEAN, "a", go, 1) is Turn.GO
    waiting = asyncio.create_task(turns.take(CLEAN, "b", go, 5))
    await asyncio.sleep(0)
    turns.free("a")  # calls "b", which is cancelled before it runs again
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await turns.take(CLEAN, "c", go, 0.1) is Turn.GO


async def test_a_pair_whose_limit_was_used_up_while_it_waited_gets_no_thread() -> None:
    turns = Turns(1, 100, 100)
    queue = Queue(turns)
    assert await turns.take(CLEAN, "a", go, 1) is Turn.GO
    await queue.send("over the limit", "b", ready=lambda: Turn.NEVER)
    await queue.send("alice", "c")
    turns.free("a")
    assert await queue.finish() == ["alice"]


async def test_who_must_wait_for_others_of_the_pair_does_not_hold_up_the_rest() -> None:
    turns = Turns(2, 100, 100)
    queue = Queue(turns)
    answers = iter([Turn.LATER, Turn.LATER])
    await queue.send("later", "a", ready=lambda: next(answers, Turn.GO))
    await queue.send("alice", "b")
    await queue.send("bob", "c")
    order = await queue.finish()
    assert order[0] == "alice"
    assert sorted(order) == ["alice", "bob", "later"]


def test_places_are_bounded_and_an_address_without_any_is_let_in_over_the_bound() -> None:
    turns = Turns(4, 8, 3)
    assert [turns.arrive("flood") for _ in range(4)] == [True, True, True, False]
    for number in range(5):
        assert turns.arrive(f"others {number}")
    assert not turns.arrive("others 0"), "all places are taken and it has one"
    assert turns.arrive("alice's")
    turns.leave("flood")
    turns.leave("flood")
    assert turns.arrive("flood")
    for number in range(20):
        turns.arrive(f"many {number}")
    assert turns.under_way == 16
