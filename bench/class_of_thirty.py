"""Thirty people start their servers within five seconds, like a class."""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import sys

import people
import server_start
from hubs import PEER, PEOPLE, Hub, side_by_side, turns
from lab_testing.processes import running
from report import Bar, Figure
from server_start import Routes, Start, Starter

__all__ = ["PEER", "measure"]

CLASS = PEOPLE[:30]
SECONDS = 5.0  # the clicks are spread evenly, so the last one comes shortly before the end
LEFT_ALONE_SECONDS = 5.0


def measure(repeats: int) -> list[Figure]:
    """Start thirty servers at both hubs, in turns."""
    figures = {
        "last": Figure("30 people in 5 s: last one answered", "s", [Bar(0.2)], "30 people, last answer"),
        "own": Figure("  own wait of a person, median", "s"),
        "errors": Figure("  errors, of 30", "", [Bar(0, "lab")], summary=sum),
        "private": Figure("  private memory of one of them, mean", "MiB", [Bar(0.5)]),
        "pss": Figure("  its share of all memory (Pss), mean", "MiB", [Bar(0.5)], "Memory (Pss) of 30, each"),
        "parent": Figure("  the lab has one warm parent besides: Pss", "MiB"),
    }
    cold = Figure("  starts that did not come from the warm parent", "", [Bar(0, "lab")])
    with side_by_side() as hubs:
        for hub, _ in turns(hubs, repeats):
            for name, value in asyncio.run(_together(hub)).items():
                (figures[name].lab if hub.is_lab else figures[name].peer).append(value)
        cold.lab.append(asyncio.run(server_start.cold_starts(hubs[0])))
    return [*figures.values(), cold]


async def _together(hub: Hub) -> dict[str, float]:
    async with contextlib.AsyncExitStack() as stack:
        everybody = [
            Starter(await stack.enter_async_context(people.browser(hub.url)), userid, hub.url) for userid in CLASS
        ]
        for person in everybody:
            await person.come_in()
        routes = Routes(hub)

        async def one(number: int, person: Starter) -> Start:
            await asyncio.sleep(number * SECONDS / len(everybody))
            return await person.start(routes)

        async with routes.watched(0.05):  # polling a hundred times a second would slow the class down
            starts = await asyncio.gather(*(one(number, person) for number, person in enumerate(everybody)))
        for start in starts:
            if start.error:
                print(f"bench: {start.error}", file=sys.stderr)
        good = [start for start in starts if not start.error]
        found: dict[str, float] = {"errors": len(starts) - len(good)}
        if good:
            found["last"] = max(start.answered for start in good) - starts[0].clicked
            found["own"] = statistics.median(start.answered - start.clicked for start in good)
            await asyncio.sleep(LEFT_ALONE_SECONDS)
            sizes = [server_start.memory(start.pid) for start in good]
            found["private"] = statistics.mean(private for private, _ in sizes)
            found["pss"] = statistics.mean(pss for _, pss in sizes)
            if hub.is_lab and (parents := running(server_start.WARM_PARENT, 0)):
                found["parent"] = server_start.memory(parents[0].pid)[1]
        await asyncio.gather(*(person.stop() for person in everybody))
        return found
