"""The cluster reader against a real HTTPS server: it gets in as it should, and every failure has its own error."""

from __future__ import annotations

import contextlib
import gzip
import json
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

import k8s_annotations.cluster.reader
from k8s_annotations import (
    AccessDenied,
    AnnotationError,
    ClusterReader,
    ClusterUnavailable,
    NamespaceNotFound,
    NotConfigured,
    get_namespace_annotations,
    user_namespace,
)

sys.path.insert(0, str(Path(__file__).parent))
from lab_testing.api_server_double import (
    TOKEN,
    Authority,
    Handler,
    Request,
    Server,
    kubeconfig,
    namespace,
    running,
    service_account,
    status,
)

GENEROUS = 3.0  # seconds; the machines that run this are shared
HASTY: dict[str, Any] = {"connect_timeout": 0.3, "read_timeout": 0.4, "deadline": 0.5}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def certificate(authority: Authority) -> tuple[Path, Path]:
    return authority.issue("api server", "127.0.0.1", "localhost")


@pytest.fixture
def server(authority: Authority, certificate: tuple[Path, Path]) -> Iterator[Server]:
    with running(certificate=certificate, clients=authority) as state:
        yield state


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT", "HTTPS_PROXY", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture(scope="module", autouse=True)
def imported() -> None:
    """Import the official client first: otherwise the first call does so within its deadline, which is short here."""
    import kubernetes.client.rest
    import kubernetes.config.kube_config  # noqa: F401


@pytest.fixture
def pod(server: Server, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return a_pod(server, authority, tmp_path, monkeypatch)


def a_pod(server: Server, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", server.host)
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(server.port))
    return service_account(tmp_path / "serviceaccount", authority)


def quick(pod: Path | None = None, file: Path | None = None, **options: Any) -> ClusterReader:
    """A reader with shorter deadlines than by default."""
    options = {"connect_timeout": 1.5, "read_timeout": 1.5, "deadline": 2.0} | options
    return ClusterReader(file, **options) if pod is None else ClusterReader(file, service_account=pod, **options)


def fails(call: Callable[[], Any], kind: type[AnnotationError], *words: str) -> AnnotationError:
    """Check that the call fails with this error, in time, without other libraries' exceptions and without the token."""
    before = time.monotonic()
    with pytest.raises(AnnotationError) as caught:
        call()
    assert time.monotonic() - before < GENEROUS
    error = caught.value
    assert type(error) is kind, error
    assert TOKEN not in str(error)
    assert "urllib3" not in str(error)
    assert " object at 0x" not in str(error)
    assert error.__suppress_context__ or error.__context__ is None
    assert str(error).endswith(".")
    for word in words:
        assert word in str(error)
    return error


def config(tmp_path: Path, server: Server, authority: Authority, user: dict[str, Any], **options: Any) -> Path:
    cluster = {"certificate-authority-data": authority.data}
    return kubeconfig(tmp_path / "config", server.url, user, cluster=cluster, **options)


def plugin(tmp_path: Path, script: str, **user: Any) -> dict[str, Any]:
    """A kubeconfig user whose token comes from a program."""
    file = tmp_path / "plugin.py"
    file.write_text(script)
    command = {"command": sys.executable, "args": ["-S", "-E", str(file)], "interactiveMode": "Never"}
    return {"exec": {"apiVersion": "client.authentication.k8s.io/v1"} | command} | user


def credential(token: str) -> str:
    """A program that returns a token, and counts how often it was called."""
    given = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": token}}
    return f"print({json.dumps(given)!r})\nopen(__file__ + '.calls', 'a').write('x')\n"


# In a pod


def test_a_pod_reads_with_its_service_account(server: Server, pod: Path) -> None:
    found = ClusterReader(service_account=pod).read("alice")
    assert found.annotations == {
        "learning-lab.dev/userid": "alice",
        "learning-lab.dev/notebook-dirs": "- /s/alice/notebooks",
    }
    assert found.labels["learning-lab.dev/user"] == "true"
    assert [(request.path, request.authorization) for request in server.requests] == [
        ("/api/v1/namespaces/alice", f"Bearer {TOKEN}")
    ]


def test_the_namespace_of_a_user_is_found_by_user_id(server: Server, pod: Path) -> None:
    reader = ClusterReader(service_account=pod)
    assert user_namespace(reader, "alice").name == "alice"
    server.namespaces["default"] = namespace("default")
    fails(lambda: user_namespace(reader, "default"), NamespaceNotFound, "label")


def test_a_rotated_token_is_used_at_once(server: Server, pod: Path) -> None:
    reader = ClusterReader(service_account=pod)
    reader.read("alice")
    server.tokens = {"the next token"}
    (pod / "token").write_text("next")
    server.tokens = {"next"}
    reader.read("alice")
    assert [request.authorization for request in server.requests] == [f"Bearer {TOKEN}", "Bearer next"]


def test_a_token_rotated_between_reading_and_asking_is_read_again_once(server: Server, pod: Path) -> None:
    def rotate(_handler: Handler, _request: Request) -> bool:
        server.tokens = {"next"}
        (pod / "token").write_text("next")
        server.misbehave = None
        return False

    server.misbehave = rotate
    ClusterReader(service_account=pod).read("alice")
    assert [request.authorization for request in server.requests] == [f"Bearer {TOKEN}", "Bearer next"]


def test_a_token_that_stays_wrong_is_tried_again_exactly_once(server: Server, pod: Path) -> None:
    server.tokens = set()
    fails(lambda: quick(pod).read("alice"), AccessDenied, "401")
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("spoil", "word"),
    [
        pytest.param(lambda pod: (pod / "token").unlink(), "token", id="there is no token"),
        pytest.param(lambda pod: (pod / "token").write_bytes(b"\xff\xfe"), "token", id="the token is not text"),
        pytest.param(lambda pod: (pod / "token").write_text(f"{TOKEN}\r\nX: y"), "token", id="the token has two lines"),
        pytest.param(lambda pod: (pod / "token").write_text(f"{TOKEN}€"), "token", id="the token is not ASCII"),
        pytest.param(lambda pod: (pod / "ca.crt").unlink(), "CA", id="there is no CA"),
        pytest.param(lambda pod: (pod / "ca.crt").write_text("no certificate"), "CA", id="the CA is not a certificate"),
    ],
)
def test_a_service_account_that_cannot_be_used_is_a_wrong_configuration(
    server: Server, pod: Path, spoil: Callable[[Path], None], word: str
) -> None:
    spoil(pod)
    fails(lambda: quick(pod).read("alice"), NotConfigured, word)
    assert server.requests == []


