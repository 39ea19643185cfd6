"""Restart the lab when the tag of its image means another image in the registry: `python -m image_updater`.

A CronJob runs it (k8s/base/image-update.yaml) with rights to the two Deployments, of the hub and of the proxy. It asks
the registry for the digest of each tag and looks at what runs; where they differ it tells the people first, and at a
look after that time it restarts the Deployments that have another image, which pull it.

Rules kept here:
- what restarts the proxy alone ends nobody's work: that is neither told nor put off;
- the decision is a pure function (`decide`), the rest is asking and telling;
- what cannot be asked ends with one sentence and exit code 1, and nothing is restarted;
- a time that people were told stays, whatever the tag comes to mean until then: who pushes every few minutes must not
  put the restart off for ever;
- no digest is restarted for twice: a registry that tells other digests than the node would restart for ever.

Environment:
    UPDATE_NOTICE_MINUTES   how long before a restart people read about it; 0 restarts at once
    UPDATE_REGISTRIES       where a registry answers when not at https://NAME: NAME=URL, with spaces between several
    UPDATE_CREDENTIALS      a docker config.json with the log-ins of registries (a Secret of type dockerconfigjson)
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import urllib3
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException

from .registry import DIGEST, Image, Registry, UpdateError, addresses, credentials

NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
HUB, PROXY = "learning-lab", "proxy"
DEPLOYMENTS = (HUB, PROXY)
NOTICE = "update-notice"  # the ConfigMap, and its keys: learning_lab/pages/update_notice.py reads them
PLANNED, UPDATED = "planned-at", "updated-at"
API_SECONDS = (5, 15)  # to connect, and between two pieces of an answer
RESTARTED_FOR = "learning-lab.dev/restarted-for"


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do now.

    Attributes:
        verb: "rest", "announce", "wait" or "restart".
        why: a sentence for the job's log.
        at: when it is planned for, with "announce".
    """

    verb: str
    why: str
    at: datetime | None = None


def decide(
    running: Mapping[str, str],
    latest: Mapping[str, str],
    *,
    restarted_for: str,
    planned_at: datetime | None,
    now: datetime,
    notice: timedelta,
) -> Decision:
    """Decide what to do.

    Args:
        running: digest by container, of the pod that runs.
        latest: digest by container, of the tags in the registry.
        restarted_for: what the last restart was for, as `target` names it; empty for none.
        planned_at: the time that the people were told, None for none.
        now: the time.
        notice: how long before a restart people are told.
    """
    changed = sorted(name for name, digest in latest.items() if running.get(name) != digest)
    wanted = target(latest)
    if not changed:
        return Decision("rest", f"{', '.join(sorted(latest))}: what runs is what the tags mean.")
    if restarted_for == wanted:
        return Decision(
            "rest",
            f"{', '.join(changed)}: another digest runs than the registry tells, and the lab was restarted for it"
            " already. Is imagePullPolicy Always, and is the registry of the nodes the same?",
        )
    if notice and planned_at is None:
        return Decision("announce", f"{', '.join(changed)}: a new image. People are told.", now + notice)
    if notice and planned_at is not None and now < planned_at:
        return Decision("wait", f"{', '.join(changed)}: a new image, announced for {planned_at.isoformat()}.")
    return Decision("restart", f"{', '.join(changed)}: a new image. It restarts.")


def target(latest: Mapping[str, str]) -> str:
    """Digests by container as one word, so that they can be compared and kept in an annotation."""
    return ",".join(f"{name}={digest}" for name, digest in sorted(latest.items()))


