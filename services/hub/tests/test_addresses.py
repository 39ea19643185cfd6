"""The lab's address, and that no two people share an address."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learning_lab.serving.addresses import has_names_below, host_of, is_address, of_everybody

# Like browsers: they fold case, and letters of other alphabets that look like ours (the Kelvin sign, the long s).
LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)


def label(name: str, kind: str = "user") -> str:
    host = host_of(name, "lab.example.com", kind)
    assert host.endswith(".lab.example.com")
    return host.removesuffix(".lab.example.com")


@pytest.mark.parametrize("userid", ["alice", "j-doe", "a", "a" * 63, "u123"])
def test_a_plain_user_id_is_its_own_label(userid: str) -> None:
    assert label(userid) == userid


def test_names_that_browsers_treat_as_equal_have_different_addresses() -> None:
    alike = [
        "bobk",
        "bob\u212a",
        "BOBK",
        "bobk\n",
        "bobk.",
        "bob k",
        "\u017fam",
        "sam",
        "xn--sam",
        "u-sam--0",
        "123",
        "١٢٣",
    ]
    assert len({label(name) for name in alike}) == len(alike)


def test_a_user_id_that_looks_like_an_address_of_ours_does_not_get_it() -> None:
    assert label(label("J.Doe")) != label("J.Doe")
    assert label("x", "service") != label("x")


@settings(max_examples=10_000)
@given(st.text(min_size=1, max_size=80), st.text(min_size=1, max_size=80))
def test_two_user_ids_never_share_an_address(one: str, other: str) -> None:
    assert LABEL.fullmatch(label(one))
    assert (label(one) == label(other)) == (one == other)


@pytest.mark.parametrize(
    "text", ["https://lab.example.com", "http://lab.localhost:8000", "http://10.1.2.3:8000", "http://localhost"]
)
def test_an_address(text: str) -> None:
    assert is_address(text)


@pytest.mark.parametrize(
    "text",
    [
        "lab.example.com",
        "https://lab.example.com/",
        "https://lab.example.com/hub",
        "https://Lab.example.com",
        "https://a@lab.example.com",
        "https://lab.example.com:x",
        "https://lab_1.example.com",
        "https://lab.example.com; script-src *",
        "ftp://lab.example.com",
        "https://",
    ],
)
def test_not_an_address(text: str) -> None:
    assert not is_address(text)


@pytest.mark.parametrize(
    ("address", "names"),
    [
        ("https://lab.example.com", True),
        ("http://lab.localhost:8000", True),
        ("http://localhost:8000", False),
        ("http://127.0.0.1:8000", False),
        ("", False),
    ],
)
def test_what_has_names_below_it(address: str, names: bool) -> None:
    assert has_names_below(address) == names


def test_everybodys_address_in_a_policy() -> None:
    assert of_everybody("http://lab.localhost:8000") == "http://*.lab.localhost:8000"