def test_a_token_that_appears_later_is_used(server: Server, pod: Path) -> None:
    (pod / "token").unlink()
    reader = quick(pod)
    fails(lambda: reader.read("alice"), NotConfigured)
    (pod / "token").write_text(TOKEN)
    assert reader.read("alice").name == "alice"


# With a kubeconfig


def test_the_users_function_reads_the_kubeconfig_of_the_environment(
    server: Server, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(k8s_annotations.cluster.reader, "_reader", None)
    monkeypatch.setenv("KUBECONFIG", str(config(tmp_path, server, authority, {"token": TOKEN})))
    assert get_namespace_annotations("alice")["learning-lab.dev/userid"] == "alice"
    with pytest.raises(NamespaceNotFound):
        get_namespace_annotations("alice", prefix="another.lab")  # not marked with that prefix, so not theirs


def test_the_kubeconfig_at_home_is_the_default(server: Server, authority: Authority, tmp_path: Path) -> None:
    (tmp_path / ".kube").mkdir()
    config(tmp_path / ".kube", server, authority, {"token": TOKEN})
    assert ClusterReader().read("alice").name == "alice"


def test_a_token_file_is_read_and_read_again_when_it_was_rotated(
    server: Server, authority: Authority, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text(TOKEN)
    reader = ClusterReader(config(tmp_path, server, authority, {"tokenFile": "token"}))
    reader.read("alice")
    (tmp_path / "token").write_text("next")
    server.tokens = {"next"}
    reader.read("alice")
    assert [request.authorization for request in server.requests] == [f"Bearer {TOKEN}"] * 2 + ["Bearer next"]


@pytest.mark.parametrize("inline", [pytest.param(False, id="in files"), pytest.param(True, id="in the kubeconfig")])
def test_a_client_certificate_lets_in(server: Server, authority: Authority, tmp_path: Path, inline: bool) -> None:
    import base64

    files = authority.issue("alice the admin")
    user = {"client-certificate": str(files[0]), "client-key": str(files[1])}
    if inline:
        user = {f"{key}-data": base64.b64encode(Path(file).read_bytes()).decode() for key, file in user.items()}
    assert ClusterReader(config(tmp_path, server, authority, user)).read("alice").name == "alice"
    assert server.requests[0].authorization is None


def test_an_exec_plugin_gives_the_token_once_and_again_when_it_has_ended(
    server: Server, authority: Authority, tmp_path: Path
) -> None:
    reader = ClusterReader(config(tmp_path, server, authority, plugin(tmp_path, credential(TOKEN))))
    reader.read("alice")
    reader.read("alice")
    assert (tmp_path / "plugin.py.calls").read_text() == "x"
    plugin(tmp_path, credential("next"))
    server.tokens = {"next"}
    reader.read("alice")
    assert (tmp_path / "plugin.py.calls").read_text() == "xx"


@pytest.mark.parametrize(
    "script",
    [
        pytest.param("raise SystemExit('who are you?')", id="it fails"),
        pytest.param("print('no JSON')", id="it says something else"),
        pytest.param("", id="it says nothing"),
    ],
)
def test_an_exec_plugin_that_gives_nothing_is_named(
    server: Server, authority: Authority, tmp_path: Path, script: str
) -> None:
    file = config(tmp_path, server, authority, plugin(tmp_path, script))
    fails(lambda: quick(file=file).read("alice"), AccessDenied, "exec plugin")


def test_an_exec_plugin_that_hangs_delays_nobody_beyond_the_deadline_and_is_started_once(
    server: Server, authority: Authority, tmp_path: Path
) -> None:
    script = "import os, time\nopen(__file__ + '.calls', 'a').write(f'{os.getpid()} ')\ntime.sleep(8)\n"
    reader = quick(file=config(tmp_path, server, authority, plugin(tmp_path, script)), **HASTY)
    before = time.monotonic()
    with ThreadPoolExecutor(8) as threads:
        calls = [threads.submit(fails, lambda: reader.read("alice"), ClusterUnavailable, "plugin") for _ in range(8)]
        for call in calls:
            call.result()
    assert time.monotonic() - before < GENEROUS
    fails(lambda: reader.read("alice"), ClusterUnavailable, "plugin")
    assert len((tmp_path / "plugin.py.calls").read_text().split()) == 1


def test_an_exec_plugin_that_is_slow_once_is_not_run_again_for_the_next_call(
    server: Server, authority: Authority, tmp_path: Path
) -> None:
    script = "import time\ntime.sleep(1.2)\n" + credential(TOKEN)
    reader = quick(file=config(tmp_path, server, authority, plugin(tmp_path, script)), deadline=0.9)
    fails(lambda: reader.read("alice"), ClusterUnavailable, "plugin")
    for _ in range(3):
        with contextlib.suppress(ClusterUnavailable):
            reader.read("alice")
    assert reader.read("alice").name == "alice"
    assert (tmp_path / "plugin.py.calls").read_text() == "x"


def test_a_context_is_chosen_by_its_name_or_by_the_file(server: Server, authority: Authority, tmp_path: Path) -> None:
    cluster = {"certificate-authority-data": authority.data}
    one = kubeconfig(tmp_path / "one", "https://127.0.0.1:1", {"token": "x"}, context="one")
    two = kubeconfig(tmp_path / "two", server.url, {"token": TOKEN}, cluster=cluster, context="two")
    both = Path(f"{one}:{two}")
    fails(lambda: quick(file=both).read("alice"), ClusterUnavailable, "127.0.0.1:1 ")
    assert quick(file=both, context="two").read("alice").name == "alice"
    fails(lambda: quick(file=both, context="three").read("alice"), NotConfigured, "three")


def test_several_files_in_the_environment_are_merged_and_missing_ones_are_skipped(
    server: Server, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = {"certificate-authority": "ca/ca.crt"}  # relative to the kubeconfig's own location
    (tmp_path / "a" / "ca").mkdir(parents=True)
    (tmp_path / "a" / "ca" / "ca.crt").write_bytes(authority.file.read_bytes())
    kubeconfig(tmp_path / "a" / "one", server.url, {"token": TOKEN}, cluster=cluster, context="one", current=False)
    (tmp_path / "two").write_text("current-context: one\n")
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path / 'none'}:{tmp_path / 'a' / 'one'}:{tmp_path / 'two'}")
    assert ClusterReader().read("alice").name == "alice"


@pytest.mark.parametrize(
    ("content", "word"),
    [
        pytest.param(None, "no kubeconfig", id="it is not there"),
        pytest.param("", "empty", id="it is empty"),
        pytest.param("a: [", "YAML", id="it is not YAML"),
        pytest.param("- a", "structure", id="it is a list"),
        pytest.param("current-context: a", "contexts", id="it has no contexts"),
        pytest.param("#" * (2**20 + 1), "larger", id="it is too large"),
    ],
)
def test_a_kubeconfig_that_cannot_be_used_is_a_wrong_configuration(
    tmp_path: Path, content: str | None, word: str
) -> None:
    file = tmp_path / "config"
    if content is not None:
        file.write_text(content)
    fails(lambda: quick(file=file).read("alice"), NotConfigured, word, str(file))


@pytest.mark.parametrize(
    ("address", "word"),
    [
        pytest.param("http://cluster.example:6443", "https:", id="plain http to another machine"),
        pytest.param("http://127.0.0.1.example:6443", "https:", id="plain http to a name that looks like this machine"),
        pytest.param("ftp://127.0.0.1", "https:", id="another scheme"),
        pytest.param(f"https://user:{TOKEN}@127.0.0.1:6443", "password", id="a password in it"),
        pytest.param("https://[::1", "address", id="half an address"),
        pytest.param("https://127.0.0.1:port", "address", id="a port that is not a number"),
        pytest.param("https://", "address", id="nothing after the scheme"),
        pytest.param("127.0.0.1:6443", "address", id="no scheme"),
        pytest.param("", "address", id="nothing"),
    ],
)
def test_a_server_to_which_no_token_may_be_sent_is_refused(tmp_path: Path, address: str, word: str) -> None:
    file = kubeconfig(tmp_path / "config", address, {"token": TOKEN})
    fails(lambda: quick(file=file).read("alice"), NotConfigured, word)


@pytest.mark.parametrize(
    "user",
    [
        pytest.param({"name": "test", "token": TOKEN}, id="the key user is missing"),
        pytest.param({"name": "test", "user": {"auth-provider": {"name": "oidc", "config": {"x": TOKEN}}}}, id="oidc"),
        pytest.param({"name": "test", "user": {"token": [TOKEN]}}, id="the token is a list"),
    ],
)
def test_a_malformed_user_is_reported_without_the_token(
    server: Server, authority: Authority, tmp_path: Path, user: dict[str, Any]
) -> None:
    file = config(tmp_path, server, authority, {})
    content = yaml.safe_load(file.read_text())
    file.write_text(yaml.safe_dump(content | {"users": [user]}))
    fails(lambda: quick(file=file).read("alice"), NotConfigured)


def test_a_token_of_two_lines_in_a_kubeconfig_is_refused(server: Server, authority: Authority, tmp_path: Path) -> None:
    file = config(tmp_path, server, authority, {"token": f"{TOKEN}\nX: y"})
    fails(lambda: quick(file=file).read("alice"), NotConfigured, "token")


def test_a_missing_client_certificate_is_a_wrong_configuration(
    server: Server, authority: Authority, tmp_path: Path
) -> None:
    file = config(tmp_path, server, authority, {"client-certificate": "none.crt", "client-key": "none.key"})
    fails(lambda: quick(file=file).read("alice"), NotConfigured)


def test_embedded_certificates_are_written_again_when_their_files_were_cleaned_up(
    server: Server, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import base64

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    files = authority.issue("an admin with data")
    user = {
        f"client-{part}-data": base64.b64encode(file.read_bytes()).decode()
        for part, file in zip(("certificate", "key"), files, strict=True)
    }
    reader = quick(file=config(tmp_path, server, authority, user))
    reader.read("alice")
    for written in tmp_path.glob("tmp*"):
        written.unlink()
    server.drop_connections()
    assert reader.read("alice").name == "alice"


@pytest.mark.parametrize("skip", ["false", "no", "", 0, 1, None, []])
def test_certificate_checks_are_turned_off_only_by_true_and_not_by_what_python_takes_for_it(
    server: Server, authority: Authority, tmp_path: Path, skip: Any
) -> None:
    unknown = Authority(tmp_path, "another CA").data
    cluster = {"certificate-authority-data": unknown, "insecure-skip-tls-verify": skip}
    file = kubeconfig(tmp_path / "config", server.url, {"token": TOKEN}, cluster=cluster)
    fails(lambda: quick(file=file).read("alice"), NotConfigured, "insecure-skip-tls-verify", "true or false")
    assert server.requests == []


@pytest.mark.parametrize(
    ("addition", "word"),
    [
        pytest.param(
            "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
            + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 7))
            + "users: [{name: test, user: {token: x, more: *a6}}]\n",
            "aliases",
            id="a bomb of aliases",
        ),
        pytest.param("preferences: " + "[" * 2000 + "]" * 2000 + "\n", "deeper", id="2,000 levels"),
    ],
)
def test_a_kubeconfig_that_would_expand_is_refused_at_once(
    server: Server, authority: Authority, tmp_path: Path, addition: str, word: str
) -> None:
    file = config(tmp_path, server, authority, {"token": TOKEN})
    file.write_text(file.read_text().partition("users:")[0] + addition)
    fails(lambda: quick(file=file).read("alice"), NotConfigured, word, str(file))


def test_plain_http_to_this_machine_is_accepted_as_for_kubectl_proxy(tmp_path: Path) -> None:
    with running() as server:
        file = kubeconfig(tmp_path / "config", server.url, {"token": TOKEN})
        assert quick(file=file).read("alice").name == "alice"


# Proxies


def test_the_environments_proxy_is_not_used_for_this_machine(
    server: Server, pod: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    assert quick(pod).read("alice").name == "alice"


@pytest.mark.parametrize("host", ["127.0.0.2", "127.255.0.1", "[::1]", "[::ffff:127.0.0.1]", "localhost.", "LOCALHOST"])
def test_no_name_of_this_machine_goes_through_the_environments_proxy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    with listening() as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.getsockname()[1]}")
        file = kubeconfig(tmp_path / "config", f"https://{host}:1", {"token": TOKEN})
        error = fails(lambda: quick(file=file, **HASTY).read("alice"), ClusterUnavailable)
        assert "proxy" not in str(error)
        proxy.setblocking(False)
        with pytest.raises(BlockingIOError):
            proxy.accept()


def test_the_kubeconfigs_proxy_is_used_for_this_machine_too(
    server: Server, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", server.url)
    cluster = {"certificate-authority-data": authority.data, "proxy-url": "http://127.0.0.1:1"}
    file = kubeconfig(tmp_path / "config", server.url, {"token": TOKEN}, cluster=cluster)
    fails(lambda: quick(file=file).read("alice"), ClusterUnavailable, "proxy", "refused")
    assert server.connections == 0


def test_the_environments_proxy_is_used_for_other_machines(
    server: Server, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with listening() as proxy, ThreadPoolExecutor(1) as threads:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.getsockname()[1]}")
        asked = threads.submit(lambda: proxy.accept()[0].recv(100))
        file = kubeconfig(tmp_path / "config", "https://cluster.invalid:6443", {"token": TOKEN})
        fails(lambda: quick(file=file).read("alice"), ClusterUnavailable)
        assert asked.result(GENEROUS).startswith(b"CONNECT cluster.invalid:6443 ")


# The server's answers


@pytest.mark.parametrize(
    ("code", "reason", "headers", "kind", "retry_after"),
    [
        pytest.param(403, "Forbidden", {}, AccessDenied, None, id="403"),
        pytest.param(404, "NotFound", {}, NamespaceNotFound, None, id="404"),
        pytest.param(
            429, "TooManyRequests", {"Retry-After": "7"}, ClusterUnavailable, 7.0, id="429 with a Retry-After"
        ),
        pytest.param(429, "TooManyRequests", {}, ClusterUnavailable, None, id="429"),
        pytest.param(503, "Unavailable", {"Retry-After": "1e9"}, ClusterUnavailable, 3600.0, id="503 for 30 years"),
        pytest.param(503, "Unavailable", {"Retry-After": "-1"}, ClusterUnavailable, 0.0, id="503 until a second ago"),
        pytest.param(503, "Unavailable", {"Retry-After": "soon"}, ClusterUnavailable, None, id="503 until soon"),
        pytest.param(500, "InternalError", {}, ClusterUnavailable, None, id="500"),
        pytest.param(302, "Found", {"Location": "/api/v1/namespaces/bob"}, ClusterUnavailable, None, id="a redirect"),
    ],
)
def test_an_error_answer_becomes_one_of_our_errors_and_is_not_retried(
    server: Server,
    pod: Path,
    code: int,
    reason: str,
    headers: dict[str, str],
    kind: type[AnnotationError],
    retry_after: float | None,
) -> None:
    def answer(handler: Handler, _request: Request) -> bool:
        handler.answer(code, status(code, reason, f"no, {TOKEN}"), headers)
        return True

    server.misbehave = answer
    error = fails(lambda: quick(pod).read("alice"), kind, "alice")
    assert getattr(error, "retry_after", None) == retry_after
    assert len(server.requests) == 1


def test_a_missing_namespace_and_a_forbidden_one_have_different_errors(server: Server, pod: Path) -> None:
    server.forbidden = {"secret"}
    reader = quick(pod)
    fails(lambda: reader.read("bob"), NamespaceNotFound, "'bob'")
    fails(lambda: reader.read("secret"), AccessDenied, "403", "'secret'")
    assert server.connections == 1


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "../secrets", "Alice", "a" * 64, "-a", "a?b", "a\n", "ä", "alice/finalize"]
)
def test_a_name_that_no_namespace_can_have_is_not_requested(server: Server, pod: Path, name: str) -> None:
    fails(lambda: quick(pod).read(name), NamespaceNotFound)
    assert server.requests == []


