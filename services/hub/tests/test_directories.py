"""What a person types leads to a directory on their list, and to nothing else."""

from __future__ import annotations

import itertools
import json
import os
import unicodedata
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from k8s_annotations import Entry, Grants, parse_grants
from k8s_annotations.untrusted_text import name_key
from lab_testing.hostile_annotations import hostile, text
from learning_lab.access.directories import Directory, NotGranted, check_real_path, resolve

DIRS = "learning-lab.dev/notebook-dirs"

thorough = settings(
    max_examples=int(os.environ.get("LAB_EXAMPLES") or 2_000),
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)


def grants(*items: Any, roots: tuple[str, ...] = ("/s",)) -> Grants:
    return parse_grants("alice", {DIRS: json.dumps(items)}, {}, roots=roots)


THE_LIST = parse_grants("alice", {DIRS: hostile("list")[0]["input"]}, {})


# The corpus


@pytest.mark.parametrize("case", [pytest.param(case, id=case["id"]) for case in hostile("choice")])
def test_a_typed_choice_of_the_corpus_is_found_or_refused(case: dict[str, Any]) -> None:
    choice = text(case["input"])
    if "path" in case["expect"]:
        assert resolve(choice, THE_LIST).path == case["expect"]["path"]
        return
    with pytest.raises(NotGranted) as refused:
        resolve(choice, THE_LIST)
    assert refused.value.kind == case["expect"]["refused"]
    speaks_plainly(refused.value, THE_LIST)


def speaks_plainly(refused: NotGranted, of: Grants) -> None:
    """Check that a refusal is short, can be shown anywhere, and offers what the person can open."""
    message = str(refused)
    assert 0 < len(message) < 1500
    assert message.endswith(".")
    assert not any(unicodedata.category(char) in {"Cc", "Cs", "Zl", "Zp"} for char in message)
    assert "\u202e" not in message
    assert refused.names == tuple(entry.name for entry in of.usable)


# Choices that people make


def test_a_name_a_path_and_a_folder_below_either_are_found() -> None:
    found = grants("/s/alice/notebooks", {"path": "/s/shared/genomics", "title": "Genomics course"})
    entry = found.entries[1]
    assert resolve("genomics", found) == Directory("/s/shared/genomics", entry)
    assert resolve("/s/shared/genomics/", found) == Directory("/s/shared/genomics", entry)
    assert resolve("genomics/week1/day2", found) == Directory("/s/shared/genomics/week1/day2", entry, "week1/day2")
    assert resolve("/s/shared/genomics/week1", found) == Directory("/s/shared/genomics/week1", entry, "week1")


def test_a_directory_is_called_as_people_type_it_and_as_they_read_it() -> None:
    found = grants({"path": "/s/shared/genomics", "title": "Genomics course"})
    itself, folder = resolve("genomics", found), resolve("genomics/week1/day2", found)
    assert (itself.name, itself.title) == ("genomics", "Genomics course")
    assert (folder.name, folder.title) == ("genomics/week1/day2", "Genomics course / week1/day2")


@pytest.mark.parametrize(
    ("choice", "path"),
    [
        pytest.param("/s/a/x ", "/s/a/x ", id="a folder whose name ends in a space"),
        pytest.param("/s/a/x  ", "/s/a/x  ", id="a name with two spaces is another folder"),
        pytest.param(" /s/a/x ", "/s/a/x", id="spaces around a path"),
        pytest.param("/s/b ", "/s/b", id="a space at the end, and only the name without it is listed"),
        pytest.param(" b ", "/s/b", id="spaces around a name"),
        pytest.param("b/x ", "/s/b/x", id="a space after a folder below a name"),
        pytest.param("b / x / y", "/s/b/x / y", id="only the first slash with spaces separates a title"),
    ],
)
def test_spaces_count_only_where_the_list_has_the_path_with_them(choice: str, path: str) -> None:
    assert resolve(choice, grants("/s/a", "/s/b")).path == path


def test_the_end_of_a_path_is_not_guessed_where_the_entry_has_another_name() -> None:
    found = grants({"path": "/s/shared/climate", "name": "weather", "title": "Weather"})
    with pytest.raises(NotGranted) as refused:
        resolve("climate", found)
    assert refused.value.kind == "unknown"


def test_the_longest_entry_is_the_one_that_grants() -> None:
    found = grants("/s/a", {"path": "/s/a/b", "access": "ro"})
    assert resolve("/s/a/x", found).entry.path == "/s/a"
    assert resolve("/s/a/b/x", found) == Directory("/s/a/b/x", found.entries[1], "x")
    assert resolve("a/b/x", found) == Directory("/s/a/b/x", found.entries[1], "x")
    assert resolve("/s/a/bx", found).entry.path == "/s/a"


