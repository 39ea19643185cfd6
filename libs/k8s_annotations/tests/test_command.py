"""The command ``k8s-annotations``, as administrators and their scripts use it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml

from k8s_annotations import namespace_name
from k8s_annotations.cli.main import main

NAMESPACES = """\
# the company
apiVersion: v1
kind: Namespace
metadata:
  name: alice
  labels:
    learning-lab.dev/user: "true"
    dir.learning-lab.dev/shared: climate
  annotations:
    learning-lab.dev/userid: alice
    learning-lab.dev/notebook-dirs: |
      - /s/alice/notebooks
      - path: /s/shared/genomics
        title: Genomics course
        access: ro
---
apiVersion: v1
kind: Namespace
metadata:
  name: bob
  labels: {learning-lab.dev/user: "true"}
  annotations:
    learning-lab.dev/userid: bob
    learning-lab.dev/notebook-dirs: "[/s/bob/notebooks, /s/shared]"
---
apiVersion: v1
kind: Namespace
metadata:
  name: J-DOE
  labels: {learning-lab.dev/user: "true"}
  annotations: {learning-lab.dev/userid: J.Doe}
---
apiVersion: v1
kind: Namespace
metadata: {name: kube-system}
""".replace("J-DOE", namespace_name("J.Doe"))

BAD = """\
apiVersion: v1
kind: List
items:
- kind: Namespace
  metadata:
    name: alice
    labels:
      learning-lab.dev/user: "true"
      dir.learning-lab.dev/shared: ".."
      dir.learning-lab.dev/bob: notes
    annotations:
      learning-lab.dev/userid: alice
      learning-lab.dev/notebook-dirs: |
        # alice's
        - /s/alice/notebooks
        - /etc/passwd
        - path: /s/alice/x
          title: a: b
        - {path: /s/alice/q, default: true}
        - {path: /s/alice/r, default: true, name: "a\\e[31m/b"}
- kind: Namespace
  metadata:
    name: bob
    labels:
      learning-lab.dev/user: "true"
    annotations:
      learning-lab.dev/notebook-dirs: "{{"
      learning-lab.dev/userid: alice
- kind: Namespace
  metadata:
    name: carol
    labels:
      learning-lab.dev/user: true
    annotations:
      learning-lab.dev/userid: J.Doe
      learning-lab.dev/userid: carol
- kind: Namespace
  metadata:
    name: default
    annotations:
      learning-lab.dev/userid: a/b
- kind: Namespace
  metadata:
    name: dave
    labels:
      learning-lab.dev/user: "true"
      dir.learning-lab.dev/shared: a/b
- kind: Namespace
  metadata:
    name: kube-system
    annotations:
      somebody.else/notebook-dirs: "{{"
"""

FOUND_IN_BAD = """\
FILE:9: alice: dir.learning-lab.dev/shared: A label must name one owner and one directory.
FILE:16: alice: /etc/passwd: It does not lie below /s.
FILE:18: alice: /s/alice/x: It is not valid YAML: mapping values are not allowed in this context.
FILE:20: alice: Another directory is already the default; the first one counts.
FILE:20: alice: The name a\\x1b[31m/b looks like a path; a name has no slash.
FILE:23: alice: This user is already in line 6.
FILE:27: alice: It is not a list.
FILE:28: alice: The namespace of this user id is alice, not bob.
FILE:33: carol: The labels are not all strings. Put quotes around numbers, true and false.
FILE:36: carol: The key learning-lab.dev/userid appears twice; only the last one counts.
FILE:36: carol: The namespace is not the user's: it lacks the label learning-lab.dev/user=true. If it is theirs, \
add it with kubectl label.
FILE:41: a/b: The user id 'a/b' cannot be used: it is '.' or '..', or contains a slash or a control character.
FILE:44: namespace/dave: It has no annotation learning-lab.dev/userid. Set it to the user id.
FILE:47: namespace/dave: dir.learning-lab.dev/shared: A label must name one owner and one directory.
"""


class Ran:
    """The result of running the command."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


Run = Callable[..., Ran]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: str | Path) -> Ran:
        code = main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return Ran(code, said.out, said.err)

    return run


