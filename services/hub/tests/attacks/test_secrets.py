"""The secrets of the hub and the proxy stay with them."""

from __future__ import annotations

from collections.abc import Callable

from lab_testing.attack_target import Outcome, Target

STATE = "/srv/learning-lab"
TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount/token"


def test_nobody_reads_a_root_process_or_the_hubs_files(target: Target, attack: Callable[..., Outcome]) -> None:
    paths = [str(target.embedded.directory)] if target.embedded else [STATE, TOKEN]
    outcome = attack("secrets_of_the_hub", paths=[*paths, "/etc/shadow"])
    assert outcome.got == []
    assert outcome.tried > 6
