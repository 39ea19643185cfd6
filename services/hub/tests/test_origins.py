"""Which requests the hub's pages answer, and to whose server a browser is led where all share one address."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import httpx
import pytest

from lab_testing.embedded import EmbeddedLab
from lab_testing.person import Person, visible_text
from learning_lab.serving.origins import OWN_COOKIE, own_mark, refusal

PAGE = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Sec-Fetch-Site": "same-origin"}
FETCH = {"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty", "Sec-Fetch-Site": "same-origin"}
UNREAD = FETCH | {"Sec-Fetch-Mode": "no-cors"}
FRAME = PAGE | {"Sec-Fetch-Dest": "iframe"}
WORKER = {"Service-Worker": "script", "Sec-Fetch-Mode": "same-origin", "Sec-Fetch-Dest": "serviceworker"}


@pytest.mark.parametrize(
    ("headers", "page", "api"),
    [
        ({}, False, False),  # a program, or a browser that does not say
        (PAGE, False, False),
        (PAGE | {"Sec-Fetch-Site": "cross-site"}, False, False),  # a link
        (FETCH, True, False),
        (UNREAD, True, True),
        (UNREAD | {"Sec-Fetch-Dest": "script"}, True, True),
        (FRAME, True, True),
        (PAGE | {"Sec-Fetch-Dest": "object"}, True, True),
        (WORKER, True, True),
    ],
)
def test_what_a_request_is_for_decides(headers: dict[str, str], page: bool, api: bool) -> None:
    assert refusal(headers, api=False) == page
    assert refusal(headers, api=True) == api


class TestOfARunningHub:
    @pytest.mark.parametrize("path", ["home", "token", "spawn", "none", "login", "open?dir=thesis", "switch"])
    @pytest.mark.parametrize("headers", [FETCH, UNREAD, FRAME, WORKER])
    def test_a_script_gets_no_page_and_no_token_in_one(
        self, person: Callable[[str], Person], path: str, headers: dict[str, str]
    ) -> None:
        alice = person("alice")
        for method in ("GET", "POST"):
            answer = alice.http.request(method, f"/hub/{path}", headers=headers)
            assert answer.status_code == 403
            assert "_xsrf" not in answer.text
            assert "xsrf_token" not in answer.text

    def test_the_api_does_not_answer_no_cors_calls(self, person: Callable[[str], Person]) -> None:
        alice = person("alice")
        assert alice.http.get("/hub/api/user", headers=UNREAD).status_code == 403
        assert alice.http.get("/hub/api/user", headers=FETCH).status_code == 403, "without the XSRF token"
        assert alice.http.get("/hub/api/user", headers=FETCH | {"X-XSRFToken": alice.xsrf()}).status_code == 200

    @pytest.mark.parametrize(
        "path", ["login", "health", "none", "api", "logo", "static/favicon.ico", "lab-static/lab.css", "jupyterlab/"]
    )
    def test_whatever_a_window_of_the_hub_shows_is_severed(self, lab: EmbeddedLab, path: str) -> None:
        answer = httpx.get(f"{lab.url}/hub/{path}")
        assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert answer.headers["X-Frame-Options"] == "DENY"

    def test_no_page_stays_in_the_browsers_cache(self, person: Callable[[str], Person]) -> None:
        assert person("alice").http.get("/hub/token").headers["Cache-Control"] == "no-store"

    def test_the_xsrf_token_is_in_no_cookie_that_a_script_reads(self, lab: EmbeddedLab) -> None:
        cookies = httpx.get(f"{lab.url}/hub/login").headers.get_list("Set-Cookie")
        assert [cookie for cookie in cookies if cookie.startswith("_xsrf=")]
        assert all("httponly" in cookie.lower() for cookie in cookies)

    def test_jupyterlab_is_told_that_its_server_is_not_open(self, person: Callable[[str], Person]) -> None:
        answer = person("alice").http.get("/user/alice/api/contents", headers=FETCH)
        assert answer.status_code == 424, "after which JupyterLab asks whether to start it again"
        assert "menu" in answer.json()["message"]


class TestOfAServer:
    def test_its_owner_is_led_to_it_with_any_client_that_keeps_cookies(self, alice: Person) -> None:
        assert alice.http.get("/user/alice/api").status_code == 200

    def test_an_owner_whose_mark_is_gone_gets_another_one(self, alice: Person) -> None:
        alice.http.cookies.delete(OWN_COOKIE, path="/user/alice/")
        page = alice.http.get("/user/alice/lab", headers=PAGE)
        assert page.status_code == 200
        assert "jupyter-config-data" in page.text

    def test_after_logging_out_the_server_is_closed_at_once(self, alice: Person) -> None:
        alice.http.get("/hub/logout")
        answer = alice.http.get("/user/alice/lab")
        assert answer.url.path == "/hub/login"
        alice.log_in()

    def test_nobody_else_sees_a_byte_of_it(self, alice: Person, person: Callable[[str], Person]) -> None:
        bob = person("bob")
        for path in ("", "/", "/lab", "/api/status", "/%6cab", "/..%2falice/lab"):
            for each in (f"/user/alice{path}", f"/user%2Falice{path}", f"/%75ser/alice{path}"):
                answer = bob.http.get(each)
                assert answer.status_code in {403, 404}, each
                assert answer.headers.get("X-Frame-Options") == "DENY", f"{each}: the hub answers"

    def test_administrators_are_told_why(self, alice: Person, person: Callable[[str], Person]) -> None:
        answer = person("carol").http.get("/user/alice/lab")
        assert answer.status_code == 403
        assert "only alice can open it" in visible_text(answer)

    @pytest.fixture
    def stranger(self, lab: EmbeddedLab) -> Iterator[httpx.Client]:
        with httpx.Client(base_url=lab.url) as stranger:
            yield stranger

    @pytest.mark.parametrize("userid", ["alice", "bob"])
    def test_a_mark_that_the_hub_did_not_make_is_not_accepted(
        self, alice: Person, stranger: httpx.Client, userid: str
    ) -> None:
        for secret in ("", "guessed"):
            mark = own_mark(secret, userid, time.time())
            answer = stranger.get("/user/alice/api", headers={"Cookie": f"{OWN_COOKIE}={mark}"})
            assert answer.status_code == 302

    def test_somebody_elses_mark_is_not_accepted(
        self, alice: Person, person: Callable[[str], Person], stranger: httpx.Client
    ) -> None:
        mark = person("bob").http.cookies.get(OWN_COOKIE, path="/user/bob/")
        assert mark
        answer = stranger.get("/user/alice/api", headers={"Cookie": f"{OWN_COOKIE}={mark}"})
        assert answer.status_code == 302

    def test_a_program_comes_in_with_a_token(self, alice: Person, stranger: httpx.Client) -> None:
        token = alice.api("POST", "/users/alice/tokens", json={}).json()["token"]
        answer = stranger.get("/user/alice/api/status", headers={"Authorization": f"token {token}"})
        assert answer.status_code == 200
        # In a link, it would open the server in anybody's browser.
        assert stranger.get(f"/user/alice/api/status?token={token}").status_code == 302
