"""The emulated company: its people, groups, storage, notebooks and namespaces, and its PAM service."""

from __future__ import annotations

import grp
import json
import os
import pwd
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nbformat
import pamela
import pytest

import build
import company
from k8s_annotations import Entry, Grants, ManifestReader, parse_grants, user_namespace
from k8s_annotations.cli.main import main as k8s_annotations
from lab_testing.embedded import NAMESPACES

pytestmark = pytest.mark.usefixtures("in_sandbox")

LAB_USERS = ("alice", "bob", "carol")
NOTEBOOKS = sorted(build.NOTEBOOKS.glob("*/*/*.ipynb"))
SERVICE = "learning-lab"


def place(source: Path) -> str:
    """The path in the emulation of a notebook in the checkout."""
    return f"/s/{source.relative_to(build.NOTEBOOKS)}"


def as_person(userid: str, *command: str, **options: Any) -> subprocess.CompletedProcess[str]:
    drop = ["setpriv", f"--reuid={userid}", f"--regid={userid}", "--init-groups", "--"]
    environ = {**os.environ, "HOME": f"/home/{userid}", "USER": userid, "LOGNAME": userid}
    return subprocess.run([*drop, *command], capture_output=True, text=True, check=False, env=environ, **options)


def grants(userid: str) -> Grants:
    namespace = user_namespace(ManifestReader(NAMESPACES), userid)
    return parse_grants(userid, namespace.annotations, namespace.labels)


# --- People and storage ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("person", company.PEOPLE, ids=lambda person: person.userid)
def test_everybody_has_an_account_a_group_and_a_home_of_their_own(person: company.Person) -> None:
    account = pwd.getpwnam(person.userid)
    assert (account.pw_uid, account.pw_gid) == (person.uid, person.uid)
    assert (account.pw_dir, account.pw_gecos) == (f"/home/{person.userid}", person.full_name)
    assert grp.getgrgid(person.uid).gr_name == person.userid
    assert shutil.which(account.pw_shell)


def test_the_shared_group_has_alice_and_bob() -> None:
    group = grp.getgrnam("shared")
    assert (group.gr_gid, group.gr_mem) == (10100, ["alice", "bob"])


@pytest.mark.parametrize(
    ("path", "owner", "group", "mode"),
    [
        ("/s", "root", "root", 0o755),
        *((f"/{top}/{userid}", userid, userid, 0o700) for top in ("s", "home") for userid in LAB_USERS),
        *((f"/s/{userid}/notebooks", userid, userid, 0o700) for userid in LAB_USERS),
        ("/s/shared", "root", "shared", 0o2770),
        ("/s/shared/genomics", "root", "shared", 0o2770),
        ("/s/shared/climate", "root", "shared", 0o2770),
    ],
)
def test_the_storage_is_as_designed(path: str, owner: str, group: str, mode: int) -> None:
    found = Path(path).stat()
    assert (Path(path).owner(), Path(path).group()) == (owner, group)
    assert oct(stat.S_IMODE(found.st_mode)) == oct(mode)


@pytest.mark.parametrize(
    ("userid", "path", "may"),
    [
        pytest.param("alice", "/s/shared/genomics", True, id="a group member can open a shared directory"),
        pytest.param("carol", "/s/shared/genomics", False, id="somebody who is not a member cannot"),
        pytest.param("bob", "/s/alice", False, id="nobody can open somebody else's directory"),
        pytest.param("alice", "/home/bob", False, id="nobody can open somebody else's home"),
    ],
)
def test_who_can_open_what(userid: str, path: str, may: bool) -> None:
    assert (as_person(userid, "ls", path).returncode == 0) is may


def tree(root: Path) -> dict[str, tuple[object, ...]]:
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted(root.rglob("*")):
        status = path.stat()
        content = path.read_bytes() if path.is_file() and path.name != "shadow" else b""
        found[str(path.relative_to(root))] = (oct(status.st_mode), status.st_uid, status.st_gid, content)
    return found


