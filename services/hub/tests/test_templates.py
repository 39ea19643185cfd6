"""The pages, rendered with the loader that JupyterHub uses, from hostile data.

Checked here: all text is escaped, our pages extend JupyterHub's pages of the same name, the form is complete without
JavaScript, and people who cannot see the page can use it. How pages look and behave is left to the browser tests.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

import pytest

from lab_testing.rendered_pages import HOSTILE, OURS, STATIC, STOCK, SYNC, Page, menu_of, plain_card, render, variables
from learning_lab.menu import Asked, Menu

OWN_ONLY = {"menu.html", "switch.html"}  # JupyterHub has no page of that name
STOCK_INSIDE = {"admin.html", "token.html", "oauth.html", "accept-share.html"}  # JupyterHub's own, below our header


def our_pages() -> Iterator[str]:
    return (
        path.name for path in sorted(OURS.glob("*.html")) if path.name not in STOCK_INSIDE | {"page.html", "menu.html"}
    )


@pytest.mark.parametrize("name", sorted(path.name for path in OURS.glob("*.html")))
def test_a_page_of_ours_extends_jupyterhubs_of_the_same_name(name: str) -> None:
    source = (OURS / name).read_text()
    extended = re.search(r'{% extends "([^"]+)" %}', source)
    if name in OWN_ONLY:
        assert not (STOCK / name).exists()
    else:
        assert (STOCK / name).is_file()
        assert extended is not None
        assert extended[1] == f"templates/{name}"


@pytest.mark.parametrize("name", [*our_pages(), "menu.html"])
async def test_hostile_text_is_text_on_every_page(name: str) -> None:
    page = await render(name)
    assert HOSTILE.split("\u202e")[0] in "".join(page.texts)
    assert not page.all("img", src="x")
    handlers = [attribute for _, found in page.elements for attribute in found if attribute.startswith("on")]
    assert handlers == []
    assert "alert(2)" not in "".join(re.findall(r"<script\b[^>]*>(.*?)</script>", page.html, re.DOTALL))
    assert "49" not in page.text


@pytest.mark.parametrize("name", list(our_pages()))
async def test_a_page_has_landmarks_one_heading_and_no_scripts_of_bootstrap(name: str) -> None:
    page = await render(name)
    assert len(page.all("main", id="main")) == 1
    assert page.all("a", href="#main")
    assert page.all("header")
    assert page.all("nav", **{"aria-label": "Pages"})
    assert len(page.all("h1")) == 1
    assert len(page.all("title")) == 1
    sources = [found["src"] for found in page.all("script") if "src" in found]
    assert [source.split("?")[0] for source in sources] == ["/hub/lab-static/lab.js"]
    sheets = [found["href"].split("?")[0] for found in page.all("link", rel="stylesheet")]
    assert sheets == ["/hub/lab-static/lab.css"]
    assert not any("style" in found for _, found in page.elements), "a style attribute would need a laxer policy"


@pytest.mark.parametrize("name", [*our_pages(), "menu.html"])
async def test_every_field_has_a_label_and_every_reference_a_target(name: str) -> None:
    page = await render(name)
    ids = [found["id"] for _, found in page.elements if "id" in found]
    assert sorted(ids) == sorted(set(ids))
    labelled = {found["for"] for found in page.all("label")}
    for field in page.all("input"):
        if field.get("type") != "hidden":
            assert field["id"] in labelled, field
    for _, found in page.elements:
        for attribute in ("for", "aria-describedby", "aria-controls", "list"):
            for target in found.get(attribute, "").split():
                assert target in ids, (attribute, target)


@pytest.mark.parametrize("name", sorted(STOCK_INSIDE - {"accept-share.html", "oauth.html"}))
async def test_a_page_of_jupyterhubs_own_keeps_its_scripts_in_our_header(name: str) -> None:
    page = await render(name, api_tokens=[], oauth_clients=[], token_expires_in_options_html="", api_page_limit=50)
    sources = " ".join(found.get("src", "") for found in page.all("script"))
    assert "require.js" in sources
    assert "lab.js" not in sources
    assert page.all("header", **{"class": "lab-header"})
    assert page.all("button", id="dark-theme-toggle"), "JupyterHub's darkmode.js looks for it"


async def test_the_menu_is_a_whole_form_without_javascript() -> None:
    cards = [plain_card("thesis"), plain_card("archive", problem="It is not there."), plain_card("climate")]
    page = await render("spawn.html", menu=menu_of(plain_card("genomics", last_used=True, checked=True), *cards))
    (form,) = page.all("form")
    assert form["method"] == "post"
    assert form["action"] == "/hub/spawn"
    assert page.all("input", name="_xsrf", value="the-xsrf")
    radios = page.all("input", type="radio", name="directory")
    assert [radio["value"].rsplit("/", 1)[1] for radio in radios] == ["genomics", "thesis", "archive", "climate"]
    assert [("checked" in radio, "disabled" in radio) for radio in radios] == [
        (True, False),
        (False, False),
        (False, True),
        (False, False),
    ]
    assert page.all("fieldset")
    assert page.all("legend")
    assert page.all("input", name="typed", list="names")
    assert [option["value"] for option in page.all("option")] == ["genomics", "thesis", "climate"]
    assert "It is not there." in page.text
    assert "Continue in Genomics" in page.text


async def test_the_token_is_sent_in_the_form_and_not_left_in_the_address() -> None:
    page = await render("spawn.html", url="/hub/spawn?next=%2Fuser%2Falice%2Flab&_xsrf=the-xsrf")
    (form,) = page.all("form")
    assert form["action"] == "/hub/spawn?next=%2Fuser%2Falice%2Flab"


async def test_enter_in_a_field_does_not_press_the_first_cards_own_button() -> None:
    # A browser presses the first submit button of a form. The first card's button would override the typed text.
    page = await render("menu.html", menu=menu_of(plain_card("genomics", checked=True), plain_card("thesis")))
    first, *others = page.all("button")
    assert "name" not in first
    assert first["tabindex"] == "-1"
    assert first["aria-hidden"] == "true"
    assert [button["value"] for button in others if button.get("name") == "open"] == ["/s/alice/genomics"]


async def test_a_refused_text_is_kept_and_the_error_is_said_once() -> None:
    menu = menu_of(plain_card("genomics", checked=True), asked=Asked(typed="secret", error="It is not yours."))
    page = await render("spawn.html", menu=menu, error_message="It is not yours.")
    (typed,) = page.all("input", name="typed")
    assert typed["value"] == "secret"
    assert typed["aria-invalid"] == "true"
    assert "menu-error" in typed["aria-describedby"].split()
    assert len(page.all("div", role="alert")) == 1
    assert page.text.count("It is not yours.") == 1


@pytest.mark.parametrize(
    ("menu", "said"),
    [
        pytest.param(menu_of(None), "nothing to open right now", id="nothing is granted"),
        pytest.param(
            menu_of(None, notices=("Your list cannot be read.",)),
            "Your list cannot be read.",
            id="the list cannot be read",
        ),
        pytest.param(
            menu_of(None, plain_card("archive", problem="It is not there.")),
            "None of your directories can be opened",
            id="every entry is bad",
        ),
    ],
)
async def test_where_nothing_can_be_opened_there_is_a_sentence_and_no_button(menu: Menu, said: str) -> None:
    page = await render("spawn.html", menu=menu, error_message=None)
    assert said in page.text
    assert page.all("a", href="/hub/open")
    assert not page.all("button", type="submit")


@pytest.mark.parametrize(
    ("others", "filtered"),
    [pytest.param(6, False, id="seven cards"), pytest.param(7, True, id="eight cards")],
)
async def test_the_filter_comes_with_more_than_seven_cards(others: int, filtered: bool) -> None:
    cards = [plain_card(f"project-{number}") for number in range(others)]
    page = await render("menu.html", menu=menu_of(plain_card("genomics", checked=True), *cards))
    assert bool(page.all("input", type="search")) is filtered


async def test_a_request_for_reading_is_not_called_read_only() -> None:
    page = await render("menu.html", menu=menu_of(plain_card("genomics", writing="unwanted", checked=True)))
    assert "read only" not in page.text
    assert "for reading" in page.text
    (badge,) = [found for found in page.all("b") if "title" in found]
    assert badge["title"] in page.text, "people who cannot hover over it are told too"
    page = await render("menu.html", menu=menu_of(plain_card("genomics", writing="impossible", checked=True)))
    assert "read only" in page.text
    assert "for reading" not in page.text


async def test_one_directory_is_opened_by_script_and_can_be_declined() -> None:
    only = menu_of(plain_card("genomics", checked=True), asked=Asked(straight_in=True))
    page = await render("menu.html", menu=only)
    assert any("data-straight-in" in found for found in page.all("p"))
    assert page.all("a", href="/hub/open")
    page = await render("menu.html", menu=replace(only, asked=Asked()))
    assert not any("data-straight-in" in found for found in page.all("p"))


@pytest.mark.parametrize("name", ["login.html", "spawn.html", "spawn_pending.html"])
async def test_jupyterlab_is_fetched_ahead_where_the_hub_has_the_one_that_people_get(name: str) -> None:
    page = await render(name)
    assert [found["data-fetches-ahead"] for _, found in page.elements if "data-fetches-ahead" in found] == [
        "/hub/jupyterlab/"
    ]
    page = await render(name, lab_jupyterlab="")
    assert not [found for _, found in page.elements if "data-fetches-ahead" in found]


async def test_a_start_that_takes_long_is_followed_without_javascript_too() -> None:
    for name in ("spawn_pending.html", "stop_pending.html"):
        page = await render(name)
        assert re.search(r'<noscript>\s*<meta http-equiv="refresh"', page.html), name


async def test_home_offers_open_switch_and_stop_for_what_is_open() -> None:
    page = await render("home.html")
    assert page.all("a", href="/hub/switch")
    assert page.all("a", href="/user/alice/")
    (stop,) = page.all("form", action="/hub/stop")
    assert stop["method"] == "post"


@pytest.mark.parametrize("status", [400, 403, 404, 424, 429, 500, 503, 418])
def test_an_error_page_is_written_even_when_nobody_is_known(status: int) -> None:
    name = "404.html" if status == 404 else "error.html"
    given = variables(user=None, status_code=status, parsed_scopes=None, services=[], lab_help_url="", message="")
    page = Page(SYNC.get_template(name).render(given))
    assert len(page.all("h1")) == 1
    assert page.all("a", href="/hub/")
    assert f"Error {status}" in page.text


def test_static_files_name_no_other_host() -> None:
    for path in STATIC.iterdir():
        text = path.read_text().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://|@import|url\(", text), path.name
