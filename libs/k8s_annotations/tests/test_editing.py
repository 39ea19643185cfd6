"""Changing the text of a list, and of a file of manifests: what is meant changes, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from k8s_annotations import parse_grants
from k8s_annotations.grants import editing
from k8s_annotations.grants.editing import with_directory, without_directory
from k8s_annotations.manifests import editing as manifests
from k8s_annotations.manifests.editing import with_value
from k8s_annotations.manifests.reader import parse_manifests

LIST = """\
# alice's own
- /s/alice/notebooks   # where she begins
# the course of this term
- path: /s/shared/genomics
  title: Genomics course # people read it
  acces: ro

# and that is all
"""


class TestLists:
    def test_a_directory_is_added_at_the_end_and_every_other_line_stays(self) -> None:
        assert with_directory(LIST, {"path": "/s/shared/x"}) == LIST + "- /s/shared/x\n"

    def test_an_entry_that_is_there_gets_what_is_named_and_keeps_the_rest(self) -> None:
        text = "- path: /s/a/b\n  title: Old\n  access: ro\n- /s/c/d\n"
        assert with_directory(text, {"path": "/s/a/b", "title": "New"}) == (
            "- path: /s/a/b\n  title: New\n  access: ro\n- /s/c/d\n"
        )

    def test_what_the_list_says_already_leaves_it_to_the_letter(self) -> None:
        text = '- {path: "/s/a//b", access: ro}\n'
        assert with_directory(text, {"path": "/s/a/b", "access": "ro"}) == text

    def test_a_new_default_takes_the_place_of_the_old_one(self) -> None:
        text = "- path: /s/a/b\n  default: yes\n- /s/c/d\n"
        assert with_directory(text, {"path": "/s/c/d", "default": "true"}) == (
            "- /s/a/b\n- path: /s/c/d\n  default: true\n"
        )

    def test_a_directory_that_goes_leaves_the_comment_of_the_next_one(self) -> None:
        assert without_directory(LIST, "/s/alice/notebooks") == LIST.replace(
            "- /s/alice/notebooks   # where she begins\n", ""
        )

    def test_the_last_directory_that_goes_leaves_a_list_of_nothing(self) -> None:
        left = without_directory("# hers\n- /s/a/b\n", "/s/a/b")
        assert left == "# hers\n[]\n"
        grants = parse_grants("a", {"learning-lab.dev/notebook-dirs": left}, {})
        assert grants.entries == (), "the default directory must not come back"

    def test_a_directory_that_is_there_twice_goes_twice(self) -> None:
        assert without_directory("- /s/a/b\n- /s/c/d\n- path: /s/a/./b\n", "/s/a/b") == "- /s/c/d\n"

    @pytest.mark.parametrize(
        ("text", "changed"),
        [
            ('["/s/a/b"]', '["/s/a/b", {"path": "/s/c/d", "title": "a: b"}]'),
            ("[/s/a/b]", "- /s/a/b\n- path: /s/c/d\n  title: 'a: b'\n"),
            ("[]", '[{"path": "/s/c/d", "title": "a: b"}]'),
            ("", "- path: /s/c/d\n  title: 'a: b'\n"),
            ("  - /s/a/b", "  - /s/a/b\n  - path: /s/c/d\n    title: 'a: b'\n"),
            ("---\n- /s/a/b\n...\n", "---\n- /s/a/b\n- path: /s/c/d\n  title: 'a: b'\n"),
            ("\ufeff- /s/a/b\n", "- /s/a/b\n- path: /s/c/d\n  title: 'a: b'\n"),
        ],
        ids=["JSON", "brackets", "an empty list", "nothing", "indented", "a document with marks", "a byte order mark"],
    )
    def test_every_way_to_write_a_list_takes_a_directory(self, text: str, changed: str) -> None:
        assert with_directory(text, {"path": "/s/c/d", "title": "a: b"}) == changed

    @pytest.mark.parametrize(
        "text",
        ["a: b", "- /s/a/b\n\x00", "&a [x, *a]", "[/s/a/b, {path: /s/c/d, acces: ro}]", "- /s/a/b\n- title: 'open\n"],
        ids=["no list", "a control character", "an alias", "brackets with a mistake", "a quote that is not closed"],
    )
    def test_a_list_that_cannot_be_read_is_not_changed(self, text: str) -> None:
        with pytest.raises(editing.CannotEdit):
            with_directory(text, {"path": "/s/x/y"})

    def test_a_bad_entry_of_a_block_list_stays_as_it_is(self) -> None:
        text = "- path: /s/a/b\n  acces: ro\n- [x]\n- title: no path\n"
        assert with_directory(text, {"path": "/s/x/y"}) == text + "- /s/x/y\n"


SEGMENT = st.text("abcdefgh .-#:'\"{}[]|>&*!%@`~", min_size=1, max_size=8).filter(lambda text: text not in {".", ".."})
PATHS = st.lists(SEGMENT, min_size=2, max_size=4).map(lambda parts: "/s/" + "/".join(parts))
TEXTS = st.text(st.characters(exclude_categories=("Cs", "Cc", "Cf", "Zl", "Zp")), max_size=20)
ENTRIES = st.lists(
    st.fixed_dictionaries(
        {"path": PATHS}, optional={"title": TEXTS.filter(bool), "access": st.sampled_from(["ro", "rw"])}
    ),
    max_size=5,
    unique_by=lambda entry: entry["path"],
)


def written(entries: list[dict[str, str]], form: str) -> str:
    if form == "json":
        return json.dumps(entries)
    text: str = yaml.safe_dump(entries, default_flow_style=form == "brackets", allow_unicode=True, sort_keys=False)
    return "# a comment\n" + text


def read(text: str) -> list[tuple[str, str, str]]:
    found = parse_grants("alice", {"learning-lab.dev/notebook-dirs": text}, {}, default_directory="")
    return [(entry.path, entry.access, entry.problem or "") for entry in found.entries]


class TestAnyList:
    @given(ENTRIES, PATHS, TEXTS.filter(bool), st.sampled_from(["json", "brackets", "block"]))
    def test_a_grant_adds_the_one_directory_and_a_revoke_takes_it_away_again(
        self, entries: list[dict[str, str]], path: str, title: str, form: str
    ) -> None:
        text = written(entries, form)
        others = [each for each in read(text) if each[0] != path]
        granted = with_directory(text, {"path": path, "title": title, "access": "ro"})
        assert [each for each in read(granted) if each[0] != path] == others
        assert [each[1] for each in read(granted) if each[0] == path] == ["ro"]
        assert read(without_directory(granted, path)) == others


FILE = Path(__file__).resolve().parents[3] / "k8s" / "base" / "namespaces.yaml"
DIRS = "learning-lab.dev/notebook-dirs"


class TestFiles:
    @pytest.mark.parametrize("name", ["alice", "bob", "carol"])
    def test_a_list_that_changes_is_the_only_difference(self, name: str) -> None:
        text = FILE.read_text()
        value = parse_manifests(text.encode(), "file")[name].annotations[DIRS]
        changed = with_value(text, name, "annotations", DIRS, value + "- /s/x/y\n")
        assert [line for line in changed.split("\n") if line not in text.split("\n")] == ["      - /s/x/y"]
        assert with_value(changed, name, "annotations", DIRS, value) == text

    @pytest.mark.parametrize(
        "text",
        [
            "kind: Namespace\nmetadata: {name: x}\n",
            "kind: Namespace\nmetadata: {name: x, annotations: {a/b: c}}\n",
            "kind: Namespace\nmetadata:\n  name: x\n",
            "kind: Namespace\nmetadata:\n  name: x\n  annotations: {a/b: c} # why\n",
            'kind: Namespace\nmetadata:\n  annotations:\n    DIRS: "[/s/x/y]"   # why\n    z: "1"\n  name: x\n',
            "kind: Namespace\nmetadata:\n  annotations:\n    DIRS: /s\n  name: x\n",
            "kind: Namespace\nmetadata:\n  name: x\n  annotations:\n    DIRS: |-\n      - /s/x/y",
            "kind: Namespace\nmetadata:\n  name: x\n  annotations:\n    DIRS: >+\n      - /s/x/y\n\n\n\n    b: c\n",
            "kind: List\nitems:\n- kind: Namespace\n  metadata:\n    name: x\n- kind: Namespace\n  metadata: {name: y}",
            '{"kind": "Namespace", "metadata": {"name": "x", "annotations": {"a": "b"}}}',
            "kind: ConfigMap\nmetadata: {name: x}\n---\nkind: Namespace\nmetadata:\n  name: x\n",
        ],
        ids=str,
    )
    @pytest.mark.parametrize(
        "value",
        ["- /s/a/b\n", "[]", "  - indented\n", "trailing \n- x\n", "- é\t# |\n\n- x\n", "- x\n\n", 'a "quote"\\'],
        ids=repr,
    )
    def test_every_way_to_write_a_file_takes_every_value(self, text: str, value: str) -> None:
        changed = with_value(text.replace("DIRS", DIRS), "x", "annotations", DIRS, value)
        assert parse_manifests(changed.encode(), "file")["x"].annotations[DIRS] == value

    def test_a_label_goes_with_its_line(self) -> None:
        text = FILE.read_text()
        changed = with_value(text, "alice", "labels", "dir.learning-lab.dev/shared", None)
        assert changed == text.replace("    dir.learning-lab.dev/shared: climate\n", "")

    def test_what_stands_in_braces_is_taken_out_by_hand(self) -> None:
        text = "kind: Namespace\nmetadata: {name: x, labels: {a: b}}\n"
        with pytest.raises(manifests.CannotEdit, match="by hand"):
            with_value(text, "x", "labels", "a", None)

    def test_a_merged_key_is_refused_and_not_guessed(self) -> None:
        text = "kind: Namespace\nmetadata:\n  name: x\n  ? annotations\n  : {a: b}\n"
        changed = with_value(text, "x", "annotations", "c", "d")
        assert parse_manifests(changed.encode(), "file")["x"].annotations == {"a": "b", "c": "d"}
