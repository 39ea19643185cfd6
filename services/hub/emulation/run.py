"""Serve the embedded lab until Ctrl-C: `make run`.

The hub runs in the sandbox with the project's own configuration and reads `k8s/base/namespaces.yaml`: an edit there
shows in the menu on the next page load. Everything that the hub writes is gone when it ends.
"""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

from company import PEOPLE
from lab_testing.embedded import HUB, NAMESPACES, free_ports

STATE = Path("/run/learning-lab")  # private: the sandbox has its own /run


def main() -> None:
    """Check the port, then become the sandbox; inside it, become the hub."""
    if sys.argv[1:] == ["--inside"]:
        STATE.mkdir(mode=0o700)
        os.chdir(STATE)
        os.execv(sys.executable, [sys.executable, "-m", "jupyterhub", "-f", str(HUB / "jupyterhub_config.py")])
    port = _port(os.environ.get("PORT") or "8000")
    os.environ.update(PORT=str(port), HUB_PORT=str(free_ports(1)[0]))
    # Browsers resolve every name that ends in `localhost` to this machine.
    address = os.environ.setdefault("LEARNING_LAB_ADDRESS", f"http://lab.localhost:{port}")
    os.environ.setdefault("LEARNING_LAB_READER", "file")
    os.environ.setdefault("LEARNING_LAB_NAMESPACES_FILE", str(NAMESPACES))
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    people = ", ".join(f"{p.userid}/{p.password}" for p in PEOPLE if not (p.expired or p.locked))
    print(
        f"\n  Learning Lab: {address or f'http://127.0.0.1:{port}'}   (log in as {people}; press Ctrl-C to stop)\n",
        flush=True,
    )
    sandbox = str(Path(__file__).with_name("sandbox.py"))
    os.execv(sys.executable, [sys.executable, sandbox, "--", sys.executable, __file__, "--inside"])


def _port(text: str) -> int:
    """Check the port to serve on: a valid number, and free right now."""
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        sys.exit(f"run: PORT is {text!r}; it must be a number from 1 to 65535.")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", int(text)))
        except PermissionError:
            sys.exit(f"run: you may not serve on port {text}. Pick one above 1023: make run PORT=8000")
        except OSError:
            sys.exit(f"run: port {text} is already in use. Pick another one: make run PORT={int(text) + 1}")
    return int(text)


if __name__ == "__main__":
    main()
