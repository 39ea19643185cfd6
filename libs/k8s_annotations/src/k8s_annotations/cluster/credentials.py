"""The address of a cluster and the credentials for it, from a pod's service account or from a kubeconfig.

Rules kept here:
- the official client reads the kubeconfig (files, client certificates, exec plugins) and provides the connection pool.
  Its generated API classes and models are not used, because importing them costs more than the call;
- a token is sent only to an https: server or to this machine;
- a proxy from the environment is not used for this machine; a kubeconfig's own `proxy-url` always applies;
- a kubeconfig is checked before the client gets it. The client prints each user into a string, which a few aliases turn
  into gigabytes while the whole process stands still, and it takes `insecure-skip-tls-verify: "false"` for true;
- anything wrong with the files is a `NotConfigured`, and no message contains a token.
"""

from __future__ import annotations

import ipaddress
import logging
import os
import re
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from k8s_annotations.errors import AnnotationError, NotConfigured
from k8s_annotations.plain_yaml import DEEPEST, Loader, find_excess

from .deadline import Pools

LARGEST_KUBECONFIG = 2**20  # bytes

# What an Authorization header may contain; http.client would quote any other value in its exception.
_HEADER = re.compile(r"[!-~]+( [!-~]+)?")

_log = logging.getLogger(__name__)


class Access:
    """The address of a cluster, and the credentials for it.

    Args:
        source: where it comes from, for messages.
        configuration: the official client's configuration, without any proxy but the kubeconfig's own.
        token: returns the value of the Authorization header, or None.

    Attributes:
        host: scheme, name and port, without a trailing slash.
        pools: the connections.

    Raises:
        NotConfigured: the address, the CA or the client certificate cannot be used.
    """

    def __init__(self, source: str, configuration: Any, token: Callable[[], str | None]) -> None:
        self._source = source
        self._token = token
        self.host, local = _address(source, configuration.host)
        if configuration.proxy is None and not local:
            configuration.proxy = type(configuration)(host=self.host).proxy  # from the environment
        if not configuration.verify_ssl:
            _log.warning("The certificate of %s is not checked (insecure-skip-tls-verify).", self.host)
        _check_certificates(source, configuration)
        try:
            self.pools = Pools(configuration)
        except Exception as error:  # mostly a bad proxy address
            raise NotConfigured(
                f"The proxy or the connection that {source} asks for cannot be used ({type(error).__name__}). Fix it."
            ) from None
        self.has_certificate = bool(configuration.cert_file)

    def authorization(self) -> dict[str, str]:
        """The Authorization header for a request, freshly read.

        Raises:
            NotConfigured: there is a token, but it cannot be read or sent.
        """
        value = self._token()
        if not value:
            return {}
        if not _HEADER.fullmatch(value):
            raise NotConfigured(
                f"The token of {self._source} has characters that no token has, perhaps a line break. Write it again."
            )
        return {"Authorization": value}


def from_service_account(directory: Path) -> Access:
    """The access that a pod's service account gives.

    Raises:
        NotConfigured: the files or the address are missing or cannot be used.
    """
    from kubernetes.client import Configuration

    configuration = Configuration()
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    configuration.host = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    configuration.proxy = None
    configuration.ssl_ca_cert = str(directory / "ca.crt")

    def token() -> str:
        # Read each time: the kubelet replaces it about every hour, and it is a few hundred bytes in memory.
        try:
            return f"Bearer {(directory / 'token').read_text().strip()}"
        except (OSError, UnicodeError) as error:
            raise NotConfigured(
                f"The service account's token {directory / 'token'} cannot be read"
                f" ({getattr(error, 'strerror', None) or 'it is not text'}). Check the pod's projected volume."
            ) from None

    return Access("the service account", configuration, token)


