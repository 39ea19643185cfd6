"""From a real click in Chromium to a usable JupyterLab."""

from __future__ import annotations

import asyncio

import people
from hubs import PEER, PEOPLE, Hub, side_by_side, turns
from report import Bar, Figure
from server_start import Starter

__all__ = ["PEER", "measure"]


def measure(repeats: int) -> list[Figure]:
    """Click at both hubs in turns, after one turn each that is not measured."""
    usable = Figure("click on Start -> JupyterLab usable", "s", [Bar(0.45)], "Click to usable Lab")
    landed = Figure("  of it, until JupyterLab's page comes", "s")
    with side_by_side() as hubs:
        for hub, counts in turns(hubs, repeats, unmeasured=True):
            at_page, at_launcher = asyncio.run(_one(hub))
            if counts:
                (landed.lab if hub.is_lab else landed.peer).append(at_page)
                (usable.lab if hub.is_lab else usable.peer).append(at_launcher)
    return [usable, landed]


async def _one(hub: Hub) -> tuple[float, float]:
    async with people.browser(hub.url) as http:
        person = Starter(http, PEOPLE[0], hub.url)
        await person.come_in()
        # The lab has several buttons: this one opens the chosen card.
        found = await person.start_in_chromium(".actions button" if hub.is_lab else "form [type=submit]")
        await person.stop()
        return found
