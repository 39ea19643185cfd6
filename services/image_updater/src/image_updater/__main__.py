"""Restart the lab when the tag of its image has moved in the registry: `python -m image_updater`.

A CronJob runs it (k8s/base/image-update.yaml) with rights to two Deployments, the hub's and the proxy's. It asks the
registry for the digest of each tag and compares it with what is running. If they differ, it first announces an update
to users. The first run after the announced time restarts the Deployments that have a new image, which then pull it.

Rules kept here:
- restarting only the proxy ends nobody's work, so that is neither announced nor delayed;
- the decision is a pure function (`decide`); the rest is I/O;
- if something cannot be read, the run ends with one sentence and exit code 1, and nothing is restarted;
- an announced time stays, even if the tag moves again before then: otherwise somebody who pushes every few minutes
  would put the restart off forever;
- nothing is restarted twice for the same digest: if the registry and the node report different digests, the lab would
  otherwise restart forever.

Environment:
    UPDATE_NOTICE_MINUTES   how long before a restart users are told; 0 restarts at once
    UPDATE_REGISTRIES       the addresses of registries that are not at https://NAME: NAME=URL, separated by spaces
    UPDATE_CREDENTIALS      a Docker config.json with the registries' log-ins (a Secret of type dockerconfigjson)
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
NOTICE = "update-notice"  # the ConfigMap, and below its keys; learning_lab/pages/update_notice.py reads them
PLANNED, UPDATED = "planned-at", "updated-at"
API_SECONDS = (5, 15)  # to connect, and between two chunks of an answer
RESTARTED_FOR = "learning-lab.dev/restarted-for"


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do now.

    Attributes:
        verb: "rest", "announce", "wait" or "restart".
        why: a sentence for the job's log.
        at: with "announce", the time that the restart is planned for.
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
        running: the running pod's digests, by container.
        latest: the digests of the tags in the registry, by container.
        restarted_for: what the last restart was for, in the form that `target` returns; empty for none.
        planned_at: the time that was announced to users, None for none.
        now: the current time.
        notice: how long before a restart users are told.
    """
    changed = sorted(name for name, digest in latest.items() if running.get(name) != digest)
    wanted = target(latest)
    if not changed:
        return Decision("rest", f"{', '.join(sorted(latest))}: up to date.")
    if restarted_for == wanted:
        return Decision(
            "rest",
            f"{', '.join(changed)}: the running digest differs from the registry's, but the lab was already restarted"
            " for it. Is imagePullPolicy Always, and do the nodes use the same registry?",
        )
    if notice and planned_at is None:
        return Decision("announce", f"{', '.join(changed)}: a new image. Announcing the update.", now + notice)
    if notice and planned_at is not None and now < planned_at:
        return Decision("wait", f"{', '.join(changed)}: a new image, announced for {planned_at.isoformat()}.")
    return Decision("restart", f"{', '.join(changed)}: a new image. Restarting.")


def target(latest: Mapping[str, str]) -> str:
    """Digests by container as one string, which can be compared and stored in an annotation."""
    return ",".join(f"{name}={digest}" for name, digest in sorted(latest.items()))


