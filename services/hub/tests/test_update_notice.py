"""What people read about an update of the lab."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest

from image_updater.__main__ import PLANNED, UPDATED
from lab_testing.rendered_pages import ASYNC, variables
from learning_lab.pages.update_notice import notice

NOW = datetime(2026, 11, 23, 14, 0, tzinfo=UTC)


class TestNotice:
    def folder(self, tmp_path: Path, **times: str) -> str:
        for name, text in times.items():
            (tmp_path / {"planned": PLANNED, "updated": UPDATED}[name]).write_text(text)  # like the image updater
        return str(tmp_path)

    def test_it_announces_a_planned_update(self, tmp_path: Path) -> None:
        told = notice(self.folder(tmp_path, planned="2026-11-23T14:15:00+00:00"), NOW)
        assert told is not None
        assert told.startswith(
            "The lab will be updated at 14:15 UTC. Running servers will be stopped, so save your work first"
        )

    def test_it_names_another_day(self, tmp_path: Path) -> None:
        told = notice(self.folder(tmp_path, planned="2026-11-24T02:00:00+00:00"), NOW)
        assert told is not None
        assert "at Tuesday 02:00 UTC." in told

    def test_it_reports_a_finished_update(self, tmp_path: Path) -> None:
        told = notice(self.folder(tmp_path, planned="2026-11-23T13:55:00Z", updated="2026-11-23T13:55:00Z"), NOW)
        assert told is not None
        assert told.startswith("The lab was updated at 13:55 UTC. Running servers were stopped; your files are all")

    def test_it_ends_after_half_a_day(self, tmp_path: Path) -> None:
        assert notice(self.folder(tmp_path, updated="2026-11-23T01:59:00Z"), NOW) is None

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "tomorrow",
            "2026-11-23T14:15:00",
            "9999-12-31T23:59:59-12:00",
            "0001-01-01T00:00:00+12:00",
            "<script>alert(1)</script>",
            "9" * 10_000,
            "\0",
        ],
    )
    def test_there_is_none_for_anything_else(self, tmp_path: Path, text: str) -> None:
        assert notice(self.folder(tmp_path, planned=text, updated=text), NOW) is None

    def test_there_is_none_without_a_folder(self, tmp_path: Path) -> None:
        assert notice("", NOW) is None
        assert notice(str(tmp_path / "gone"), NOW) is None


@pytest.mark.parametrize("page", ["home.html", "spawn.html", "login.html", "spawn_pending.html"])
def test_the_pages_show_it_as_plain_text(page: str) -> None:
    shown = ASYNC.get_template(page)
    told = asyncio.run(shown.render_async(variables(lab_update="The lab was updated at <b>14:05</b>.")))
    assert "The lab was updated at &lt;b&gt;14:05&lt;/b&gt;." in told
    nothing = asyncio.run(shown.render_async(variables(lab_update=None)))
    assert 'aria-label="Update"' not in nothing
