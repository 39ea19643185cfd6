"""Read the annotations of a user's Kubernetes namespace, and the notebook directories they grant.

>>> get_namespace_annotations("alice")              # doctest: +SKIP
{'learning-lab.dev/userid': 'alice', 'learning-lab.dev/notebook-dirs': '- /s/alice/notebooks'}
"""

from __future__ import annotations

from .cluster import ClusterReader, get_namespace_annotations, get_ns_annotations
from .errors import (
    AccessDenied,
    AnnotationError,
    ClusterUnavailable,
    InvalidUserId,
    NamespaceNotFound,
    NotConfigured,
)
from .grants import Entry, Grants, InvalidPath, canonical_path, fold, parse_grants
from .manifests import ManifestReader
from .names import namespace_name
from .namespaces import PREFIX, Namespace, Reader, marking_problem, user_namespace
from .untrusted_text import clean

__all__ = [
    "PREFIX",
    "AccessDenied",
    "AnnotationError",
    "ClusterReader",
    "ClusterUnavailable",
    "Entry",
    "Grants",
    "InvalidPath",
    "InvalidUserId",
    "ManifestReader",
    "Namespace",
    "NamespaceNotFound",
    "NotConfigured",
    "Reader",
    "canonical_path",
    "clean",
    "fold",
    "get_namespace_annotations",
    "get_ns_annotations",
    "marking_problem",
    "namespace_name",
    "parse_grants",
    "user_namespace",
]
