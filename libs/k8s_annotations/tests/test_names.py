"""The name of a user's namespace: always a DNS label, never shared, and the documented examples are true."""

from __future__ import annotations

import doctest
import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import k8s_annotations.names
from k8s_annotations import InvalidUserId, namespace_name

LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")

# Texts close to each other and to DNS labels, where two user ids could collide; and arbitrary text.
near = st.text(alphabet="ab1-_.AB äß", max_size=5)
userids = st.one_of(near, near, near, st.text(max_size=12))


def test_the_examples_of_the_documentation_are_true() -> None:
    done = doctest.testmod(k8s_annotations.names)
    assert done.attempted >= 4
    assert done.failed == 0


@pytest.mark.parametrize(
    ("userid", "name"),
    [
        ("alice", "alice"),
        ("a", "a"),
        ("7", "7"),
        ("0x10", "0x10"),
        ("j-doe", "j-doe"),
        ("a--b", "a--b"),
        ("x" * 63, "x" * 63),
        ("J.Doe", "j-doe---mjuincwb2bjzqgfu"),
        ("j.doe", "j-doe---"),
        ("j_doe", "j-doe---"),
        ("J_Doe", "j-doe---"),
        ("a---b", "a-b---"),
        ("x" * 64, "x" * 44 + "---"),
        ("x" * 255, "x" * 44 + "---"),
        ("x" * 43 + "-" + "x" * 30, "x" * 43 + "---"),
        ("-a", "a---"),
        ("a-", "a---"),
        ("Ünal", "nal---"),
        ("用户", "u---"),
        ("_", "u---"),
        ("a@example.org", "a-example-org---"),
        ("two words", "two-words---"),
    ],
)
def test_a_user_id_has_its_namespace(userid: str, name: str) -> None:
    found = namespace_name(userid)
    assert LABEL.fullmatch(found)
    if name.endswith("---"):
        assert re.fullmatch(re.escape(name) + "[a-z2-7]{16}", found)
    else:
        assert found == name


@pytest.mark.parametrize(
    "userid",
    [
        pytest.param("", id="empty"),
        pytest.param(".", id="a dot"),
        pytest.param("..", id="two dots"),
        pytest.param("a/b", id="a slash"),
        pytest.param("a\0", id="a NUL"),
        pytest.param("a\n", id="a line break"),
        pytest.param("a\x1b[31m", id="an escape"),
        pytest.param("a\x85", id="a control character above ASCII"),
        pytest.param("a\ud800", id="half a character"),
        pytest.param("x" * 256, id="256 bytes"),
        pytest.param("ä" * 128, id="256 bytes in 128 characters"),
    ],
)
def test_a_text_that_is_not_a_user_id_is_refused_and_safe_to_show(userid: str) -> None:
    with pytest.raises(InvalidUserId) as caught:
        namespace_name(userid)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


@settings(max_examples=10_000, deadline=None, database=None)
@given(userids, userids)
@example("J.Doe", "j.doe")
@example("j_doe", "j.doe")
@example("x" * 64, "x" * 65)
@example("x" * 63, "x" * 64)
@example("a---b", "a-b")
@example("ß", "ss")
@example("é", "e\u0301")
def test_two_user_ids_never_share_a_namespace_and_it_is_always_a_label(one: str, other: str) -> None:
    try:
        names = [namespace_name(one), namespace_name(other)]
    except InvalidUserId:
        return
    assert (names[0] == names[1]) == (one == other)
    for userid, name in zip((one, other), names, strict=True):
        assert LABEL.fullmatch(name)
        # No user id can equal another one's slug: the namespace of a slug, taken as a user id, has a different name.
        assert (namespace_name(name) == name) == (name == userid)