def test_a_disabled_entry_takes_what_is_below_it_from_the_one_above() -> None:
    found = grants("/s/a", {"path": "/s/a/b", "access": "none"}, "/s/a/b/c")
    for refused in ("/s/a/b", "/s/a/b/x", "a/b", "b", "b/x"):
        with pytest.raises(NotGranted, match=r"cannot be opened\. Its access is 'none'"):
            resolve(refused, found)
    assert resolve("/s/a/b/c/x", found).entry.path == "/s/a/b/c"


def test_a_bad_entry_of_the_same_directory_does_not_hide_the_good_one() -> None:
    found = grants({"path": "/s/a", "access": "none"}, "/s/a")
    assert resolve("a", found).path == resolve("/s/a", found).path == "/s/a"


def test_the_name_of_a_bad_entry_is_not_one_of_the_good_entry_of_the_same_directory() -> None:
    found = grants({"path": "/s/a", "name": "old", "access": "none"}, "/s/a")
    with pytest.raises(NotGranted) as refused:
        resolve("old", found)
    assert refused.value.kind == "disabled"


@pytest.mark.parametrize("choice", [".", "./", "./.", ".//."])
def test_an_empty_choice_does_not_match_a_title_of_slashes(choice: str) -> None:
    found = grants({"path": "/s/a", "title": "/"})
    assert found.usable[0].title == "/"
    with pytest.raises(NotGranted) as refused:
        resolve(choice, found)
    assert refused.value.kind == "unknown"


def test_the_exact_name_wins_over_one_in_different_case() -> None:
    upper = Entry(path="/s/1", name="Lab", title="")
    lower = Entry(path="/s/2", name="lab", title="")
    found = Grants("alice", (upper, lower))
    assert resolve("Lab", found).entry is upper
    assert resolve("lab", found).entry is lower
    with pytest.raises(NotGranted, match=r"more than one of your directories\. Say which one: Lab, lab\.") as refused:
        resolve("LAB", found)
    assert refused.value.kind == "ambiguous"


def test_a_folder_that_two_entries_are_called_is_asked_for_by_its_names() -> None:
    found = grants("/s/alice/climate", "/s/shared/climate")
    with pytest.raises(NotGranted, match=r"Say which one: alice/climate, shared/climate\."):
        resolve("climate", found)
    assert resolve("shared/climate/2026", found).path == "/s/shared/climate/2026"


def test_no_more_than_five_names_are_asked_for() -> None:
    found = grants(*(f"/s/{owner}/climate" for owner in "abcdef"))
    with pytest.raises(NotGranted, match=r"Say which one: a/climate, b/climate, c/climate, d/climate, e/climate\.$"):
        resolve("climate", found)


def test_a_title_that_two_cards_have_is_asked_for_by_their_names() -> None:
    found = grants(
        {"path": "/s/shared/bio", "title": "Course"},
        {"path": "/s/shared/chem", "title": "course"},
        {"path": "/s/alice/old", "title": "COURSE", "access": "none"},
    )
    assert resolve("Course", found).path == "/s/shared/bio"
    assert resolve("course / week1", found).path == "/s/shared/chem/week1"
    with pytest.raises(NotGranted, match=r"Say which one: bio, chem\.") as refused:
        resolve("COURSE", found)
    assert refused.value.kind == "ambiguous"


def test_the_title_of_a_disabled_entry_says_why_it_is_disabled() -> None:
    found = grants({"path": "/s/alice/old", "title": "Old work", "access": "none"})
    with pytest.raises(NotGranted, match=r"cannot be opened\. Its access is 'none'") as refused:
        resolve("old work", found)
    assert refused.value.kind == "disabled"


def test_a_title_with_a_slash_can_be_typed_as_it_is_shown() -> None:
    found = grants({"path": "/s/shared/g", "title": "Spring / Summer"}, "/s/alice/spring")
    assert resolve("Spring / Summer", grants({"path": "/s/shared/g", "title": "Spring / Summer"})).path == "/s/shared/g"
    assert resolve("Spring / Summer", found).path == "/s/alice/spring/Summer", (
        "a name and a folder take precedence over a title"
    )


def test_a_title_on_a_card_counts_before_a_guess_at_folders() -> None:
    found = grants("/s/alice/climate", "/s/shared/climate", {"path": "/s/shared/c3s", "title": "Climate"})
    assert resolve("climate", found).path == "/s/shared/c3s"


