"""Builds what cannot be downloaded where no image registry or release server is reachable. Most sites don't need it."""
