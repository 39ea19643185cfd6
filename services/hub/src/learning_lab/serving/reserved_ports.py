"""In a container, users must not be able to bind the ports of the hub and of people's servers.

Everybody with a shell in the hub's pod shares its network. Whoever binds the hub's port while the hub restarts poses as
the hub to the proxy and to people's servers, and receives passwords and tokens; whoever binds a server's port first
poses as that user's JupyterLab. In each network namespace the kernel reserves the ports below
`ip_unprivileged_port_start` for processes with CAP_NET_BIND_SERVICE. The pod sets the sysctl and gives the hub the
capability (k8s/base/hub.yaml); without them the hub must not start.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from learning_lab.errors import SettingError

# https://docs.kernel.org/networking/ip-sysctl.html: the first port that needs no privilege, for IPv6 too.
FIRST_FREE_PORT = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")


def check(ports: Iterable[int]) -> None:
    """Check that the ports are reserved.

    Args:
        ports: those of the hub and of people's servers.

    Raises:
        SettingError: users could bind one of them. The message says what to set.
    """
    highest = max(ports)
    try:
        first_free = int(FIRST_FREE_PORT.read_text())
    except (OSError, ValueError) as error:
        raise SettingError(
            f"{FIRST_FREE_PORT} cannot be read, so users may be able to pose as the hub: {error}"
        ) from None
    if first_free <= highest:
        raise SettingError(
            f"users in this container could bind ports from {first_free} on, and so pose as the hub or as another"
            f" user's server (they use ports up to {highest}). Set the pod's sysctl"
            f" net.ipv4.ip_unprivileged_port_start to {highest + 1} and give the hub NET_BIND_SERVICE, as"
            " k8s/base/hub.yaml does"
        )
