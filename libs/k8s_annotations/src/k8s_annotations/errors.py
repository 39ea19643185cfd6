"""What can go wrong when a namespace is read.

The package has its own hierarchy so that callers can tell who has to act without knowing the HTTP library or the
Kubernetes client underneath; none of their exceptions leaves this package. Every message says what was tried and what
to do next, and never contains a token.
"""

from __future__ import annotations


class AnnotationError(Exception):
    """Reading a namespace failed. Catch this to catch them all."""


class InvalidUserId(AnnotationError):
    """The text cannot be a user id, so nothing was asked."""


class NamespaceNotFound(AnnotationError):
    """There is no such namespace, or it is not marked as the user's."""


class AccessDenied(AnnotationError):
    """The cluster does not accept the credentials (401), or refuses this account (403)."""


class ClusterUnavailable(AnnotationError):
    """There was no answer, or an unusable one: try again later.

    Attributes:
        retry_after: seconds to wait if the cluster asked for that (429, 503), else None.
    """

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class NotConfigured(AnnotationError):
    """There is nothing to ask: no service account, no kubeconfig, no such context, no readable file."""
