#!/usr/bin/env -S python3 -IS
"""An OCI runtime for hosts without CAP_SYS_RESOURCE: it removes that capability from each request, then runs runc.

Some virtual machines and sandboxes withhold CAP_SYS_RESOURCE from root. Then runc refuses every privileged container
("unable to apply caps"), and kind's nodes are privileged. `engine.py` registers this runtime only on such hosts.

The capability is listed in the bundle's config.json (create, run; runtime-spec, config.md) and in the process file of
an exec (`--process`). Everything else passes through unchanged.
"""

import json
import os
import sys
from pathlib import Path

CAPABILITY = "CAP_SYS_RESOURCE"


def without(capabilities: dict[str, list[str] | None]) -> dict[str, list[str]]:
    """The capability sets (bounding, effective, ...) without the capability that the host lacks."""
    return {kind: [name for name in names or [] if name != CAPABILITY] for kind, names in capabilities.items()}


def rewrite(path: Path, *, bundle: bool) -> None:
    """Remove the capability from a bundle's config.json, or from a process file."""
    content = json.loads(path.read_text())
    process = content.get("process", {}) if bundle else content
    if process.get("capabilities"):
        process["capabilities"] = without(process["capabilities"])
        path.write_text(json.dumps(content))


def value(arguments: list[str], *names: str) -> str:
    """The value of an option: `--bundle DIR`, `--bundle=DIR`, `-b DIR`; "" if it is not given."""
    for position, argument in enumerate(arguments):
        for name in names:
            if argument == name and position + 1 < len(arguments):
                return arguments[position + 1]
            if argument.startswith(name + "="):
                return argument[len(name) + 1 :]
    return ""


def main() -> None:
    """Rewrite the file that the command names, then become runc."""
    arguments = sys.argv[1:]
    if "create" in arguments or "run" in arguments:
        rewrite(Path(value(arguments, "--bundle", "-b") or ".", "config.json"), bundle=True)
    elif "exec" in arguments:
        process = value(arguments, "--process", "-p")
        if process:
            rewrite(Path(process), bundle=False)
    os.execvp("runc", ["runc", *arguments])


if __name__ == "__main__":
    main()
