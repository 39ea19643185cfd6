"""While the hub restarts nobody is the hub: not for the proxy, not for people's servers, not for who logs in."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from lab_testing.attack_target import Outcome, Target
from lab_testing.kind_cluster import Cluster

HUB = 881
SERVERS = (1024, 4095)
WITHOUT_PRIVILEGE = (4096, 8000, 8001, 8081)  # where hub and proxy listen elsewhere, and where they once did here
SECONDS = 12


@pytest.mark.timeout(180)
def test_nobody_binds_a_port_of_the_hubs_or_of_a_server_while_the_hub_restarts(
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
            # Who logs in now is sent to whoever listens.
            while not attacking.done() and in_pod.in_pod("hub").strip() in {"0", before}:
                time.sleep(0.1)
            in_pod.wait_until_healthy()
            bob = target.person("bob")
            bob.http.close()
        outcome = attacking.result()
    assert outcome.got == []
    assert outcome.tried > 1000
