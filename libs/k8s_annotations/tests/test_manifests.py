"""The file reader: it serves what kubectl would accept, reports what is wrong, and never serves anything outdated."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from k8s_annotations import (
    ClusterUnavailable,
    ManifestReader,
    Namespace,
    NamespaceNotFound,
    NotConfigured,
    user_namespace,
)
from k8s_annotations.manifests.reader import parse_manifests

sys.path.insert(0, str(Path(__file__).parent))
from lab_testing.api_server_double import alice, namespace

PROJECT = Path(__file__).parents[3]


def written(file: Path, *documents: Any) -> ManifestReader:
    file.write_text(yaml.safe_dump_all(documents))
    return ManifestReader(file)


def names(text: str) -> list[str]:
    return list(parse_manifests(text.encode(), "the file"))


def settle(file: Path) -> None:
    """Make the file a minute old, as far as possible: its inode's change time stays."""
    past = time.time() - 60
    os.utime(file, (past, past))
    time.sleep(0.15)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "namespaces.yaml"


# What is accepted


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(yaml.safe_dump_all([alice(), namespace("bob")]), id="documents"),
        pytest.param("---\n---\n" + yaml.safe_dump_all([alice(), None, namespace("bob")]), id="empty documents"),
        pytest.param(yaml.safe_dump({"kind": "List", "items": [alice(), namespace("bob")]}), id="a List"),
        pytest.param(json.dumps({"kind": "List", "items": [alice(), namespace("bob")]}), id="a List in JSON"),
        pytest.param(json.dumps({"kind": "List", "items": [alice(), namespace("bob")]}, indent=2), id="indented JSON"),
        pytest.param(
            yaml.safe_dump_all(
                [{"kind": "ConfigMap", "metadata": {"name": "x"}}, alice(), "text", 5, namespace("bob")]
            ),
            id="documents of other kinds among them",
        ),
        pytest.param("\ufeff" + yaml.safe_dump_all([alice(), namespace("bob")]), id="a byte order mark"),
        pytest.param(yaml.safe_dump_all([alice(), namespace("bob")]).replace("\n", "\r\n"), id="Windows line endings"),
    ],
)
def test_what_kubectl_accepts_is_accepted(text: str) -> None:
    assert names(text) == ["alice", "bob"]


def test_labels_and_annotations_are_read(file: Path) -> None:
    assert written(file, alice()).read("alice") == Namespace(
        "alice",
        {"kubernetes.io/metadata.name": "alice", "learning-lab.dev/user": "true"},
        {"learning-lab.dev/userid": "alice", "learning-lab.dev/notebook-dirs": "- /s/alice/notebooks"},
    )


def test_a_namespace_without_labels_and_annotations_has_none(file: Path) -> None:
    file.write_text("kind: Namespace\nmetadata: {name: a, labels: , annotations: null}\n")
    assert ManifestReader(file).read("a") == Namespace("a")


def test_the_rule_of_whose_namespace_it_is_holds_for_a_file_too(file: Path) -> None:
    reader = written(file, alice(), namespace("kube-system"))
    assert user_namespace(reader, "alice").name == "alice"
    with pytest.raises(NamespaceNotFound):
        user_namespace(reader, "kube-system")


def test_the_companys_file_has_its_three_users() -> None:
    reader = ManifestReader(PROJECT / "k8s/base/namespaces.yaml")
    for userid in ("alice", "bob", "carol"):
        assert user_namespace(reader, userid).name == userid


def test_a_missing_namespace_is_reported_with_the_file(file: Path) -> None:
    with pytest.raises(NamespaceNotFound, match=r"'bob'.*namespaces\.yaml"):
        written(file, alice()).read("bob")


