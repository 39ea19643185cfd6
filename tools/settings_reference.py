"""Write docs/settings.md from the options themselves: `make docs`. A test checks that the page is up to date."""

from __future__ import annotations

import sys
from pathlib import Path

from learning_lab.login.authenticator import LabPAMAuthenticator
from learning_lab.settings import ENVIRONMENT_PREFIX, LearningLab

PAGE = Path(__file__).resolve().parents[1] / "docs" / "settings.md"

HEAD = """\
# Settings

Every option of the lab. `make docs` generates this page from the code. Set an option as `c.LearningLab.<option>` in
`jupyterhub_config.py`, before the call to `configure(c)`, or in a container with its environment variable; the file
takes precedence. An invalid value stops the start with one line that names the setting. Everything else is JupyterHub's
own configuration.
"""


def page() -> str:
    """The text of the page."""
    parts = [HEAD]
    for name, trait in sorted(LearningLab.class_traits(config=True).items()):
        parts.append(f"## `c.LearningLab.{name}`\n")
        parts.append(f"`{ENVIRONMENT_PREFIX}{name.upper()}`, default `{trait.default()!r}`\n")
        parts.append(" ".join(trait.help.split()) + "\n")
    parts.append("# Log-ins through PAM\n")
    stock = set(LabPAMAuthenticator.__mro__[1].class_traits(config=True))
    for name, trait in sorted(LabPAMAuthenticator.class_traits(config=True).items()):
        if name not in stock:
            parts.append(f"## `c.LabPAMAuthenticator.{name}`\n")
            parts.append(f"Default `{trait.default()!r}`\n")
            parts.append(" ".join(trait.help.split()) + "\n")
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page())
    print(f"{PAGE.name} is written", file=sys.stderr)
