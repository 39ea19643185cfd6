"""`make setup` and `make run` where something is missing: a message, and no traceback."""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import os
import pty
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import psutil
import pytest

from lab_testing.embedded import HUB, PROJECT, free_ports

RUN = str(HUB / "emulation" / "run.py")
UV = shutil.which("uv") or str(PROJECT / ".tools/uv/bin/uv")
NOWHERE = "http://127.0.0.1:1/"  # nothing answers there


@pytest.fixture
def setup() -> ModuleType:
    """`tools/setup.py`, which is not part of a package."""
    spec = importlib.util.spec_from_file_location("setup_tool", PROJECT / "tools/setup.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def checkout(setup: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with nothing installed."""
    for name in ("pyproject.toml", "uv.lock", "package.json", "package-lock.json", "tools/versions.env"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(PROJECT / name, tmp_path / name)
    for member in ("libs/k8s_annotations", "services/hub"):
        (tmp_path / member).mkdir(parents=True)
        shutil.copy(PROJECT / member / "pyproject.toml", tmp_path / member)
    for name, place in (("ROOT", ""), ("TOOLS", ".tools"), ("VENV", ".venv/bin")):
        monkeypatch.setattr(setup, name, str(tmp_path / place))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No package index, no npm registry, and no earlier downloads."""
    for name, value in {
        "UV_DEFAULT_INDEX": NOWHERE,
        "UV_CACHE_DIR": str(tmp_path / "cache"),
        "UV_HTTP_RETRIES": "0",
        "UV_PYTHON_DOWNLOADS": "never",
        "PIP_INDEX_URL": NOWHERE,
        "PIP_NO_CACHE_DIR": "1",
        "PIP_RETRIES": "0",
        "npm_config_registry": NOWHERE,
        "npm_config_cache": str(tmp_path / "npm"),
        "npm_config_fetch_retries": "0",
    }.items():
        monkeypatch.setenv(name, value)
    for name in ("UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_INDEX", "PIP_EXTRA_INDEX_URL", "UV_OFFLINE"):
        monkeypatch.delenv(name, raising=False)


# --- make setup -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("newer", "said"),
    [
        pytest.param(None, "setup: Python 3.11 or newer is needed, and this is 3.", id="there is no newer Python"),
        pytest.param(
            "exit 127", "setup: Python 3.11 or newer is needed", id="the newer Python is pyenv's, and does not run"
        ),
        pytest.param('[ "$1" = -c ] || echo "newer: $*" >&2', "newer: tool --browser", id="a newer Python takes over"),
    ],
)
def test_an_old_python_without_uv(newer: str | None, said: str, tmp_path: Path) -> None:
    if newer is not None:
        (tmp_path / "python3.13").write_text(f"#!/bin/sh\n{newer}\n")
        (tmp_path / "python3.13").chmod(0o755)
    script = "import setup, sys; setup.OLDEST_PYTHON = (99, 0); sys.argv = ['tool', '--browser']; setup.install_uv()"
    environ = {**os.environ, "PATH": str(tmp_path), "PYTHONPATH": str(PROJECT / "tools")}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, env=environ)
    assert done.stderr.startswith(said)
    assert "Traceback" not in done.stderr


def test_any_python_3_can_read_the_tool() -> None:
    source = (PROJECT / "tools/setup.py").read_text()
    ast.parse(source, feature_version=(3, 4))


def test_uv_without_a_connection_gets_a_sentence(
    setup: ModuleType, checkout: Path, no_network: None, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        setup.install_uv()
    assert "uv could not be installed. The first run needs a connection to the package index" in str(ended.value)
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.skipif(not Path(UV).exists(), reason="no uv is installed here")
def test_packages_without_a_connection_get_a_sentence(
    setup: ModuleType, checkout: Path, no_network: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_OFFLINE", "1")
    with pytest.raises(SystemExit) as ended:
        setup.sync(UV)
    assert "The Python packages could not be installed. Is the package index reachable?" in str(ended.value)


def test_the_proxy_without_a_connection_gets_a_sentence_and_is_tried_again(
    setup: ModuleType, checkout: Path, no_network: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setup, "VENV", str(PROJECT / ".venv/bin"))
    with pytest.raises(SystemExit) as ended:
        setup.install_proxy()
    assert "The proxy could not be installed. Is the npm registry reachable?" in str(ended.value)
    assert not (checkout / "node_modules/.installed").exists()


def test_what_is_installed_is_left_alone(setup: ModuleType, no_network: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(PROJECT)
    before = (PROJECT / "node_modules/.installed").stat().st_mtime_ns
    setup.install_proxy()
    assert (PROJECT / "node_modules/.installed").stat().st_mtime_ns == before


# --- make run -------------------------------------------------------------------------------------------------------


def serve(port: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "PORT": port}
    return subprocess.run([sys.executable, RUN], capture_output=True, text=True, check=False, env=environ, timeout=30)


@pytest.mark.parametrize("port", ["abc", "0", "65536", "-1", "80 81", "²"])
def test_an_invalid_port_gets_a_sentence(port: str) -> None:
    done = serve(port)
    assert done.returncode == 1
    assert done.stderr == f"run: PORT is {port!r}; it must be a number from 1 to 65535.\n"


def test_a_taken_port_gets_a_sentence() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", free_ports(1)[0]))
        other.listen()
        port = other.getsockname()[1]
        done = serve(str(port))
    assert done.returncode == 1
    assert done.stderr == (f"run: port {port} is already in use. Pick another one: make run PORT={port + 1}\n")


def test_ctrl_c_ends_the_lab_within_ten_seconds_and_leaves_no_process() -> None:
    port = free_ports(1)[0]
    marker = f"LAB_TEST_MARKER={port}"
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.update(PORT=str(port), LAB_TEST_MARKER=str(port))
        os.execv(sys.executable, [sys.executable, RUN])
    said = bytearray()
    reader = threading.Thread(target=read_to_the_end, args=(terminal, said))
    reader.start()
    try:
        wait_until(lambda: answers(port), 60, said)
        assert f"http://127.0.0.1:{port}".encode() in said
        assert len(started_with(marker)) >= 4  # the sandbox's two, the hub, the proxy
        os.write(terminal, b"\x03")
        wait_until(lambda: os.waitpid(pid, os.WNOHANG)[0] == pid, 10, said)
        wait_until(lambda: not started_with(marker), 1, said)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        reader.join(10)
        os.close(terminal)
    assert b"Traceback" not in said, said.decode(errors="replace")
    assert not answers(port)


def read_to_the_end(terminal: int, said: bytearray) -> None:
    with contextlib.suppress(OSError):  # the other end is closed
        while more := os.read(terminal, 4096):
            said += more


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/hub/health", timeout=5):
            return True
    except OSError:
        return False


def started_with(marker: str) -> list[psutil.Process]:
    """The processes that were started with this variable."""
    name, _, value = marker.partition("=")
    return [each for each in psutil.process_iter(["environ"]) if (each.info["environ"] or {}).get(name) == value]


def wait_until(true: Callable[[], bool], seconds: float, said: bytearray) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, said.decode(errors="replace")[-3000:]
        time.sleep(0.05)
