"""One person starts a server, leaves it alone, and opens a notebook."""

from __future__ import annotations

import asyncio
from pathlib import Path

import people
import server_start
from hubs import PEER, PEOPLE, Hub, side_by_side, turns
from report import Bar, Figure
from server_start import NoServer, Routes, Starter

__all__ = ["PEER", "measure"]

LEFT_ALONE_SECONDS = 5.0  # after the first answer, before memory is read


def measure(repeats: int) -> list[Figure]:
    """Start a server at both hubs in turns, after one turn each that is not measured."""
    figures = {
        "answered": Figure("click on Start -> the server answers", "s", [Bar(0.15)], "Click to first answer"),
        "said": Figure("  of it, until the server says it runs", "s"),
        "cpu": Figure("CPU of the server, until it answers", "s", [Bar(0.15)], "CPU of the new server"),
        "later": Figure("  the same, left alone for 5 s more", "s"),
        "hub": Figure("  besides: CPU of hub and warm parent", "s"),
        "private": Figure("private memory of an idle server", "MiB", [Bar(0.5)], "Private memory, idle"),
        "pss": Figure("  its share of all memory (Pss), alone", "MiB"),
        "kernel": Figure("first kernel ready", "s", drawn="First kernel ready"),
    }
    cold = Figure("starts that did not come from the warm parent", "", [Bar(0, "lab")])
    with side_by_side() as hubs:
        for hub, counts in turns(hubs, repeats, unmeasured=True):
            for name, value in asyncio.run(_one(hub)).items():
                if counts:
                    (figures[name].lab if hub.is_lab else figures[name].peer).append(value)
        cold.lab.append(asyncio.run(server_start.cold_starts(hubs[0])))
    return [*figures.values(), cold]


async def _one(hub: Hub) -> dict[str, float]:
    async with people.browser(hub.url) as http:
        person = Starter(http, PEOPLE[0], hub.url)
        await person.come_in()
        routes, before = Routes(hub), server_start.cpu_of_the_hub(hub)
        async with routes.watched(0.01):
            start = await person.start(routes)
        if start.error:
            raise NoServer(f"{start.error}\n{hub.running.tail(20)}")
        found = {
            "hub": server_start.cpu_of_the_hub(hub) - before,
            "answered": start.answered - start.clicked,
            "cpu": start.cpu,
        }
        # At the lab, a server's output is in a file of its user.
        own = Path(person.home, ".local/state/learning-lab/server.log")
        found["said"] = server_start.said_running(own if hub.is_lab else hub.running.log) - start.clicked
        await asyncio.sleep(LEFT_ALONE_SECONDS)
        found["later"] = server_start.cpu_seconds(start.pid)
        found["private"], found["pss"] = server_start.memory(start.pid)
        found["kernel"] = await person.kernel()
        await person.stop()
        return found
