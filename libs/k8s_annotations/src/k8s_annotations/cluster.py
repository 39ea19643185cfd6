"""The reader of a Kubernetes cluster: one call, one GET.

Rules kept here:
- in a pod the service account is used; elsewhere only a kubeconfig (``KUBECONFIG``, else ``~/.kube/config``), with its
  current context or one that is named;
- connections are kept alive and shared by threads; a dropped idle one is tried again once, and so is a 401, with the
  token read anew (kubernetes-client/python#1768);
- a call has a deadline that holds whatever the server does, also when it dribbles its answer byte by byte;
- no more than `LARGEST_ANSWER` is read, no redirect is followed, no token goes to a plain http: server elsewhere;
- nothing of urllib3's or the Kubernetes client's leaves as an exception, and no token gets into a message.

The official client brings the credentials (files, client certificates, exec plugins) and the connection pool. Its
generated API classes and models are not used: importing them costs more than the call.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from .deadline import guarded_pools
from .errors import AccessDenied, AnnotationError, ClusterUnavailable, NamespaceNotFound, NotConfigured
from .names import namespace_name
from .reader import Namespace

LARGEST_ANSWER = 2 * 2**20  # bytes; etcd holds no object above 1.5 MiB
LARGEST_KUBECONFIG = 2**20  # bytes
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")

_PAGE = 250  # namespaces a page of a listing
_log = logging.getLogger(__name__)


class ClusterReader:
    """Reads namespaces from a Kubernetes API server. Threads may share one.

    Args:
        kubeconfig: the file; None for the service account in a pod, else ``KUBECONFIG`` or ``~/.kube/config``.
        context: the context of the kubeconfig; None for its current one.
        connect_timeout: seconds to reach the server.
        read_timeout: seconds between two pieces of an answer.
        deadline: seconds for a call in all, retry included.
        service_account: where a pod has its token and CA.

    Nothing is read before the first call.
    """

    def __init__(
        self,
        kubeconfig: Path | None = None,
        context: str | None = None,
        *,
        connect_timeout: float = 2.0,
        read_timeout: float = 5.0,
        deadline: float = 8.0,
        service_account: Path = SERVICE_ACCOUNT,
    ) -> None:
        self._kubeconfig = kubeconfig
        self._context = context
        self._connect_timeout = connect_timeout
        self._read_timeout = read_timeout
        self._deadline = deadline
        self._service_account = service_account
        self._lock = threading.Lock()
        self._access: _Access | None = None

    def read(self, namespace: str) -> Namespace:
        """Read one namespace with one GET.

        Raises:
            NamespaceNotFound, AccessDenied, ClusterUnavailable, NotConfigured: see `errors`.
        """
        return _namespace(self._get(f"/api/v1/namespaces/{quote(namespace, safe='')}", f"namespace {namespace!r}"))

    def peek(self, namespace: str, age: float) -> Namespace | None:  # noqa: ARG002
        """None: nothing of a cluster is kept."""
        return None

    def list(self, label_selector: str | None = None) -> Iterator[Namespace]:
        """Read all namespaces page by page, or those that a label selector matches."""
        parameters = {"limit": str(_PAGE)} | ({"labelSelector": label_selector} if label_selector else {})
        while True:
            page = self._get(f"/api/v1/namespaces?{urlencode(parameters)}", "the list of namespaces")
            items = page.get("items")
            for item in items if isinstance(items, list) else []:
                yield _namespace(item)
            metadata = page.get("metadata")
            following = metadata.get("continue") if isinstance(metadata, dict) else None
            if not following:
                return
            parameters["continue"] = str(following)

    def close(self) -> None:
        """Close the connections. The next call opens new ones."""
        with self._lock:
            access, self._access = self._access, None
        if access is not None:
            access.pools.clear()

    def _get(self, path: str, what: str) -> dict[str, Any]:
        until = monotonic() + self._deadline
        for last_try in (False, True):
            access = self._connected(until)
            try:
                status, headers, body = self._send(access, path, until)
            except _Dropped as error:
                if last_try or monotonic() >= until:
                    raise ClusterUnavailable(
                        f"{access.host} closed the connection while {what} was read ({error})."
                    ) from None
                continue
            if status == 401 and not last_try:
                self._forget(access)  # a rotated token, or an exec plugin's that has ended
                continue
            return _answer(status, headers, body, what, access)
        raise AssertionError("the loop above returns or raises")

    def _send(self, access: _Access, path: str, until: float) -> tuple[int, Any, bytes]:
        """One GET. Raises _Dropped when the connection broke before an answer, else ClusterUnavailable."""
        import urllib3
        from urllib3.exceptions import HTTPError, ProtocolError, SSLError
        from urllib3.exceptions import TimeoutError as SlowError

        left = until - monotonic()
        timeout = urllib3.Timeout(connect=min(self._connect_timeout, left), read=min(self._read_timeout, left))
        try:
            with access.pools.until(until):
                response = access.pools.manager.request(
                    "GET",
                    access.host + path,
                    headers={"Accept": "application/json", **access.authorization()},
                    timeout=timeout,
                    retries=False,
                    redirect=False,
                    preload_content=False,
                )
                # Not `.data`: that reads without a bound. A connection with an unread rest is closed, not used again.
                body = response.read(LARGEST_ANSWER + 1, decode_content=True)
                if len(body) > LARGEST_ANSWER:
                    response.close()
                response.release_conn()
                return response.status, response.headers, body
        except SlowError:
            raise _too_slow(access, self._deadline) from None
        except SSLError as error:
            raise ClusterUnavailable(
                f"The certificate of {access.host} is not one to trust: {_reason(error)}. Check the CA and the server"
                " name of the kubeconfig or service account."
            ) from None
        except ProtocolError as error:
            if monotonic() >= until:
                raise _too_slow(access, self._deadline) from None
            raise _Dropped(_reason(error)) from None
        except (HTTPError, OSError, ValueError) as error:
            if monotonic() >= until:
                raise _too_slow(access, self._deadline) from None
            raise ClusterUnavailable(
                f"{access.host} cannot be reached: {_reason(error)}. Check that the cluster is up, and that nothing in"
                " between refuses."
            ) from None

    def _connected(self, until: float) -> _Access:
        with self._lock:
            if self._access is None:
                self._access = _within(until, self._load, "Reading the credentials (an exec plugin?)")
            return self._access

    def _forget(self, access: _Access) -> None:
        with self._lock:
            if self._access is access:
                self._access = None

    def _load(self) -> _Access:
        named = self._kubeconfig is not None or self._context is not None
        if not named and os.environ.get("KUBERNETES_SERVICE_HOST") and (self._service_account / "token").exists():
            return _service_account(self._service_account)
        return _from_kubeconfig(self._kubeconfig, self._context)


class _Dropped(Exception):
    """The connection broke before there was an answer."""


class _Access:
    """Where a cluster is and how to be let in."""

    def __init__(self, host: str, configuration: Any, authorization: Callable[[], dict[str, str]]) -> None:
        parts = urlsplit(host)
        self.host = f"{parts.scheme}://{parts.netloc}{parts.path}".rstrip("/")
        self.authorization = authorization
        local = parts.hostname in {"localhost", "127.0.0.1", "::1"}
        if parts.scheme != "https" and not (parts.scheme == "http" and local):
            raise NotConfigured(
                f"The server {self.host} is not https:, so no token is sent there. Mend the kubeconfig."
            )
        if not configuration.verify_ssl:
            _log.warning("The certificate of %s is not checked (insecure-skip-tls-verify).", self.host)
        if local:
            configuration.proxy = None  # a proxy of the environment has no business with this machine's own server
        try:
            self.pools = guarded_pools(configuration)
        except (OSError, ssl.SSLError, ValueError) as error:
            raise NotConfigured(
                f"The CA or client certificate for {self.host} cannot be used: {_reason(error)}."
            ) from None


def _service_account(directory: Path) -> _Access:
    from kubernetes.client import Configuration

    configuration = Configuration()
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    configuration.host = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    configuration.ssl_ca_cert = str(directory / "ca.crt")

    def authorization() -> dict[str, str]:
        # Read each time: the kubelet changes it about every hour, and it is a few hundred bytes of memory.
        try:
            return {"Authorization": f"Bearer {(directory / 'token').read_text().strip()}"}
        except OSError as error:
            raise NotConfigured(f"The service account's token cannot be read: {error.strerror}.") from None

    return _Access(configuration.host, configuration, authorization)


def _from_kubeconfig(kubeconfig: Path | None, context: str | None) -> _Access:
    import yaml
    from kubernetes.client import Configuration
    from kubernetes.config import ConfigException
    from kubernetes.config.kube_config import load_kube_config

    named = str(kubeconfig) if kubeconfig else os.environ.get("KUBECONFIG") or "~/.kube/config"
    files = [Path(part).expanduser() for part in named.split(os.pathsep) if part]
    there = [file for file in files if file.is_file()]
    if not there:
        raise NotConfigured(
            f"There is no kubeconfig ({named}) and this is no pod with a service account. Set KUBECONFIG."
        )
    configuration = Configuration()
    try:
        for file in there:
            if file.stat().st_size > LARGEST_KUBECONFIG:
                raise NotConfigured(f"{file} is larger than {LARGEST_KUBECONFIG} bytes; it is no kubeconfig.")
        load_kube_config(  # type: ignore[no-untyped-call]
            config_file=os.pathsep.join(map(str, there)),
            context=context,
            client_configuration=configuration,
            persist_config=False,
        )
    except AnnotationError:
        raise
    except OSError as error:
        raise NotConfigured(f"The kubeconfig {named} cannot be read: {error.strerror or error}.") from None
    except ConfigException as error:
        raise NotConfigured(f"The kubeconfig {named} cannot be used: {_first_line(error)}.") from None
    except yaml.YAMLError:
        raise NotConfigured(f"The kubeconfig {named} is not valid YAML. Mend it, or name another one.") from None
    except Exception as error:
        raise NotConfigured(
            f"The kubeconfig {named} has an unexpected shape ({type(error).__name__}). Mend it."
        ) from None

    def authorization() -> dict[str, str]:
        try:
            value = configuration.get_api_key_with_prefix("BearerToken")  # runs an exec plugin whose token has ended
        except Exception as error:
            raise NotConfigured(f"The credentials of {named} cannot be had ({type(error).__name__}).") from None
        return {"Authorization": value} if value else {}

    return _Access(str(configuration.host), configuration, authorization)


def _within(until: float, load: Callable[[], _Access], what: str) -> _Access:
    """Call `load` in a thread and wait for it until the deadline: the client lets an exec plugin hang for ever."""
    done: list[_Access | BaseException] = []

    def run() -> None:
        try:
            done.append(load())
        except BaseException as error:
            done.append(error)

    thread = threading.Thread(target=run, daemon=True, name="cluster-credentials")
    thread.start()
    thread.join(max(0.0, until - monotonic()))
    if not done:
        raise ClusterUnavailable(f"{what} took too long. Run the command of the kubeconfig's user by hand to see why.")
    if isinstance(done[0], BaseException):
        raise done[0]
    return done[0]


def _answer(status: int, headers: Any, body: bytes, what: str, access: _Access) -> dict[str, Any]:
    """Turn an HTTP answer into its JSON object, or into the error that it stands for."""
    if status == 404:
        raise NamespaceNotFound(f"There is no {what} in the cluster at {access.host}. Create and mark it first.")
    if status in {401, 403}:
        whose = "does not know who asks (401)" if status == 401 else "does not let this account read it (403)"
        raise AccessDenied(
            f"{access.host} {whose}: {what}. Check the token or certificate, and the ClusterRole with the verb get on"
            " namespaces."
        )
    if status != 200:
        raise ClusterUnavailable(
            f"{access.host} answered {status} to the question for {what}. Try again later.", _retry_after(headers)
        )
    if len(body) > LARGEST_ANSWER:
        raise ClusterUnavailable(f"The answer of {access.host} for {what} is larger than {LARGEST_ANSWER} bytes.")
    try:
        answer = json.loads(body)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise ClusterUnavailable(
            f"The answer of {access.host} for {what} is cut off or no JSON object. Is it an API server?"
        )
    return answer


def _namespace(item: Any) -> Namespace:
    metadata = item.get("metadata") if isinstance(item, dict) else None
    if not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str):
        raise ClusterUnavailable("The cluster answered with something that is no namespace. Is it an API server?")
    return Namespace(metadata["name"], _texts(metadata.get("labels")), _texts(metadata.get("annotations")))


def _texts(values: Any) -> dict[str, str]:
    if not isinstance(values, dict):
        return {}
    return {key: value for key, value in values.items() if isinstance(value, str)}


def _retry_after(headers: Any) -> float | None:
    with contextlib.suppress(TypeError, ValueError):
        return max(0.0, min(float(headers.get("Retry-After")), 3600.0))
    return None


def _too_slow(access: _Access, deadline: float) -> ClusterUnavailable:
    return ClusterUnavailable(f"{access.host} did not answer inside {deadline:g} s. Try again later.")


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__


def _reason(error: BaseException) -> str:
    """The innermost reason, which is the one that a person can act on."""
    inner = getattr(error, "reason", None) or error.__cause__ or error
    text = getattr(inner, "verify_message", "") or getattr(inner, "strerror", "") or str(inner)
    return str(text).splitlines()[0][:200] if text else type(inner).__name__


_shared = threading.Lock()
_reader: ClusterReader | None = None


def _default_reader() -> ClusterReader:
    global _reader
    with _shared:
        if _reader is None:
            _reader = ClusterReader()
        return _reader


def get_ns_annotations(namespace: str) -> dict[str, str]:
    """The annotations of a namespace, by the namespace's name.

    Args:
        namespace: its name.

    Returns:
        Annotation key to value.

    Raises:
        AnnotationError: one of its kinds, see `errors`.

    Example:
        >>> get_ns_annotations("alice")["learning-lab.dev/userid"]   # doctest: +SKIP
        'alice'
    """
    return dict(_default_reader().read(namespace).annotations)


def get_namespace_annotations(userid: str) -> dict[str, str]:
    """The annotations of a user's namespace, by user id.

    In a pod the service account asks; elsewhere ``KUBECONFIG`` or ``~/.kube/config`` says where and as whom.

    Args:
        userid: the user id; `names.namespace_name` says which namespace is theirs.

    Returns:
        Annotation key to value.

    Raises:
        InvalidUserId: the text cannot be a user id.
        AnnotationError: another kind, see `errors`.

    Example:
        >>> get_namespace_annotations("alice")["learning-lab.dev/userid"]   # doctest: +SKIP
        'alice'
    """
    return get_ns_annotations(namespace_name(userid))