@pytest.mark.parametrize(
    ("code", "body"),
    [
        pytest.param(200, json.dumps(namespace("alice")).encode()[:-40], id="JSON that is cut off"),
        pytest.param(200, b"", id="nothing"),
        pytest.param(200, b"<html>log in first</html>", id="a page"),
        pytest.param(200, b"[" * 500_000, id="JSON of half a million levels"),
        pytest.param(200, b'{"a":' * 100_000 + b"1" + b"}" * 100_000, id="objects of a hundred thousand levels"),
        pytest.param(200, b"\xff\xfe\xfd", id="bytes that are not text"),
        pytest.param(200, b"[]", id="a list"),
        pytest.param(200, b'{"kind": "Namespace"}', id="a namespace without metadata"),
        pytest.param(200, b'{"metadata": {"name": 5}}', id="a name that is a number"),
        pytest.param(200, json.dumps(namespace("bob")).encode(), id="somebody else's namespace"),
        pytest.param(200, b" " * (2 * 2**20 + 1), id="an answer above the limit"),
        pytest.param(404, b"<html>no such page</html>", id="a 404 that is not an API server's"),
        pytest.param(404, b"{}", id="a 404 without a Status object"),
    ],
)
def test_an_answer_that_is_not_a_namespace_counts_as_an_unavailable_cluster(
    server: Server, pod: Path, code: int, body: bytes
) -> None:
    def answer(handler: Handler, _request: Request) -> bool:
        handler.answer(code, body)
        return True

    server.misbehave = answer
    fails(lambda: quick(pod).read("alice"), ClusterUnavailable)


