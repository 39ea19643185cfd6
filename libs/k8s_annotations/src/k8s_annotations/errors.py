"""What can go wrong when a namespace is read or written.

The package has its own hierarchy so that callers can tell who has to act without knowing the HTTP library or the
Kubernetes client underneath; none of their exceptions leaves this package. Every message says what was tried and what
to do next, and never contains a token.
"""

from __future__ import annotations


class AnnotationError(Exception):
    """Reading or writing a namespace failed. Catch this for all kinds."""


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


class Conflict(AnnotationError):
    """What was to be written was written by somebody else meanwhile, or is theirs to write (409).

    Attributes:
        owned: another field manager owns it; trying again does not help, taking it over does.
    """

    def __init__(self, message: str, *, owned: bool) -> None:
        super().__init__(message)
        self.owned = owned


class Invalid(AnnotationError):
    """The cluster does not take what was to be written: it is not valid there (400, 422)."""


class NotConfigured(AnnotationError):
    """There is nothing to ask: no service account, no kubeconfig, no such context, no readable file."""
