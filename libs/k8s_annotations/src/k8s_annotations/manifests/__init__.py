"""Reads namespaces from a file of manifests."""

from __future__ import annotations

from .lines import Located, NotManifests, located_namespaces
from .reader import ManifestReader, parse_manifests

__all__ = ["Located", "ManifestReader", "NotManifests", "located_namespaces", "parse_manifests"]
