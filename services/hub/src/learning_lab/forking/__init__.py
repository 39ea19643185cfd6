"""Processes that fork people's servers, so that the hub's event loop waits for no child."""
