"""In a container, the ports of the hub and of people's servers are none that a person can bind.

Everybody with a shell in the hub's pod has its network too. Whoever binds the hub's port while the hub restarts is the
hub to the proxy and to people's servers, and is sent passwords and tokens; whoever binds a server's port first is that
person's JupyterLab. The kernel keeps ports below `ip_unprivileged_port_start` for processes with CAP_NET_BIND_SERVICE,
in each network namespace: the pod sets the one and gives the hub the other (k8s/base/hub.yaml), and without them the
hub must not start.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from learning_lab.errors import SettingError

# https://docs.kernel.org/networking/ip-sysctl.html: the first port that needs no privilege. Of IPv6 too.
FIRST_FREE_PORT = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")


def check(ports: Iterable[int]) -> None:
    """Look whether the ports are reserved.

    Args:
        ports: of the hub, and of people's servers.

    Raises:
        SettingError: people could bind one of them. The text says what to set.
    """
    highest = max(ports)
    try:
        first_free = int(FIRST_FREE_PORT.read_text())
    except (OSError, ValueError) as error:
        raise SettingError(f"{FIRST_FREE_PORT} cannot be read, so people may be able to be the hub: {error}") from None
    if first_free <= highest:
        raise SettingError(
            f"people in this container could bind the ports from {first_free} on, so they could be the hub or another's"
            f" server (they use ports up to {highest}). Set the pod's sysctl net.ipv4.ip_unprivileged_port_start to"
            f" {highest + 1} and give the hub NET_BIND_SERVICE: k8s/base/hub.yaml has the lines"
        )
