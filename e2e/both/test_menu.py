"""Log in, choose, work: what each person sees and reaches."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from lab_testing.visitor import PASSWORDS, EmbeddedSite, Visitor

pytestmark = pytest.mark.timeout(300)

THEIRS = {
    "alice": ["/s/alice/notebooks", "/s/alice/thesis", "/s/shared/genomics", "/s/shared/climate"],
    "bob": ["/s/bob/notebooks", "/s/bob/forecast", "/s/shared/genomics"],
    "carol": ["/s/carol/notebooks", "/s/carol/archive"],
}
SECOND = {"alice": ("Thesis", "thesis"), "bob": ("Demand forecast", "forecast"), "carol": ("Archive", "archive")}

everybody = pytest.mark.parametrize("userid", sorted(PASSWORDS))


@everybody
def test_everybody_sees_their_own_directories_and_nobody_elses(
    visitor: Callable[..., Visitor], screenshots: Callable[[Page, str], None], userid: str
) -> None:
    page = visitor(userid).page
    expect(page.get_by_role("radio")).to_have_count(len(THEIRS[userid]))
    assert sorted(str(radio.get_attribute("value")) for radio in page.get_by_role("radio").all()) == sorted(
        THEIRS[userid]
    )
    others = set(PASSWORDS) - {userid}
    text = page.locator("body").inner_text()
    assert not [other for other in others if f"/s/{other}" in text]
    screenshots(page, f"menu-{userid}")


@everybody
def test_everybody_starts_from_the_menu_and_is_rooted_there(visitor: Callable[..., Visitor], userid: str) -> None:
    title, name = SECOND[userid]
    person = visitor(userid)
    person.choose(title)
    person.start()
    person.wait_for_lab()
    assert person.directory() == f"/s/{userid}/{name}"
    assert any(item.endswith(".ipynb") for item in person.root())


@everybody
def test_everybody_starts_by_a_typed_name(visitor: Callable[..., Visitor], userid: str) -> None:
    person = visitor(userid)
    person.type_name(SECOND[userid][1].upper())
    person.start()
    person.wait_for_lab()
    assert person.directory() == f"/s/{userid}/{SECOND[userid][1]}"


@everybody
def test_everybody_starts_by_a_typed_folder_below(
    visitor: Callable[..., Visitor], site: EmbeddedSite, userid: str
) -> None:
    site.make_folder(f"/s/{userid}/notebooks/week 1", userid)
    person = visitor(userid)
    person.type_name("notebooks/week 1")
    person.start()
    person.wait_for_lab()
    assert person.directory() == f"/s/{userid}/notebooks/week 1"
    assert person.root() == []


def test_a_cell_runs_and_its_working_directory_is_the_chosen_one(visitor: Callable[..., Visitor]) -> None:
    alice = visitor("alice")
    alice.choose("Thesis")
    alice.start()
    alice.wait_for_lab()
    page = alice.page
    page.locator(".jp-LauncherCard[data-category=Notebook]").first.click(
        timeout=60_000
    )  # JupyterLab has no better name for it
    cell = page.locator(".jp-Notebook .jp-Cell .cm-content").first
    cell.click(timeout=60_000)
    page.keyboard.type("import os, getpass; print('in', os.getcwd(), 'as', getpass.getuser())")
    page.keyboard.press("Shift+Enter")
    expect(page.locator(".jp-OutputArea-output").first).to_have_text("in /s/alice/thesis as alice", timeout=60_000)


def test_a_wrong_password_says_so_and_keeps_the_user_id(visitor: Callable[..., Visitor]) -> None:
    bob = visitor("bob", log_in=False)
    bob.log_in("wrong")
    expect(bob.page.get_by_role("alert")).to_contain_text("Invalid username or password")
    expect(bob.page.get_by_label("User id")).to_have_value("bob")


def test_an_unknown_user_reads_the_same_words_as_one_with_a_wrong_password(visitor: Callable[..., Visitor]) -> None:
    nobody = visitor("mallory", log_in=False)
    nobody.log_in("wrong")
    expect(nobody.page.get_by_role("alert")).to_contain_text("Invalid username or password")


def test_a_directory_revoked_while_the_menu_is_open_is_refused_and_the_menu_is_there_again(
    visitor: Callable[..., Visitor], site: EmbeddedSite
) -> None:
    alice = visitor("alice")
    alice.choose("Thesis")
    site.grant("alice", ["/s/alice/notebooks", "/s/shared/genomics"])
    alice.start()
    expect(alice.page.get_by_role("alert")).to_contain_text('"/s/alice/thesis" is not one of your directories.')
    expect(alice.page.get_by_role("radio", name="notebooks", exact=True)).to_be_visible()
    expect(alice.page.get_by_role("radio", name="Thesis")).to_have_count(0)


def test_a_directory_granted_while_the_menu_is_open_is_there_on_the_next_load(
    visitor: Callable[..., Visitor], site: EmbeddedSite
) -> None:
    carol = visitor("carol")
    site.make_folder("/s/carol/audit", "carol")
    site.grant("carol", ["/s/carol/notebooks", {"path": "/s/carol/audit", "title": "Audit 2026"}])
    carol.page.reload()
    expect(carol.page.get_by_role("radio", name="Audit 2026")).to_be_enabled()


def test_a_directory_that_is_gone_is_shown_disabled_with_the_reason(
    visitor: Callable[..., Visitor], site: EmbeddedSite
) -> None:
    site.remove("/s/carol/archive")
    site.grant("carol", ["/s/carol/notebooks", {"path": "/s/carol/archive", "title": "Archive, moved"}])
    carol = visitor("carol")
    carol.page.wait_for_timeout(11_000)  # the result of a directory's check is shown for ten seconds
    carol.page.reload()
    archive = carol.page.get_by_role("radio", name="Archive, moved")
    expect(archive).to_be_disabled()
    expect(carol.page.locator(".card", has=archive)).to_contain_text("It is not there.")
    expect(carol.page.get_by_role("radio", name="notebooks", exact=True)).to_be_enabled()


def test_a_directory_that_is_not_permitted_is_refused_with_a_sentence(
    visitor: Callable[..., Visitor], site: EmbeddedSite
) -> None:
    bob = visitor("bob")
    bob.choose("Demand forecast")
    site.forbid("/s/bob/forecast")
    bob.start()
    expect(bob.page.get_by_role("alert")).to_contain_text("You are not permitted to open it.")


def test_a_bad_entry_is_shown_disabled_and_hides_nothing(visitor: Callable[..., Visitor], site: EmbeddedSite) -> None:
    hostile: list[Any] = ["/s/bob/notebooks", "/etc", {"path": "/s/bob/forecast", "title": "<b>bold</b> {7*7}"}, 7]
    site.grant("bob", hostile)
    bob = visitor("bob")
    expect(bob.page.get_by_role("radio", disabled=True)).to_have_count(2)
    expect(bob.page.get_by_role("radio", name="<b>bold</b> {7*7}")).to_be_enabled()
    assert bob.page.get_by_text("bold", exact=True).count() == 0


def test_a_link_preselects_and_starts_nothing(visitor: Callable[..., Visitor]) -> None:
    alice = visitor("alice")
    alice.page.goto("/hub/open?dir=genomics")
    expect(alice.page.get_by_role("radio", name="Genomics course")).to_be_checked()
    assert alice.directory() is None


def test_a_switch_opens_the_other_directory(visitor: Callable[..., Visitor]) -> None:
    alice = visitor("alice")
    alice.choose("notebooks")
    alice.start()
    alice.wait_for_lab()
    alice.page.goto("/hub/home")
    alice.page.get_by_role("link", name="Switch", exact=True).click()
    alice.choose("Thesis")
    alice.start()
    alice.wait_for_lab()
    assert alice.directory() == "/s/alice/thesis"


def test_a_refused_switch_leaves_the_server_running(visitor: Callable[..., Visitor], site: EmbeddedSite) -> None:
    alice = visitor("alice")
    alice.choose("notebooks")
    alice.start()
    alice.wait_for_lab()
    alice.page.goto("/hub/switch")
    alice.type_name("/s/bob/notebooks")
    alice.start()
    expect(alice.page.get_by_role("alert")).to_contain_text("is not one of your directories")
    assert alice.directory() == "/s/alice/notebooks"


def test_the_last_choice_is_preselected_in_another_browser(visitor: Callable[..., Visitor]) -> None:
    first = visitor("alice")
    first.choose("Thesis")
    first.start()
    first.wait_for_lab()
    first.stop()
    second = visitor("alice")
    expect(second.page.get_by_role("radio", name="Thesis")).to_be_checked()
    expect(second.page.get_by_role("button", name="Continue in Thesis").first).to_be_visible()


def test_a_single_directory_opens_without_a_question(visitor: Callable[..., Visitor], site: EmbeddedSite) -> None:
    site.grant("carol", ["/s/carol/notebooks"])
    carol = visitor("carol")
    carol.wait_for_lab()
    assert carol.directory() == "/s/carol/notebooks"


def test_a_single_directory_still_has_a_menu(visitor: Callable[..., Visitor], site: EmbeddedSite) -> None:
    site.grant("carol", ["/s/carol/notebooks"])
    carol = visitor("carol", log_in=False)
    carol.page.goto("/hub/login?next=%2Fhub%2Fopen")
    carol.page.get_by_label("User id").fill("carol")
    carol.page.get_by_label("Password", exact=True).fill(PASSWORDS["carol"])
    carol.page.get_by_role("button", name="Log in").click()
    carol.see_menu()
    carol.page.wait_for_timeout(2000)
    assert carol.directory() is None


def test_more_than_seven_directories_have_a_filter(visitor: Callable[..., Visitor], site: EmbeddedSite) -> None:
    for number in range(1, 13):
        site.make_folder(f"/s/alice/project{number:02d}", "alice")
    site.grant("alice", [f"/s/alice/project{number:02d}" for number in range(1, 13)])
    page = visitor("alice").page
    filter_field = page.get_by_role("searchbox")
    expect(filter_field).to_be_visible()
    page.keyboard.press("/")
    expect(filter_field).to_be_focused()
    page.keyboard.type("project1")
    expect(page.get_by_role("radio").filter(visible=True)).to_have_count(3)


class TestTheFilter:
    @pytest.fixture
    def page(self, visitor: Callable[..., Visitor], site: EmbeddedSite) -> Page:
        for number in range(1, 13):
            site.make_folder(f"/s/alice/project{number:02d}", "alice")
        site.grant("alice", [f"/s/alice/project{number:02d}" for number in range(1, 13)])
        return visitor("alice").page

    @staticmethod
    def opens(page: Page) -> Locator:
        return page.locator(".actions").get_by_role("button", name="Open")

    def test_where_nothing_matches_it_says_so_and_nothing_opens(self, page: Page) -> None:
        page.get_by_role("searchbox").fill("zzz")
        expect(page.get_by_text("No directories match.")).to_be_visible()
        expect(page.get_by_role("radio", checked=True)).to_have_count(0)
        expect(self.opens(page)).to_be_disabled()
        page.get_by_role("searchbox").press("Enter")
        page.get_by_label("Or type a name").press("Enter")
        page.wait_for_timeout(500)
        expect(page).to_have_url(re.compile("/hub/spawn"))
        expect(page.get_by_role("searchbox")).to_have_value("zzz")

        page.get_by_label("Or type a name").fill("project03")
        expect(self.opens(page)).to_be_enabled()
        page.get_by_label("Or type a name").fill("")
        page.get_by_role("button", name="Show all").press("Enter")
        expect(page.get_by_role("searchbox")).to_be_focused()
        expect(page.get_by_role("radio", name="project01")).to_be_checked()
        expect(self.opens(page)).to_be_enabled()

    def test_the_checked_card_stays_visible(self, page: Page) -> None:
        page.get_by_role("searchbox").fill("project1")
        expect(page.get_by_role("radio", name="project10")).to_be_checked()
        page.locator("#menu label").get_by_text("project12", exact=True).click()
        page.get_by_role("searchbox").fill("")
        expect(page.get_by_role("radio", name="project12")).to_be_checked()
        page.get_by_role("searchbox").fill("project0")
        expect(page.get_by_role("radio", name="project01")).to_be_checked()
        page.reload()  # a browser may restore the field's text
        expect(page.get_by_role("radio", checked=True).filter(visible=True)).to_have_count(1)


def test_a_title_can_be_typed(visitor: Callable[..., Visitor]) -> None:
    alice = visitor("alice")
    alice.type_name("genomics COURSE")
    alice.start()
    alice.wait_for_lab()
    assert alice.directory() == "/s/shared/genomics"


def test_a_link_to_a_folder_that_is_not_there_says_so(visitor: Callable[..., Visitor]) -> None:
    alice = visitor("alice")
    alice.page.goto("/hub/open?dir=genomics/week99&path=week1.ipynb")
    expect(alice.page.get_by_role("alert")).to_contain_text(
        "Genomics course / week99 cannot be opened. It is not there."
    )
    expect(alice.page.get_by_role("radio", name="Genomics course")).to_be_checked()


def test_a_link_to_a_file_leads_there_only_in_its_own_directory(visitor: Callable[..., Visitor]) -> None:
    alice = visitor("alice")
    alice.page.goto("/hub/open?dir=thesis&path=survival-curves.ipynb")
    alice.choose("Genomics course")
    alice.start()
    alice.wait_for_lab()
    expect(alice.page.locator(".jp-Launcher")).to_be_visible(timeout=60_000)
    expect(alice.page.get_by_text("Cannot open")).to_have_count(0)
    alice.page.goto("/hub/open?dir=thesis&path=survival-curves.ipynb")
    alice.start()
    alice.page.wait_for_url("**/lab/tree/survival-curves.ipynb**", timeout=60_000)
    assert alice.directory() == "/s/alice/thesis"


def test_cancelling_leads_home_even_if_the_server_is_ready_first(
    visitor: Callable[..., Visitor], site: EmbeddedSite
) -> None:
    alice = visitor("alice")
    alice.choose("Thesis")
    cancelled: list[Route] = []
    alice.page.route(
        "**/hub/api/users/alice/server", lambda route: cancelled.append(route)
    )  # on its way until the server is ready
    with site.held("alice"):
        alice.start()
        alice.page.get_by_role("button", name="Cancel").click()
        expect(alice.page.get_by_role("button", name="Cancelling")).to_be_visible()
    for _ in range(100):
        if alice.directory():
            break
        alice.page.wait_for_timeout(100)
    alice.page.wait_for_timeout(1000)
    expect(alice.page).to_have_url(re.compile("/hub/spawn-pending/"))
    cancelled[0].continue_()
    expect(alice.page).to_have_url(re.compile("/hub/home$"))
    assert alice.directory() is None


class TestKeyboardAlone:
    def test_log_in_choose_and_start(self, visitor: Callable[..., Visitor]) -> None:
        bob = visitor("bob", log_in=False)
        page = bob.page
        page.goto("/hub/login")
        page.keyboard.type("bob")
        page.keyboard.press("Tab")
        page.keyboard.type(PASSWORDS["bob"])
        page.keyboard.press("Enter")
        bob.see_menu()
        for _ in range(20):
            if page.evaluate("document.activeElement.name") == "directory":
                break
            page.keyboard.press("Tab")
        page.keyboard.press("ArrowDown")
        chosen = page.evaluate("document.activeElement.value")
        page.keyboard.press("Enter")
        bob.wait_for_lab()
        assert bob.directory() == chosen
        bob.stop()


class TestWithoutJavaScript:
    def test_log_in_choose_and_start(self, visitor: Callable[..., Visitor]) -> None:
        alice = visitor("alice", java_script_enabled=False)
        alice.see_menu()
        expect(alice.page.get_by_text("requires JavaScript")).not_to_be_visible()
        alice.choose("Thesis")
        alice.start()
        # The pending page reloads by itself until the hub redirects to JupyterLab.
        alice.page.wait_for_url("**/user/alice/lab**", timeout=90_000)
        assert alice.directory() == "/s/alice/thesis"

    def test_typed_text_overrides_the_checked_card(self, visitor: Callable[..., Visitor]) -> None:
        alice = visitor("alice", java_script_enabled=False)
        alice.choose("Thesis")
        alice.type_name("nonsense")
        alice.start()
        expect(alice.page.get_by_role("alert")).to_contain_text('"nonsense" is not one of your directories.')
