"""Which headers the hub believes: from the lab's proxy, from an ingress in front of it, and from everybody else."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

import httpx
import pytest

from lab_testing.embedded import EmbeddedLab

INGRESS, STRANGER = "127.0.0.9", "127.0.0.8"  # all of 127.0.0.0/8 is this machine
OUTER = "203.0.113.7"

_names = (f"guest{number}" for number in itertools.count())


@pytest.fixture(scope="module")
def lab(in_sandbox: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedLab]:
    environ = {"LEARNING_LAB_TRUSTED_PROXIES": f"{INGRESS}, 203.0.113.0/24"}
    with EmbeddedLab(tmp_path_factory.mktemp("lab"), environ=environ) as lab:
        yield lab


def browser(url: str, address: str, **headers: str) -> httpx.Client:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    transport = httpx.HTTPTransport(local_address=address)
    return httpx.Client(base_url=url, transport=transport, headers=named, timeout=30)


def log_in(http: httpx.Client, userid: str, password: str) -> httpx.Response:
    token = http.get("/hub/login").cookies["_xsrf"]
    form = {"username": userid, "password": password, "_xsrf": token}
    # By hand: httpx keeps a Secure cookie from a plain connection.
    return http.post("/hub/login", data=form, headers={"Cookie": f"_xsrf={token}"})


def address_in_log(lab: EmbeddedLab, http: httpx.Client) -> str:
    """Fail to log in. Returns the address that the hub's log gives for it."""
    name = next(_names)
    assert log_in(http, name, "wrong").status_code == 403
    found = re.search(rf"Log-in of '{name}' from (\S+):", lab.log.read_text())
    assert found
    return found[1]


@pytest.mark.parametrize(
    ("address", "forwarded", "believed"),
    [
        pytest.param(STRANGER, "", STRANGER, id="a browser"),
        pytest.param(STRANGER, "192.0.2.1", STRANGER, id="a browser that makes up a header"),
        pytest.param(INGRESS, "192.0.2.1", "192.0.2.1", id="behind the ingress"),
        pytest.param(INGRESS, "6.6.6.6, 192.0.2.1", "192.0.2.1", id="behind the ingress, with a made-up header"),
        pytest.param(INGRESS, f"6.6.6.6, 192.0.2.1, {OUTER}", "192.0.2.1", id="two hops, with a made-up header"),
        pytest.param(INGRESS, f"6.6.6.6, {OUTER}, 192.0.2.1", "192.0.2.1", id="a made-up outer proxy"),
    ],
)
def test_the_address_is_the_one_that_the_trusted_proxies_have_seen(
    lab: EmbeddedLab, address: str, forwarded: str, believed: str
) -> None:
    more = {"X_Real_Ip": "6.6.6.6", "Forwarded": "for=6.6.6.6;proto=https"}
    with browser(lab.url, address, **more, **({"X_Forwarded_For": forwarded} if forwarded else {})) as http:
        assert address_in_log(lab, http) == believed


@pytest.mark.parametrize("proof", ["", "0" * 64, "x" * 10_000], ids=["no proof", "only zeros", "a long proof"])
def test_a_process_beside_the_hub_is_not_believed(lab: EmbeddedLab, proof: str) -> None:
    made_up = {"X-Forwarded-For": "192.0.2.1", "X-Real-Ip": "192.0.2.2", "X-Forwarded-Proto": "https"}
    with browser(lab.hub_url, INGRESS) as http:
        http.headers.update({**made_up, "X-Learning-Lab-Proxy": proof})
        assert address_in_log(lab, http) == INGRESS
        assert marked_secure(http.get("/hub/login")) == {False}


def marked_secure(response: httpx.Response) -> set[bool]:
    """Whether the cookies that a response sets are Secure."""
    return {"; secure" in cookie.lower() for cookie in response.headers.get_list("set-cookie")}


@pytest.mark.parametrize(
    ("address", "headers", "secure"),
    [
        pytest.param(INGRESS, {"X_Forwarded_Proto": "https"}, True, id="an ingress that sends only this header"),
        pytest.param(
            INGRESS, {"X_Forwarded_For": "192.0.2.1", "X_Forwarded_Proto": "https"}, True, id="an ingress with https"
        ),
        pytest.param(INGRESS, {"X_Forwarded_Proto": "http"}, False, id="an ingress with http"),
        pytest.param(STRANGER, {"X_Forwarded_Proto": "https"}, False, id="a browser that makes up the header"),
        pytest.param(
            STRANGER, {"X_Scheme": "https", "Forwarded": "proto=https"}, False, id="other headers, all made up"
        ),
    ],
)
def test_cookies_are_secure_where_the_browser_uses_https(
    lab: EmbeddedLab, address: str, headers: dict[str, str], secure: bool
) -> None:
    with browser(lab.url, address, **headers) as http:
        for response in (http.get("/hub/login"), log_in(http, "alice", "pass1")):
            assert marked_secure(response) == {secure}, response.headers
        assert response.status_code == 302


def test_the_proxys_proof_is_in_no_log(lab: EmbeddedLab) -> None:
    with browser(lab.url, STRANGER) as http:
        http.get("/hub/no-such-page")
    assert "learning-lab-proxy" not in lab.log.read_text().lower()