class Cluster:
    """The Deployments of the lab, their pods and what people are told, through the service account of this pod.

    Args:
        api: the official client's.
        namespace: where the lab is.
    """

    def __init__(self, api: Any, namespace: str) -> None:
        self._api = api
        self._in = f"/namespaces/{namespace}"

    def deployment(self, name: str) -> dict[str, Any]:
        """A Deployment."""
        return self._call("GET", f"/apis/apps/v1{self._in}/deployments/{name}")

    def notice(self) -> dict[str, str]:
        """What people are told."""
        return self._call("GET", f"/api/v1{self._in}/configmaps/{NOTICE}").get("data") or {}

    def tell(self, times: Mapping[str, str | None]) -> None:
        """Change what people are told, by key; None takes a part away."""
        self._call("PATCH", f"/api/v1{self._in}/configmaps/{NOTICE}", {"data": dict(times)})

    def restart(self, name: str, why: str, now: datetime) -> None:
        """Let a Deployment make new pods, as `kubectl rollout restart` does."""
        annotations = {RESTARTED_FOR: why, "kubectl.kubernetes.io/restartedAt": now.isoformat(timespec="seconds")}
        patch = {"spec": {"template": {"metadata": {"annotations": annotations}}}}
        self._call("PATCH", f"/apis/apps/v1{self._in}/deployments/{name}", patch)

    def running(self, selector: Mapping[str, str]) -> dict[str, str]:
        """Digest by container of the newest pod; those without one yet are left out."""
        query = urlencode({"labelSelector": ",".join(f"{key}={value}" for key, value in selector.items())})
        pods = self._call("GET", f"/api/v1{self._in}/pods?{query}").get("items") or []
        pods.sort(key=lambda pod: pod["metadata"]["creationTimestamp"])
        found = {}
        for status in pods[-1].get("status", {}).get("containerStatuses", []) if pods else []:
            digest = DIGEST.search(status.get("imageID", ""))
            if digest:
                found[status["name"]] = digest.group()
        return found

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        # The client's generic way: patches as they are, and answers without its models.
        headers = {"Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/merge-patch+json"
        try:
            request = self._api.param_serialize(
                method, path, header_params=headers, body=body, auth_settings=["BearerToken"]
            )
            answer = self._api.call_api(*request, _request_timeout=API_SECONDS)
            content = json.loads(answer.read() or "null")
        except (urllib3.exceptions.HTTPError, ApiException, OSError, ValueError) as error:
            raise UpdateError(f"The API server cannot be asked: {' '.join(str(error).split())}.") from None
        if answer.status != 200 or not isinstance(content, dict):
            raise UpdateError(
                f"The API server answered {answer.status} to {method} {path}. Is the overlay applied, with its Role?"
            )
        return content


def update(cluster: Cluster, registry: Registry, notice: timedelta, now: datetime) -> list[Decision]:
    """Look once at both Deployments, and do what is due.

    Returns:
        What was decided: for the hub, and, unless it waits for the hub's time, for the proxy.

    Raises:
        UpdateError: something cannot be asked or told.
    """
    told = cluster.notice()
    decision = _follow(cluster, registry, HUB, _time(told.get(PLANNED, "")), now, notice)
    if decision.at:
        cluster.tell({PLANNED: decision.at.isoformat(timespec="seconds")})
    elif decision.verb == "restart":
        # Told when it is true. The new pod is made when the old one has gone, so its first page has it.
        cluster.tell({PLANNED: None, UPDATED: now.isoformat(timespec="seconds")})
    elif decision.verb == "rest" and PLANNED in told:
        cluster.tell({PLANNED: None})  # the tag went back meanwhile
    if decision.verb in {"announce", "wait"}:
        return [decision]  # images that were pushed together are replaced together
    return [decision, _follow(cluster, registry, PROXY, None, now, timedelta(0))]


def _follow(
    cluster: Cluster, registry: Registry, name: str, planned_at: datetime | None, now: datetime, notice: timedelta
) -> Decision:
    """Decide about one Deployment, and restart it where that is the decision."""
    deployment = cluster.deployment(name)
    template = deployment["spec"]["template"]
    containers = {container["name"]: container for container in template["spec"]["containers"]}
    images = {each: image for each, spec in containers.items() if (image := Image.parse(spec["image"]))}
    if not images:
        return Decision("rest", f"{name}: all images are named by digest: there is nothing to look for.")
    for each in images:
        if containers[each].get("imagePullPolicy") != "Always":
            raise UpdateError(
                f"The container {each} has a tag and no imagePullPolicy Always: set it, or name a digest."
            )
    running = cluster.running(deployment["spec"]["selector"]["matchLabels"])
    if not images.keys() <= running.keys():
        return Decision("rest", f"{name}: no pod runs, or one is just starting: its image is not there yet.")
    latest = {each: registry.digest(image) for each, image in images.items()}
    annotations = template["metadata"].get("annotations") or {}
    restarted_for = annotations.get(RESTARTED_FOR, "")
    decision = decide(running, latest, restarted_for=restarted_for, planned_at=planned_at, now=now, notice=notice)
    if decision.verb == "restart":
        cluster.restart(name, target(latest), now)
    return decision


def main() -> None:
    """Look once; one line says what was found, or why nothing could be."""
    try:
        minutes = os.environ.get("UPDATE_NOTICE_MINUTES") or "0"
        if not minutes.isdecimal():
            raise UpdateError(f"UPDATE_NOTICE_MINUTES is {minutes!r}; it must be a number of minutes.")
        registry = Registry(
            addresses(os.environ.get("UPDATE_REGISTRIES", "")), credentials(os.environ.get("UPDATE_CREDENTIALS", ""))
        )
        decisions = update(_cluster(), registry, timedelta(minutes=int(minutes)), datetime.now(UTC))
    except UpdateError as error:
        sys.exit(f"image-update: {error}")
    for decision in decisions:
        sys.stdout.write(f"image-update: {decision.why}\n")


def _cluster() -> Cluster:
    try:
        config.load_incluster_config()  # type: ignore[no-untyped-call]
        namespace = NAMESPACE_FILE.read_text().strip()
    except (config.ConfigException, OSError) as error:
        raise UpdateError(
            f"This is no pod with a service account: {error}. The CronJob image-update runs it."
        ) from None
    return Cluster(client.ApiClient(), namespace)


def _time(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else None


if __name__ == "__main__":
    main()
