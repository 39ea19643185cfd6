"""What is decided on a choice, with lists and answers of the storage that only the test decides."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from k8s_annotations import (
    AccessDenied,
    AnnotationError,
    ClusterUnavailable,
    Grants,
    InvalidUserId,
    NamespaceNotFound,
    NotConfigured,
    parse_grants,
)
from lab_testing.storage_double import ALICE, Storage
from learning_lab.access.decision import OWN_UMASK, SHARED_UMASK, Decision, look, read_grants, resolve_choice
from learning_lab.access.grants_source import GrantsSource
from learning_lab.errors import Refused
from learning_lab.probing.prober import Found
from learning_lab.settings import LearningLab


def grants(*items: str, roots: tuple[str, ...] = ("/s",)) -> Grants:
    return parse_grants("alice", {"learning-lab.dev/notebook-dirs": f"[{', '.join(items)}]"}, {}, roots=roots)


TWO = grants("/s/alice/notebooks", "{path: /s/shared/genomics, title: Genomics course}")


# The list


class Source(GrantsSource):
    """A source that fails in a way that the test decides, or has the list."""

    def __init__(self, outcome: Grants | AnnotationError) -> None:
        self.outcome = outcome

    async def fresh(self, userid: str) -> Grants:
        assert userid == "alice"
        if isinstance(self.outcome, AnnotationError):
            raise self.outcome
        return self.outcome


@pytest.mark.parametrize(
    ("error", "status", "retry_after", "said"),
    [
        pytest.param(NamespaceNotFound("no"), 403, None, "No notebook directories have been set up", id="no namespace"),
        pytest.param(InvalidUserId("no"), 403, None, "No notebook directories have been set up", id="no user id"),
        pytest.param(AccessDenied("no"), 503, "30", "cannot be read at the moment", id="not permitted to the hub"),
        pytest.param(NotConfigured("no"), 503, "30", "cannot be read at the moment", id="nothing to ask"),
        pytest.param(ClusterUnavailable("no"), 503, "30", "cannot be read at the moment", id="no answer"),
        pytest.param(ClusterUnavailable("no", 7), 503, "7", "cannot be read at the moment", id="asked to wait"),
    ],
)
async def test_without_a_fresh_list_nothing_is_started(
    error: AnnotationError, status: int, retry_after: str | None, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(Refused, match=said) as refused:
        await read_grants(Source(error), "alice", logging.getLogger("hub"))
    assert refused.value.status_code == status
    assert refused.value.headers.get("Retry-After") == retry_after
    assert "'alice'" in caplog.text, "who runs the lab is told whose list it is"


async def test_a_fresh_list_is_used_as_it_is() -> None:
    assert await read_grants(Source(TWO), "alice", logging.getLogger("hub")) is TWO


# What was asked for

ONE = grants("/s/alice/notebooks")
ONE_THAT_IS_USABLE = grants("/s/alice/notebooks", "{path: /s/alice/old, access: no}")
WITH_DEFAULT = grants("/s/alice/notebooks", "{path: /s/alice/thesis, default: true}")


@pytest.mark.parametrize(
    ("choice", "listed", "last", "path"),
    [
        pytest.param("genomics", TWO, "", "/s/shared/genomics", id="a name"),
        pytest.param("genomics", TWO, "/s/alice/notebooks", "/s/shared/genomics", id="a name, whatever was last"),
        pytest.param(None, TWO, "/s/shared/genomics", "/s/shared/genomics", id="nothing: the last one"),
        pytest.param("", TWO, "/s/shared/genomics", "/s/shared/genomics", id="an empty text: the last one"),
        pytest.param(None, WITH_DEFAULT, "", "/s/alice/thesis", id="nothing at a first start: the default"),
        pytest.param(
            None, WITH_DEFAULT, "/s/alice/notebooks", "/s/alice/notebooks", id="the last one before the default"
        ),
        pytest.param(None, ONE, "", "/s/alice/notebooks", id="nothing at a first start: the only one"),
        pytest.param(None, ONE_THAT_IS_USABLE, "", "/s/alice/notebooks", id="the only one that is usable"),
    ],
)
def test_a_choice_is_what_was_asked_for_else_the_last_else_the_default_or_only_one(
    choice: object, listed: Grants, last: str, path: str
) -> None:
    assert resolve_choice(choice, listed, last).path == path


NAMES = "notebooks, genomics"
TEN = grants(*(f"/s/alice/d{number}" for number in range(10)))
ELEVEN = grants(*(f"/s/alice/d{number}" for number in range(11)))
TEN_NAMES = "d0, d1, d2, d3, d4, d5, d6, d7, d8, d9"
DEEP = "/s/alice/notebooks" + "/ab" * 1359 + "/"  # of 4,096 bytes


@pytest.mark.parametrize(
    ("choice", "listed", "last", "said"),
    [
        pytest.param(None, TWO, "", f"Choose a directory. You can open: {NAMES}.", id="nothing, of two"),
        pytest.param(
            "x", TWO, "", f'"x" is not one of your directories. You can open: {NAMES}.', id="what is not theirs"
        ),
        pytest.param(
            None,
            TWO,
            "/s/alice/gone",
            f'"/s/alice/gone" is not one of your directories. You can open: {NAMES}.',
            id="the last one, which was taken away",
        ),
        pytest.param(
            None, grants(), "", "Choose a directory. There is none that you can open at the moment.", id="of none"
        ),
        pytest.param(None, TEN, "", f"Choose a directory. You can open: {TEN_NAMES}.", id="of ten"),
        pytest.param(None, ELEVEN, "", f"Choose a directory. You can open: {TEN_NAMES} and 1 more.", id="of eleven"),
        pytest.param(7, TWO, "", "The directory must be given as a name or a path.", id="a number"),
        pytest.param(0, TWO, "/s/alice/notebooks", "The directory must be given as a name or a path.", id="zero"),
        pytest.param([], ONE, "", "The directory must be given as a name or a path.", id="an empty list"),
        pytest.param(
            DEEP + "a", TWO, "", "That is too long for a directory. Choose one of the list.", id="a byte too long"
        ),
        pytest.param(
            "\u00e9" * 2049, TWO, "", "That is too long for a directory. Choose one of the list.", id="bytes count"
        ),
        pytest.param(
            "\ud800" * 2000,
            TWO,
            "",
            "That is too long for a directory. Choose one of the list.",
            id="no text, and too long",
        ),
    ],
)
def test_a_choice_that_is_not_given_is_refused_with_what_they_can_open(
    choice: object, listed: Grants, last: str, said: str
) -> None:
    with pytest.raises(Refused) as refused:
        resolve_choice(choice, listed, last)
    assert refused.value.jupyterhub_message == said
    assert refused.value.status_code == 400


def test_a_path_may_be_as_long_as_the_system_lets_it() -> None:
    assert len(DEEP) == 4096
    assert resolve_choice(DEEP, TWO, "").path == DEEP.rstrip("/")


# What is there


GENOMICS = "/s/shared/genomics"


async def looked(storage: Storage, choice: str = "genomics", listed: Grants = TWO, **settings: Any) -> Decision:
    return await look(storage, LearningLab(**settings), resolve_choice(choice, listed, ""), listed)


async def test_what_is_there_is_chosen_as_it_was_looked_at() -> None:
    decision = await looked(Storage().has(GENOMICS, device=5, inode=6))
    directory, listed = resolve_choice("genomics", TWO, ""), ("/s/alice/notebooks", GENOMICS)
    assert decision == Decision("alice", directory, listed, GENOMICS, 5, 6, ALICE, "/home/alice", SHARED_UMASK)
    own = await looked(Storage().has("/s/alice/notebooks"), "notebooks")
    assert own.umask == OWN_UMASK
    assert own.environment == {
        "JUPYTERHUB_ROOT_DIR": "/s/alice/notebooks",
        "JUPYTERLAB_WORKSPACES_DIR": f"/home/alice/.jupyter/lab/workspaces-{own.mark}",
        "HOME": "/home/alice",
        "USER": "alice",
        "LOGNAME": "alice",
        "SHELL": "/bin/sh",
    }


async def test_the_home_of_the_server_can_be_elsewhere() -> None:
    chosen = await looked(Storage().has(GENOMICS), home_directory="/homes/{userid}/lab")
    assert chosen.home == "/homes/alice/lab"


@pytest.mark.parametrize(
    ("state", "status", "retry_after", "said"),
    [
        pytest.param(
            "missing",
            400,
            None,
            "It is not there. It may have been moved or deleted. Choose another one.",
            id="missing",
        ),
        pytest.param("not_directory", 400, None, "It is a file, not a directory. Choose another one.", id="a file"),
        pytest.param("loop", 400, None, "Its links lead in a circle. Choose another one.", id="links in a circle"),
        pytest.param("denied", 403, None, "You are not permitted to open it. Choose another one.", id="not permitted"),
        pytest.param("error", 503, "30", "It cannot be read at the moment. Try again in a minute.", id="an error"),
        pytest.param(
            "timeout",
            503,
            "30",
            "The storage did not answer in time. Try again in a minute.",
            id="a storage that hangs",
        ),
    ],
)
async def test_what_cannot_be_opened_is_refused_by_whose_turn_it_is(
    state: str, status: int, retry_after: str | None, said: str
) -> None:
    with pytest.raises(Refused) as refused:
        await looked(Storage().has(GENOMICS, state))
    assert refused.value.jupyterhub_message == f"Genomics course cannot be opened. {said}"
    assert refused.value.status_code == status
    assert refused.value.headers.get("Retry-After") == retry_after


@pytest.mark.parametrize(
    ("state", "status", "said"),
    [
        pytest.param("ok", 403, "There is no account for you on this system.", id="no account"),
        pytest.param("missing", 403, "There is no account for you on this system.", id="no account, and nothing there"),
        pytest.param("timeout", 503, "The storage did not answer in time.", id="nobody knows yet"),
        pytest.param("error", 503, "It cannot be read at the moment.", id="nobody could look"),
    ],
)
async def test_without_an_account_nothing_is_opened(state: str, status: int, said: str) -> None:
    with pytest.raises(Refused, match=said) as refused:
        await looked(Storage(None).has(GENOMICS, state))
    assert refused.value.status_code == status


@pytest.mark.parametrize(
    ("listed", "choice", "made"),
    [
        pytest.param(parse_grants("alice", {}, {}), "notebooks", ["/s/alice/notebooks"], id="the default directory"),
        pytest.param(parse_grants("alice", {}, {}), "notebooks/x", [], id="a folder below it is not"),
        pytest.param(TWO, "notebooks", [], id="one of a list is not"),
    ],
)
async def test_only_the_default_directory_is_made(listed: Grants, choice: str, made: list[str]) -> None:
    storage = Storage()
    with pytest.raises(Refused, match="It is not there"):
        await looked(storage, choice, listed)
    assert storage.make == made


LINK = "genomics/link"
SEVERAL = grants("/data/x", "/mnt/y", "/s/alice/z", roots=("/data", "/mnt", "/s"))


@pytest.mark.parametrize(
    ("real", "roots", "shared"),
    [
        pytest.param("/s/alice/notebooks/x", {"/s": "/s"}, False, id="to their own"),
        pytest.param("/s/alice/unlisted", {"/s": "/s"}, False, id="to their own that is in no list"),
        pytest.param("/s/shared/genomics/y", {"/s": "/s"}, True, id="to what is shared"),
        pytest.param("/nas/s/shared/genomics/y", {"/s": "/nas/s"}, True, id="the root itself is a link"),
        pytest.param("/nas/s/alice/y", {"/s": "/nas/s"}, False, id="the root is a link and it is their own"),
    ],
)
async def test_a_link_is_followed_to_what_is_granted(real: str, roots: dict[str, str], shared: bool) -> None:
    storage = Storage().has(f"{GENOMICS}/link", real=real)
    for root, leads in roots.items():
        storage.has(root, real=leads)
    chosen = await looked(storage, LINK)
    assert chosen.real == real, "the server's root is the place itself"
    assert (chosen.umask == SHARED_UMASK) is shared


@pytest.mark.parametrize(
    ("real", "root"),
    [
        pytest.param("/s/bob/x", Found("ok", "/s"), id="another person's"),
        pytest.param("/etc", Found("ok", "/s"), id="outside the storage"),
        pytest.param("/nas/s/bob/x", Found("ok", "/nas/s"), id="another person's, the root is a link"),
        pytest.param("/nas/s2/alice/x", Found("ok", "/nas/s"), id="a neighbour of where the root leads"),
        pytest.param("/nas/s", Found("ok", "/nas/s"), id="the root itself"),
        pytest.param("/alice/x", Found("missing"), id="the root cannot be looked at"),
    ],
)
async def test_a_link_to_what_is_not_granted_is_refused(real: str, root: Found) -> None:
    storage = Storage().has(f"{GENOMICS}/link", real=real)
    storage.found["/s"] = root
    with pytest.raises(Refused, match="leads to a place that is not in your list") as refused:
        await looked(storage, LINK)
    assert refused.value.status_code == 403


async def test_a_link_may_lead_from_one_root_to_another() -> None:
    storage = Storage().has("/data", real="/a").has("/mnt", real="/b").has("/data/x/link", real="/b/y/here")
    assert (await looked(storage, "x/link", SEVERAL)).umask == SHARED_UMASK
    storage.has("/data/x/link", real="/b/elsewhere")
    with pytest.raises(Refused):
        await looked(storage, "x/link", SEVERAL)
