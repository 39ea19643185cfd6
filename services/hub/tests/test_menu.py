"""The order and the badges of the menu's cards. Pure."""

from __future__ import annotations

import pytest

from k8s_annotations import Grants, parse_grants
from learning_lab.menu import Asked, Menu, build_menu, fingerprint, now_seen
from learning_lab.probing.prober import Found


def grants(annotation: str) -> Grants:
    return parse_grants("alice", {"learning-lab.dev/notebook-dirs": annotation}, {})


THREE = grants("- /s/alice/notebooks\n- {path: /s/alice/thesis, title: Thesis}\n- {path: /s/shared/g, access: ro}\n")
OK = {path: Found("ok", path, writable=True) for path in ("/s/alice/notebooks", "/s/alice/thesis", "/s/shared/g")}


def shown(menu: Menu) -> list[str]:
    return [card.path for card in ([menu.primary] if menu.primary else []) + list(menu.cards)]


def checked(menu: Menu) -> list[str]:
    return [card.path for card in ([menu.primary] if menu.primary else []) + list(menu.cards) if card.checked]


def test_a_first_visit_shows_the_list_in_its_order_and_checks_the_first() -> None:
    menu = build_menu("alice", THREE, OK)
    assert menu.primary is None
    assert shown(menu) == ["/s/alice/notebooks", "/s/alice/thesis", "/s/shared/g"]
    assert checked(menu) == ["/s/alice/notebooks"]


def test_the_last_used_directory_comes_first() -> None:
    menu = build_menu("alice", THREE, OK, last="/s/shared/g")
    assert menu.primary is not None
    assert menu.primary.last_used
    assert shown(menu) == ["/s/shared/g", "/s/alice/notebooks", "/s/alice/thesis"]
    assert checked(menu) == ["/s/shared/g"]


def test_a_last_used_folder_below_an_entry_has_a_card_of_its_own() -> None:
    menu = build_menu("alice", THREE, OK, last="/s/alice/thesis/chapter 3")
    assert menu.primary is not None
    assert menu.primary.path == "/s/alice/thesis/chapter 3"
    assert menu.primary.title == "Thesis / chapter 3"
    assert len(menu.cards) == 3


def test_a_last_used_folder_that_is_gone_has_no_card() -> None:
    gone = OK | {"/s/alice/thesis/chapter 3": Found("missing")}
    assert len(shown(build_menu("alice", THREE, gone, last="/s/alice/thesis/chapter 3"))) == 3


def test_a_link_takes_precedence_over_the_last_choice() -> None:
    menu = build_menu("alice", THREE, OK, last="/s/shared/g", asked=Asked(preselect="/s/alice/thesis"))
    assert checked(menu) == ["/s/alice/thesis"]


def test_the_default_of_the_list_comes_first_on_a_first_visit() -> None:
    listed = grants("- /s/alice/notebooks\n- {path: /s/alice/thesis, default: true}\n")
    assert checked(build_menu("alice", listed, {})) == ["/s/alice/thesis"]


def test_a_last_choice_that_is_gone_is_not_first() -> None:
    menu = build_menu("alice", THREE, OK | {"/s/shared/g": Found("missing")}, last="/s/shared/g")
    assert menu.primary is None
    assert checked(menu) == ["/s/alice/notebooks"]
    gone = next(card for card in menu.cards if card.path == "/s/shared/g")
    assert gone.problem == "It is not there. It may have been moved or deleted."


@pytest.mark.parametrize("state", ["missing", "not_directory", "denied", "loop", "error", "timeout"])
def test_a_directory_that_cannot_be_opened_is_disabled_and_hides_nothing(state: str) -> None:
    menu = build_menu("alice", THREE, OK | {"/s/alice/thesis": Found(state)})  # type: ignore[arg-type]
    assert len(menu.cards) == 3
    assert [card.path for card in menu.cards if card.problem] == ["/s/alice/thesis"]
    assert "thesis" not in menu.suggestions


def test_a_directory_that_is_not_checked_yet_can_be_chosen() -> None:
    assert not [card for card in build_menu("alice", THREE, {}).cards if card.problem]


def test_a_directory_that_turned_out_not_writable_is_marked_read_only() -> None:
    found = OK | {"/s/alice/thesis": Found("ok", "/s/alice/thesis", writable=False)}
    menu = build_menu("alice", THREE, found)
    assert [card.writing for card in menu.cards] == ["free", "impossible", "unwanted"]


@pytest.mark.parametrize(
    ("access", "found", "writing"),
    [
        pytest.param("rw", {"writable": True}, "free", id="granted for writing, and writable"),
        pytest.param("rw", {"writable": False}, "impossible", id="granted for writing, but not writable"),
        pytest.param("ro", {"writable": False}, "impossible", id="granted for reading, and not writable"),
        pytest.param("ro", {"writable": True}, "unwanted", id="granted for reading, but writable"),
        pytest.param("ro", None, "unwanted", id="granted for reading, and not checked yet"),
        pytest.param("rw", None, "free", id="granted for writing, and not checked yet"),
    ],
)
def test_a_card_says_read_only_only_where_it_is_true(access: str, found: dict[str, bool] | None, writing: str) -> None:
    known = {"/s/shared/g": Found("ok", "/s/shared/g", **found)} if found else {}
    menu = build_menu("alice", grants(f"- {{path: /s/shared/g, access: {access}}}"), known)
    assert menu.primary is not None
    assert menu.primary.writing == writing


