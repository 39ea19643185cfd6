"""Lists of people, what they are made of, and the verbs that change a file of manifests."""

from __future__ import annotations

import os
import pwd
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from k8s_annotations import ManifestReader, namespace_name, parse_grants
from k8s_annotations.cli.main import main
from k8s_annotations.people import (
    Identity,
    InvalidIdentity,
    InvalidTemplate,
    Person,
    Template,
    identity_of,
    read_people,
)

NAMESPACES = Path(__file__).resolve().parents[3] / "k8s" / "base" / "namespaces.yaml"


class TestIdentity:
    @given(
        st.integers(1, 2**31 - 1),
        st.integers(1, 2**31 - 1),
        st.lists(st.integers(1, 2**31 - 1), max_size=20, unique=True),
    )
    def test_what_is_written_is_what_is_read(self, uid: int, gid: int, groups: list[int]) -> None:
        taken = {uid, gid, *groups} & {65534, 65535}
        identity = Identity(uid, gid, tuple(each for each in groups if each != gid))
        if not taken:
            assert identity_of(identity.annotations()) == identity

    @pytest.mark.parametrize(
        "wrong",
        [
            *[{"uid": uid} for uid in ("0", "-1", "65534", "1e3", "\u0663", "2147483648", None)],
            *[{"gid": gid} for gid in ("0", None)],
            *[{"groups": groups} for groups in ("5,0", "staff", ",".join(map(str, range(1, 300))))],
        ],
        ids=lambda wrong: str(wrong)[:40],
    )
    def test_a_number_that_can_be_nobodys_is_refused(self, wrong: dict[str, str | None]) -> None:
        values = {"uid": "1000", "gid": "1000", "groups": "5"} | wrong
        annotations = {f"learning-lab.dev/{key}": value for key, value in values.items() if value is not None}
        with pytest.raises(InvalidIdentity):
            identity_of(annotations)

    def test_nothing_written_is_nobody_in_particular(self) -> None:
        assert identity_of({"learning-lab.dev/userid": "alice"}) is None


class TestLists:
    def test_a_file_and_a_table_say_the_same(self) -> None:
        text = """
- user: alice
  uid: 1001
  gid: 1001
  groups: [2001, 2002]
  directories: [/s/alice/notebooks, /s/shared/genomics]
  labels: {team: bio}
- user: J.Doe
"""
        table = (
            "user,uid,gid,groups,directories,labels\n"
            "alice,1001,1001,2001;2002,/s/alice/notebooks;/s/shared/genomics,team=bio\n"
            "J.Doe,,,,,\n"
        )
        listed = read_people(text, table=False)
        assert listed.problems == []
        assert listed.people == read_people(table, table=True).people
        assert listed.people[0] == Person(
            "alice", Identity(1001, 1001, (2001, 2002)), "- /s/alice/notebooks\n- /s/shared/genomics\n", {"team": "bio"}
        )

    @pytest.mark.parametrize(
        ("entry", "why"),
        [
            ("{uid: 5, gid: 5}", "is no text"),
            ("{user: 007}", "is no text"),
            ("{user: a/b}", "cannot be used"),
            ("{user: bob, uid: 5}", "only one of uid and gid"),
            ("{user: bob, uid: 0, gid: 5}", "no number from 1"),
            ("{user: bob, directory: /s/a/b}", "is not known: directory"),
            ("{user: bob, directories: /s/a/b}", "are no list"),
            ("{user: bob, directories: [/etc]}", "does not lie below"),
            ("{user: bob, directories: [{path: /s/a/b, acces: ro}]}", "unknown key: acces"),
            ("{user: bob, labels: {a: true}}", "are not texts"),
            ("{user: bob, labels: {learning-lab.dev/user: 'false'}}", "is set by this command"),
            ("{user: bob, labels: {'a b': c}}", "does not take"),
            ("{user: alice}", "in line 1 already"),
            ("bob", "is no person"),
        ],
    )
    def test_a_person_with_a_mistake_is_told_and_the_others_are_taken(self, entry: str, why: str) -> None:
        listed = read_people(f"- user: alice\n- {entry}\n- user: carol\n", table=False)
        assert [person.userid for person in listed.people] == ["alice", "carol"]
        [(line, problem)] = listed.problems
        assert line == 2
        assert why in problem

    @pytest.mark.parametrize(
        ("text", "table"),
        [
            ("a: b", False),
            ("- &a {user: x}\n- *a", False),
            ("- user: 'x", False),
            ("name\nx\n", True),
            ("user\na,b\n", True),
        ],
        ids=["no list", "an alias", "no YAML", "no such column", "a value too many"],
    )
    def test_a_file_that_is_no_list_is_told_with_a_line(self, text: str, table: bool) -> None:
        listed = read_people(text, table=table)
        assert listed.people == []
        assert listed.problems

    @given(st.text(max_size=200), st.booleans())
    def test_no_text_breaks_it(self, text: str, table: bool) -> None:
        read_people(text, table=table)


