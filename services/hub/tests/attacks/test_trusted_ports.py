"""While the hub restarts, nobody can pose as it: not to the proxy, to people's servers, or to people logging in."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from lab_testing.attack_target import Outcome, Target
from lab_testing.kind_cluster import Cluster

HUB = 881
SERVERS = (1024, 4095)
WITHOUT_PRIVILEGE = (4096, 8000, 8001, 8081)  # where the hub and the proxy listen in other labs, or used to listen here
SECONDS = 12


@pytest.mark.timeout(180)
def test_nobody_binds_the_hubs_or_a_servers_port_while_the_hub_restarts(
    target: Target, in_pod: Cluster, attack: Callable[..., Outcome]
) -> None:
    pod = in_pod.pod()["status"]["podIP"]
    with ThreadPoolExecutor(1) as beside:
        ports = range(SERVERS[0], SERVERS[1] + 1)
        everything = {"ports": [*ports], "often": [HUB], "ipv6": [HUB, *ports], "harmless": WITHOUT_PRIVILEGE}
        attacking = beside.submit(lambda: attack("take_ports", addresses=[pod], seconds=SECONDS, **everything))
        for _ in range(2):
            time.sleep(2)
            before = in_pod.in_pod("hub").strip()
            in_pod.in_hub("sv", "term", "/app/service/hub")
            # Anybody who logs in now is sent to whoever is listening.
            while not attacking.done() and in_pod.in_pod("hub").strip() in {"0", before}:
                time.sleep(0.1)
            in_pod.wait_until_healthy()
            bob = target.person("bob")
            bob.http.close()
        outcome = attacking.result()
    assert outcome.got == []
    assert outcome.tried > 1000
