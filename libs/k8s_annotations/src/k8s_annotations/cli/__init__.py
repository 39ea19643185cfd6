"""The command `k8s-annotations`."""