def test_building_twice_is_the_same_as_building_once(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/bash\nalice:x:1:1:an old one:/:/bin/false\n")
    build.build(tmp_path, extra_users=2)
    once, shadow = tree(tmp_path), (tmp_path / "etc/shadow").read_text()
    build.build(tmp_path, extra_users=2)
    assert tree(tmp_path) == once

    def without_hashes(text: str) -> list[list[str]]:
        return [[*line.split(":")[:1], *line.split(":")[2:]] for line in text.splitlines()]

    assert without_hashes((tmp_path / "etc/shadow").read_text()) == without_hashes(shadow)
    accounts = (tmp_path / "etc/passwd").read_text().splitlines()
    assert accounts[0].startswith("root:")
    names = [line.partition(":")[0] for line in accounts]
    assert len(names) == len(set(names)) == 1 + len(company.PEOPLE) + 2
    assert once["etc/shadow"][0] == "0o100600"


def test_building_again_keeps_what_people_wrote(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    build.build(tmp_path)
    notebook = tmp_path / "s/alice/notebooks/first-steps.ipynb"
    notebook.write_text("changed")
    build.build(tmp_path)
    assert notebook.read_text() == "changed"


# --- Namespaces -----------------------------------------------------------------------------------------------------


def test_the_namespaces_are_without_findings(capsys: pytest.CaptureFixture[str]) -> None:
    assert k8s_annotations(["check", "--file", str(NAMESPACES)]) == 0, capsys.readouterr()


@pytest.mark.parametrize("userid", LAB_USERS)
def test_everybody_is_granted_two_directories_or_more_that_they_can_open(userid: str) -> None:
    granted = grants(userid)
    assert granted.notices == ()
    assert all(entry.problem is None for entry in granted.entries)
    own = [entry for entry in granted.usable if entry.path.startswith(f"/s/{userid}/")]
    assert len(own) >= 2
    for entry in granted.usable:
        done = as_person(userid, "sh", "-c", f"cd {entry.path} && ls *.ipynb")
        assert done.returncode == 0, f"{userid} cannot open {entry.path}: {done.stderr}"


def test_group_members_have_the_grant_in_their_namespace_too() -> None:
    def shared(entries: tuple[Entry, ...]) -> set[str]:
        return {entry.path for entry in entries if entry.path.startswith("/s/shared/")}

    assert shared(grants("alice").usable) == {"/s/shared/genomics", "/s/shared/climate"}
    assert shared(grants("bob").usable) == {"/s/shared/genomics"}
    assert shared(grants("carol").usable) == set()


# --- Notebooks ------------------------------------------------------------------------------------------------------

# Runs as the notebooks' user: executes the named ones in one kernel that is reset before each (a kernel for each
# would take four times as long), and reports what each shows.
EXECUTE = """
import json, os, sys
import nbformat
from nbclient import NotebookClient

told, kernel = {}, None
for path in sys.argv[1:]:
    notebook = nbformat.read(path, 4)
    code = "%reset -f\\nimport os as _os\\n_os.chdir(" + repr(os.path.dirname(path)) + ")"
    notebook.cells.insert(0, nbformat.v4.new_code_cell(code))
    client = NotebookClient(notebook, km=kernel, timeout=80, allow_errors=True)
    kernel = client.km or client.create_kernel_manager()
    client.owns_km = False
    client.execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    told[path] = {
        "errors": [output.evalue for output in outputs if output.output_type == "error"],
        "plots": sum("image/png" in output.get("data", {}) for output in outputs),
        "warnings": [output.text for output in outputs if output.get("name") == "stderr"],
    }
client._cleanup_kernel()
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def executed() -> dict[str, dict[str, Any]]:
    """The result of each notebook, run by the people who work with it, two at a time."""
    runs = {
        userid: [place(each) for each in NOTEBOOKS if each.relative_to(build.NOTEBOOKS).parts[0] == userid]
        for userid in LAB_USERS
    }
    runs["bob"] += [place(each) for each in NOTEBOOKS if "genomics" in each.parts]
    runs["alice"] += [place(each) for each in NOTEBOOKS if "climate" in each.parts]

    def execute(userid: str) -> dict[str, Any]:
        done = as_person(userid, sys.executable, "-c", EXECUTE, *runs[userid], timeout=100)
        assert done.returncode == 0, done.stderr
        told: dict[str, Any] = json.loads(done.stdout)
        return told

    with ThreadPoolExecutor(2) as pool:
        return {path: told for each in pool.map(execute, runs) for path, told in each.items()}


@pytest.mark.parametrize("userid", LAB_USERS)
def test_everybody_has_three_notebooks_in_their_notebooks_and_some_elsewhere(userid: str) -> None:
    found = list(Path("/s", userid).glob("*/*.ipynb"))
    assert sum(path.parent == Path("/s", userid, "notebooks") for path in found) == 3
    assert len({path.parent for path in found}) >= 2
    assert {path.owner() for path in found} == {userid}


@pytest.mark.parametrize("source", NOTEBOOKS, ids=place)
def test_a_notebook_is_valid_and_nobody_ran_it(source: Path) -> None:
    text = source.read_text(encoding="utf-8")
    notebook = json.loads(text)
    nbformat.validate(notebook)
    ids = [cell["id"] for cell in notebook["cells"]]
    assert len(ids) == len(set(ids))
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert code
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    assert notebook["cells"][0]["cell_type"] == "markdown"
    assert set(notebook["metadata"]) == {"kernelspec", "language_info"}
    assert text.endswith("}\n")


def test_no_two_notebooks_are_the_same() -> None:
    first_lines = [json.loads(source.read_text())["cells"][0]["source"][0] for source in NOTEBOOKS]
    assert len(set(first_lines)) == len(NOTEBOOKS)


@pytest.mark.parametrize("source", NOTEBOOKS, ids=place)
def test_a_notebook_runs_to_its_end_and_draws(source: Path, executed: dict[str, dict[str, Any]]) -> None:
    told = executed[place(source)]
    assert told["errors"] == []
    assert told["warnings"] == []
    assert told["plots"] >= 1


# --- PAM ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("userid", LAB_USERS)
def test_the_right_password_is_accepted(userid: str) -> None:
    password = {person.userid: person.password for person in company.PEOPLE}[userid]
    pamela.authenticate(userid, password, service=SERVICE)
    pamela.check_account(userid, service=SERVICE)


@pytest.mark.parametrize(
    ("userid", "password"),
    [
        pytest.param("alice", "pass2", id="somebody else's password"),
        pytest.param("alice", "", id="no password"),
        pytest.param("alice", "pass1 ", id="an extra space"),
        pytest.param("nobody-of-that-name", "pass1", id="a user id that does not exist"),
        pytest.param("erik", "pass5", id="a locked password, typed correctly"),
        pytest.param("erik", "!pass5", id="the marker of a locked password"),
        pytest.param("root", "", id="root"),
    ],
)
def test_a_wrong_password_is_not_accepted(userid: str, password: str) -> None:
    with pytest.raises(pamela.PAMError):
        pamela.authenticate(userid, password, service=SERVICE)


def test_an_expired_account_has_a_right_password_and_is_refused_by_the_account_check() -> None:
    pamela.authenticate("dora", "pass4", service=SERVICE, check=False)
    with pytest.raises(pamela.PAMError, match="expired"):
        pamela.check_account("dora", service=SERVICE)


def test_the_service_opens_no_session_and_changes_no_password() -> None:
    handle: Callable[..., object] = pamela.open_session
    with pytest.raises(pamela.PAMError):
        handle("alice", service=SERVICE)
    with pytest.raises(pamela.PAMError):
        pamela.change_password("alice", "pass9", service=SERVICE)
    pamela.authenticate("alice", "pass1", service=SERVICE)
