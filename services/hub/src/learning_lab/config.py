"""`configure(c)` turns a JupyterHub into a Learning Lab.

The site's `jupyterhub_config.py` sets its own options first and calls this last; whatever the site has set stays.
"""

from __future__ import annotations

import contextlib
import functools
import os
import secrets
import sys
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from traitlets import TraitError
from traitlets.config import Config

from k8s_annotations import PREFIX, AnnotationError

from .access.audit import open_file
from .errors import SettingError
from .pages.handlers import HANDLERS, servers_of, static_url
from .pages.update_notice import notice
from .services import TEMPLATES, Services, make_templates
from .serving import addresses, hub_server, jupyterlab_files, origins, reserved_ports
from .serving.embedded_proxy import LabProxy
from .serving.forwarded import TrustedProxies
from .settings import LearningLab, environment_settings
from .spawners.local import LabLocalSpawner

# Scripts and styles may be inline because JupyterHub's page.html, which ours extends, has them inline. Anything from
# outside the lab is blocked: scripts, frames, form targets and base addresses.
CONTENT_SECURITY_POLICY = "; ".join(
    [
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    ]
)


def configure(c: Config) -> None:
    """Set up JupyterHub as a lab. Call it last in `jupyterhub_config.py`.

    Args:
        c: the configuration so far. The lab's own options come from `c.LearningLab` and from ``LEARNING_LAB_*`` in the
            environment; the configuration takes precedence.

    Raises:
        SystemExit: a setting is wrong. The message is one line and names the setting.
    """
    try:
        settings = load_settings(c)
        _serve(c, settings)
        Services.instance()  # made now, so that a wrong reader stops the start and not the first log-in
        _default(c.JupyterHub, "spawner_class", "lab-local")
        if os.environ.get("LAB_CONTAINER") == "1" and _starts_processes(c.JupyterHub.spawner_class):
            reserved_ports.check(_ports(c))
    except (SettingError, AnnotationError) as error:
        sys.exit(f"learning-lab: cannot start: {error}")

    if settings.reader == "cluster" and settings.prefix != PREFIX:
        # The hub may not read policies, so it cannot check this itself.
        sys.stderr.write(
            f"learning-lab: the prefix is {settings.prefix}: the policy that says who may change its annotations must"
            " name it too. Set the variable `prefix` in k8s/components/annotation-guard/policy.yaml.\n"
        )

    _default(c.JupyterHub, "authenticator_class", "lab-pam")
    if _starts_processes(c.JupyterHub.spawner_class):
        _keep_warm(c)
    _default(c.JupyterHub, "allow_named_servers", settings.open_beside)
    people = _give_addresses(c, settings)
    # A bad directory is one user's problem, and must never count towards stopping the hub.
    _default(c.Spawner, "consecutive_failure_limit", 0)
    c.JupyterHub.template_paths = [*_listed(c.JupyterHub, "template_paths"), str(TEMPLATES)]
    Services.instance().templates = make_templates(
        c.JupyterHub.template_paths, c.JupyterHub.get("jinja_environment_options", {})
    )
    c.JupyterHub.extra_handlers = [*_listed(c.JupyterHub, "extra_handlers"), *HANDLERS]
    tornado_settings = dict(c.JupyterHub.get("tornado_settings", {}))
    tornado_settings["headers"] = _headers(people) | dict(tornado_settings.get("headers", {}))
    tornado_settings["transforms"] = [origins.IsolationHeaders, *tornado_settings.get("transforms", [])]
    # The hub's pages contain the token. A script on another page could read the cookie, but it cannot read the pages.
    tornado_settings["xsrf_cookie_kwargs"] = {"httponly": True} | dict(tornado_settings.get("xsrf_cookie_kwargs", {}))
    c.JupyterHub.tornado_settings = tornado_settings
    origins.install()
    base_url = str(c.JupyterHub.get("base_url", "/")).rstrip("/") + "/hub/"
    # JupyterHub calls a callable with the current user and passes what it returns to the template.
    c.JupyterHub.template_vars = {
        "lab_title": settings.title,
        "lab_help_url": settings.help_url,
        # Where the hub serves the JupyterLab files of people's servers; "" where a server brings its own.
        "lab_jupyterlab": base_url + jupyterlab_files.ADDRESS if _has_their_jupyterlab(c) else "",
        "lab_static": lambda _user: functools.partial(static_url, base_url),
        "lab_servers": lambda user: functools.partial(servers_of, user),
        "lab_update": lambda _user: notice(settings.update_notice, datetime.now().astimezone()),
    } | dict(c.JupyterHub.get("template_vars", {}))


def _starts_processes(spawner_class: object) -> bool:
    return spawner_class == "lab-local" or (
        isinstance(spawner_class, type) and issubclass(spawner_class, LabLocalSpawner)
    )