class Cluster:
    """The lab's Deployments and pods, and the notice to users, accessed with this pod's service account.

    Args:
        api: the official client's `ApiClient`.
        namespace: the lab's namespace.
    """

    def __init__(self, api: Any, namespace: str) -> None:
        self._api = api
        self._in = f"/namespaces/{namespace}"

    def deployment(self, name: str) -> dict[str, Any]:
        """Read a Deployment."""
        return self._call("GET", f"/apis/apps/v1{self._in}/deployments/{name}")

    def notice(self) -> dict[str, str]:
        """Read the notice to users."""
        return self._call("GET", f"/api/v1{self._in}/configmaps/{NOTICE}").get("data") or {}

    def set_notice(self, times: Mapping[str, str | None]) -> None:
        """Change the notice to users, by key; None removes a key."""
        self._call("PATCH", f"/api/v1{self._in}/configmaps/{NOTICE}", {"data": dict(times)})

    def restart(self, name: str, why: str, now: datetime) -> None:
        """Restart a Deployment's pods, as `kubectl rollout restart` does."""
        annotations = {RESTARTED_FOR: why, "kubectl.kubernetes.io/restartedAt": now.isoformat(timespec="seconds")}
        patch = {"spec": {"template": {"metadata": {"annotations": annotations}}}}
        self._call("PATCH", f"/apis/apps/v1{self._in}/deployments/{name}", patch)

    def running(self, selector: Mapping[str, str]) -> dict[str, str]:
        """The newest pod's digests, by container; containers that have none yet are left out."""
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
        # The client's generic call: it sends patches unchanged, and does not parse answers into its models.
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
            raise UpdateError(f"The API server cannot be reached: {' '.join(str(error).split())}.") from None
        if answer.status != 200 or not isinstance(content, dict):
            raise UpdateError(
                f"The API server answered {answer.status} to {method} {path}. Is the overlay applied, including its"
                " Role?"
            )
        return content


def update(cluster: Cluster, registry: Registry, notice: timedelta, now: datetime) -> list[Decision]:
    """Check both Deployments once, and do what is due.

    Returns:
        The decision for the hub and, unless the proxy waits for the hub's announced time, the decision for the proxy.

    Raises:
        UpdateError: something cannot be read or written.
    """
    told = cluster.notice()
    decision = _update_deployment(cluster, registry, HUB, _time(told.get(PLANNED, "")), now, notice)
    if decision.at:
        cluster.set_notice({PLANNED: decision.at.isoformat(timespec="seconds")})
    elif decision.verb == "restart":
        # Written once the restart is requested. The new pod starts after the old one ends, so it shows this at once.
        cluster.set_notice({PLANNED: None, UPDATED: now.isoformat(timespec="seconds")})
    elif decision.verb == "rest" and PLANNED in told:
        cluster.set_notice({PLANNED: None})  # the tag has moved back in the meantime
    if decision.verb in {"announce", "wait"}:
        return [decision]  # the proxy waits, so that images that were pushed together are replaced together
    return [decision, _update_deployment(cluster, registry, PROXY, None, now, timedelta(0))]


def _update_deployment(
    cluster: Cluster, registry: Registry, name: str, planned_at: datetime | None, now: datetime, notice: timedelta
) -> Decision:
    """Decide about one Deployment, and restart it if that is the decision."""
    deployment = cluster.deployment(name)
    template = deployment["spec"]["template"]
    containers = {container["name"]: container for container in template["spec"]["containers"]}
    images = {each: image for each, spec in containers.items() if (image := Image.parse(spec["image"]))}
    if not images:
        return Decision("rest", f"{name}: all images are named by digest, so there is nothing to check.")
    for each in images:
        if containers[each].get("imagePullPolicy") != "Always":
            raise UpdateError(
                f"The container {each} has a tag but no imagePullPolicy Always: set it, or name a digest."
            )
    running = cluster.running(deployment["spec"]["selector"]["matchLabels"])
    if not images.keys() <= running.keys():
        return Decision("rest", f"{name}: no pod is running yet, so there is no digest to compare.")
    latest = {each: registry.digest(image) for each, image in images.items()}
    annotations = template["metadata"].get("annotations") or {}
    restarted_for = annotations.get(RESTARTED_FOR, "")
    decision = decide(running, latest, restarted_for=restarted_for, planned_at=planned_at, now=now, notice=notice)
    if decision.verb == "restart":
        cluster.restart(name, target(latest), now)
    return decision


def main() -> None:
    """Run once, and print one line that says what was found, or why the check failed."""
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
            f"This is not a pod with a service account: {error}. The CronJob image-update runs this program."
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