def from_kubeconfig(kubeconfig: Path | None, context: str | None) -> Access:
    """The access that a kubeconfig gives.

    This runs an exec plugin, for as long as the plugin takes, so call it in a thread.

    Args:
        kubeconfig: the file; None for ``KUBECONFIG`` (missing files are skipped), else ``~/.kube/config``.
        context: the name of the context; None for the current one.

    Raises:
        NotConfigured: there is no kubeconfig, or it cannot be used.
    """
    import yaml
    from kubernetes.client import Configuration
    from kubernetes.config import ConfigException
    from kubernetes.config.kube_config import load_kube_config

    named = str(kubeconfig) if kubeconfig else os.environ.get("KUBECONFIG") or "~/.kube/config"
    source = f"the kubeconfig {named}"
    configuration = Configuration()
    configuration.host = ""  # or it would stay http://localhost when the cluster names no server
    configuration.proxy = None
    try:
        files = _files(named)
        contents = [_checked(file) for file in files]
        load_kube_config(  # type: ignore[no-untyped-call]
            config_file=os.pathsep.join(map(str, files)),
            context=context or _current_context(contents),
            client_configuration=configuration,
            persist_config=False,
        )
    except AnnotationError:
        raise
    except OSError as error:
        raise NotConfigured(
            f"The kubeconfig {named} cannot be read: {error.strerror or error}. Check its files."
        ) from None
    except ConfigException as error:
        raise NotConfigured(
            f"The kubeconfig {named} cannot be used: {_first_line(error)}. Fix it, or name another one."
        ) from None
    except yaml.YAMLError:
        raise NotConfigured(f"The kubeconfig {named} is not valid YAML. Fix it, or name another one.") from None
    except Exception as error:
        raise NotConfigured(
            f"The kubeconfig {named} has an unexpected structure ({type(error).__name__}). Fix it."
        ) from None
    # Without the client's own refreshing, which runs the plugin without a deadline. An expired token causes a 401, and
    # the reader then calls this function again.
    value = configuration.api_key.get("BearerToken")
    return Access(source, configuration, lambda: value)


def _files(named: str) -> list[Path]:
    try:
        files = [Path(part).expanduser() for part in named.split(os.pathsep) if part]
    except RuntimeError:  # no home directory
        files = []
    there = [file for file in files if file.is_file()]
    if not there:
        raise NotConfigured(
            f"There is no kubeconfig ({named}), and this is not a pod with a service account. Set KUBECONFIG."
        )
    for file in there:
        if file.stat().st_size > LARGEST_KUBECONFIG:
            raise NotConfigured(f"{file} is larger than {LARGEST_KUBECONFIG} bytes, so it is not a kubeconfig.")
    return there


def _checked(file: Path) -> Any:
    """The content of a kubeconfig, checked to be safe for the client to read."""
    import yaml

    text = file.read_bytes()
    excess = find_excess(text)
    if excess is not None:
        what = "has YAML aliases" if excess.kind == "alias" else f"is nested deeper than {DEEPEST} levels"
        raise NotConfigured(f"The kubeconfig {file} {what}. Write it out in full.")
    content = yaml.load(text, Loader=Loader)  # noqa: S506  it is a safe loader
    for item in (content.get("clusters") or []) if isinstance(content, dict) else []:
        cluster = item.get("cluster") if isinstance(item, dict) else None
        if isinstance(cluster, dict) and not isinstance(cluster.get("insecure-skip-tls-verify", False), bool):
            raise NotConfigured(
                f"In the kubeconfig {file} an insecure-skip-tls-verify is neither true nor false, perhaps because of"
                " quotes. Write true or false without them."
            )
    return content


def _current_context(contents: list[Any]) -> str | None:
    """The current context of the first file that has one, as in kubectl; the official client takes the last."""
    for content in contents if len(contents) > 1 else []:
        if isinstance(content, dict) and content.get("current-context"):
            return str(content["current-context"])
    return None


def _address(source: str, server: str) -> tuple[str, bool]:
    """The normalised address, and whether it is this machine."""
    try:
        parts = urlsplit(server)
        host = f"{parts.scheme}://{parts.netloc}{parts.path}".rstrip("/")
        usable = bool(parts.hostname) and (parts.port is None or parts.port > 0) and parts.username is None
    except ValueError:
        usable = False
    if not usable:  # the address is not shown, because it may contain a password
        raise NotConfigured(
            f"The server that {source} names is not an address like https://name:6443 (it may not contain a user or"
            " password). Fix it."
        )
    local = _is_this_machine(parts.hostname or "")
    if parts.scheme != "https" and not (parts.scheme == "http" and local):
        raise NotConfigured(f"The server {host} of {source} is not https:, so no token is sent there. Fix it.")
    return host, local


def _is_this_machine(hostname: str) -> bool:
    if hostname.rstrip(".") == "localhost":
        return True
    try:
        address = ipaddress.ip_address(hostname)
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def _check_certificates(source: str, configuration: Any) -> None:
    """Load the files once, to tell a bad file from a bad server. Urllib3 itself loads them for each connection."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        if configuration.ssl_ca_cert:
            context.load_verify_locations(configuration.ssl_ca_cert)
        if configuration.cert_file:
            context.load_cert_chain(configuration.cert_file, configuration.key_file or None, password="")
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise NotConfigured(
            f"The CA or client certificate of {source} cannot be used: {getattr(error, 'strerror', None) or error}."
            " Check its files."
        ) from None


def _first_line(error: Exception) -> str:
    # The client reports a missing key with everything around it, in braces, and that may include tokens.
    return str(error).partition("{")[0].partition("\n")[0].strip(" /.")[:200] or type(error).__name__
