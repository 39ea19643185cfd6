"""How the steps of `make up` report and fail: one line each, their output in a log, one sentence on failure."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
TOOLS = PROJECT / ".tools"
BIN = TOOLS / "bin"
STATE = TOOLS / "kind"
LOG = STATE / "up.log"
_TAIL_LINES = 15


class StepFailed(Exception):
    """A step failed and there is no point in continuing. The message says what happened and what to do next."""


def versions() -> dict[str, str]:
    """The pinned versions in tools/versions.env."""
    lines = (PROJECT / "tools" / "versions.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


@contextmanager
def step(what: str) -> Iterator[None]:
    """Print what is being done, and how long it took."""
    print(f"up: {what} ...", file=sys.stderr, flush=True)
    began = time.monotonic()
    yield
    seconds = time.monotonic() - began
    if seconds >= 1:
        print(f"up:   done in {seconds:.0f} s", file=sys.stderr, flush=True)


def run(
    command: Sequence[str | Path],
    advice: str,
    *,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    stdin: bytes | None = None,
    seconds: float | None = None,
) -> None:
    """Run a command with its output in the log.

    Args:
        command: the command and its arguments.
        advice: what to do if it fails.
        cwd: the working directory.
        environment: variables added to this process's.
        stdin: its standard input.
        seconds: how long it may take.

    Raises:
        StepFailed: it failed, does not exist or took too long; the message contains the end of its output.
    """
    STATE.mkdir(parents=True, exist_ok=True)
    name = Path(command[0]).name
    with LOG.open("ab") as log:
        log.write(f"\n$ {' '.join(map(str, command))}\n".encode())
        log.flush()
        begin = log.tell()
        try:
            done = subprocess.run(
                list(map(str, command)),
                cwd=cwd,
                env={**os.environ, **(environment or {})},
                input=stdin if stdin is not None else b"",
                stdout=log,
                stderr=subprocess.STDOUT,
                timeout=seconds,
                check=False,
            )
        except FileNotFoundError:
            raise StepFailed(f"{name} is not installed. {advice}") from None
        except subprocess.TimeoutExpired:
            raise StepFailed(f"{name} did not end within {seconds:.0f} s. {advice}") from None
    if done.returncode:
        output = LOG.read_bytes()[begin:].decode(errors="replace").rstrip().splitlines()
        if any("no space left on device" in line.lower() for line in output):
            advice = "The disk is full: `docker system prune` and `make clean` free unused space."
        tail = "".join(f"\n    {line[:300]}" for line in output[-_TAIL_LINES:])
        raise StepFailed(f"{name} failed (exit code {done.returncode}). {advice}{tail}\n    Full log: {LOG}")


def output_of(command: Sequence[str | Path], *, seconds: float = 60) -> str | None:
    """What a command prints, stripped; None if it fails, hangs or does not exist."""
    try:
        done = subprocess.run(
            list(map(str, command)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=seconds,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode(errors="replace").strip() if done.returncode == 0 else None