def test_a_refusal_says_what_was_typed_shortened_and_what_to_do() -> None:
    found = grants("/s/alice/notebooks")
    with pytest.raises(NotGranted) as refused:
        resolve("chemistry", found)
    assert str(refused.value) == ('"chemistry" is not one of your directories.')
    assert refused.value.names == ("notebooks",)
    for typed, shown in (("x" * 80, "x" * 80), ("x" * 81, "x" * 79 + "\u2026"), ("x" * 3000, "x" * 79 + "\u2026")):
        with pytest.raises(NotGranted) as refused:
            resolve(typed, found)
        assert shown in str(refused.value)
        assert len(str(refused.value)) < 200


def test_what_exists_and_what_does_not_is_refused_in_the_same_words() -> None:
    found = grants("/s/alice/notebooks")
    messages = set()
    for choice in ("/s/bob", "/s/bob/private", "/s/nobody", "/etc", "/", "/nowhere"):
        with pytest.raises(NotGranted) as refused:
            resolve(choice, found)
        messages.add(str(refused.value).replace(choice, "..."))
    assert len(messages) == 1


def test_several_roots_are_looked_up_alike() -> None:
    found = grants("/data/x", "/mnt/nas/y", "/s/z", roots=("/data", "/mnt/nas"))
    assert resolve("/mnt/nas/y/1", found).path == "/mnt/nas/y/1"
    assert resolve("x/1", found).path == "/data/x/1"
    with pytest.raises(NotGranted, match=r"It does not lie below /data or /mnt/nas\."):
        resolve("z", found)


# Where symlinks lead


@pytest.mark.parametrize(
    "real",
    [
        pytest.param("/s/shared/genomics/week1", id="the directory itself"),
        pytest.param("/s/shared/genomics", id="the entry it is below"),
        pytest.param("/s/alice/elsewhere", id="the person's own directory, listed or not"),
        pytest.param("/s/alice", id="the top of the person's own directories"),
        pytest.param("/s/alice/notebooks/a", id="another usable entry"),
    ],
)
def test_a_link_may_lead_to(real: str) -> None:
    found = grants("/s/alice/notebooks", "/s/shared/genomics")
    check_real_path(real, resolve("genomics/week1", found), found)


@pytest.mark.parametrize(
    "real",
    [
        pytest.param("/s/bob/private", id="another person's directory"),
        pytest.param("/s/alicex/a", id="a person whose user id begins the same"),
        pytest.param("/s/shared/other", id="a directory that is not listed"),
        pytest.param("/s/shared", id="above an entry"),
        pytest.param("/s/shared/genomics2", id="a neighbour of an entry"),
        pytest.param("/s", id="the root"),
        pytest.param("/", id="the system's root"),
        pytest.param("/etc", id="outside the roots"),
        pytest.param("/home/alice", id="the home directory outside the roots"),
        pytest.param("/s/alice/../bob", id="a path that goes up"),
        pytest.param("/s/alice//x", id="a path that is not canonical"),
        pytest.param("/s/alice/x/", id="a path with a slash at its end"),
        pytest.param("s/alice/x", id="a path without its slash"),
        pytest.param("", id="nothing"),
        pytest.param("/s/alice/\x00", id="a NUL"),
        pytest.param("/s/alice/\udc80", id="a byte that is not text"),
        pytest.param("/s/alice/locked/x", id="below a disabled entry of their own"),
        pytest.param("/s/shared/genomics/closed", id="a disabled entry below a usable one"),
    ],
)
def test_a_link_may_not_lead_to(real: str) -> None:
    found = grants(
        "/s/shared/genomics",
        {"path": "/s/alice/locked", "access": "no"},
        {"path": "/s/shared/genomics/closed", "access": "no"},
    )
    with pytest.raises(NotGranted, match="leads to a place that is not in your list") as refused:
        check_real_path(real, resolve("genomics/link", found), found)
    assert refused.value.kind == "elsewhere"
    assert not real or real == "/" or real not in str(refused.value)


@pytest.mark.parametrize("userid", ["", ".", "..", "a/b", "/"])
def test_a_user_id_that_is_not_a_folder_name_owns_nothing(userid: str) -> None:
    found = parse_grants(userid, {DIRS: "[/s/shared/x]"}, {})
    for real in ("/s", "/s/bob", "/s/a/b", "/s/./x"):
        with pytest.raises(NotGranted):
            check_real_path(real, resolve("x", found), found)


# Properties that hold for every input