def test_labels_and_annotations_that_are_missing_or_not_strings_are_skipped(server: Server, pod: Path) -> None:
    server.namespaces["a"] = {"metadata": {"name": "a", "labels": None, "annotations": {"x": 1, "y": "z"}}}
    found = quick(pod).read("a")
    assert (found.labels, found.annotations) == ({}, {"y": "z"})


def test_an_endless_answer_is_read_only_up_to_the_limit(server: Server, pod: Path) -> None:
    sent: list[int] = []

    def answer(handler: Handler, _request: Request) -> bool:
        handler.send_response(200)
        handler.send_header("Content-Length", str(2**40))
        handler.end_headers()
        with contextlib.suppress(OSError):
            while len(sent) < 1000:
                handler.wfile.write(b" " * 2**16)
                sent.append(2**16)
        handler.close_connection = True
        return True

    server.misbehave = answer
    fails(lambda: quick(pod).read("alice"), ClusterUnavailable, "larger")
    assert sum(sent) < 16 * 2**20


def test_a_small_answer_that_unpacks_to_a_large_one_is_refused(server: Server, pod: Path) -> None:
    packed = gzip.compress(b" " * 2**27)

    def answer(handler: Handler, _request: Request) -> bool:
        handler.answer(200, packed, {"Content-Encoding": "gzip"})
        return True

    server.misbehave = answer
    fails(lambda: quick(pod).read("alice"), ClusterUnavailable, "larger")


