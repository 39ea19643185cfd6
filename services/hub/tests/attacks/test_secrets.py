"""What the hub and the proxy keep to themselves stays there."""

from __future__ import annotations

from collections.abc import Callable

from lab_testing.attack_target import Outcome, Target

STATE = "/srv/learning-lab"
TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount/token"


def test_nobody_reads_a_root_process_or_a_file_of_the_hubs(target: Target, attack: Callable[..., Outcome]) -> None:
    paths = [str(target.embedded.directory)] if target.embedded else [STATE, TOKEN]
    outcome = attack("secrets_of_the_hub", paths=[*paths, "/etc/shadow"])
    assert outcome.got == []
    assert outcome.tried > 6
