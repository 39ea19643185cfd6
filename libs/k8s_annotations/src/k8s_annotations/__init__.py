"""Read the annotations of a user's Kubernetes namespace."""
