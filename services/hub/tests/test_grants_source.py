"""Reading grants: never on the event loop, always with a deadline, and the last known list only for display."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Iterator

import pytest

from k8s_annotations import AccessDenied, AnnotationError, ClusterUnavailable, Namespace, NamespaceNotFound
from learning_lab.access.grants_source import GrantsSource
from learning_lab.settings import LearningLab


class Faulty:
    """A reader that can be told to fail or to hang."""

    def __init__(self) -> None:
        self.error: AnnotationError | None = None
        self.seconds = 0.0
        self.threads: set[int] = set()

    def read(self, namespace: str) -> Namespace:
        self.threads.add(threading.get_ident())
        time.sleep(self.seconds)
        if self.error:
            raise self.error
        return Namespace(
            namespace,
            {"learning-lab.dev/user": "true"},
            {"learning-lab.dev/userid": namespace, "learning-lab.dev/notebook-dirs": f"- /s/{namespace}/a"},
        )

    def peek(self, namespace: str, age: float) -> Namespace | None:
        return None

    def list(self, label_selector: str | None = None) -> Iterator[Namespace]:
        raise NotImplementedError

    def close(self) -> None: ...


@pytest.fixture
def reader() -> Faulty:
    return Faulty()


@pytest.fixture
def source(reader: Faulty) -> Iterator[GrantsSource]:
    source = GrantsSource(reader, LearningLab(read_deadline=0.2, read_threads=4), logging.getLogger("test"))
    yield source
    source.close()


async def test_a_read_that_hangs_does_not_keep_the_hub_from_ending(source: GrantsSource, reader: Faulty) -> None:
    reader.seconds = 2
    with pytest.raises(ClusterUnavailable):
        await source.fresh("alice")
    (hanging,) = reader.threads
    assert [thread.daemon for thread in threading.enumerate() if thread.ident == hanging] == [True]


async def test_a_read_runs_in_a_thread_of_its_own(source: GrantsSource, reader: Faulty) -> None:
    await source.fresh("alice")
    assert threading.get_ident() not in reader.threads


async def test_a_reader_that_hangs_ends_in_an_error_inside_the_deadline(source: GrantsSource, reader: Faulty) -> None:
    reader.seconds = 3
    with pytest.raises(ClusterUnavailable, match=r"took longer than 0\.2 s"):
        await asyncio.wait_for(source.fresh("alice"), 2)


@pytest.mark.parametrize("error", [ClusterUnavailable("x"), AccessDenied("x")])
async def test_the_last_known_list_is_shown_with_a_notice(
    source: GrantsSource, reader: Faulty, error: AnnotationError
) -> None:
    known = await source.fresh("alice")
    reader.error = error
    shown = await source.for_display("alice")
    assert shown.grants == known
    assert shown.stale
    assert shown.notice is not None
    assert "last known" in shown.notice


async def test_without_a_last_known_list_there_is_a_sentence(source: GrantsSource, reader: Faulty) -> None:
    reader.error = ClusterUnavailable("x")
    shown = await source.for_display("alice")
    assert shown.grants is None
    assert shown.notice is not None
    assert "Try again" in shown.notice


async def test_a_namespace_that_is_gone_takes_the_last_known_list_with_it(source: GrantsSource, reader: Faulty) -> None:
    await source.fresh("alice")
    reader.error = NamespaceNotFound("x")
    assert (await source.for_display("alice")).grants is None
    reader.error = ClusterUnavailable("x")
    assert (await source.for_display("alice")).grants is None, "a revoked list does not come back as the last known one"


async def test_one_users_last_known_list_is_never_anothers(source: GrantsSource, reader: Faulty) -> None:
    await source.fresh("alice")
    reader.error = ClusterUnavailable("x")
    assert (await source.for_display("bob")).grants is None
