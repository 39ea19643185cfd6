"""Everything that the documents name exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[3]
DOCUMENTS = sorted([*PROJECT.glob("*.md"), *PROJECT.glob("docs/*.md")])
# `test_login.py::test_name`, with or without folders before it
TEST = re.compile(r"`(?:[\w./]+/)?(test_\w+\.py)::(\w+)`")
FILE = re.compile(r"`((?:services|libs|k8s|e2e|bench|kind|tools)/[\w./-]+\.\w+)`")
LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)#\s]+)(?:#([\w-]+))?\)")


def named(pattern: re.Pattern[str]) -> list[object]:
    return [
        pytest.param(document, *found.groups(), id=f"{document.name}: {'::'.join(filter(None, found.groups()))}")
        for document in DOCUMENTS
        for found in pattern.finditer(document.read_text())
    ]


@pytest.mark.parametrize(("document", "file", "name"), named(TEST))
def test_a_test_that_a_document_names_is_there(document: Path, file: str, name: str) -> None:
    (source,) = [
        each for top in ("services", "libs", "k8s", "e2e", "kind") for each in PROJECT.glob(f"{top}/**/{file}")
    ]
    assert re.search(rf"^\s*(async )?(def|class) {name}\b", source.read_text(), re.MULTILINE)


@pytest.mark.parametrize(("document", "path"), named(FILE))
def test_a_file_that_a_document_names_is_there(document: Path, path: str) -> None:
    assert (PROJECT / path).exists()


@pytest.mark.parametrize(("document", "path", "heading"), named(LINK))
def test_a_link_leads_somewhere(document: Path, path: str, heading: str | None) -> None:
    target = document.parent / path
    assert target.exists()
    if heading and target.suffix == ".md":
        headings = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
        assert heading in {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings}