POD = """\
apiVersion: v1
kind: Namespace
metadata:
  name: ${namespace}
  labels: {team: nobody}
---
apiVersion: v1
kind: ResourceQuota
metadata: {name: servers, namespace: "${namespace}"}
spec: {hard: {pods: "3"}}
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: "nas-${namespace}", annotations: {who: "${user} is ${uid}"}}
"""


class TestTemplate:
    def test_a_person_gets_every_object_with_their_names_in_it(self) -> None:
        namespace, quota, volume = Template(POD).objects(Person("J.Doe", Identity(5, 6, (7,)), labels={"team": "bio"}))
        name = namespace_name("J.Doe")
        assert namespace["metadata"]["labels"] == {"team": "bio", "learning-lab.dev/user": "true"}
        assert namespace["metadata"]["annotations"]["learning-lab.dev/userid"] == "J.Doe"
        assert namespace["metadata"]["annotations"]["learning-lab.dev/uid"] == "5"
        assert quota["metadata"]["namespace"] == name
        assert volume["metadata"] == {"name": f"nas-{name}", "annotations": {"who": "J.Doe is 5"}}

    @given(st.text("ab:#{}[]\"'\n$&*|>-", min_size=1, max_size=30))
    def test_a_user_id_never_becomes_yaml(self, userid: str) -> None:
        if "\n" in userid:
            return
        volume = Template(POD).objects(Person(userid, Identity(5, 6)))[2]
        assert volume["metadata"]["annotations"] == {"who": f"{userid} is 5"}

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ("name: ${namespace}", "name: default"),
            ('namespace: "${namespace}"', "namespace: kube-system"),
            ('"nas-${namespace}"', "nas"),
            ("${uid}", "${password}"),
            ("${uid}", "$ 5"),
            ("kind: Namespace", "kind: Secret"),
            ("metadata: {name: servers", "metadata: {title: servers"),
            ("spec: {hard", "spec: {<<: *x, hard"),
        ],
    )
    def test_a_template_that_would_write_into_anothers_is_refused(self, old: str, new: str) -> None:
        assert old in POD
        with pytest.raises(InvalidTemplate):
            Template(POD.replace(old, new)).objects(Person("alice", Identity(5, 6)))

    def test_numbers_that_are_not_known_are_asked_for(self) -> None:
        with pytest.raises(InvalidTemplate, match="give it"):
            Template(POD).objects(Person("alice"))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    shutil.copy(NAMESPACES, tmp_path / "namespaces.yaml")
    return tmp_path / "namespaces.yaml"


