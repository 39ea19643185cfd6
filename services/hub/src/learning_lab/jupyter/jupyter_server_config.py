"""What every user's server is configured with; Jupyter finds it through JUPYTER_CONFIG_PATH."""

import os

c = get_config()  # type: ignore[name-defined]  # noqa: F821  Jupyter puts it here

# jupyter_client reads it while it is imported, which for a forked server is before there is a user.
c.Session.username = os.environ.get("USER", "")
