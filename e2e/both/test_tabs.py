"""A tab belongs to its directory: nothing that an old tab does reaches another directory, and nothing in it is lost."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, expect

from lab_testing.embedded import HUB, EmbeddedLab
from lab_testing.running_server import REST, Server
from lab_testing.visitor import Site, Visitor

pytestmark = pytest.mark.timeout(300)

AUTOSAVE_SECONDS = 12  # longer than a switch takes
SETTINGS = "/user/alice/lab/api/settings/@jupyterlab/docmanager-extension:plugin"
TYPED = "# typed and not saved"

# Every file in the server's directory, with its mode, its time and its content.
TREE = """
import hashlib, os, stat
for folder, _, names in os.walk("/s/shared/genomics"):
    for name in [".", *sorted(names)]:
        path = os.path.join(folder, name)
        found = os.lstat(path)
        content = open(path, "rb").read() if stat.S_ISREG(found.st_mode) else b""
        print(path, oct(found.st_mode), found.st_mtime_ns, hashlib.sha256(content).hexdigest())
"""

# Requests from a tab's page to its server, sent all at once, before the first answer brings up the cover.
STRAY_REQUESTS = """async () => {
  const base = JSON.parse(document.getElementById("jupyter-config-data").textContent).baseUrl;
  const xsrf = document.cookie.split("; ").find(each => each.startsWith("_xsrf="))?.slice(6) ?? "";
  const headers = {"X-XSRFToken": xsrf, "Content-Type": "application/json"};
  const file = JSON.stringify({type: "file", format: "text", content: "stray", path: "stray.txt"});
  const ask = (method, path, body) => fetch(base + path, {method, headers, body}).then(answer => answer.status);
  const xhr = () => new Promise(done => {
    const request = new XMLHttpRequest();
    request.open("PUT", base + "api/contents/stray-xhr.txt");
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    request.onloadend = () => done(request.status);
    request.send(file);
  });
  const socket = path => new Promise(done => {
    const made = new WebSocket(location.origin.replace("http", "ws") + base + path);
    made.onopen = () => done("open");
    made.onerror = () => done("refused");
  });
  return Object.fromEntries(await Promise.all(Object.entries({
    "save": ask("PUT", "api/contents/week1.ipynb", file),
    "a request object": fetch(new Request(base + "api/contents/stray.txt", {method: "PUT", headers, body: file}))
        .then(answer => answer.status),
    "upload by XMLHttpRequest": xhr(),
    "rename": ask("PATCH", "api/contents/week1.ipynb", JSON.stringify({path: "stray.ipynb"})),
    "delete": ask("DELETE", "api/contents/week1.ipynb"),
    "new folder": ask("POST", "api/contents/", JSON.stringify({type: "directory"})),
    "checkpoint": ask("POST", "api/contents/week1.ipynb/checkpoints"),
    "new terminal": ask("POST", "api/terminals"),
    "new kernel": ask("POST", "api/kernels", "{}"),
    "new session": ask("POST", "api/sessions", JSON.stringify(
        {path: "stray.ipynb", name: "", type: "notebook", kernel: {name: "python3"}})),
    "kernel restart": ask("POST", "api/kernels/00000000-0000-0000-0000-000000000000/restart"),
    "terminal's socket": socket("terminals/websocket/1"),
    "kernel's socket": socket("api/kernels/00000000-0000-0000-0000-000000000000/channels"),
  }).map(async ([what, answer]) => [what, await answer])));
}"""


@pytest.fixture
def alice(visitor: Callable[..., Visitor], site: Site) -> Visitor:
    """Somebody with Thesis open in a tab."""
    site.grant(
        "alice",
        [
            "/s/alice/notebooks",
            {"path": "/s/alice/thesis", "title": "Thesis"},
            {"path": "/s/shared/genomics", "title": "Genomics course"},
        ],
    )
    site.forget_tabs()
    alice = visitor("alice")
    alice.choose("Thesis")
    alice.start()
    alice.wait_for_lab()
    return alice


@pytest.fixture
def quick_autosave(alice: Visitor) -> Iterator[None]:
    raw = json.dumps({"autosaveInterval": AUTOSAVE_SECONDS})
    set_autosave(alice.page, raw)
    yield
    set_autosave(alice.page.context.new_page(), "{}")


def set_autosave(page: Page, raw: str) -> None:
    page.goto("/user/alice/static/logo/logo.png")
    answer = page.evaluate(REST, ["PUT", SETTINGS, json.dumps({"raw": raw})])
    assert answer["ok"], answer


def open_in_another_tab(alice: Visitor, name: str, title: str) -> Visitor:
    """Switch in a second tab, as people do."""
    other = Visitor(alice.page.context.new_page(), "alice")
    other.page.goto(f"/hub/open?dir={name}")
    expect(other.page.get_by_role("radio", name=title, exact=True)).to_be_checked()
    other.start()
    other.wait_for_lab()
    expect(other.page.locator("#jp-main-dock-panel")).to_be_visible(timeout=60_000)
    return other


def edit_notebook(page: Page) -> None:
    """Write into the first cell of the survival curves, and leave it unsaved."""
    page.goto("/user/alice/lab/tree/survival-curves.ipynb")
    # If a kernel is still starting when its server is stopped, JupyterLab rightly asks about it.
    expect(page.locator("#jp-main-statusbar").get_by_text("| Idle")).to_be_visible(timeout=60_000)
    editor = page.locator(".jp-Notebook .jp-CodeCell .cm-content").first
    editor.click(timeout=60_000)
    page.keyboard.press("Control+Home")
    page.keyboard.type(TYPED + "\n")
    expect(editor).to_contain_text(TYPED)


def cover_of(page: Page) -> Locator:
    return page.get_by_role("alertdialog")


def return_to(page: Page) -> None:
    page.bring_to_front()
    page.evaluate("window.dispatchEvent(new Event('focus'))")  # in a headless browser every page always has focus


def save(page: Page) -> None:
    expect(page.locator(".jp-Dialog")).to_have_text([])
    with page.expect_response(lambda answer: answer.request.method == "PUT" and "survival" in answer.url) as saved:
        page.locator(".jp-Notebook .jp-CodeCell .cm-content").first.click()
        page.keyboard.press("Control+s")
    assert saved.value.ok


def test_nothing_of_an_old_tab_is_written_into_the_directory_that_is_open_now(
    alice: Visitor, quick_autosave: None
) -> None:
    edit_notebook(alice.page)
    other = open_in_another_tab(alice, "genomics", "Genomics course")
    kernel = Server(other).kernel()
    before = kernel.run(TREE)
    assert "week1.ipynb" in before
    assert "survival-curves" not in before, "it has already been written"
    alice.page.bring_to_front()
    alice.page.keyboard.press("Control+s")
    alice.page.wait_for_timeout(1000 * (AUTOSAVE_SECONDS + 3))
    assert kernel.run(TREE) == before
    expect(cover_of(alice.page)).to_be_visible()


def test_every_request_of_an_old_tab_is_refused(alice: Visitor) -> None:
    alice.page.wait_for_load_state()
    other = open_in_another_tab(alice, "genomics", "Genomics course")
    kernel = Server(other).kernel()
    before = kernel.run(TREE)
    answers = alice.page.evaluate(STRAY_REQUESTS)
    assert kernel.run(TREE) == before
    refused = {"terminal's socket": "refused", "kernel's socket": "refused"}
    assert answers == dict.fromkeys(answers, 409) | refused
    expect(cover_of(alice.page)).to_be_visible()


def test_what_is_typed_into_an_old_terminal_is_run_nowhere(alice: Visitor) -> None:
    page = alice.page
    page.goto("/user/alice/lab?reset")  # with nothing but the launcher
    page.locator('.jp-LauncherCard[data-category="Other"]', has_text="Terminal").click(timeout=60_000)
    page.locator(".jp-Terminal .xterm-screen").click(timeout=30_000)
    other = open_in_another_tab(alice, "genomics", "Genomics course")
    kernel = Server(other).kernel()
    before = kernel.run(TREE)
    page.bring_to_front()
    page.keyboard.type("touch stray\n")
    expect(cover_of(page)).to_be_visible(timeout=20_000)
    page.keyboard.type("touch stray\n")
    assert kernel.run(TREE) == before


def test_the_tab_says_so_and_its_work_can_be_kept(alice: Visitor, tmp_path: Path) -> None:
    page = alice.page
    edit_notebook(page)
    open_in_another_tab(alice, "genomics", "Genomics course")
    cover = cover_of(page)
    expect(cover).to_be_visible(timeout=20_000)  # by itself
    expect(cover).to_have_accessible_name("Thesis was closed here")
    expect(cover).to_contain_text("Genomics course is open instead.")
    with page.expect_download() as download:
        cover.get_by_role("button", name="Download unsaved work of survival-curves.ipynb").click()
    assert download.value.suggested_filename == "survival-curves.ipynb"
    download.value.save_as(tmp_path / "kept.ipynb")
    kept = json.loads((tmp_path / "kept.ipynb").read_text())
    assert any(TYPED in "".join(cell["source"]) for cell in kept["cells"])
    # Keyboard focus stays inside it, and Escape does nothing.
    for _ in range(3):
        page.keyboard.press("Escape")
    expect(cover).to_be_visible()
    for _ in range(8):
        page.keyboard.press("Tab")
        assert page.evaluate("['DIV', 'BODY'].includes(document.activeElement.tagName)")
        assert page.evaluate("document.activeElement === document.body || Boolean(document.activeElement.shadowRoot)")
    # It opens in another tab, so that nothing is lost.
    with page.context.expect_page() as opened:
        cover.get_by_role("button", name="Open Thesis").click()
    again = Visitor(opened.value, "alice")
    again.page.wait_for_url("**/hub/open?dir=thesis")
    expect(again.page.get_by_role("radio", name="Thesis", exact=True)).to_be_checked()
    again.start()
    again.wait_for_lab()
    return_to(page)
    expect(cover).to_be_hidden()
    save(page)


def test_a_tab_with_nothing_to_lose_opens_its_directory_itself(alice: Visitor) -> None:
    alice.page.wait_for_load_state()
    open_in_another_tab(alice, "genomics", "Genomics course")
    cover = cover_of(alice.page)
    expect(cover).to_be_visible(timeout=20_000)
    expect(cover).not_to_contain_text("not saved")
    cover.get_by_role("button", name="Open Thesis").click()
    alice.page.wait_for_url("**/hub/open?dir=thesis")
    expect(alice.page.get_by_role("radio", name="Thesis", exact=True)).to_be_checked()


@pytest.mark.parametrize("between", ["", "genomics"])
def test_a_tab_continues_when_its_directory_is_open_again(alice: Visitor, between: str) -> None:
    page = alice.page
    edit_notebook(page)
    other = Visitor(page.context.new_page(), "alice")
    other.stop()
    question = page.locator(".jp-Dialog", has_text="Server unavailable")
    expect(question).to_be_visible()
    if between:
        other.page.close()
        other = open_in_another_tab(alice, "genomics", "Genomics course")
        expect(cover_of(page)).to_be_visible(timeout=20_000)
    other.page.close()
    open_in_another_tab(alice, "thesis", "Thesis")
    return_to(page)
    expect(cover_of(page)).to_be_hidden()
    expect(question).to_be_hidden(timeout=20_000)
    save(page)


def test_close_leads_to_what_is_open(alice: Visitor) -> None:
    alice.page.wait_for_load_state()
    open_in_another_tab(alice, "genomics", "Genomics course")
    cover = cover_of(alice.page)
    expect(cover).to_be_visible(timeout=20_000)
    cover.get_by_role("button", name="Close").click()
    alice.page.wait_for_url("**/hub/home")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_cover_is_readable_for_everybody(
    alice: Visitor, site: Site, screenshots: Callable[[Page, str], None], scheme: str
) -> None:
    page = alice.page
    edit_notebook(page)
    page.evaluate("light => document.body.dataset.jpThemeLight = light", str(scheme == "light").lower())
    open_in_another_tab(alice, "genomics", "Genomics course")
    expect(cover_of(page)).to_be_visible(timeout=20_000)
    for name, size in {"": (1280, 860), "-narrow": (390, 844)}.items():
        page.set_viewport_size({"width": size[0], "height": size[1]})
        screenshots(page, f"closed-here-{scheme}{name}")
        findings = Axe().run(page, context="[data-learning-lab-cover]").response["violations"]
        bad = [finding for finding in findings if finding["impact"] in {"serious", "critical"}]
        assert not bad, [(finding["id"], [node["html"] for node in finding["nodes"]]) for finding in bad]


def test_a_title_with_markup_is_text(visitor: Callable[..., Visitor], site: Site) -> None:
    title = "</script><img src=x onerror=alert(1)> {{7*7}}"
    site.grant(
        "alice", [{"path": "/s/alice/thesis", "title": title}, {"path": "/s/shared/genomics", "title": title + "2"}]
    )
    alice = visitor("alice")
    alice.page.on("dialog", lambda _: pytest.fail("a script in a title ran"))
    alice.choose(title)
    alice.start()
    alice.wait_for_lab()
    alice.page.wait_for_load_state()
    open_in_another_tab(alice, "genomics", title + "2")
    cover = cover_of(alice.page)
    expect(cover).to_be_visible(timeout=20_000)
    expect(cover).to_have_accessible_name(f"{title} was closed here")
    expect(cover.locator("img")).to_have_count(0)
    expect(cover).to_contain_text(f"{title}2 is open instead.")


def test_where_each_person_has_an_address_the_cover_leads_to_the_hubs(
    browser: Browser, embedded: EmbeddedLab | None, tmp_path: Path
) -> None:
    if embedded is None:
        pytest.skip("the lab on a cluster has only one address")
    policy = (HUB / "jupyterhub_config.py").read_text()
    config = tmp_path / "config.py"
    host = 'c.JupyterHub.subdomain_host = f"http://localhost:{port}"'
    config.write_text(policy.replace("\nconfigure(c)\n", f"\n{host}\nconfigure(c)\n"))
    lab = EmbeddedLab(tmp_path / "lab", config=config)
    lab.url = f"http://localhost:{lab.port}"
    with lab:
        # Where the hub's forms may lead is not tested here.
        alice = Visitor(browser.new_context(base_url=lab.url, bypass_csp=True).new_page(), "alice")
        alice.log_in()
        alice.choose("Thesis")
        alice.start()
        alice.wait_for_lab()
        assert alice.page.url.startswith(f"http://alice.localhost:{lab.port}/")
        alice.page.wait_for_load_state()
        open_in_another_tab(alice, "genomics", "Genomics course")
        cover = cover_of(alice.page)
        expect(cover).to_be_visible(timeout=20_000)
        cover.get_by_role("button", name="Open Thesis").click()
        alice.page.wait_for_url(f"{lab.url}/hub/open?dir=thesis")
        expect(alice.page.get_by_role("radio", name="Thesis", exact=True)).to_be_checked()