@pytest.fixture
def run(file: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run the command on that file; its exit code, output and errors."""

    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(["--file", str(file), *arguments])
        told = capsys.readouterr()
        return code, told.out, told.err

    return run


def paths(file: Path, userid: str) -> list[str]:
    namespace = ManifestReader(file).read(namespace_name(userid))
    return [entry.path for entry in parse_grants(userid, namespace.annotations, namespace.labels).usable]


Run = Callable[..., tuple[int, str, str]]


class TestVerbs:
    def test_grant_shows_the_difference_and_writes_it(self, run: Run, file: Path) -> None:
        code, told, _ = run("grant", "alice", "/s/shared/soil", "--title", "Soil", "--access", "ro")
        assert code == 0
        added = [line for line in told.splitlines() if line.startswith("+") and not line.startswith("+++")]
        assert sorted(added) == ["+        access: ro", "+        title: Soil", "+      - path: /s/shared/soil"]
        assert "/s/shared/soil" in paths(file, "alice")

    def test_a_dry_run_shows_the_same_and_writes_nothing(self, run: Run, file: Path) -> None:
        before, inode = file.read_text(), file.stat().st_ino
        dry = run("grant", "alice", "/s/shared/soil", "--dry-run")
        assert (file.read_text(), file.stat().st_ino) == (before, inode)
        assert dry == run("grant", "alice", "/s/shared/soil")

    def test_a_grant_that_is_there_changes_nothing(self, run: Run, file: Path) -> None:
        inode = file.stat().st_ino
        assert run("grant", "alice", "/s/alice/thesis")[1] == "alice: nothing to change.\n"
        assert run("grant", "alice", "/s/shared/climate")[1] == "alice: nothing to change.\n", "a label grants it"
        assert file.stat().st_ino == inode

    def test_whoever_had_the_default_directory_keeps_it(self, run: Run, file: Path) -> None:
        run("create", "dora")
        assert paths(file, "dora") == ["/s/dora/notebooks"]
        code, _, said = run("grant", "dora", "/s/shared/genomics")
        assert (code, paths(file, "dora")) == (0, ["/s/dora/notebooks", "/s/shared/genomics"])
        assert "so that it stays" in said

    @pytest.mark.parametrize("path", ["/etc/passwd", "/s", "genomics", "/s/a/../b", "/s/\x1b[2J"])
    def test_what_is_no_directory_is_not_granted(self, run: Run, file: Path, path: str) -> None:
        before = file.read_text()
        code, told, said = run("grant", "alice", path)
        assert (code, told, file.read_text()) == (2, "", before)
        assert "cannot be granted" in said
        assert "\x1b" not in said

    def test_revoke_by_name_takes_the_entry_and_by_path_the_label(self, run: Run, file: Path) -> None:
        assert run("revoke", "alice", "genomics")[0] == 0
        assert run("revoke", "alice", "/s/shared/climate")[0] == 0
        assert paths(file, "alice") == ["/s/alice/notebooks", "/s/alice/thesis"]

    def test_revoke_says_what_is_still_open(self, run: Run) -> None:
        run("grant", "alice", "/s/alice/thesis/old")
        assert "It can still be opened: it lies in /s/alice/thesis" in run("revoke", "alice", "/s/alice/thesis/old")[2]

    def test_the_default_directory_can_be_revoked_too(self, run: Run, file: Path) -> None:
        run("create", "dora")
        run("revoke", "dora", "notebooks")
        assert paths(file, "dora") == []

    def test_the_last_label_that_goes_does_not_bring_the_default_back(self, run: Run, file: Path) -> None:
        run("create", "dora", "--label", "dir.learning-lab.dev/shared=genomics")
        assert paths(file, "dora") == ["/s/shared/genomics"]
        run("revoke", "dora", "genomics")
        assert paths(file, "dora") == []

    def test_nobody_gets_a_namespace_of_kubernetes(self, run: Run, file: Path) -> None:
        before = file.read_text()
        for userid in ("default", "kube-system"):
            assert run("create", userid)[0] == 2
        assert file.read_text() == before

    def test_create_takes_the_numbers_of_the_account_that_is_here(
        self, run: Run, file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        account = pwd.struct_passwd(("dora", "x", 1234, 1235, "", "/home/dora", "/bin/sh"))
        monkeypatch.setattr(pwd, "getpwnam", lambda name: account)
        monkeypatch.setattr(os, "getgrouplist", lambda name, gid: [gid, 2001])
        assert run("create", "dora")[0] == 0
        assert identity_of(ManifestReader(file).read("dora").annotations) == Identity(1234, 1235, (2001,))

    def test_apply_makes_changes_and_leaves_alone_and_can_be_run_again(
        self, run: Run, file: Path, tmp_path: Path
    ) -> None:
        people = tmp_path / "people.csv"
        people.write_text(
            "user,uid,gid,directories\nalice,1001,1001,/s/alice/new\nJ.Doe,1009,1009,\nbob,,,\nbad,0,1,\n"
        )
        code, told, said = run("apply", str(people))
        assert code == 1
        assert told.splitlines()[-1] == "1 new, 1 changed, 1 as they were, 1 with a mistake."
        assert "people.csv:5:" in said
        assert "/s/alice/new" in paths(file, "alice")
        before, inode = file.read_text(), file.stat().st_ino
        assert "0 new, 0 changed, 3 as they were" in run("apply", str(people))[1]
        assert (file.read_text(), file.stat().st_ino) == (before, inode)

    def test_a_template_makes_its_objects_beside_the_namespace(self, run: Run, file: Path, tmp_path: Path) -> None:
        template = tmp_path / "template.yaml"
        template.write_text(POD)
        assert run("create", "dora", "--uid", "5", "--gid", "5", "--template", str(template))[0] == 0
        kinds = [each["kind"] for each in yaml.safe_load_all(file.read_text())]
        assert kinds[-3:] == ["Namespace", "ResourceQuota", "PersistentVolume"]

    def test_objects_of_a_template_are_added_once_and_never_beside_older_ones(
        self, run: Run, file: Path, tmp_path: Path
    ) -> None:
        template, people = tmp_path / "template.yaml", tmp_path / "people.csv"
        template.write_text(POD)
        people.write_text("user,uid,gid\nalice,1001,1001\n")
        assert "1 changed" in run("apply", str(people), "--template", str(template))[1]
        assert file.read_text().count("kind: ResourceQuota") == 1
        assert "1 as they were" in run("apply", str(people), "--template", str(template))[1]
        template.write_text(POD.replace('"3"', '"4"'))
        before = file.read_text()
        code, _, said = run("apply", str(people), "--template", str(template))
        assert (code, file.read_text()) == (1, before)
        assert "by hand" in said

    def test_thousands_are_made_in_a_file(self, run: Run, file: Path, tmp_path: Path) -> None:
        people = tmp_path / "people.csv"
        people.write_text("user,directories\n" + "".join(f"u{number},/s/u{number}/a\n" for number in range(2000)))
        assert "2,000 new" in run("apply", str(people))[1]
        assert "2,000 as they were" in run("apply", str(people))[1]

    def test_a_file_that_is_not_there_is_made(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        file = tmp_path / "new.yaml"
        assert main(["--file", str(file), "create", "dora"]) == 0
        assert paths(file, "dora") == ["/s/dora/notebooks"]

    def test_a_file_keeps_its_mode(self, run: Run, file: Path) -> None:
        file.chmod(0o640)
        run("grant", "alice", "/s/x/y")
        assert file.stat().st_mode & 0o777 == 0o640

    def test_everything_written_is_what_check_takes(self, run: Run, file: Path) -> None:
        run("create", "J.Doe", "--directory", "/s/J.Doe/a b", "--uid", "5", "--gid", "5")
        run("grant", "J.Doe", "/s/shared/genomics", "--name", "no", "--description", "a: b # c", "--default")
        assert main(["check", str(file)]) == 0