# Connections


def test_connections_are_kept_alive(server: Server, pod: Path) -> None:
    reader = quick(pod)
    for _ in range(20):
        reader.read("alice")
    assert (server.connections, len(server.requests)) == (1, 20)


def test_sixteen_threads_share_a_reader(server: Server, pod: Path) -> None:
    server.namespaces |= {f"u{number}": namespace(f"u{number}") for number in range(16)}
    reader = quick(pod, deadline=10.0, read_timeout=8.0, connect_timeout=4.0)

    def read(number: int) -> None:
        for _ in range(10):
            assert reader.read(f"u{number}").name == f"u{number}"

    with ThreadPoolExecutor(16) as threads:
        list(threads.map(read, range(16)))
    assert len(server.requests) == 160
    assert server.connections <= 16


def test_an_idle_connection_that_was_closed_is_opened_again(server: Server, pod: Path) -> None:
    reader = quick(pod)
    reader.read("alice")
    server.drop_connections()
    assert reader.read("alice").name == "alice"
    assert server.connections == 2


def test_a_connection_that_drops_while_it_is_used_is_tried_again_once(server: Server, pod: Path) -> None:
    reader = quick(pod)
    reader.read("alice")

    def drop(_handler: Handler, _request: Request) -> bool:
        server.misbehave = None
        server.drop_connections()
        return True

    server.misbehave = drop
    assert reader.read("alice").name == "alice"
    assert len(server.requests) == 3


