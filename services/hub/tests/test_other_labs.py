"""Labs with other configurations: servers that do not come up, and a second server alongside the first."""

from __future__ import annotations

import time
from pathlib import Path

import httpx
import pytest

from lab_testing.embedded import HUB, EmbeddedLab
from lab_testing.person import Person, visible_text

pytestmark = [pytest.mark.usefixtures("in_sandbox"), pytest.mark.timeout(300)]


def configured(tmp_path: Path, lines: str) -> Path:
    file = tmp_path / "config.py"
    policy = (HUB / "jupyterhub_config.py").read_text()
    file.write_text(policy.replace("\nconfigure(c)\n", f"\n{lines}\nconfigure(c)\n"))
    return file


def failure_page(alice: Person) -> httpx.Response:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        page = alice.http.get("/hub/spawn-pending/alice")
        if page.status_code >= 400:
            return page
        time.sleep(0.3)
    raise AssertionError("the start neither failed nor ended")


def test_a_server_that_does_not_come_up_leads_to_a_page_that_says_so_with_the_menu_below(tmp_path: Path) -> None:
    config = configured(tmp_path, "c.LabLocalSpawner.cmd = ['sleep', '60']\nc.Spawner.http_timeout = 2")
    with EmbeddedLab(tmp_path / "lab", config=config) as lab:
        alice = Person(lab, "alice")
        alice.log_in()
        alice.start(directory="thesis")
        page = failure_page(alice)
        assert page.status_code == 500
        assert "Your server didn't start" in visible_text(page)
        assert 'value="/s/alice/thesis"' in page.text, "the menu is below"
        assert "Traceback" not in page.text
        assert alice.server() is None


def test_failed_starts_never_stop_the_hub(tmp_path: Path) -> None:
    # JupyterHub stops after this many failures in a row; the Zero to JupyterHub chart sets 5.
    config = configured(tmp_path, "c.LabLocalSpawner.cmd = ['false']\nc.Spawner.http_timeout = 1")
    with EmbeddedLab(tmp_path / "lab", config=config) as lab:
        alice = Person(lab, "alice")
        alice.log_in()
        for _ in range(7):
            alice.start(directory="thesis")
            failure_page(alice)
        log = lab.log.read_text()
        assert log.count("ended with 1 before it answered") == 7, "seven starts failed, one after the other"
        assert alice.http.get("/hub/health").status_code == 200


def test_a_refused_choice_does_not_count_where_a_site_lets_failures_stop_the_hub(tmp_path: Path) -> None:
    config = configured(tmp_path, "c.Spawner.consecutive_failure_limit = 3\nc.LabLocalSpawner.cmd = ['false']")
    with EmbeddedLab(tmp_path / "lab", config=config) as lab:
        alice = Person(lab, "alice")
        alice.log_in()
        before = lab.namespaces.read_text()
        for _ in range(4):
            assert alice.start(directory="/s/bob/notebooks").status_code == 400
        lab.namespaces.write_text("{ half a file")
        for _ in range(4):
            assert alice.start(directory="thesis").status_code == 503
        lab.namespaces.write_text(before)
        assert "consecutive spawn" not in lab.log.read_text()
        for _ in range(3):
            alice.start(directory="thesis")
            failure_page(alice)
        assert "Aborting due to 3 consecutive spawn failures" in lab.log.read_text(), (
            "a server that ends counts as a failure"
        )


def test_a_second_directory_opens_beside_the_first_where_the_site_allows_it(tmp_path: Path) -> None:
    with EmbeddedLab(tmp_path / "lab", environ={"LEARNING_LAB_OPEN_BESIDE": "true"}) as lab:
        alice = Person(lab, "alice")
        alice.log_in()
        alice.start(directory="notebooks")
        alice.wait_until_ready()
        alice.post("/hub/switch", directory="thesis", beside="1")
        beside = alice.wait_until_ready("thesis")
        assert beside["user_options"] == {"directory": "/s/alice/thesis"}
        first = alice.server()
        assert first is not None
        assert first["user_options"] == {"directory": "/s/alice/notebooks"}
        refused = alice.start_named("third", directory="/s/bob/notebooks")
        assert refused.status_code == 400
        assert "is not one of your directories" in visible_text(refused)
        alice.stop()
        alice.start_named("third", typed="genomics")
        alice.wait_until_ready("third")
        menu = alice.http.get("/hub/spawn").text
        assert 'id="typed"' in menu
        assert 'value="genomics"' not in menu.partition('id="typed"')[2].partition(">")[0], (
            "what was typed for one server is not in the menu of another"
        )
        home = visible_text(alice.http.get("/hub/home"))
        assert "/s/alice/notebooks" in home
        assert "/s/alice/thesis" in home


def test_what_the_lab_measures_is_among_the_hubs_metrics(tmp_path: Path) -> None:
    config = configured(tmp_path, "c.JupyterHub.authenticate_prometheus = False")
    with EmbeddedLab(tmp_path / "lab", config=config) as lab:
        alice = Person(lab, "alice")
        alice.log_in()
        alice.start(directory="/s/bob/notebooks")
        metrics = alice.http.get("/hub/metrics").text
    assert 'learning_lab_starts_checked_total{outcome="400"} 1.0' in metrics
    assert 'learning_lab_logins_total{outcome="ok"} 1.0' in metrics
    assert "learning_lab_namespace_read_seconds_bucket" in metrics
    assert "learning_lab_probe_seconds_bucket" in metrics