def _has_their_jupyterlab(c: Config) -> bool:
    """Whether users' servers load JupyterLab's files from the hub; see `LabLocalSpawner.user_env`."""
    sections = (c.Spawner, c.LocalProcessSpawner, c.LabLocalSpawner)
    return (
        _starts_processes(c.JupyterHub.spawner_class)
        and jupyterlab_files.FILES.there
        and not any("cmd" in section for section in sections)
    )


def _serve(c: Config, settings: LearningLab) -> None:
    """Set up the proxy, and which forwarding headers the hub believes."""
    if c.JupyterHub.get("trusted_downstream_ips"):
        raise SettingError(
            "c.JupyterHub.trusted_downstream_ips is set: name the proxies in c.LearningLab.trusted_proxies"
        )
    _default(c.JupyterHub, "proxy_class", LabProxy)
    secret = c.ConfigurableHTTPProxy.get("auth_token") or os.environ.get("CONFIGPROXY_AUTH_TOKEN", "")
    if not secret and c.ConfigurableHTTPProxy.get("should_start", True):
        # JupyterHub would generate one for the proxy only, but the hub's server needs it too.
        c.ConfigurableHTTPProxy.auth_token = secret = secrets.token_hex()
    hub_server.install(secret, TrustedProxies.parse(settings.trusted_proxies))


def _give_addresses(c: Config, settings: LearningLab) -> str:
    """Set up the lab's address and users' own addresses.

    Returns:
        A Content-Security-Policy source for the users' addresses, or "" where they have none of their own.
    """
    if settings.address_per_person and addresses.has_names_below(settings.address):
        _default(c.JupyterHub, "subdomain_host", settings.address)
    elif settings.address:
        base = str(c.JupyterHub.get("base_url", "/")).strip("/")
        _default(c.JupyterHub, "public_url", f"{settings.address}/{base}/" if base else f"{settings.address}/")
    host = str(c.JupyterHub.get("subdomain_host", ""))
    if not host:
        return ""
    _default(c.JupyterHub, "subdomain_hook", addresses.host_of)
    # A page at alice's address can set cookies for the lab's, but not with this prefix, which requires Secure cookies.
    _default(c.JupyterHub, "cookie_host_prefix_enabled", host.startswith("https://"))
    return addresses.of_everybody(host)


def _ports(c: Config) -> list[int]:
    """The ports that the hub and users' servers listen on."""
    hub = urlsplit(str(c.JupyterHub.get("hub_bind_url", ""))).port or int(c.JupyterHub.get("hub_port", 8081))
    return [hub, *c.LabLocalSpawner.get("ports", ())]


def _keep_warm(c: Config) -> None:
    """Start the warm parent now, so that it is ready when the first user has logged in."""
    warm = Services.instance().warm
    sections = (c.Spawner, c.LocalProcessSpawner, c.LabLocalSpawner)
    environ = {name: value for section in sections for name, value in section.get("environment", {}).items()}
    # Without a running event loop this is not the hub: `jupyterhub token` reads the configuration too.
    with contextlib.suppress(RuntimeError):
        Services.instance().plain.keep()
        if warm is not None:
            warm.start({name: value for name, value in environ.items() if isinstance(value, str)})


def load_settings(c: Config) -> LearningLab:
    """Build the settings from the configuration and the environment.

    Raises:
        SettingError: a setting is wrong.
    """
    unknown = sorted(set(c.LearningLab) - set(LearningLab.class_traits(config=True)))
    if unknown:
        raise SettingError(f"c.LearningLab.{unknown[0]} is set, but there is no such option")
    for name, value in environment_settings(os.environ).items():
        _default(c.LearningLab, name, value)
    try:
        settings = LearningLab.instance(config=c)
    except TraitError as error:
        raise SettingError(f"c.LearningLab: {error}") from None
    settings.check()
    try:
        if settings.audit_log:
            os.close(open_file(settings.audit_log))
    except OSError as error:
        told = f"c.LearningLab.audit_log is {settings.audit_log!r}: it cannot be written ({error.strerror})"
        raise SettingError(told) from None
    return settings


def _default(section: Config, name: str, value: object) -> None:
    if name not in section:
        section[name] = value


def _listed(section: Config, name: str) -> list[Any]:
    return list(section[name]) if name in section else []


def _headers(people: str) -> dict[str, str]:
    """The headers of the hub's pages.

    Args:
        people: a Content-Security-Policy source for the addresses of users' servers; "" where they have none of their
            own.
    """
    policy = CONTENT_SECURITY_POLICY
    if people:
        # Browsers also apply it to a form's redirects, and a log-in or a start ends at the user's server.
        policy = policy.replace("form-action 'self'", f"form-action 'self' {people}")
    return {
        "Content-Security-Policy": policy,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "same-origin",
        "Cross-Origin-Opener-Policy": "same-origin",
    }
