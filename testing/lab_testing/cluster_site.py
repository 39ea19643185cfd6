"""The site on a cluster: makes the changes that tests need, with kubectl and in the hub's container."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from k8s_annotations import PREFIX, namespace_name
from lab_testing.kind_cluster import Cluster, namespaces

SERVER_SECONDS = 90


class ClusterSite:
    """Changes the lab on a cluster as its administrators do: the `Site` of `visitor.py`, and labels too."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._namespaces = False  # whether any have been changed
        self._storage = False

    def grant(self, userid: str, directories: list[Any]) -> None:
        """Set the user's list."""
        self.annotate(userid, **{"notebook-dirs": json.dumps(directories)})

    def annotate(self, userid: str, **annotations: str) -> None:
        """Set annotations on the user's namespace, named without their prefix."""
        self._namespaces = True
        pairs = [f"{PREFIX}/{name}={value}" for name, value in annotations.items()]
        self._cluster.kubectl("annotate", "--overwrite", "namespace", namespace_name(userid), *pairs)
        time.sleep(0.06)  # a menu may be 50 ms old

    def label(self, pair: str, *which: str) -> None:
        """Set a label on the namespaces that the arguments name or select."""
        self._namespaces = True
        self._cluster.kubectl("label", "--overwrite", "namespace", *which, pair)
        time.sleep(0.06)  # as above

    def delete_namespace(self, userid: str) -> None:
        """Delete the user's namespace, and wait until it is gone."""
        self._namespaces = True
        self._cluster.kubectl("delete", "namespace", namespace_name(userid), "--wait=true", seconds=120)

    def make_folder(self, path: str, owner: str) -> None:
        """Make a folder as its owner would."""
        self._storage = True
        self._cluster.in_pod("make-folder", path, owner)

    def forget_tabs(self) -> None:
        """Make JupyterLab open as if for the first time, without earlier tabs."""
        self._cluster.in_pod("forget-tabs")

    def remove(self, path: str) -> None:
        """Take a directory away."""
        self._storage = True
        self._cluster.in_pod("remove", path)

    def forbid(self, path: str) -> None:
        """Take away everybody's permission."""
        self._storage = True
        self._cluster.in_pod("forbid", path)

    @contextlib.contextmanager
    def held(self, userid: str) -> Iterator[None]:
        """Hold any start that the user makes within the block."""
        parent = self._cluster.in_pod("hold-parent").strip()
        if parent != "0":
            try:
                yield
            finally:
                self._cluster.in_pod("go-on", "root", parent)
            return
        with ThreadPoolExecutor(1) as watching:
            held = watching.submit(
                self._cluster.in_pod, "hold", userid, str(SERVER_SECONDS), seconds=SERVER_SECONDS + 30
            )
            try:
                yield
            finally:
                self._cluster.in_pod("go-on", userid, held.result().strip())

    def log(self) -> str:
        """What somebody who reads about a failure wants to see."""
        return self._cluster.tail()

    def restore(self) -> None:
        """Put everything back."""
        if self._namespaces:
            self._cluster.apply(namespaces())
            self._namespaces = False
        if self._storage:
            self._cluster.in_pod("put-back")
            self._storage = False