def test_a_call_whose_connection_drops_twice_fails(server: Server, pod: Path) -> None:
    def drop(_handler: Handler, _request: Request) -> bool:
        server.drop_connections()
        return True

    server.misbehave = drop
    fails(lambda: quick(pod).read("alice"), ClusterUnavailable, "closed the connection")
    assert len(server.requests) == 2


def test_an_answer_that_breaks_off_is_retried_once(server: Server, pod: Path) -> None:
    def break_off(handler: Handler, _request: Request) -> bool:
        server.misbehave = None
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(b'{"metadata": {')
        handler.close_connection = True
        return True

    server.misbehave = break_off
    assert quick(pod).read("alice").name == "alice"
    assert len(server.requests) == 2


def test_a_closed_reader_opens_new_connections(server: Server, pod: Path) -> None:
    reader = quick(pod)
    reader.close()
    reader.read("alice")
    reader.close()
    assert reader.read("alice").name == "alice"
    assert server.connections == 2


# Things that take too long


def head(handler: Handler, then: Callable[[], Any] = lambda: None) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    then()


@pytest.mark.parametrize("read_timeout", [pytest.param(0.2, id="short pauses"), pytest.param(30.0, id="long pauses")])
@pytest.mark.parametrize(
    "behave",
    [
        pytest.param(lambda handler: handler.wait(8), id="the headers do not come"),
        pytest.param(lambda handler: handler.drip(b"HTTP/1.1 200 OK\r\nX-A: " + b"a" * 999, 0.05), id="slow headers"),
        pytest.param(lambda handler: head(handler, then=lambda: handler.wait(8)), id="the body does not come"),
        pytest.param(lambda handler: head(handler, then=lambda: handler.drip(b" " * 999, 0.05)), id="a slow body"),
        pytest.param(lambda handler: handler.drip(b"HTTP/1.1 100 Continue\r\n\r\n" * 99, 0.01), id="only 100 Continue"),
    ],
)
def test_a_slow_answer_ends_at_the_deadline(
    server: Server, pod: Path, behave: Callable[[Handler], Any], read_timeout: float
) -> None:
    def slow(handler: Handler, _request: Request) -> bool:
        with contextlib.suppress(OSError):
            behave(handler)
        handler.close_connection = True
        return True

    server.misbehave = slow
    before = threading.active_count()
    fails(lambda: quick(pod, **HASTY | {"read_timeout": read_timeout}).read("alice"), ClusterUnavailable, "in time")
    server.ended.set()
    until = time.monotonic() + GENEROUS
    while threading.active_count() > before and time.monotonic() < until:
        time.sleep(0.02)
    assert not [thread for thread in threading.enumerate() if thread.name == "cluster-call"]