@pytest.mark.parametrize(
    ("selector", "found"),
    [
        (None, ["a", "b", "c"]),
        ("", ["a", "b", "c"]),
        ("team=bio", ["a", "b"]),
        ("team==bio", ["a", "b"]),
        ("team=bio,kubernetes.io/metadata.name=b", ["b"]),
        (" team = bio , year = 1 ", ["a"]),
        ("team=", []),
        ("team=x", []),
    ],
)
def test_namespaces_are_listed_by_their_labels(file: Path, selector: str | None, found: list[str]) -> None:
    reader = written(
        file,
        namespace("a", {"team": "bio", "year": "1"}),
        namespace("b", {"team": "bio"}),
        namespace("c"),
    )
    assert [one.name for one in reader.list(selector)] == found


@pytest.mark.parametrize("selector", ["team", "!team", "team!=bio", "team in (bio, it)", "a=b=c"])
def test_a_selector_that_only_a_cluster_knows_is_refused(file: Path, selector: str) -> None:
    with pytest.raises(NotConfigured, match="label selectors"):
        list(written(file, alice()).list(selector))


# What is wrong


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("a: [", "the file:.* cannot be parsed", id="not YAML"),
        pytest.param("kind: Namespace\nmetadata:\n  name: a\n   b: c\n", "the file:4", id="the line is reported"),
        pytest.param("kind: Namespace\n", "no metadata.name", id="no metadata"),
        pytest.param("kind: Namespace\nmetadata: {name: 5}\n", "no metadata.name", id="a name that is a number"),
        pytest.param("kind: Namespace\nmetadata: [a]\n", "no metadata.name", id="metadata that is a list"),
        pytest.param(yaml.safe_dump_all([alice(), alice()]), "'alice' appears twice", id="a name that appears twice"),
        pytest.param(
            "kind: Namespace\nmetadata: {name: a, labels: {b: true}}", "labels.*Quote", id="a label with the value true"
        ),
        pytest.param(
            "kind: Namespace\nmetadata: {name: a, labels: {b: 1}}", "labels.*Quote", id="a label with the value 1"
        ),
        pytest.param(
            "kind: Namespace\nmetadata: {name: a, labels: {1: b}}", "labels.*Quote", id="a label with the key 1"
        ),
        pytest.param(
            "kind: Namespace\nmetadata: {name: a, annotations: {b: [c]}}",
            "annotations",
            id="a label whose value is a list",
        ),
        pytest.param("kind: Namespace\nmetadata: {name: a, annotations: {b: null}}", "annotations", id="no value"),
        pytest.param("kind: Namespace\nmetadata: {name: a, labels: text}", "labels", id="labels that are a string"),
        pytest.param("a: &b c\nd: *b\n", "aliases", id="an alias"),
        pytest.param("{a: &b c, d: *b}", "aliases", id="an alias on one line"),
        pytest.param("? [a]\n: b\n", "cannot be parsed", id="a key that is a list"),
        pytest.param("a: 2026-13-45\n", "cannot be parsed", id="an invalid date"),
        pytest.param("a: !!python/object/apply:os.system [x]\n", "cannot be parsed", id="a Python tag"),
        pytest.param("[" * 200_000 + "]" * 200_000, "deeper", id="a list of 200,000 levels"),
        pytest.param("- " * 100_000, "deeper", id="a hundred thousand dashes"),
    ],
)
def test_an_unparseable_file_counts_as_an_unavailable_cluster(text: str, words: str) -> None:
    with pytest.raises(ClusterUnavailable, match=words) as caught:
        names(text)
    assert str(caught.value).endswith(".")


def test_a_duplicate_name_is_reported_with_both_lines() -> None:
    text = "kind: Namespace\nmetadata:\n  name: a\n---\nkind: List\nitems:\n- kind: Namespace\n  metadata: {name: a}\n"
    with pytest.raises(ClusterUnavailable, match="'a' appears twice, in lines 3 and 8"):
        names(text)
    merged = "kind: Namespace\nmetadata: {<<: {name: a}}\n---\nkind: Namespace\nmetadata: {name: a}\n"
    with pytest.raises(ClusterUnavailable, match="'a' appears twice\\. Remove"):
        names(merged)


def test_a_file_that_is_not_utf_8_counts_as_an_unavailable_cluster() -> None:
    with pytest.raises(ClusterUnavailable, match="the file cannot be parsed"):
        parse_manifests(b"a: \xff\xfe\xfd", "the file")


