"""The menu page: the latency for one person, and pages per second with twenty people."""

from __future__ import annotations

import asyncio
import statistics

import people
from hubs import PEER, PEOPLE, side_by_side, turns
from report import Bar, Figure

__all__ = ["PEER", "measure"]

PAGES = 200
SECONDS = 5.0


def measure(repeats: int) -> list[Figure]:
    """Load the menus of both hubs."""
    one = Figure("menu page, one client, median", "ms", [Bar(2, "difference")])
    twenty = Figure("menu pages, 20 clients", "/s", [Bar(1, at_least=True)])
    with side_by_side() as hubs:
        for hub, _ in turns(hubs, repeats):
            latency = asyncio.run(people.menu_latency(hub.url, PEOPLE[0], PAGES))
            (one.lab if hub.is_lab else one.peer).append(statistics.median(latency))
            rate = asyncio.run(people.menu_throughput(hub.url, PEOPLE[:20], SECONDS))
            (twenty.lab if hub.is_lab else twenty.peer).append(rate)
    return [one, twenty]
