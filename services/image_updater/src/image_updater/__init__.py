"""Restart the lab when the tag of its image means another image in the registry: `python -m image_updater`."""
