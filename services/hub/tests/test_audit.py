"""The audit log's file: only the hub can access it, a rotation loses nothing, and it never stops the hub."""

from __future__ import annotations

import json
import logging
import os
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from learning_lab.access import audit
from learning_lab.access.audit import AuditLog, open_file


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


@pytest.fixture
def audit_log(path: Path) -> Iterator[AuditLog]:
    before = os.umask(0)  # whatever the umask is, only the hub may access the file
    log = AuditLog(str(path), logging.getLogger("hub"))
    yield log
    log.close()
    os.umask(before)


def decide(log: AuditLog, asked: str = "thesis") -> None:
    log.decided(
        action="start", by="alice", userid="alice", server="", asked=asked, path="/s/alice/thesis", allowed=True
    )


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def asked(path: Path) -> list[str]:
    return [json.loads(line)["asked"] for line in path.read_text().splitlines()]


def test_what_is_queued_is_written_when_the_hub_ends(audit_log: AuditLog, path: Path) -> None:
    for number in range(1000):
        decide(audit_log, str(number))
    audit_log.close()
    assert asked(path) == [str(number) for number in range(1000)]
    audit_log.close()


def test_the_file_is_the_hubs_alone(audit_log: AuditLog, path: Path) -> None:
    assert mode(path) == 0o600


def test_a_file_after_a_rotation_by_logrotate_is_the_hubs_alone(
    audit_log: AuditLog, path: Path, tmp_path: Path
) -> None:
    decide(audit_log, "before")
    wait_for(lambda: bool(path.read_text()))
    path.rename(tmp_path / "rotated")
    decide(audit_log, "after")
    audit_log.close()
    assert (asked(tmp_path / "rotated"), asked(path)) == (["before"], ["after"])
    assert mode(path) == 0o600


def test_an_existing_file_with_another_mode_becomes_the_hubs_alone(path: Path) -> None:
    path.touch()
    path.chmod(0o644)
    os.close(open_file(str(path)))
    assert mode(path) == 0o600


def test_it_is_bounded_and_loses_nothing_before_that(
    audit_log: AuditLog, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "LARGEST", 2000)
    monkeypatch.setattr(audit, "KEPT", 2)
    for number in range(60):
        decide(audit_log, str(number))
    audit_log.close()
    files = [path.with_name(name) for name in ("audit.jsonl.2", "audit.jsonl.1", "audit.jsonl")]
    assert sorted(path.parent.iterdir()) == sorted(files)
    kept = [each for file in files for each in asked(file)]
    assert kept == [str(number) for number in range(60 - len(kept), 60)]
    assert all(file.stat().st_size < 2500 and mode(file) == 0o600 for file in files)


def test_a_line_that_cannot_be_written_goes_to_the_hubs_log(
    audit_log: AuditLog, path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere")
    decide(audit_log, "lost?")
    audit_log.close()
    assert "The audit log cannot be written" in caplog.text
    assert '"asked": "lost?"' in caplog.text
    assert not (tmp_path / "elsewhere").exists()


def test_it_is_written_again_when_the_disk_has_recovered(
    audit_log: AuditLog, path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere")
    decide(audit_log, "lost")
    decide(audit_log, "lost too")
    wait_for(lambda: caplog.text.count("The audit log cannot be written") == 2)
    path.unlink()
    decide(audit_log, "kept")
    audit_log.close()
    assert asked(path)[-1] == "kept"


def link(path: Path) -> None:
    path.symlink_to("/etc/passwd")


def second_name(path: Path) -> None:
    path.with_name("other").touch()
    path.hardlink_to(path.with_name("other"))


def somebody_elses(path: Path) -> None:
    path.touch()
    os.chown(path, 1234, 1234)


@pytest.mark.parametrize(
    "prepare",
    [
        pytest.param(link, id="a link"),
        pytest.param(os.mkfifo, id="a FIFO that nobody reads"),
        pytest.param(second_name, id="a file with a second name"),
        pytest.param(
            somebody_elses,
            id="somebody else's file",
            marks=pytest.mark.skipif(os.geteuid() != 0, reason="only root makes files of others"),
        ),
        pytest.param(lambda path: path.parent.chmod(0o777), id="a directory in which anybody may write"),
    ],
)
def test_a_file_that_somebody_else_may_have_put_there_is_refused(path: Path, prepare: Callable[[Path], None]) -> None:
    prepare(path)
    with pytest.raises(OSError, match=r"\w") as refused:
        open_file(str(path))
    assert refused.value.strerror


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 5
    while not condition() and time.monotonic() < until:
        time.sleep(0.01)
    assert condition()
