"""The list of directories: what is read, what is refused and with which message, and what can never happen."""

from __future__ import annotations

import itertools
import json
import os
import sys
import time
import unicodedata
from pathlib import PurePosixPath
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from k8s_annotations import Entry, Grants, InvalidPath, canonical_path, clean, parse_grants
from k8s_annotations.grants.parsing import _parse, merged
from k8s_annotations.untrusted_text import HIDDEN, escaped, name_key
from lab_testing.hostile_annotations import hostile, text

DIRS = "learning-lab.dev/notebook-dirs"
LABEL = "dir.learning-lab.dev/"

thorough = settings(
    max_examples=int(os.environ.get("LAB_EXAMPLES") or 2_000),
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def grants(annotation: str | None, labels: dict[str, str] | None = None, **options: Any) -> Grants:
    annotations = {} if annotation is None else {DIRS: annotation}
    found = {f"{LABEL}{owner}": name for owner, name in (labels or {}).items()}
    return parse_grants("alice", annotations, found, **options)


def paths(found: Grants) -> list[str]:
    return [entry.path for entry in found.usable]


# The corpus


def as_expected(found: Grants, expect: dict[str, Any]) -> None:
    bad = [entry for entry in found.entries if entry.problem is not None]
    if "usable" in expect:
        assert paths(found) == expect["usable"]
    if "usable_count" in expect:
        assert len(found.usable) == expect["usable_count"]
    if "bad_count" in expect:
        assert len(bad) == expect["bad_count"]
    else:
        reasons = expect.get("bad", [])
        assert len(bad) == len(reasons), bad
        for entry, reason in zip(bad, reasons, strict=True):
            assert reason in (entry.problem or "")
            assert (entry.problem or "").endswith(".")
    notices = expect.get("notices", [])
    assert len(found.notices) == len(notices), found.notices
    for said, notice in zip(found.notices, notices, strict=True):
        assert notice in said
    if "names" in expect:
        assert [entry.name for entry in found.usable] == expect["names"]
    if "default" in expect:
        assert [entry.path for entry in found.entries if entry.default] == [expect["default"]]
    for field, value in expect.get("first", {}).items():
        assert getattr(found.usable[0], field) == text(value)


@pytest.mark.parametrize("case", [pytest.param(case, id=case["id"]) for case in hostile("annotation")])
def test_an_annotation_of_the_corpus_gives_what_is_expected(case: dict[str, Any]) -> None:
    found = grants(text(case["input"]))
    as_expected(found, case["expect"])
    sound(found)


@pytest.mark.parametrize("case", [pytest.param(case, id=case["id"]) for case in hostile("label")])
def test_labels_of_the_corpus_give_what_is_expected(case: dict[str, Any]) -> None:
    given_labels = case["input"]
    if "numbered" in given_labels:
        given_labels = {f"o{number}": "x" for number in range(given_labels["numbered"])}
    found = grants(None, {owner: text(name) for owner, name in given_labels.items()})
    as_expected(found, case["expect"])
    sound(found)


@pytest.mark.parametrize("case", [pytest.param(case, id=case["id"]) for case in hostile("path")])
def test_a_path_of_the_corpus_is_canonical_or_refused(case: dict[str, Any]) -> None:
    if "canonical" in case["expect"]:
        assert canonical_path(text(case["input"]), ["/s"]) == text(case["expect"]["canonical"])
    else:
        with pytest.raises(InvalidPath) as refused:
            canonical_path(text(case["input"]), ["/s"])
        assert case["expect"]["refused"] in str(refused.value)


def test_the_corpus_has_unique_ids_and_more_than_200_cases() -> None:
    cases = [(kind, case["id"]) for kind in ("annotation", "label", "path", "choice") for case in hostile(kind)]
    assert len(cases) == len(set(cases)) > 200


# The list as people write it


def test_the_example_of_the_documentation_is_read_as_it_is_explained() -> None:
    found = grants(
        """\
- /s/alice/notebooks
- path: /s/shared/genomics
  name: genomics            # what people type
  title: Genomics course    # what people read
  description: Week 1 to 12, read only
  access: ro
  default: true
"""
    )
    assert found == Grants(
        "alice",
        (
            Entry(path="/s/alice/notebooks", name="notebooks", title="notebooks", line=1),
            Entry(
                path="/s/shared/genomics",
                name="genomics",
                title="Genomics course",
                description="Week 1 to 12, read only",
                access="ro",
                default=True,
                line=2,
            ),
        ),
    )


def test_without_annotation_and_labels_there_is_the_default_directory() -> None:
    assert grants(None).entries == (
        Entry(path="/s/alice/notebooks", name="notebooks", title="notebooks", source="setting"),
    )
    assert grants(None, default_directory="").entries == ()
    assert paths(grants(None, roots=["/data"], default_directory="/data/u/{userid}")) == ["/data/u/alice"]


@pytest.mark.parametrize("userid", ["", ".", "..", "a/b", "/", "a\x00", "\ud800", "x" * 256])
def test_a_user_id_that_is_not_a_folder_name_has_no_default_directory(userid: str) -> None:
    found = parse_grants(userid, {}, {})
    assert found.usable == ()
    assert found.entries[0].problem


def test_braces_in_a_user_id_are_not_filled_in() -> None:
    assert parse_grants("{userid}{0}", {}, {}).usable[0].path == "/s/{userid}{0}/notebooks"


def test_labels_alone_are_the_list_and_are_named_like_others() -> None:
    found = grants(None, {"shared": "genomics", "bob": "genomics"})
    assert [(entry.path, entry.name, entry.source) for entry in found.entries] == [
        ("/s/bob/genomics", "bob/genomics", "label"),
        ("/s/shared/genomics", "shared/genomics", "label"),
    ]


def test_the_annotation_wins_over_the_label_of_the_same_directory() -> None:
    found = grants(
        "- {path: /s/shared//genomics/, title: Course, access: ro}", {"shared": "genomics", "alice": "thesis"}
    )
    assert [(entry.path, entry.title, entry.access, entry.source) for entry in found.entries] == [
        ("/s/shared/genomics", "Course", "ro", "annotation"),
        ("/s/alice/thesis", "thesis", "rw", "label"),
    ]


def test_labels_stay_when_the_annotation_cannot_be_read_and_the_default_directory_comes() -> None:
    found = grants("{{", {"shared": "genomics"})
    assert paths(found) == ["/s/shared/genomics", "/s/alice/notebooks"]
    assert len(found.notices) == 1


def test_labels_with_another_prefix_are_ignored() -> None:
    labels = {"dir.learning-lab.dev.evil/shared": "x", "xdir.learning-lab.dev/shared": "x", "dir.learning-lab.dev": "x"}
    assert paths(parse_grants("alice", {}, labels)) == ["/s/alice/notebooks"]
    assert paths(parse_grants("alice", {}, {"dir.lab.example/shared": "x"}, prefix="lab.example")) == ["/s/shared/x"]


def test_several_roots_are_allowed_and_labels_mean_the_first() -> None:
    found = grants("- /data/x\n- /mnt/nas/y\n- /s/z\n", {"shared": "x"}, roots=["/mnt/nas", "/data"])
    assert paths(found) == ["/data/x", "/mnt/nas/y", "/mnt/nas/shared/x"]
    assert "/mnt/nas or /data" in (found.entries[2].problem or "")


@pytest.mark.parametrize("roots", [[], [""], ["/"], ["s"], ["/s/"], ["/s", "/s/shared"]], ids=repr)
def test_odd_roots_never_raise(roots: list[str]) -> None:
    found = grants("- /s/alice/a\n- /s/shared\n", {"shared": "x"}, roots=roots)
    assert len(found.entries) == 3
    assert "/s/shared" not in paths(found) or "/s/shared" not in roots


def test_lines_are_those_of_the_annotation() -> None:
    found = grants("# first\n\n- /s/alice/a\n- path: /s/alice/b\n  title: B\n-\n  path: /etc\n- [x]\n- title: a: b\n")
    assert [(entry.line, entry.problem is None) for entry in found.entries] == [
        (3, True),
        (4, True),
        (7, False),
        (8, False),
        (9, False),
    ]


def test_a_bad_entry_keeps_its_texts_and_lets_good_ones_have_its_name() -> None:
    found = grants("- {path: /etc, name: lab, title: The lab}\n- {path: /s/alice/a, name: lab}\n")
    assert [(entry.path, entry.name, entry.title) for entry in found.entries] == [
        ("/etc", "etc", "The lab"),
        ("/s/alice/a", "lab", "lab"),
    ]


def test_invisible_characters_in_a_bad_path_are_escaped_and_the_path_is_shortened() -> None:
    found = grants('- "/s/a\\u202E\\n' + "x" * 300 + '"')
    assert found.entries[0].path.startswith("/s/a\\u202e\\nxxx")
    assert len(found.entries[0].path) == 200


def test_many_notices_are_cut() -> None:
    found = grants("- /s/alice/a\n" * 400)
    assert len(found.notices) == 10
    assert found.notices[-1] == "And 390 more like these."


def test_every_format_character_is_hidden_but_joiners_and_those_that_are_seen() -> None:
    formats = {char for number in range(sys.maxunicode + 1) if unicodedata.category(char := chr(number)) == "Cf"}
    seen = {char for char in formats if not HIDDEN.match(char)}
    joiners = {"\u200c", "\u200d"}
    numbers_signs = {
        char for char in seen if any(word in unicodedata.name(char) for word in ("SIGN", "ARABIC", "MARK"))
    }
    hieroglyphs = {char for char in seen if "HIEROGLYPH" in unicodedata.name(char)}
    assert seen == joiners | numbers_signs | hieroglyphs


def test_a_list_of_five_is_read_within_its_time() -> None:
    annotation = "".join(f"- {{path: /s/alice/d{n}, title: Title {n}, description: x, access: ro}}\n" for n in range(5))

    def fastest(read: Any) -> float:
        times = []
        for _ in range(50):
            before = time.perf_counter()
            read()
            times.append(time.perf_counter() - before)
        return min(times)

    def anew() -> Grants:
        _parse.cache_clear()
        return grants(annotation)

    # Measured at 0.3 ms; allow ten times that, because this is not a benchmark.
    assert fastest(anew) < 0.003
    assert fastest(lambda: grants(annotation)) < 0.0003


@pytest.mark.parametrize(
    "annotation",
    [
        pytest.param("[" * 16_384, id="brackets"),
        pytest.param("- a: b: c\n" * 1600, id="broken items"),
        pytest.param("- /s/alice/x\n" * 1200, id="the same directory"),
        pytest.param("".join(f"- /s/a{n}/x/y/z/v/w\n" for n in range(700)), id="names that need many segments"),
        pytest.param("- &a [*a,*a]\n" * 1200, id="aliases"),
        pytest.param("{a: " * 4000, id="braces"),
        pytest.param("- '" + "? " * 8000, id="question marks"),
        pytest.param("".join(f"- '/s/{n}/{'a/' * 1500}'\n" for n in range(5)), id="long paths with the same ending"),
    ],
)
def test_the_worst_annotations_are_read_in_a_moment(annotation: str) -> None:
    before = time.perf_counter()
    grants(annotation)
    assert time.perf_counter() - before < 1


# Properties that hold for every input

anything = st.text(st.characters(), max_size=20)
words = (
    "- path: name: title: access: ro default: true /s/ /s /alice /bob .. . / { } [ ] , : &a *a !!str <<: ? ' # --- |"
)
signs = [
    "\n",
    "\n- ",
    "  ",
    "\t",
    ": ",
    '"',
    "\\",
    "\x00",
    "\u202e",
    "\ud800",
    "\ufeff",
    "{0}",
    "null",
    ".nan",
    "%",
    "@",
]
pieces = st.sampled_from([*words.split(), *signs])
yamlish = st.lists(pieces, max_size=16).map("".join)
SEGMENTS = ["alice", "bob", "shared", "a", "A", "\u00fc", "u\u0308", "x ", "{0}", "<b>", "..", ".", "%2e"]
# One draw for a whole path or pair: ten thousand examples of many draws each take minutes.
PATHS = ["/".join(["/s", *parts]) for parts in itertools.product(SEGMENTS, SEGMENTS)]
VALUES = [
    None,
    True,
    False,
    0,
    1.5,
    float("nan"),
    "",
    "ro",
    "rw",
    "a",
    "A",
    "a/b",
    "..",
    "\x00",
    "\u202e",
    "\ud800",
    "{0}",
]
KEYS = ["name", "title", "description", "access", "default", "<<", "path", "", "{0}", "\x1b"]
some_paths = st.sampled_from(PATHS)
pairs = st.sampled_from([*itertools.product(["path"], PATHS), *itertools.product(KEYS, VALUES)])
mappings = st.lists(pairs, max_size=3).map(dict)
ODDITIES: list[object] = [[], [[]], [[[[[]]]]], {}, {"path": []}, {"path": {"path": "/s/a/b"}}]
oddities = st.sampled_from([*VALUES, *ODDITIES])
structured = st.lists(st.one_of(some_paths, mappings, oddities), max_size=4).map(json.dumps)
some_labels = st.lists(
    st.sampled_from([*itertools.product(SEGMENTS, SEGMENTS), ("", "a"), ("a", ""), ("a/b", "c"), ("a", "\x00")]),
    max_size=2,
).map(dict)


def sound(found: Grants) -> None:
    """Check what holds for every list, with other libraries than the one that made it."""
    assert len(found.entries) <= 500
    assert sum(entry.default for entry in found.entries) <= 1
    keys = [name_key(entry.name) for entry in found.entries]
    assert len(keys) == len(set(keys))
    assert len(set(paths(found))) == len(found.usable)
    for entry in found.entries:
        assert entry.name
        assert entry.title
        assert entry.access in {"ro", "rw"}
        assert len(entry.title) <= 255
        assert len(entry.description) <= 500
        for shown in (entry.name, entry.title, entry.description):
            assert not any(unicodedata.category(char) in {"Cc", "Cs", "Zl", "Zp"} for char in shown)
            assert not set("\u200b\u200e\u200f\u202a\u202e\u2066\u2069\ufeff") & set(shown)
        if entry.problem is None:
            path = PurePosixPath(entry.path)
            assert str(path) == entry.path
            assert ".." not in path.parts
            assert any(PurePosixPath(root) in path.parents for root in found.roots)
            assert len(entry.path.encode()) <= 4096
            assert entry.path.isprintable() or not any(unicodedata.category(char) == "Cc" for char in entry.path)


@thorough
@given(st.one_of(anything, yamlish), some_labels, st.sampled_from(["alice", "", "..", "a/b"]))
def test_any_text_and_any_labels_give_a_sound_list(annotation: str, labels: dict[str, str], userid: str) -> None:
    found = {f"{LABEL}{owner}": name for owner, name in labels.items()}
    sound(parse_grants(userid, {DIRS: annotation}, found))


@thorough
@given(structured, some_labels)
def test_any_structure_gives_a_sound_list(annotation: str, labels: dict[str, str]) -> None:
    sound(grants(annotation, labels))


# No quotes: two of them would turn everything between them into one string, which is valid YAML.
bad_texts = (
    "12;[x];{};{path: /etc};*a;&a x;!t x;{<<: {}, path: /s/x};{path: /s/x, path: /s/y};[;{;@;a: b: c;/s/../x;%;/s"
)
bad_items = st.sampled_from([*bad_texts.split(";"), '"\\x00"', "\x00", "{path: /s/x, access: all}", "[[[[[]]]]]"])


@thorough
@given(st.lists(st.one_of(bad_items, st.integers(0, 9)), min_size=1, max_size=5))
def test_no_bad_item_ever_hides_a_good_one(items: list[str | int]) -> None:
    good = list(dict.fromkeys(f"/s/alice/d{item}" for item in items if isinstance(item, int)))
    lines = [f"- /s/alice/d{item}" if isinstance(item, int) else f"- {item}" for item in items]
    found = grants("\n".join(lines) + "\n")
    if good:
        assert paths(found) == good
        assert len(found.entries) == len(good) + sum(isinstance(item, str) for item in items)
    else:
        assert found.usable == () or (paths(found) == ["/s/alice/notebooks"] and found.notices)


harmless = st.text(
    st.one_of(st.sampled_from("{}<>&\"'%$\\;:#!{}{}<>"), st.characters(categories=["L", "Nd", "P", "Sm", "Sc"])),
    min_size=1,
    max_size=8,
).filter(lambda written: not HIDDEN.search(written))


@thorough
@given(harmless, harmless, harmless.filter(lambda name: "/" not in name and name not in {".", ".."}))
def test_braces_and_markup_survive_unharmed(title: str, description: str, folder: str) -> None:
    written = [{"path": f"/s/alice/{folder}", "name": folder, "title": title, "description": description}]
    for annotation in (json.dumps(written), yaml.dump(written, Dumper=yaml.CSafeDumper, allow_unicode=True)):
        entry = grants(annotation).usable[0]
        assert (entry.title, entry.description, entry.name) == (title, description, folder)
        assert entry.path == f"/s/alice/{folder}"


@thorough
@given(structured, some_labels)
def test_merging_again_changes_nothing(annotation: str, labels: dict[str, str]) -> None:
    found = grants(annotation, labels)
    once = merged(found.entries)
    assert tuple(once) == found.entries
    assert merged([*once, *once]) == [*once, *(entry for entry in once if entry.problem is not None)]
    again = {
        parts[2]: parts[3]
        for entry in found.usable
        if len(parts := entry.path.split("/")) == 4 and parts[2] not in labels
    }
    listed = [entry for entry in found.usable if entry.source == "annotation"]
    more = grants(annotation, labels | again)
    assert [entry for entry in more.usable if entry.source == "annotation"] == listed
    assert sorted(paths(more)) == sorted(paths(found))


folders = ["/".join(parts) for count in (1, 2, 3) for parts in itertools.product("abc", repeat=count)]


@thorough
@given(st.lists(st.sampled_from(folders), max_size=5))
def test_names_do_not_depend_on_the_order_of_the_list(folders: list[str]) -> None:
    written = [f"/s/{folder}" for folder in folders]
    named = {entry.path: entry.name for entry in grants(json.dumps(written)).usable}
    for other_order in (written[::-1], sorted(written)):
        assert named == {entry.path: entry.name for entry in grants(json.dumps(other_order)).usable}


@thorough
@given(anything)
def test_a_canonical_path_is_its_own_canonical_path(path: str) -> None:
    try:
        canonical = canonical_path(f"/s/{path}", ["/s"])
    except InvalidPath:
        return
    assert canonical_path(canonical, ["/s"]) == canonical
    assert PurePosixPath("/s") in PurePosixPath(canonical).parents


@thorough
@given(anything)
def test_shown_text_is_one_line_and_cleaning_again_changes_nothing(written: str) -> None:
    shown = clean(written, 40)
    assert len(shown) <= 40
    assert clean(shown, 40) == shown
    assert "\n" not in escaped(written)
    assert escaped(written).replace("\u200c", "").replace("\u200d", "").isprintable()
