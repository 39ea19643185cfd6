"""Where kernels listen (in their user's own directory, or encrypted), and which messages reach them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from ipykernel.kernelbase import Kernel
from traitlets.config import Config
from traitlets.config.loader import PyFileConfigLoader

from learning_lab.services import JUPYTER_CONFIG
from learning_lab.singleuser.kernel_sockets import can_be_private

OPEN_TO_ALL = 0o777
FROM_BROWSERS = {"comm_open", "comm_msg", "comm_close", "input_reply"}


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)  # pytest's temporary paths are almost too long for a socket
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", "runtime")
    return tmp_path / "runtime"


def configured() -> Config:
    return PyFileConfigLoader("jupyter_server_config.py", path=JUPYTER_CONFIG).load_config()


def test_a_directory_is_made_private_and_left_empty(runtime: Path) -> None:
    assert can_be_private("runtime")
    assert stat.S_IMODE(runtime.stat().st_mode) == 0o700
    assert list(runtime.iterdir()) == []
    assert configured().KernelManager == {"transport": "ipc"}


def test_an_open_directory_is_made_private(runtime: Path) -> None:
    runtime.mkdir()
    runtime.chmod(OPEN_TO_ALL)
    assert can_be_private("runtime")
    assert stat.S_IMODE(runtime.stat().st_mode) == 0o700


def test_where_a_path_is_too_long_kernels_are_encrypted(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    longest = 107 - len("/kernel-01234567-0123-0123-0123-0123456789ab-ipc-5")
    assert can_be_private("a" * longest)
    assert not can_be_private("a" * (longest + 1))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", "a" * (longest + 1))
    assert configured().KernelManager == {"transport_encryption": "required"}


@pytest.mark.usefixtures("in_sandbox")
def test_somebody_elses_directory_is_not_used(runtime: Path) -> None:
    runtime.mkdir(0o700)
    os.chown(runtime, 65534, 65534)
    assert not can_be_private("runtime")
    assert configured().KernelManager == {"transport_encryption": "required"}


@pytest.mark.usefixtures("runtime")
def test_a_server_passes_on_every_message_that_the_kernel_knows_except_the_debuggers() -> None:
    assert set(configured().MappingKernelManager.allowed_message_types) == (
        {*Kernel.control_msg_types, *FROM_BROWSERS} - {"debug_request"}
    )
