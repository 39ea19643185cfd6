"""Reads namespaces from a cluster. All of this library's network traffic happens here."""

from __future__ import annotations

from .reader import ClusterReader, get_namespace_annotations, get_ns_annotations

__all__ = ["ClusterReader", "get_namespace_annotations", "get_ns_annotations"]
