"""Measure starts beside plain JupyterHub, in one run, and print each figure with its peer's: `make bench-starts`.

    python bench/starts.py [answer] [lab] [class] [memory] [cpu] [kernel] [--repeats N] [--plot FILE] [--cold-ok]

It runs inside the sandbox with 40 more people (LAB_EXTRA_USERS=40). The peer is plain JupyterHub with
LocalProcessSpawner and the same packages. Rules kept here:
- both hubs run all the time and serve the same people and homes; the sides take turns, and another one begins each
  time: machines are shared and noisy, so read the ratios, not the seconds;
- one unmeasured turn comes first, for the files' cache and for what a person's first start makes in their home;
- before a turn nothing of the one before runs any more;
- a class clicks evenly over `CLASS_SECONDS`, so its last one clicks shortly before these are over.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import re
import secrets
import statistics
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

import clients
import learner
from lab_testing.embedded import EmbeddedLab, free_ports
from menu_and_logins import PROJECT, namespaces

CLASS = [f"u{number:03d}" for number in range(1, 31)]
ADMINISTRATOR = "u040"
CLASS_SECONDS = 5.0
IDLE_SECONDS = 5.0  # after the answer, before memory is read
WARM_SECONDS = 60
LAB, PLAIN = "lab", "plain"
# Ours has more than one button: this is the one that opens the chosen card.
BUTTON = {LAB: ".actions button", PLAIN: "form [type=submit]"}
# The colours of the lab's own pages.
SHEET, LINE, INK, TEAL, STONE = "#fffdf9", "#dcd4c4", "#16292c", "#0c575b", "#8a8272"


@dataclass
class Row:
    """A line of the table, with what was measured.

    Attributes:
        name: of the figure that it belongs to, as on the command line.
        bar: the most that ours may be of the peer's; None where nothing is asked.
        drawn: what the plot calls it; "" where it is not there.
    """

    name: str
    text: str
    unit: str
    bar: float | None = None
    drawn: str = ""
    taken: dict[str, list[float]] = field(default_factory=lambda: {LAB: [], PLAIN: []})

    @property
    def places(self) -> int:
        """Digits after the point."""
        return 2 if self.unit == "s" else 0

    @property
    def ratio(self) -> float | None:
        """Ours over the peer's, of the medians; None without both."""
        peer = statistics.median(self.taken[PLAIN]) if self.taken[PLAIN] else 0
        return statistics.median(self.taken[LAB]) / peer if peer and self.taken[LAB] else None


ROWS = {
    "answered": Row("answer", "click on Start -> the server answers", "s", 0.15, "Click to first answer"),
    "inside": Row("answer", "  of it, until the server says it runs", "s"),
    "usable": Row("lab", "click on Start -> JupyterLab usable", "s", 0.45, "Click to usable Lab"),
    "landed": Row("lab", "  of it, until the Lab's page comes", "s"),
    "last": Row("class", "30 people in 5 s: last one answered", "s", 0.2, "30 people, last answer"),
    "own": Row("class", "  own wait of a person, median", "s"),
    "errors": Row("class", "  errors, of 30", ""),
    "private": Row("memory", "idle server: private memory", "MiB", 0.5, "Private memory, idle"),
    "pss": Row("memory", "idle server, alone: Pss", "MiB", 0.5),
    "private30": Row("memory", "one of thirty: private memory, mean", "MiB", 0.5),
    "pss30": Row("memory", "one of thirty: Pss, mean", "MiB", 0.5, "Memory (Pss) of 30, each"),
    "parent": Row("memory", "  ours also has one warm parent: Pss", "MiB"),
    "cpu": Row("cpu", "CPU of the server, until it answers", "s", 0.15, "CPU of the new server"),
    "later": Row("cpu", "  the same, left alone for 5 s more", "s"),
    "machinery": Row("cpu", "  besides: CPU of hub and warm parent", "s"),
    "kernel": Row("kernel", "first kernel ready", "s", 1.0, "First kernel ready"),
}


