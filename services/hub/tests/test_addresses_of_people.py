"""The hub and the proxy in a lab where each person's server has its own address below the lab's."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import httpx
import pytest

from lab_testing.embedded import EmbeddedLab
from lab_testing.person import PASSWORDS, AsBrowsersFindIt, Person

HOST = "lab.localhost"
SCRIPT = {"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty", "Sec-Fetch-Site": "same-origin"}
FORM = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Sec-Fetch-Site": "same-site"}


@pytest.fixture(scope="module")
def lab(in_sandbox: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedLab]:
    with EmbeddedLab(tmp_path_factory.mktemp("lab"), host=HOST) as lab:
        yield lab


def address_of(lab: EmbeddedLab, userid: str) -> str:
    return lab.address.replace("//", f"//{userid}.")


def stranger(address: str) -> httpx.Client:
    return httpx.Client(base_url=address, transport=AsBrowsersFindIt(), timeout=30)


class TestOfTheProxy:
    def test_a_server_is_at_its_persons_address_and_at_no_other(self, lab: EmbeddedLab, alice: Person) -> None:
        names = [item["name"] for item in alice.contents()["content"]]
        there = alice.http.get(f"{address_of(lab, 'alice')}/user/alice/api/contents/", follow_redirects=False)
        assert [item["name"] for item in there.json()["content"]] == names
        for elsewhere in (lab.address, address_of(lab, "bob"), lab.url):
            answer = stranger(elsewhere).get("/user/alice/api")
            assert answer.status_code == 302
            assert answer.headers["Location"] == f"{lab.address}/hub/user/alice/api"

    def test_its_path_must_match_exactly(self, lab: EmbeddedLab, alice: Person) -> None:
        answer = alice.http.get(f"{address_of(lab, 'alice')}/user%2Falice/api", follow_redirects=False)
        assert "version" not in answer.text

    def test_others_see_nothing_of_it(self, lab: EmbeddedLab, alice: Person, person: Callable[[str], Person]) -> None:
        answer = person("bob").http.get(f"{address_of(lab, 'alice')}/user/alice/api/contents/")
        assert answer.status_code == 403
        assert "content" not in answer.json()

    @pytest.mark.parametrize("userid", [None, "alice", "nobody"])
    def test_what_is_too_large_for_the_hub_is_refused_at_every_address(
        self, lab: EmbeddedLab, userid: str | None
    ) -> None:
        address = address_of(lab, userid) if userid else lab.address
        assert stranger(address).post("/hub/login", content=b"x" * (1024 * 1024 + 1)).status_code == 413

    def test_a_server_takes_large_bodies(self, lab: EmbeddedLab, alice: Person) -> None:
        alice.contents()
        answer = alice.http.post(f"{address_of(lab, 'alice')}/user/alice/api/nothing", content=b"x" * 2 * 1024 * 1024)
        assert answer.status_code != 413


class TestOfTheHub:
    @pytest.mark.parametrize("path", ["home", "login", "open?dir=thesis", "nothing"])
    def test_its_pages_are_at_the_labs_address(self, lab: EmbeddedLab, path: str) -> None:
        for elsewhere in (lab.url, address_of(lab, "alice")):
            answer = stranger(elsewhere).get(f"/hub/{path}")
            assert answer.status_code == 302
            assert answer.headers["Location"] == f"{lab.address}/hub/{path}"
            assert stranger(elsewhere).post(f"/hub/{path}").status_code == 421

    @pytest.mark.parametrize("path", ["health", "api/", "lab-static/lab.css"])
    def test_what_programs_ask_for_is_at_every_address(self, lab: EmbeddedLab, path: str) -> None:
        assert httpx.get(f"{lab.url}/hub/{path}").status_code == 200

    def test_metrics_are_available_at_the_pods_address(self, lab: EmbeddedLab) -> None:
        assert httpx.get(f"{lab.url}/hub/metrics").status_code == 403, "without a token"

    def test_its_forms_may_lead_to_peoples_servers(self, lab: EmbeddedLab) -> None:
        policy = stranger(lab.address).get("/hub/login").headers["Content-Security-Policy"]
        assert f"form-action 'self' {address_of(lab, '*')};" in policy

    def test_jupyterlabs_files_are_for_pages_of_every_address(self, lab: EmbeddedLab) -> None:
        headers = stranger(lab.address).get("/hub/jupyterlab/").headers
        assert headers["Access-Control-Allow-Origin"] == "*"
        assert headers["Cross-Origin-Resource-Policy"] == "cross-origin"

    def test_a_script_learns_at_its_own_address_that_its_server_is_gone(self, lab: EmbeddedLab) -> None:
        answer = stranger(address_of(lab, "alice")).get("/user/alice/api/contents", headers=SCRIPT)
        assert answer.status_code == 424, "a script could not follow a redirect to another address"

    @pytest.mark.parametrize("origin", ["its own", "hidden", "none"])
    def test_a_page_of_alices_cannot_log_its_visitor_in_as_alice(self, lab: EmbeddedLab, origin: str) -> None:
        # Her server has the token, and her page has set the cookie, which it can do for every address below the lab's.
        visitor = stranger(lab.address)
        visitor.get("/hub/login")
        token = visitor.cookies.get("_xsrf", path="/hub/")
        assert token
        sent = {"its own": {"Origin": address_of(lab, "alice")}, "hidden": {"Origin": "null"}, "none": {}}[origin]
        form = {"username": "alice", "password": PASSWORDS["alice"], "_xsrf": token}
        answer = visitor.post("/hub/login", data=form, headers={**FORM, **sent})
        assert answer.status_code == 403
        assert "Set-Cookie" not in answer.headers
        # A page of the company's that belongs to no user may link to the lab.
        answer = visitor.post("/hub/login", data=form, headers={**FORM, "Origin": "http://courses.localhost"})
        assert answer.status_code == 302
