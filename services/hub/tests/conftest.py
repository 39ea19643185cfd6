"""Fixtures: a real hub in the sandbox, people who use it, and the namespaces that it reads."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab_testing.embedded import EmbeddedLab
from lab_testing.forked_servers import Hub
from lab_testing.person import Person


@pytest.fixture(scope="session")
def in_sandbox() -> None:
    if os.geteuid() != 0 or not Path("/s/alice").is_dir():
        pytest.fail(
            "This test needs the emulated accounts: run `make test`, or put `sandbox.py --` before pytest.", False
        )


@pytest.fixture(scope="module")
def lab(in_sandbox: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedLab]:
    with EmbeddedLab(tmp_path_factory.mktemp("lab"), environ={"LAB_ADMINS": "carol"}) as lab:
        yield lab


@pytest.fixture
def person(lab: EmbeddedLab) -> Iterator[Callable[[str], Person]]:
    """Make a person who is logged in; their servers are stopped at the end."""
    made: list[Person] = []

    def make(userid: str) -> Person:
        person = Person(lab, userid)
        assert person.log_in().status_code == 200
        made.append(person)
        return person

    yield make
    for each in made:
        each.stop()
        each.http.close()


@pytest.fixture
def alice(person: Callable[[str], Person]) -> Person:
    """Alice, with a running server."""
    alice = person("alice")
    alice.start(directory="/s/alice/notebooks")
    alice.wait_until_ready()
    return alice


@pytest.fixture
def annotate(lab: EmbeddedLab) -> Iterator[Callable[..., None]]:
    """Change annotations (and labels) of a user's namespace in the file that the hub reads; undone at the end."""
    before = lab.namespaces.read_text()

    def change(userid: str, labels: dict[str, str | None] | None = None, **annotations: Any) -> None:
        documents = [document for document in yaml.safe_load_all(lab.namespaces.read_text()) if document]
        for document in documents:
            metadata = document["metadata"]
            if metadata.get("annotations", {}).get("learning-lab.dev/userid") != userid:
                continue
            for name, value in annotations.items():
                key = "learning-lab.dev/" + name.replace("_", "-")
                if value is None:
                    metadata["annotations"].pop(key, None)
                else:
                    metadata["annotations"][key] = value if isinstance(value, str) else json.dumps(value)
            for key, label in (labels or {}).items():
                if label is None:
                    metadata["labels"].pop(key, None)
                else:
                    metadata["labels"][key] = label
        lab.namespaces.write_text(yaml.safe_dump_all(documents))
        time.sleep(0.06)  # a menu may be 50 ms old

    yield change
    lab.namespaces.write_text(before)


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    """A double of the hub, for servers that tests fork without one."""
    with Hub() as hub:
        yield hub