@contextlib.contextmanager
def listening(backlog: int = 8) -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=backlog) as sock:
        sock.settimeout(GENEROUS)
        yield sock


@contextlib.contextmanager
def black_hole() -> Iterator[int]:
    """A port that never answers: a listener with a full queue that accepts nobody."""
    with listening(0) as sock, contextlib.ExitStack() as clients:
        for _ in range(4):
            client = clients.enter_context(socket.socket())
            client.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                client.connect(sock.getsockname())
        yield sock.getsockname()[1]


def test_a_black_hole_ends_at_the_deadline(tmp_path: Path) -> None:
    with black_hole() as port:
        file = kubeconfig(tmp_path / "config", f"https://127.0.0.1:{port}", {"token": TOKEN})
        before = time.monotonic()
        fails(lambda: quick(file=file, **HASTY).read("alice"), ClusterUnavailable)
        assert time.monotonic() - before > 0.2


def test_a_name_with_many_black_holes_ends_at_the_deadline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with black_hole() as port:
        hole = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_arguments, **_options: [hole] * 10)
        file = kubeconfig(tmp_path / "config", f"https://localhost:{port}", {"token": TOKEN})
        fails(lambda: quick(file=file, **HASTY).read("alice"), ClusterUnavailable)


def test_a_name_server_that_does_not_answer_ends_at_the_deadline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(*_arguments: Any, **_options: Any) -> list[Any]:
        time.sleep(6)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", silent)
    file = kubeconfig(tmp_path / "config", "https://localhost:6443", {"token": TOKEN})
    fails(lambda: quick(file=file, **HASTY).read("alice"), ClusterUnavailable)


def test_a_silent_server_ends_at_the_deadline(tmp_path: Path) -> None:
    with listening() as sock:  # the system accepts the connection, but nobody speaks TLS
        file = kubeconfig(tmp_path / "config", f"https://127.0.0.1:{sock.getsockname()[1]}", {"token": TOKEN})
        fails(lambda: quick(file=file, **HASTY).read("alice"), ClusterUnavailable)


