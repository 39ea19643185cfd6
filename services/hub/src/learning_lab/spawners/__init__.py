"""Spawners: what JupyterHub asks for a server."""