@dataclass
class Side:
    """A hub under measurement, and people logged in to it."""

    name: str
    hub: EmbeddedLab
    routes: learner.Routes
    people: list[learner.Learner]

    async def alone(self) -> None:
        """One person starts a server, leaves it alone, and opens a notebook."""
        before = learner.machinery_cpu(self.hub.pid, warm=self.name == LAB)
        [start] = await self._start(self.people[:1])
        if start.error:
            raise learner.NoServer(f"{start.error}\n{self.hub.tail(20)}")
        self._keep("machinery", learner.machinery_cpu(self.hub.pid, warm=self.name == LAB) - before)
        self._keep("answered", start.answered - start.clicked)
        # Of ours, what a server says is in a file of its user's.
        own = Path(self.people[0].home, ".local/state/learning-lab/server.log")
        self._keep("inside", learner.said_running(own if self.name == LAB else self.hub.log) - start.clicked)
        self._keep("cpu", start.cpu)
        await asyncio.sleep(IDLE_SECONDS)
        self._keep("later", learner.cpu_seconds(start.pid))
        private, pss = learner.memory(start.pid)
        self._keep("private", private)
        self._keep("pss", pss)
        self._keep("kernel", await self.people[0].kernel())
        await self._stop(self.people[:1])

    async def together(self) -> None:
        """A class starts."""
        starts = await self._start(self.people, CLASS_SECONDS)
        good = [start for start in starts if not start.error]
        for start in starts:
            if start.error:
                print(f"{self.name}: {start.error}", file=sys.stderr)
        self._keep("errors", len(starts) - len(good))
        if good:
            self._keep("last", max(start.answered for start in good) - starts[0].clicked)
            self._keep("own", statistics.median(start.answered - start.clicked for start in good))
            await asyncio.sleep(IDLE_SECONDS)
            sizes = [learner.memory(start.pid) for start in good]
            self._keep("private30", statistics.mean(private for private, _ in sizes))
            self._keep("pss30", statistics.mean(pss for _, pss in sizes))
            if self.name == LAB and (parent := learner.find(0, learner.WARM_PARENT)):
                self._keep("parent", learner.memory(parent)[1])
        await self._stop(self.people)

    async def in_chromium(self) -> None:
        """One person in a browser, with a real click."""
        landed, usable = await self.people[0].start_in_chromium(BUTTON[self.name])
        self._keep("landed", landed)
        self._keep("usable", usable)
        await self._stop(self.people[:1])

    async def _start(self, people: list[learner.Learner], seconds: float = 0) -> list[learner.Start]:
        async def one(number: int, person: learner.Learner) -> learner.Start:
            await asyncio.sleep(number * seconds / len(people))
            return await person.start(self.routes)

        async with self.routes.watched(0.05 if seconds else 0.01):  # a hundred looks a second would slow a class
            return await asyncio.gather(*(one(number, person) for number, person in enumerate(people)))

    async def _stop(self, people: list[learner.Learner]) -> None:
        await asyncio.gather(*(person.stop() for person in people))
        await asyncio.sleep(1)  # for what hub and proxy still do about it

    def _keep(self, row: str, value: float) -> None:
        ROWS[row].taken[self.name].append(value)


async def measure(
    hubs: dict[str, EmbeddedLab], routes: dict[str, learner.Routes], wanted: set[str], count: int
) -> None:
    """Take the turns that the wanted figures need, `count` times."""
    turns = [
        ({"answer", "memory", "cpu", "kernel"}, Side.alone),
        ({"lab"}, Side.in_chromium),
        ({"class", "memory"}, Side.together),
    ]
    async with contextlib.AsyncExitStack() as stack:
        sides = []
        for name, hub in hubs.items():
            browsers = [await stack.enter_async_context(clients.browser(hub.url)) for _ in CLASS]
            people = [learner.Learner(*each, hub.url) for each in zip(browsers, CLASS, strict=True)]
            for person in people:
                await person.come_in()
            sides.append(Side(name, hub, routes[name], people))
        for repeat in range(count + 1):
            for figures, turn in turns:
                for each in sides if repeat % 2 else sides[::-1]:
                    # A class makes no first turn at the peer: the homes are the same ones, and it takes minutes.
                    if figures & wanted and (repeat or turn is not Side.together or each.name == LAB):
                        await turn(each)
            if repeat == 0:
                for row in ROWS.values():
                    row.taken = {LAB: [], PLAIN: []}
            print(f"repeat {repeat} of {count} done" if repeat else "unmeasured turn done", file=sys.stderr)


async def cold_starts(hub: EmbeddedLab) -> tuple[int, int]:
    """How many of our starts did not come from the warm parent, and of how many; from the hub's metrics."""
    async with clients.browser(hub.url) as http:
        person = learner.Learner(http, ADMINISTRATOR, hub.url)
        await person.come_in()
        text = await person.read("/hub/metrics")
    found = re.findall(r'^learning_lab_server_starts_total{way="(\w+)"} (\S+)', text, re.MULTILINE)
    count = {way: int(float(number)) for way, number in found}
    return sum(count.values()) - count.get("warm", 0), sum(count.values())


def table(rows: list[Row]) -> str:
    """The figures as text."""
    head = f"{'figure':<38} {'lab':>9} {'worst':>9} {'plain':>9} {'worst':>9} {'ratio':>7} {'bar':>6}"
    lines = [head]
    for row in rows:
        cells = [
            f"{how(taken):.{row.places}f} {row.unit}".strip() if taken else "-"
            for taken in row.taken.values()
            for how in (statistics.median, max)
        ]
        ratio = f"{row.ratio:.2f} x" if row.ratio is not None else ""
        judged = ""
        if row.bar is not None and row.ratio is not None:
            judged = f"{row.bar:.2f} x  {'ok' if round(row.ratio, 2) <= row.bar else 'MISSED'}"
        lines.append(f"{row.text:<38} {' '.join(f'{cell:>9}' for cell in cells)} {ratio:>7} {judged}".rstrip())
    return "\n".join(lines)


