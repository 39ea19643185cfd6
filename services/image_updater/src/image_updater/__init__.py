"""Restart the lab when the tag of its image has moved in the registry: `python -m image_updater`."""
