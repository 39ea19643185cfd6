"""Measure the lab against its peers and print one report: `make bench`, `make bench ARGS="menu start --repeats 3"`.

    python bench/measure.py [SCENARIO ...] [--repeats N] [--plot FILE] [--json FILE]

A scenario is a module in this folder. Its docstring says what it measures, `PEER` names what it is compared with, and
`measure(repeats)` returns figures with their bars (what is promised of them). All scenarios except `live` run inside
the sandbox with 200 more people (LAB_EXTRA_USERS=200); `live` runs outside, on the cluster of `make up`. The exit code
is 1 if a bar is missed.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path

import report

SCENARIOS = ("menu", "log_ins", "flood", "start", "class_of_thirty", "jupyterlab", "imports")
ON_THE_CLUSTER = ("live",)


def main() -> None:
    """Measure the scenarios on the command line, or all that need no cluster."""
    parser = argparse.ArgumentParser(description="Measure the lab against its peers, in one run.")
    names = (*SCENARIOS, *ON_THE_CLUSTER)
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=f"some of: {', '.join(names)}")
    parser.add_argument("--repeats", type=int, default=5, help="how often each side is measured (default: 5)")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the figures too, as .svg or .png")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep every measured value")
    arguments = parser.parse_args()
    if unknown := set(arguments.scenarios) - set(names):
        parser.error(f"there is no scenario {min(unknown)!r}; there are {', '.join(names)}")
    if arguments.repeats < 1:
        parser.error("--repeats must be 1 or more")
    kept, failed = {}, []
    for name in arguments.scenarios or SCENARIOS:
        scenario = importlib.import_module(name)
        print(f"bench: {name}", file=sys.stderr, flush=True)
        try:
            kept[name] = scenario.measure(arguments.repeats)
        except RuntimeError as error:
            failed.append(f"{name}: {error}")
            continue
        print(report.table(name, scenario.PEER, kept[name]), end="\n\n", flush=True)
    figures = [figure for name in kept for figure in kept[name]]
    if arguments.plot:
        report.plot(figures, arguments.plot, arguments.repeats)
    if arguments.json:
        content = {name: [figure.as_json() for figure in found] for name, found in kept.items()}
        arguments.json.write_text(json.dumps(content, indent=1))
    failed += [f"missed: {each.text.strip()} ({each.verdict()})" for each in figures if each.missed()]
    if failed:
        sys.exit("bench: " + "\nbench: ".join(failed))


if __name__ == "__main__":
    main()