def plot(rows: list[Row], path: Path, repeats: int) -> None:
    """Draw ours beside the peer's. On a sheet of its own: a README may be light or dark."""
    rows = [row for row in rows if row.drawn and row.ratio]
    height, longest = 0.8 + 0.72 * len(rows), max((1, *(row.ratio or 0 for row in rows)))
    figure = Figure(figsize=(9, height), facecolor="none")
    sheet = FancyBboxPatch((0.008, 0.01), 0.984, 0.98, "round,pad=0,rounding_size=0.02", fc=SHEET, ec=LINE, zorder=-1)
    figure.add_artist(sheet)
    axes = figure.add_axes((0.27, 0.02, 0.7, 1 - 0.7 / height), frame_on=False, xticks=[], yticks=[])
    axes.set(xlim=(0, longest * 1.35), ylim=(-0.55, len(rows) - 0.45))
    for place, row in enumerate(reversed(rows)):
        ratio = row.ratio or 0
        for lift, length, name, colour in ((0.18, ratio, LAB, TEAL), (-0.18, 1, PLAIN, STONE)):
            axes.barh(place + lift, length, height=0.31, color=colour)
            value = f"{statistics.median(row.taken[name]):.{row.places}f} {row.unit}"
            axes.text(length + 0.015 * longest, place + lift, value, va="center", size=9.5, color=INK)
        axes.text(-0.025 * longest, place, row.drawn, ha="right", va="center", size=11, color=INK)
        times = f"{ratio:.2f} \N{MULTIPLICATION SIGN}"
        axes.text(longest * 1.34, place, times, ha="right", va="center", size=15, weight="bold", color=TEAL)
    for x, text, colour in ((0.27, "Learning Lab", TEAL), (0.44, "plain JupyterHub", STONE)):
        figure.text(x, 1 - 0.4 / height, f"■ {text}", size=11, weight="bold", color=colour, va="center")
    told = f"median of {repeats}, shorter is better"
    figure.text(0.965, 1 - 0.4 / height, told, size=9.5, color=INK, ha="right", va="center")
    path.parent.mkdir(parents=True, exist_ok=True)
    with rc_context({"svg.hashsalt": "starts"}):
        figure.savefig(path, dpi=160)


def main() -> None:
    """Measure what the command line names, or everything."""
    names = list(dict.fromkeys(row.name for row in ROWS.values()))
    parser = argparse.ArgumentParser(description="Measure starts beside plain JupyterHub.")
    parser.add_argument("figures", nargs="*", metavar="FIGURE", help=f"some of: {', '.join(names)} (default: all)")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the figures too, as .svg or .png")
    parser.add_argument("--cold-ok", action="store_true", help="measure even when the warm parent is not used")
    arguments = parser.parse_args()
    if unknown := set(arguments.figures) - set(names):
        parser.error(f"there is no figure {min(unknown)!r}; there are {', '.join(names)}")
    if arguments.repeats < 1:
        parser.error("--repeats must be 1 or more")
    wanted = set(arguments.figures or names)
    token = secrets.token_hex(32)
    (port,) = free_ports(1)
    environ = {"CONFIGPROXY_AUTH_TOKEN": token, "PROXY_API_PORT": str(port), "LAB_ADMINS": ADMINISTRATOR}
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        (place / LAB).mkdir()
        (place / LAB / "namespaces.yaml").write_text(namespaces())
        with (
            EmbeddedLab(place / LAB, environ={**environ, "TMPDIR": str(place / LAB)}) as ours,
            EmbeddedLab(place / PLAIN, PROJECT / "bench/plain_config.py", environ) as plain,
        ):
            if not learner.said_warm(ours.log, WARM_SECONDS) and not arguments.cold_ok:
                sys.exit(f"bench: the warm parent was not ready after {WARM_SECONDS} s. --cold-ok measures without it.")
            (ours_api,) = (place / LAB).glob("learning-lab-proxy-*/api")
            routes = {
                LAB: learner.Routes(ours_api, token),
                PLAIN: learner.Routes(f"http://127.0.0.1:{port}", token),
            }
            try:
                asyncio.run(measure({LAB: ours, PLAIN: plain}, routes, wanted, arguments.repeats))
            except learner.NoServer as error:
                sys.exit(f"bench: {error}")
            cold, all_starts = asyncio.run(cold_starts(ours))
    rows = [row for row in ROWS.values() if row.name in wanted]
    print(table(rows))
    print(f"{cold} of {all_starts} starts of the lab did not come from the warm parent.")
    if arguments.plot:
        plot(rows, arguments.plot, arguments.repeats)
    if (cold or not all_starts) and not arguments.cold_ok:
        sys.exit("bench: so these are not the figures of warm starts.")


if __name__ == "__main__":
    main()
