"""Measure the lab beside plain JupyterHub, in one run, and print each figure with its peer's: `make bench`.

    python bench/menu_and_logins.py [menu] [logins] [flood] [memory]

It runs inside the sandbox with 200 more people (LAB_EXTRA_USERS=200). Both hubs serve the same people; the sides take
turns, `ROUNDS` times, because these machines are shared and noisy: read the ratios, not the milliseconds.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import yaml

import clients
from lab_testing.embedded import EmbeddedLab

PROJECT = Path(__file__).resolve().parents[1]

ROUNDS = 5
PEOPLE = [f"u{number:03d}" for number in range(1, 201)]

DIRECTORIES = """\
- /s/USER/notebooks
- {path: /s/USER/thesis, title: Thesis}
- {path: /s/shared/genomics, title: Genomics course}
- /s/shared/climate
- {path: /s/USER/archive, title: Archive}
"""


def namespaces() -> str:
    """A namespace for everybody, with five directories."""
    return yaml.safe_dump_all(
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {
                "name": userid,
                "labels": {"learning-lab.dev/user": "true"},
                "annotations": {
                    "learning-lab.dev/userid": userid,
                    "learning-lab.dev/notebook-dirs": DIRECTORIES.replace("USER", userid),
                },
            },
        }
        for userid in PEOPLE
    )


def resident_mib(pid: int) -> float:
    """Resident memory of a process and, for ours, of the process that looks at directories."""
    pids = [pid] + [
        int(process.name)
        for process in Path("/proc").glob("[0-9]*")
        if (process / "stat").exists()
        and int((process / "stat").read_text().rpartition(")")[2].split()[1]) == pid
        and b"probe_forker" in (process / "cmdline").read_bytes()
    ]
    total = 0
    for each in pids:
        status = Path(f"/proc/{each}/smaps_rollup").read_text()
        total += next(int(line.split()[1]) for line in status.splitlines() if line.startswith("Pss:"))
    return total / 1024


def rows_menu(ours: EmbeddedLab, plain: EmbeddedLab) -> list[tuple[str, str, str, str]]:
    """Menu page: one client's median, and pages a second at twenty clients."""
    latency: dict[str, list[float]] = {"ours": [], "plain": []}
    rate: dict[str, list[float]] = {"ours": [], "plain": []}
    for _ in range(ROUNDS):
        for name, lab in (("ours", ours), ("plain", plain)):
            latency[name].append(statistics.median(asyncio.run(clients.menu_latency(lab.url, PEOPLE[0], 200))))
            rate[name].append(asyncio.run(clients.menu_throughput(lab.url, PEOPLE[:20], 5)))
    a, b = statistics.median(latency["ours"]), statistics.median(latency["plain"])
    c, d = statistics.median(rate["ours"]), statistics.median(rate["plain"])
    return [
        ("menu page, 1 client, p50", f"{a:.1f} ms", f"{b:.1f} ms", f"{a - b:+.1f} ms (bar: +2 ms)"),
        ("menu pages, 20 clients", f"{c:.0f}/s", f"{d:.0f}/s", f"{c / d:.2f} x (bar: 1.0 x)"),
    ]


def rows_logins(ours: EmbeddedLab, plain: EmbeddedLab) -> list[tuple[str, str, str, str]]:
    """Two hundred people at once."""
    rate: dict[str, list[float]] = {"ours": [], "plain": []}
    errors = {"ours": 0, "plain": 0}
    for _ in range(ROUNDS):
        for name, lab in (("ours", ours), ("plain", plain)):
            each, failed = asyncio.run(clients.everybody_at_once(lab.url, PEOPLE))
            rate[name].append(each)
            errors[name] += failed
    a, b = statistics.median(rate["ours"]), statistics.median(rate["plain"])
    return [
        ("log-ins, 200 at once", f"{a:.1f}/s", f"{b:.1f}/s", f"{a / b:.2f} x (bar: 1.0 x)"),
        ("  errors", str(errors["ours"]), str(errors["plain"]), "(bar: 0)"),
    ]


def rows_flood(ours: EmbeddedLab, plain: EmbeddedLab) -> list[tuple[str, str, str, str]]:
    """Good log-ins while twenty guess."""
    a = asyncio.run(clients.good_log_ins_in_a_flood(ours.url, PEOPLE[:100], 20))
    b = asyncio.run(clients.good_log_ins_in_a_flood(plain.url, PEOPLE[:5], 20))
    worst = sorted(a)[-1 - len(a) // 100]
    return [
        (
            "good log-in in a flood, p99 of 100 / worst of 5",
            f"{worst / 1000:.2f} s",
            f"{max(b) / 1000:.2f} s",
            f"{worst / max(b):.3f} x (bar: 1 s)",
        ),
        (
            "  median",
            f"{statistics.median(a) / 1000:.2f} s",
            f"{statistics.median(b) / 1000:.2f} s",
            "",
        ),
    ]


def rows_memory(ours: EmbeddedLab, plain: EmbeddedLab) -> list[tuple[str, str, str, str]]:
    """Memory after 200 log-ins and as many menus."""
    for lab in (ours, plain):
        asyncio.run(clients.everybody_at_once(lab.url, PEOPLE))
    a, b = resident_mib(ours.pid), resident_mib(plain.pid)
    return [("hub memory (Pss) after 200 log-ins", f"{a:.0f} MiB", f"{b:.0f} MiB", f"{a - b:+.0f} MiB (bar: +10 MiB)")]


FIGURES: dict[str, Callable[[EmbeddedLab, EmbeddedLab], list[tuple[str, str, str, str]]]] = {
    "memory": rows_memory,
    "menu": rows_menu,
    "logins": rows_logins,
    "flood": rows_flood,
}


def main() -> None:
    """Measure what the command line names, or everything."""
    wanted = sys.argv[1:] or list(FIGURES)
    unknown = set(wanted) - set(FIGURES)
    if unknown:
        sys.exit(f"bench: there is no figure {min(unknown)!r}; there are {', '.join(FIGURES)}")
    print(f"{'figure':<50} {'lab':>10} {'plain':>10}   ratio", flush=True)
    for name in wanted:
        # Fresh hubs for each figure: the flood of one must not be in the memory of the next.
        with tempfile.TemporaryDirectory() as directory:
            place = Path(directory)
            (place / "ours").mkdir()
            (place / "ours" / "namespaces.yaml").write_text(namespaces())
            with (
                EmbeddedLab(place / "ours") as ours,
                EmbeddedLab(place / "plain", config=PROJECT / "bench" / "plain_config.py") as plain,
            ):
                for figure, a, b, ratio in FIGURES[name](ours, plain):
                    print(f"{figure:<50} {a:>10} {b:>10}   {ratio}", flush=True)


if __name__ == "__main__":
    main()
