"""A good log-in while twenty people guess passwords nonstop."""

from __future__ import annotations

import asyncio
import statistics

import people
from hubs import PEER, PEOPLE, side_by_side
from report import Bar, Figure, percentile

__all__ = ["PEER", "measure"]

GUESSERS = 20


def measure(repeats: int) -> list[Figure]:
    """Log in 20 times per repeat at the lab, and once at its peer, where it takes half a minute."""
    worst = Figure("good log-in in a flood, p99", "s", [Bar(1, "lab")], summary=percentile(0.99))
    middle = Figure("  median", "s", summary=statistics.median)
    with side_by_side() as hubs:
        for hub in hubs:
            who = PEOPLE[: repeats * 20 if hub.is_lab else repeats]
            times = asyncio.run(people.good_log_ins_in_a_flood(hub.url, who, GUESSERS))
            for figure in (worst, middle):
                (figure.lab if hub.is_lab else figure.peer).extend(each / 1000 for each in times)
    return [worst, middle]