# One draw for a whole path: ten thousand examples of many draws each take minutes.
FOLDERS = ["alice", "bob", "shared", "a", "A", "b", "\u00fc", "u\u0308", "{0}", "x ", "..", ".", "", "%2e"]
BELOW = ["/".join(parts) for count in (1, 2, 3) for parts in itertools.product(FOLDERS, repeat=count)]
folder = st.sampled_from(FOLDERS)
below = st.sampled_from(BELOW)
a_path = st.sampled_from([f"/s/{path}" for path in BELOW])
an_item = st.one_of(
    a_path,
    st.fixed_dictionaries(
        {"path": a_path},
        optional={
            "name": folder,
            "title": st.sampled_from([*FOLDERS, "/s/bob", "a/b", "b / a", "B", "bob / {0}"]),
            "access": st.sampled_from(["ro", "rw", "no"]),
        },
    ),
)
lists = st.lists(an_item, max_size=3)
choices = st.one_of(
    a_path, below, st.text(st.one_of(st.sampled_from("/.ab~%\\ \x00\u202e"), st.characters()), max_size=8)
)


@thorough
@given(lists, choices)
def test_what_is_resolved_lies_at_or_below_a_usable_entry(items: list[Any], choice: str) -> None:
    found = grants(*items)
    try:
        directory = resolve(choice, found)
    except NotGranted as refused:
        speaks_plainly(refused, found)
        return
    path = PurePosixPath(directory.path)
    assert str(path) == directory.path
    assert ".." not in path.parts
    assert directory.entry in found.usable
    assert path.is_relative_to(directory.entry.path)
    assert directory.below == directory.path.removeprefix(directory.entry.path).lstrip("/")
    above = [entry for entry in found.entries if f"{directory.path}/".startswith(f"{entry.path}/")]
    longest = max(len(entry.path) for entry in above)
    assert len(directory.entry.path) == longest, "the nearest entry must decide, whether good or bad"
    check_real_path(directory.path, directory, found)
    assert resolve(directory.path, found) == directory


own_or_shared = st.sampled_from(
    [f"/s/{top}/{path}" for top in ("alice", "shared") for path in BELOW if "bob" not in path and path.strip("./")]
)
towards_bob = st.lists(
    st.sampled_from(["/s/bob", "bob", "..", "/", "/..", "/s", "~bob", "%2e%2e", "alice", "a", ".", "\\", "\x00", " "]),
    max_size=5,
).map("".join)


@thorough
@given(st.lists(own_or_shared, max_size=2), st.one_of(towards_bob, choices))
def test_another_persons_directory_is_never_given(items: list[str], choice: str) -> None:
    found = grants(*items)
    try:
        directory = resolve(choice, found)
    except NotGranted:
        return
    parts = PurePosixPath(directory.path).parts
    assert parts[:2] == ("/", "s")
    assert parts[2] in {"alice", "shared"}


@thorough
@given(st.lists(own_or_shared, max_size=2), towards_bob)
def test_a_link_never_leads_to_another_person(items: list[str], tail: str) -> None:
    found = grants("/s/shared/course", *items)
    with pytest.raises(NotGranted):
        check_real_path(f"/s/bob/{tail}", resolve("/s/shared/course", found), found)


@thorough
@given(lists)
def test_every_usable_entry_is_found_by_its_name_and_by_its_path(items: list[Any]) -> None:
    found = grants(*items)
    for entry in found.usable:
        assert resolve(entry.path, found) == Directory(entry.path, entry)
        assert resolve(entry.name, found) == Directory(entry.path, entry)
        assert resolve(f"{entry.name}/{{x}}", found).path == f"{entry.path}/{{x}}" or any(
            other.path == f"{entry.path}/{{x}}" for other in found.entries
        )


@thorough
@given(lists, choices)
def test_a_title_takes_nothing_from_names_and_paths(items: list[Any], choice: str) -> None:
    with_titles = grants(*items)
    untitled = replace(with_titles, entries=tuple(replace(entry, title=entry.name) for entry in with_titles.entries))
    try:
        plain = resolve(choice, untitled)
    except NotGranted as refused:
        if refused.kind in {"unknown", "ambiguous"}:
            return
        with pytest.raises(NotGranted):
            resolve(choice, with_titles)
        return
    assert resolve(choice, with_titles).path == plain.path


@thorough
@given(lists)
def test_every_title_of_one_card_alone_finds_it_unless_a_name_does(items: list[Any]) -> None:
    found = grants(*items)
    for entry in found.usable:
        title = entry.title
        others = [other for other in found.usable if other is not entry]
        if "/" in title or title in {".", ".."} or any(name_key(title) == name_key(o.title) for o in others):
            continue
        if any(name_key(title) == name_key(other.name) for other in found.entries if other is not entry):
            continue
        assert resolve(title, found) == Directory(entry.path, entry)
        assert resolve(title.swapcase(), found).path == entry.path
        assert resolve(f"{title} / week 1", found).path == f"{entry.path}/week 1"