def test_a_bomb_of_aliases_takes_no_time() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    before = time.monotonic()
    with pytest.raises(ClusterUnavailable, match="aliases"):
        names("\n".join(lines))
    assert time.monotonic() - before < 1


# The file


def test_a_missing_file_is_a_wrong_configuration_that_names_it(file: Path) -> None:
    with pytest.raises(NotConfigured, match=r"namespaces\.yaml cannot be read: No such file"):
        ManifestReader(file).read("alice")


def test_a_directory_is_a_wrong_configuration(tmp_path: Path) -> None:
    with pytest.raises(NotConfigured, match="Is a directory"):
        ManifestReader(tmp_path).read("alice")


def test_a_file_that_is_too_large_is_a_wrong_configuration(file: Path) -> None:
    with file.open("wb") as opened:
        opened.truncate(64 * 2**20 + 1)  # a sparse file, which takes no space
    with pytest.raises(NotConfigured, match="larger"):
        ManifestReader(file).read("alice")


def test_a_change_is_served_at_once(file: Path) -> None:
    reader = written(file, alice())
    reader.read("alice")
    written(file, alice(), namespace("bob"))
    assert reader.read("bob").name == "bob"


def test_changes_of_the_same_size_in_the_same_moment_are_served(file: Path) -> None:
    reader = written(file, namespace("a", {"n": "100"}))
    for number in range(101, 201):
        written(file, namespace("a", {"n": str(number)}))
        assert reader.read("a").labels["n"] == str(number)


@pytest.mark.parametrize(
    "replaced", [pytest.param(True, id="by replacing the file"), pytest.param(False, id="in place")]
)
def test_a_change_that_keeps_time_and_size_is_served(file: Path, replaced: bool) -> None:
    reader = written(file, namespace("a", {"n": "1"}))
    settle(file)
    assert reader.read("a").labels["n"] == "1"
    times = file.stat()
    target = file.with_name("next") if replaced else file
    written(target, namespace("a", {"n": "2"}))
    os.utime(target, ns=(times.st_atime_ns, times.st_mtime_ns))
    target.replace(file)
    assert reader.read("a").labels["n"] == "2"


def test_a_file_that_did_not_change_is_not_parsed_again(file: Path) -> None:
    reader = written(file, alice())
    settle(file)
    assert reader.read("alice") is reader.read("alice")


def test_a_half_written_file_serves_nothing_old_and_is_read_again_when_it_is_whole(file: Path) -> None:
    reader = written(file, alice())
    settle(file)
    assert reader.read("alice").name == "alice"
    whole = file.read_text()
    for text in (whole[: whole.index("learning-lab.dev/userid")] + '"', ""):
        file.write_text(text)
        for _ in range(2):
            with pytest.raises(ClusterUnavailable):
                reader.read("alice")
        assert reader.peek("alice", 60) is None
    file.write_text(whole)
    assert reader.read("alice").name == "alice"


def test_an_empty_file_does_not_mean_that_users_have_no_namespace_but_can_be_listed(file: Path) -> None:
    file.write_text("# later\n")
    assert list(ManifestReader(file).list()) == []
    with pytest.raises(ClusterUnavailable, match="no namespaces at all"):
        ManifestReader(file).read("alice")


def test_a_file_that_is_gone_serves_nothing_old_and_is_read_again_when_it_is_back(file: Path) -> None:
    reader = written(file, alice())
    settle(file)
    reader.read("alice")
    aside = file.rename(file.with_name("aside"))
    with pytest.raises(NotConfigured):
        reader.read("alice")
    assert reader.peek("alice", 60) is None
    aside.rename(file)
    assert reader.read("alice").name == "alice"


def test_a_peek_does_no_reading_and_knows_its_age(file: Path) -> None:
    reader = written(file, alice())
    assert reader.peek("alice", 60) is None
    reader.read("alice")
    assert reader.peek("alice", 60) == reader.read("alice")
    assert reader.peek("bob", 60) is None
    time.sleep(0.02)
    assert reader.peek("alice", 0.01) is None
