"""Looking at directories as their user: the hub's side, and the worker that does it."""