def test_the_default_directory_that_is_not_there_yet_can_be_chosen() -> None:
    nothing = parse_grants("alice", {}, {})
    menu = build_menu("alice", nothing, {"/s/alice/notebooks": Found("missing")})
    assert menu.primary is not None
    assert menu.primary.problem is None


def test_what_was_granted_since_the_last_start_is_new() -> None:
    seen = [fingerprint("/s/alice/notebooks"), fingerprint("/s/shared/g")]
    menu = build_menu("alice", THREE, OK, seen=seen)
    assert [card.path for card in menu.cards if card.new] == ["/s/alice/thesis"]


def test_nothing_is_new_on_a_first_visit() -> None:
    assert not [card for card in build_menu("alice", THREE, OK).cards if card.new]


def test_a_list_that_is_taken_away_and_put_back_is_not_new() -> None:
    seen = now_seen([], [entry.path for entry in THREE.entries])
    seen = now_seen(seen, ["/s/alice/notebooks"])  # a start while the list was unavailable
    assert not [card for card in build_menu("alice", THREE, OK, seen=seen).cards if card.new]


def test_what_has_been_seen_is_remembered_within_limits_and_current_entries_first() -> None:
    seen: list[str] = []
    for round_ in range(10):
        seen = now_seen(seen, [f"/s/shared/{round_}-{number}" for number in range(500)])
    assert len(seen) == len(set(seen)) <= 1000
    assert {fingerprint(f"/s/shared/9-{number}") for number in range(500)} <= set(seen)
    assert {fingerprint(f"/s/shared/8-{number}") for number in range(500)} <= set(seen)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        pytest.param(
            {"/s/alice/thesis/week9": Found("missing")},
            "Thesis / week9 cannot be opened. It is not there. It may have been moved or deleted. Choose another one.",
            id="a folder that is not there",
        ),
        pytest.param(
            {"/s/alice/thesis/week9": Found("denied")},
            "Thesis / week9 cannot be opened. You are not permitted to open it. Choose another one.",
            id="a folder that is not permitted",
        ),
    ],
)
def test_a_link_to_a_folder_that_cannot_be_opened_says_so(found: dict[str, Found], said: str) -> None:
    menu = build_menu("alice", THREE, OK | found, last="/s/shared/g", asked=Asked(preselect="/s/alice/thesis/week9"))
    assert menu.error == said
    assert checked(menu) == ["/s/alice/thesis"], "the entry nearest to what was asked for"


def test_a_link_to_a_directory_that_is_gone_says_so() -> None:
    gone = OK | {"/s/alice/thesis": Found("missing")}
    menu = build_menu("alice", THREE, gone, last="/s/shared/g", asked=Asked(preselect="/s/alice/thesis"))
    assert menu.error is not None
    assert menu.error.startswith("Thesis cannot be opened. It is not there.")
    assert checked(menu) == ["/s/shared/g"]


def test_a_refusal_that_is_already_shown_stays() -> None:
    gone = OK | {"/s/alice/thesis": Found("missing")}
    asked = Asked(preselect="/s/alice/thesis", error="It was there a moment ago.")
    assert build_menu("alice", THREE, gone, asked=asked).error == "It was there a moment ago."


@pytest.mark.parametrize(
    ("annotation", "asked", "stale", "straight"),
    [
        pytest.param("- /s/alice/a", True, False, True, id="a single directory opens right away"),
        pytest.param("- /s/alice/a", False, False, False, id="not if the person asked for the menu"),
        pytest.param(
            "- /s/alice/a\n- /s/alice/b", True, False, False, id="with two directories the person has to choose"
        ),
        pytest.param("- /s/alice/a\n- /etc", True, False, False, id="a bad entry must be seen"),
        pytest.param("- /s/alice/a", True, True, False, id="a list that is only the last known one starts nothing"),
        pytest.param("[]", True, False, False, id="an empty list opens nothing"),
    ],
)
def test_going_straight_in(annotation: str, asked: bool, stale: bool, straight: bool) -> None:
    menu = build_menu("alice", grants(annotation), {}, stale=stale, asked=Asked(straight_in=asked))
    assert menu.straight_in is straight


def test_the_path_tells_own_and_shared_directories_apart() -> None:
    menu = build_menu("al", parse_grants("al", {"learning-lab.dev/notebook-dirs": "[/s/al/a, /s/alice/a]"}, {}), {})
    assert [card.where for card in menu.cards] == ["yours", "shared"]