# What cannot be connected to, and what cannot be trusted


def test_a_port_where_nobody_listens_counts_as_an_unavailable_cluster(tmp_path: Path) -> None:
    with listening() as sock:
        port = sock.getsockname()[1]
    file = kubeconfig(tmp_path / "config", f"https://127.0.0.1:{port}", {"token": TOKEN})
    fails(lambda: quick(file=file).read("alice"), ClusterUnavailable, str(port), "refused")


def test_an_unknown_name_counts_as_an_unavailable_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_arguments: Any, **_options: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    file = kubeconfig(tmp_path / "config", "https://cluster.invalid:6443", {"token": TOKEN})
    fails(lambda: quick(file=file).read("alice"), ClusterUnavailable, "cluster.invalid", "not known")


def test_a_certificate_of_another_name_is_refused_before_the_token_is_sent(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(certificate=authority.issue("elsewhere", "elsewhere.example")) as server:
        pod = a_pod(server, authority, tmp_path, monkeypatch)
        fails(lambda: quick(pod).read("alice"), ClusterUnavailable, "TLS", "127.0.0.1")
        assert server.requests == []
        cluster = {"certificate-authority-data": authority.data, "tls-server-name": "elsewhere.example"}
        named = kubeconfig(tmp_path / "config", server.url, {"token": TOKEN}, cluster=cluster)
        assert quick(file=named).read("alice").name == "alice"


def test_a_certificate_of_an_unknown_ca_is_refused_before_the_token_is_sent(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pod = a_pod(server, Authority(tmp_path, "another CA"), tmp_path, monkeypatch)
    fails(lambda: quick(pod).read("alice"), ClusterUnavailable, "TLS", "certificate in certificate chain")
    file = kubeconfig(tmp_path / "config", server.url, {"token": TOKEN})
    fails(lambda: quick(file=file).read("alice"), ClusterUnavailable, "TLS")
    assert server.requests == []


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_an_unchecked_certificate_is_accepted_with_a_warning(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = kubeconfig(tmp_path / "config", server.url, {"token": TOKEN}, cluster={"insecure-skip-tls-verify": True})
    assert quick(file=file).read("alice").name == "alice"
    assert "not checked" in caplog.text
    assert TOKEN not in caplog.text


def test_a_server_without_tls_counts_as_an_unavailable_cluster(tmp_path: Path) -> None:
    with running() as server:
        file = kubeconfig(tmp_path / "config", f"https://127.0.0.1:{server.port}", {"token": TOKEN})
        fails(lambda: quick(file=file).read("alice"), ClusterUnavailable)
        assert server.requests == []


# The list


def test_all_namespaces_are_listed_page_by_page(server: Server, pod: Path) -> None:
    names = sorted(f"u{number}" for number in range(250))
    server.namespaces = {name: namespace(name, {"team": "bio" if name.endswith("7") else "it"}) for name in names}
    assert [found.name for found in quick(pod, deadline=5.0).list()] == names
    assert [request.query.get("continue") for request in server.requests] == [None, "100", "200"]


def test_the_cluster_evaluates_a_label_selector(server: Server, pod: Path) -> None:
    server.namespaces["bob"] = namespace("bob", {"dir.learning-lab.dev/shared": "genomics"})
    found = list(quick(pod).list("dir.learning-lab.dev/shared=genomics"))
    assert [one.name for one in found] == ["bob"]
    assert found[0].labels["dir.learning-lab.dev/shared"] == "genomics"
    assert server.requests[0].query["labelSelector"] == "dir.learning-lab.dev/shared=genomics"


def test_a_page_may_be_larger_than_one_namespace(server: Server, pod: Path) -> None:
    large = {"learning-lab.dev/notebook-dirs": "x" * 250_000}
    server.namespaces = {f"u{number}": namespace(f"u{number}", None, large) for number in range(20)}
    assert len(list(quick(pod, deadline=6.0).list())) == 20


@pytest.mark.parametrize(
    ("code", "kind"),
    [pytest.param(403, AccessDenied, id="403"), pytest.param(404, ClusterUnavailable, id="404")],
)
def test_a_refused_list_has_its_own_error(server: Server, pod: Path, code: int, kind: type[AnnotationError]) -> None:
    def answer(handler: Handler, _request: Request) -> bool:
        handler.answer(code, status(code, "", ""))
        return True

    server.misbehave = answer
    fails(lambda: list(quick(pod).list()), kind, "list of namespaces")