@pytest.fixture
def company(tmp_path: Path) -> Path:
    file = tmp_path / "namespaces.yaml"
    file.write_text(NAMESPACES)
    return file


def command(*arguments: str | Path, **options: Any) -> subprocess.Popen[bytes]:
    """Run the command as a separate process."""
    script = Path(sys.executable).with_name("k8s-annotations")
    return subprocess.Popen([script, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)


# get


def test_get_shows_the_annotations_and_what_they_grant(run: Run, company: Path) -> None:
    ran = run("--file", company, "get", "alice")
    assert ran.code == 0
    assert (
        ran.out
        == """\
ANNOTATION                      VALUE
learning-lab.dev/notebook-dirs  - /s/alice/notebooks
                                - path: /s/shared/genomics
                                  title: Genomics course
                                  access: ro
learning-lab.dev/userid         alice

DIRECTORY  PATH                ACCESS  FROM                PROBLEM
notebooks  /s/alice/notebooks  rw      annotation, line 1
genomics   /s/shared/genomics  ro      annotation, line 2
climate    /s/shared/climate   rw      label
"""
    )


@pytest.mark.parametrize(("form", "load"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_get_gives_programs_the_exact_annotations(
    run: Run, company: Path, form: str, load: Callable[[str], Any]
) -> None:
    ran = run("get", "alice", "-o", form, "--file", company)
    annotations = yaml.safe_load(NAMESPACES.partition("---")[0])["metadata"]["annotations"]
    assert load(ran.out) == annotations


def test_get_finds_a_user_id_that_is_not_a_namespace_name(run: Run, company: Path) -> None:
    assert "/s/J.Doe/notebooks" in run("--file", company, "get", "J.Doe").out


@pytest.mark.parametrize(
    ("userid", "message"),
    [
        pytest.param("carol", "There is no namespace 'carol'", id="a user who does not exist"),
        pytest.param("kube-system", "it lacks the label learning-lab.dev/user=true", id="a system namespace"),
        pytest.param("a/b", "cannot be used", id="a user id with a slash"),
        pytest.param("", "A user id must have 1 to 255 bytes", id="no user id"),
        pytest.param("a\x1b[2J\nb", "\\x1b[2J\\nb", id="an escape sequence"),
        pytest.param("\udcff", "lone surrogate", id="a byte that is not text"),
    ],
)
def test_get_says_in_one_line_why_there_is_nothing(run: Run, company: Path, userid: str, message: str) -> None:
    ran = run("--file", company, "get", "--", userid)
    assert (ran.code, ran.out) == (3, "")
    assert message in ran.err
    assert ran.err.count("\n") == 1


@pytest.mark.parametrize("form", ["table", "json", "yaml"])
def test_no_output_format_prints_a_character_that_controls_a_terminal(run: Run, tmp_path: Path, form: str) -> None:
    hostile = "a\x1b[2J\x07\x9b\u202e\u200b\ud800\U000e0041\x7f\r\u2028b"
    annotations = {
        "learning-lab.dev/userid": "alice",
        "note": hostile,
        "plain": "\u0645\u0634\u0631\u0648\u0639 \u00fc",
    }
    labels = {"learning-lab.dev/user": "true"}
    namespace = {"kind": "Namespace", "metadata": {"name": "alice", "labels": labels, "annotations": annotations}}
    file = tmp_path / "n.json"
    # JSON as an API server writes it, except for the surrogate, which YAML cannot contain.
    file.write_text(json.dumps(namespace, ensure_ascii=False).replace("\ud800", "").replace("\U000e0041", ""))
    file.write_text(yaml.safe_dump(json.loads(file.read_text()), allow_unicode=False))
    out = run("--file", file, "get", "alice", "-o", form).out
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b\u202e\u2028]", out)
    if form == "json":
        assert json.loads(out)["note"] == annotations["note"].replace("\ud800", "").replace("\U000e0041", "")
        assert "\u0645\u0634\u0631\u0648\u0639 \u00fc" in out
    if form == "yaml":
        assert yaml.safe_load(out)["plain"] == annotations["plain"]


# list and who


def test_list_counts_the_directories_of_all_users(run: Run, company: Path) -> None:
    company.write_text(NAMESPACES.replace("[/s/bob/notebooks, /s/shared]", "[/s/bob/notebooks, /etc, /s/shared]"))
    ran = run("list", "--file", company)
    assert ran.code == 0
    assert ran.out == "USER   DIRECTORIES  BAD\nJ.Doe  1            0\nalice  3            0\nbob    2            1\n"
    assert json.loads(run("list", "--file", company, "-o", "json").out)[2] == {
        "user": "bob",
        "directories": 2,
        "bad": 1,
    }


@pytest.mark.parametrize(
    ("wanted", "people"),
    [
        pytest.param("/s/shared/genomics", ["alice ro /s/shared/genomics", "bob rw /s/shared"], id="a path"),
        pytest.param("genomics", ["alice ro /s/shared/genomics", "bob rw /s/shared"], id="a name"),
        pytest.param("GENOMICS", ["alice ro /s/shared/genomics", "bob rw /s/shared"], id="a name in other letters"),
        pytest.param("genomics/week1", ["alice ro /s/shared/genomics", "bob rw /s/shared"], id="a folder below a name"),
        pytest.param(
            "/s/shared//genomics/w/", ["alice ro /s/shared/genomics", "bob rw /s/shared"], id="a folder below"
        ),
        pytest.param("/s/shared", ["bob rw /s/shared"], id="the folder above"),
        pytest.param("/s/shared/climate", ["alice rw /s/shared/climate", "bob rw /s/shared"], id="what a label grants"),
        pytest.param("/s/J.Doe/notebooks", ["J.Doe rw /s/J.Doe/notebooks"], id="a default directory"),
        pytest.param("/s/bob/private", [], id="what is granted to nobody"),
        pytest.param("chemistry", [], id="a name that nobody has"),
    ],
)
def test_who_names_everybody_who_can_open_it(run: Run, company: Path, wanted: str, people: list[str]) -> None:
    ran = run("who", wanted, "--file", company, "-o", "json")
    assert ran.code == 0
    assert [f"{each['user']} {each['access']} {each['granted']}" for each in json.loads(ran.out)] == people
    assert ("Nobody can open" in ran.err) == (not people)


def test_who_lists_the_users_of_both_directories_for_an_ambiguous_name(run: Run, company: Path) -> None:
    rows = json.loads(run("who", "notebooks", "--file", company, "-o", "json").out)
    assert [(row["user"], row["path"]) for row in rows] == [
        ("J.Doe", "/s/J.Doe/notebooks"),
        ("alice", "/s/alice/notebooks"),
        ("bob", "/s/bob/notebooks"),
    ]


@pytest.mark.parametrize(
    "wanted", ["/s/../etc", "/etc", "/s", "a/../b", "a\x00b", "\x1b[2J", "\udcff", "/s/" + "x" * 300]
)
def test_who_refuses_an_impossible_directory_in_one_line(run: Run, company: Path, wanted: str) -> None:
    ran = run("who", wanted, "--file", company)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.count("\n") == 1
    assert "\x1b" not in ran.err


# check


def test_check_finds_nothing_in_a_good_file(run: Run, company: Path) -> None:
    ran = run("check", company)
    assert (ran.code, ran.out, ran.err) == (0, "", "")
    assert run("check", "--file", company).code == 0


def test_check_reports_line_user_and_reason_of_every_mistake(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(BAD)
    ran = run("check", file)
    assert ran.out.replace(str(file), "FILE") == FOUND_IN_BAD
    assert (ran.code, ran.err) == (1, "")


def test_check_knows_lines_within_a_literal_block_and_otherwise_where_the_text_begins(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "n.yaml"
    head = "kind: Namespace\nmetadata:\n  name: alice\n  labels: {learning-lab.dev/user: 'true'}\n  annotations:\n"
    head += "    learning-lab.dev/userid: alice\n    learning-lab.dev/notebook-dirs: "
    for text, line in [
        ("|\n      - /s/a\n      - /etc\n", 9),
        ("|-\n\n\n      - /etc\n", 10),
        ("|2+\n      - /etc\n", 8),
        (">\n      - /etc\n", 7),
        ("'- /etc'\n", 7),
        ('"- /s/a\\n- /etc"\n', 7),
        ("\n      '- /etc'\n", 7),
    ]:
        file.write_text(head + text)
        assert run("check", file).out == f"{file}:{line}: alice: /etc: It does not lie below /s.\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(b"a: [", "It is not valid YAML", id="not YAML"),
        pytest.param(b"\xff\xfe\xfa", "It is not valid", id="not text"),
        pytest.param(b"a: \x00", "It is not valid YAML", id="a NUL"),
        pytest.param(b"[" * 100_000, "nested deeper than 50 levels", id="brackets that would break the C stack"),
        pytest.param(b"a: &a [x]\nb: *a\n", "It has a YAML alias", id="an alias"),
        pytest.param(b"kind: Namespace\nmetadata: {}\n", "no metadata.name", id="a namespace without a name"),
        pytest.param(b"kind: Namespace\nmetadata: x\n", "no metadata.name", id="metadata that is a string"),
        pytest.param(b"kind: Namespace\nmetadata: {name: 12}\n", "no metadata.name", id="a name that is a number"),
        pytest.param(b"kind: Namespace\nmetadata: {name: a, labels: [x]}\n", "labels are not a mapping", id="a list"),
        pytest.param(b"kind: Namespace\nmetadata: {name: a, annotations: {1: 2}}", "not all strings", id="numbers"),
        pytest.param(b"kind: Namespace\nmetadata: {name: a}\nmetadata: {name: b}\n", "appears twice", id="a key twice"),
        pytest.param(b"kind: Namespace\nmetadata: {name: a}\n---\n" * 2, "already in line 2", id="a namespace twice"),
    ],
)
def test_check_reports_what_is_wrong_with_the_file_itself(run: Run, tmp_path: Path, text: bytes, message: str) -> None:
    file = tmp_path / "n.yaml"
    file.write_bytes(text)
    ran = run("check", file)
    assert ran.code == 1
    assert message in ran.out
    assert all(re.match(re.escape(str(file)) + r":\d+: \S+: ", line) for line in ran.out.splitlines())


@pytest.mark.parametrize(
    "text", [b"", b"\n", b"# nothing\n", b"12", b"[]", b"items: 3", b"{}", b"kind: Pod\nmetadata: 3"]
)
def test_check_finds_nothing_in_a_file_without_namespaces(run: Run, tmp_path: Path, text: bytes) -> None:
    file = tmp_path / "n.yaml"
    file.write_bytes(text)
    assert run("check", file).code == 0


def test_a_file_that_check_passes_is_one_that_can_be_listed(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "n.yaml"
    for text in (NAMESPACES, BAD, "", "a: [", "kind: Namespace\nmetadata: {name: a, labels: }"):
        file.write_text(text)
        assert run("check", file).code == 1 or run("list", "--file", file).code == 0


def test_check_reads_standard_input() -> None:
    with command("check", "-", stdin=subprocess.PIPE) as process:
        out, err = process.communicate(BAD.encode())
    assert out.decode().replace("standard input", "FILE") == FOUND_IN_BAD
    assert (process.returncode, err) == (1, b"")


# A cluster


class _Api(BaseHTTPRequestHandler):
    namespaces: ClassVar[list[dict[str, Any]]] = []
    slow = False
    asked: threading.Event

    def do_GET(self) -> None:  # the base class sets the name
        self.asked.set()
        if self.slow:
            time.sleep(20)
        path, _, query = self.path.partition("?")
        items = self.namespaces
        if "labelSelector" in query:
            items = [
                item for item in items if item["metadata"].get("labels", {}).get("learning-lab.dev/user") == "true"
            ]
        if path != "/api/v1/namespaces":
            items = [item for item in items if item["metadata"]["name"] == path.rpartition("/")[2]]
        answer: dict[str, Any] = {"kind": "NamespaceList", "metadata": {}, "items": items}
        if path != "/api/v1/namespaces":
            answer = items[0] if items else {"kind": "Status"}
        body = json.dumps(answer).encode()
        self.send_response(200 if items else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Tests are quiet."""


@pytest.fixture
def api(tmp_path: Path) -> Iterator[tuple[type[_Api], Path]]:
    """A server that answers like an API server, and a kubeconfig for it."""

    class Api(_Api):
        asked = threading.Event()

    with ThreadingHTTPServer(("127.0.0.1", 0), Api) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        kubeconfig = tmp_path / "kubeconfig"
        cluster = {"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.server_address[1]}"}}
        context = {"name": "lab", "context": {"cluster": "c", "user": "u"}}
        config = {"current-context": "lab", "clusters": [cluster], "contexts": [context], "users": [{"name": "u"}]}
        kubeconfig.write_text(yaml.safe_dump({**config, "users": [{"name": "u", "user": {}}]}))
        yield Api, kubeconfig
        server.shutdown()


def test_a_cluster_is_listed_searched_and_checked_like_a_file(run: Run, api: tuple[type[_Api], Path]) -> None:
    server, kubeconfig = api
    server.namespaces = list(yaml.safe_load_all(NAMESPACES))
    ran = run("--kubeconfig", kubeconfig, "list")
    assert ran.out.splitlines()[1:] == ["J.Doe  1            0", "alice  3            0", "bob    2            0"]
    assert "bob" in run("who", "genomics", "--kubeconfig", kubeconfig).out
    assert "Genomics course" in run("get", "alice", "--kubeconfig", kubeconfig, "--context", "lab").out
    assert run("check", "--kubeconfig", kubeconfig).code == 0


def test_check_of_a_cluster_reports_the_namespace_and_the_line_of_the_annotation(
    run: Run, api: tuple[type[_Api], Path]
) -> None:
    server, kubeconfig = api
    server.namespaces = [item for item in yaml.safe_load(BAD)["items"] if item["metadata"]["name"] != "carol"]
    ran = run("check", "--kubeconfig", kubeconfig)
    assert ran.code == 1
    lines = ran.out.splitlines()
    assert "namespace/alice:3: alice: /etc/passwd: It does not lie below /s." in lines
    label = "dir.learning-lab.dev/shared: A label must name one owner and one directory."
    assert f"namespace/alice: alice: {label}" in lines
    assert "namespace/bob: alice: The namespace of this user id is alice, not bob." in lines
    assert "namespace/bob: alice: This user already has the namespace alice." in lines
    assert not [line for line in lines if "kube-system" in line]


def test_an_unavailable_cluster_is_one_line(run: Run, tmp_path: Path, api: tuple[type[_Api], Path]) -> None:
    kubeconfig = tmp_path / "closed"
    kubeconfig.write_text(re.sub(r"127.0.0.1:\d+", "127.0.0.1:9", api[1].read_text()))
    ran = run("list", "--kubeconfig", kubeconfig)
    assert (ran.code, ran.out, ran.err.count("\n")) == (3, "", 1)


def test_ctrl_c_ends_it_in_one_line(api: tuple[type[_Api], Path]) -> None:
    server, kubeconfig = api
    server.slow = True
    with command("list", "--kubeconfig", kubeconfig, start_new_session=True) as process:
        assert server.asked.wait(30)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=10)
    assert (process.returncode, out, err) == (130, b"", b"k8s-annotations: Interrupted.\n")


# Arguments and output


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param([], id="nothing"),
        pytest.param(["frobnicate"], id="a verb that does not exist"),
        pytest.param(["get"], id="get without a user"),
        pytest.param(["get", "alice", "bob"], id="get with two users"),
        pytest.param(["get", "alice", "-o", "xml"], id="an output format that does not exist"),
        pytest.param(["list", "--frob\x1b[2J\n"], id="an option that does not exist, with an escape sequence"),
        pytest.param(["list", "--file", "x", "--kubeconfig", "y"], id="a file and a cluster"),
        pytest.param(["list", "--file", "x", "--context", "y"], id="a file and a context"),
        pytest.param(["check", "x", "--file", "y"], id="two files to check"),
        pytest.param(["check", "x", "--context", "y"], id="a file to check and a context"),
        pytest.param(["list", "--roots", "s"], id="a root that is relative"),
        pytest.param(["list", "--roots", "/"], id="the system's root as a root"),
        pytest.param(["list", "--roots", "/s:/x/../y"], id="a root with two dots"),
        pytest.param(["list", "--roots", "/s/"], id="a root with a trailing slash"),
        pytest.param(["list", "--roots", ""], id="no root"),
        pytest.param(["list", "--prefix", ""], id="no prefix"),
        pytest.param(["list", "--prefix", "a/b"], id="a prefix with a slash"),
    ],
)
def test_wrong_arguments_are_one_line_and_exit_code_2(run: Run, arguments: list[str]) -> None:
    ran = run(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("k8s-annotations: ")
    assert ran.err.count("\n") == 1
    assert ran.err.strip().isprintable()


@pytest.mark.parametrize("verb", [["list"], ["get", "alice"], ["who", "x"]])
def test_a_file_that_cannot_be_read_is_one_line_and_exit_code_3(run: Run, tmp_path: Path, verb: list[str]) -> None:
    (tmp_path / "broken.yaml").write_text("a: [")
    for file in ("missing.yaml", "broken.yaml", ".", "a\x00b", "x" * 300):
        ran = run(*verb, "--file", tmp_path / file)
        assert (ran.code, ran.out, ran.err.count("\n")) == (3, "", 1), file


def test_check_of_a_file_that_cannot_be_read_is_one_line_and_exit_code_3(run: Run, tmp_path: Path) -> None:
    for file in ("missing.yaml", ".", "a\x00b", "x" * 300):
        ran = run("check", tmp_path / file)
        assert (ran.code, ran.out, ran.err.count("\n")) == (3, "", 1), file


def test_options_may_come_before_or_after_the_verb(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "n.yaml"
    file.write_text(NAMESPACES.replace("learning-lab.dev", "lab.example").replace("/s/", "/data/"))
    options = ["--file", str(file), "--prefix", "lab.example", "--roots", "/other:/data"]
    before, after = run(*options, "list"), run("list", *options)
    assert before.out == after.out
    assert before.out.splitlines()[2:] == ["alice  3            0", "bob    2            0"]
    assert run("--file", file, "--prefix", "lab.example", "list").out.splitlines()[2] == "alice  1            2"
    assert "/other/J.Doe/notebooks" in run(*options, "get", "J.Doe").out
    assert "/data/J.Doe/x" in run(*options, "get", "J.Doe", "--default-directory", "/data/{userid}/x").out
    assert "J.Doe  0" in run(*options, "list", "--default-directory", "").out


def test_help_names_the_verbs_and_examples(run: Run) -> None:
    ran = run("--help")
    assert ran.code == 0
    for word in ("get", "list", "who", "check", "kubectl get ns -o yaml | k8s-annotations check -"):
        assert word in ran.out
    assert run("--version").out.startswith("k8s-annotations ")


def test_a_closed_pipe_ends_it_quietly(tmp_path: Path) -> None:
    file = tmp_path / "many.yaml"
    item = "kind: Namespace\nmetadata: {name: x%d, labels: {learning-lab.dev/user: t}}\n---\n"
    file.write_text("".join(item % number for number in range(3000)))
    with command("check", file) as process:
        assert process.stdout is not None
        process.stdout.read(10)
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
    assert process.returncode == 141


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_a_full_disk_is_one_line(company: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        script = Path(sys.executable).with_name("k8s-annotations")
        done = subprocess.run([script, "list", "--file", company], stdout=full, stderr=subprocess.PIPE, check=False)
    assert (done.returncode, done.stderr.count(b"\n")) == (3, 1)


def test_a_terminal_that_knows_only_ascii_gets_escapes(company: Path) -> None:
    company.write_text(NAMESPACES.replace("Genomics course", "Gen\u00f6me"))
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "LC_ALL": "C"}
    with command("get", "alice", "--file", company, env=environment) as process:
        out, err = process.communicate()
    assert (process.returncode, err) == (0, b"")
    assert b"Gen\\xf6me" in out
