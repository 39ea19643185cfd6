"""Figures, each next to its peer's, and whether their bars hold."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from matplotlib import rc_context
from matplotlib.figure import Figure as Sheet
from matplotlib.patches import FancyBboxPatch

# The colours of the lab's pages.
SHEET, LINE, INK, TEAL, STONE = "#fffdf9", "#dcd4c4", "#16292c", "#0c575b", "#8a8272"


@dataclass(frozen=True)
class Bar:
    """What is promised of a figure.

    Attributes:
        limit: the bound.
        of: what the bound applies to: the ratio of the lab's figure to its peer's, the difference, or the lab's figure.
        at_least: whether it is a lower bound.
    """

    limit: float
    of: Literal["ratio", "difference", "lab"] = "ratio"
    at_least: bool = False


@dataclass
class Figure:
    """A line of the table, with every value that was measured.

    Attributes:
        text: what is measured.
        unit: the unit of the values.
        bars: what is promised.
        drawn: its label in the plot; "" if the plot omits it.
        summary: turns the measured values into one.
        lab: the lab's values.
        peer: the peer's values; empty if there is no peer.
    """

    text: str
    unit: str = ""
    bars: Sequence[Bar] = ()
    drawn: str = ""
    summary: Callable[[Sequence[float]], float] = statistics.median
    lab: list[float] = field(default_factory=list)
    peer: list[float] = field(default_factory=list)

    @property
    def ratio(self) -> float | None:
        """The ratio of the lab's value to the peer's; None if the peer has none, or 0."""
        if not self.lab or not self.peer or not self.summary(self.peer):
            return None
        return self.summary(self.lab) / self.summary(self.peer)

    def shown(self, values: Sequence[float]) -> str:
        """The summary of these values with its unit: three significant digits, and no decimals for large values."""
        if not values:
            return "-"
        value = self.summary(values)
        places = 0 if not self.unit or abs(value) >= 100 else 1 if abs(value) >= 10 else 2
        return f"{value:.{places}f} {self.unit}".strip()

    def missed(self) -> list[Bar]:
        """The bars that do not hold. A bar without figures is not checked."""
        return [bar for bar in self.bars if (found := self._value(bar)) is not None and not _holds(bar, found)]

    def verdict(self) -> str:
        """What was promised, and whether it holds; "" if nothing was."""
        told = []
        for bar in self.bars:
            word = "at least" if bar.at_least else "at most"
            amount = {"ratio": f"{bar.limit:g} x", "difference": f"{bar.limit:+g} {self.unit}"}.get(
                bar.of, f"{bar.limit:g} {self.unit}"
            )
            found = self._value(bar)
            judged = "not measured" if found is None else "ok" if _holds(bar, found) else "MISSED"
            told.append(f"{word} {amount.strip()}: {judged}")
        return ", ".join(told)

    def _value(self, bar: Bar) -> float | None:
        if bar.of == "ratio":
            return self.ratio
        if not self.lab or (bar.of == "difference" and not self.peer):
            return None
        return self.summary(self.lab) - (self.summary(self.peer) if bar.of == "difference" else 0)

    def as_json(self) -> dict[str, Any]:
        """The whole figure, for a file."""
        return {"text": self.text, "unit": self.unit, "lab": self.lab, "peer": self.peer, "ratio": self.ratio}


def percentile(share: float) -> Callable[[Sequence[float]], float]:
    """A summary: the value that this share of the values does not exceed."""

    def of(values: Sequence[float]) -> float:
        return sorted(values)[max(0, -(-len(values) * int(share * 100) // 100) - 1)]

    return of


def table(scenario: str, peer: str, figures: Sequence[Figure]) -> str:
    """The figures as text: median (or the figure's own summary), highest value in brackets, the peer's, the ratio."""
    lines = [f"{scenario:<46} {'lab':>9} {'highest':>9} {peer:>18} {'highest':>9} {'ratio':>8}   bar"]
    for each in figures:
        cells = [
            f"{each.shown(each.lab):>9}",
            f"{_highest(each, each.lab):>9}",
            f"{each.shown(each.peer):>18}",
            f"{_highest(each, each.peer):>9}",
        ]
        ratio = f"{each.ratio:.2f} x" if each.ratio is not None else ""
        lines.append(f"  {each.text:<44} {' '.join(cells)} {ratio:>8}   {each.verdict()}".rstrip())
    return "\n".join(lines)


def plot(figures: Sequence[Figure], path: Path, repeats: int) -> None:
    """Draw the lab next to its peer. The background has its own colour, because a README may be light or dark."""
    rows = [each for each in figures if each.drawn and each.ratio]
    height, longest = 0.8 + 0.72 * len(rows), max((1, *(row.ratio or 0 for row in rows)))
    sheet = Sheet(figsize=(9, height), facecolor="none")
    sheet.add_artist(
        FancyBboxPatch((0.008, 0.01), 0.984, 0.98, "round,pad=0,rounding_size=0.02", fc=SHEET, ec=LINE, zorder=-1)
    )
    axes = sheet.add_axes((0.27, 0.02, 0.7, 1 - 0.7 / height), frame_on=False, xticks=[], yticks=[])
    axes.set(xlim=(0, longest * 1.35), ylim=(-0.55, len(rows) - 0.45))
    for place, row in enumerate(reversed(rows)):
        ratio = row.ratio or 0
        for lift, length, values, colour in ((0.18, ratio, row.lab, TEAL), (-0.18, 1, row.peer, STONE)):
            axes.barh(place + lift, length, height=0.31, color=colour)
            axes.text(length + 0.015 * longest, place + lift, row.shown(values), va="center", size=9.5, color=INK)
        axes.text(-0.025 * longest, place, row.drawn, ha="right", va="center", size=11, color=INK)
        times = f"{ratio:.2f} \N{MULTIPLICATION SIGN}"
        axes.text(longest * 1.34, place, times, ha="right", va="center", size=15, weight="bold", color=TEAL)
    for x, text, colour in ((0.27, "Learning Lab", TEAL), (0.44, "plain JupyterHub", STONE)):
        sheet.text(x, 1 - 0.4 / height, f"■ {text}", size=11, weight="bold", color=colour, va="center")
    told = f"median of {repeats}, shorter is better"
    sheet.text(0.965, 1 - 0.4 / height, told, size=9.5, color=INK, ha="right", va="center")
    path.parent.mkdir(parents=True, exist_ok=True)
    with rc_context({"svg.hashsalt": "bench"}):
        sheet.savefig(path, dpi=160)


def _holds(bar: Bar, value: float) -> bool:
    value = round(value, 2)
    return value >= bar.limit if bar.at_least else value <= bar.limit


def _highest(figure: Figure, values: Sequence[float]) -> str:
    return Figure("", figure.unit, summary=max).shown(values) if len(values) > 1 else ""
