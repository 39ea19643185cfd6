"""Nobody can get a port that people or the hub trust, whatever ends and restarts in the meantime."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil

from lab_testing.attack_target import Outcome
from lab_testing.embedded import EmbeddedLab
from lab_testing.person import Person


def proxies_of(lab: EmbeddedLab) -> list[int]:
    """The PIDs of the Node processes that the hub has started."""
    return [
        each.pid
        for each in psutil.Process(lab.pid).children()
        if any(word.endswith(("/proxy.js", "/configurable-http-proxy")) for word in each.cmdline())
    ]


def listening_ports(pid: int) -> set[int]:
    """The ports that a process listens on."""
    connections = psutil.Process(pid).net_connections("tcp")
    return {each.laddr.port for each in connections if each.status == psutil.CONN_LISTEN}


def kill_for(lab: EmbeddedLab, seconds: float, killed: list[int]) -> None:
    """Kill each proxy of the lab soon after it has started."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for pid in proxies_of(lab):
            killed.append(pid)
            os.kill(pid, signal.SIGKILL)
        time.sleep(1)


def test_nobody_gets_a_port_of_the_lab_while_its_proxy_ends_again_and_again(
    embedded: EmbeddedLab, attack: Callable[..., Outcome]
) -> None:
    (proxy,) = proxies_of(embedded)
    hub_port = int(embedded.hub_url.rpartition(":")[2])
    trusted = listening_ports(embedded.pid) | listening_ports(proxy) | {embedded.port, hub_port}
    killed: list[int] = []
    killer = threading.Thread(target=kill_for, args=(embedded, 5, killed))
    killer.start()
    # People's servers are given an IPv4 address for the hub.
    outcome = attack("take_ports", ports=sorted(trusted), ipv6=[embedded.port], seconds=6)
    killer.join()
    assert outcome.got == []
    assert outcome.tried > 100
    assert len(set(killed)) >= 2
    assert httpx.get(f"{embedded.url}/hub/health", timeout=10).status_code == 200


def test_a_proxy_that_ends_is_replaced_at_once_and_loses_no_route(
    embedded: EmbeddedLab, people: Callable[[str], Person]
) -> None:
    alice = people("alice")
    alice.start(directory="/s/alice/notebooks")
    alice.wait_until_ready()
    listed = alice.contents()["content"]
    (proxy,) = proxies_of(embedded)
    os.kill(proxy, signal.SIGKILL)
    ended = time.monotonic()
    again = None
    while again != listed and time.monotonic() < ended + 5:
        # The ended proxy's connection is reset; a browser would ask again.
        with contextlib.suppress(httpx.TransportError):
            answer = alice.http.get("/user/alice/api/contents/")
            again = answer.json()["content"] if answer.status_code == 200 else None
    assert again == listed
    assert time.monotonic() - ended < 3
    assert proxies_of(embedded) != [proxy]


def test_a_hub_that_is_killed_takes_its_proxy_with_it(tmp_path: Path, embedded: EmbeddedLab) -> None:
    with EmbeddedLab(tmp_path) as lab:
        (proxy,) = proxies_of(lab)
        os.kill(lab.pid, signal.SIGKILL)
        until = time.monotonic() + 5
        while Path(f"/proc/{proxy}").exists() and time.monotonic() < until:
            time.sleep(0.05)
        assert not Path(f"/proc/{proxy}").exists()
        assert not list(tmp_path.glob("*proxy.pid"))
