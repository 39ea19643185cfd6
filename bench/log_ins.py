"""Two hundred people log in at the same moment; afterwards, the hub's memory."""

from __future__ import annotations

import asyncio

import psutil

import people
from hubs import PEER, PEOPLE, Hub, side_by_side, turns
from report import Bar, Figure

__all__ = ["PEER", "measure"]


def measure(repeats: int) -> list[Figure]:
    """Log in as everybody at both hubs."""
    rate = Figure("log-ins, 200 at once, to the menu's HTML", "/s", [Bar(1, at_least=True)])
    errors = Figure("  errors", "", [Bar(0, "lab")], summary=sum)
    memory = Figure("hub's memory (Pss) after 200 log-ins", "MiB", [Bar(10, "difference")])
    with side_by_side() as hubs:
        for hub, _ in turns(hubs, repeats):
            each, failed = asyncio.run(people.everybody_at_once(hub.url, PEOPLE))
            (rate.lab if hub.is_lab else rate.peer).append(each)
            (errors.lab if hub.is_lab else errors.peer).append(failed)
            if len(memory.lab if hub.is_lab else memory.peer) == 0:
                (memory.lab if hub.is_lab else memory.peer).append(_memory(hub))
    return [rate, errors, memory]


def _memory(hub: Hub) -> float:
    """MiB of the hub and, for the lab, of the process that checks directories."""
    process = psutil.Process(hub.running.pid)
    beside = [each for each in process.children() if "probing/worker.py" in " ".join(each.cmdline())]
    return sum(each.memory_full_info().pss for each in [process, *beside]) / 2**20
