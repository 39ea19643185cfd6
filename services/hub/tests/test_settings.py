"""A wrong configuration stops the start with one line that names the setting. Each test starts the real hub."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from traitlets.config import Config

import settings_reference
from lab_testing.embedded import HUB, NAMESPACES
from learning_lab.config import load_settings
from learning_lab.errors import SettingError
from learning_lab.settings import LearningLab, environment_settings

FILE = {"LEARNING_LAB_READER": "file", "LEARNING_LAB_NAMESPACES_FILE": str(NAMESPACES)}


def start(tmp_path: Path, environ: dict[str, str], config: str = "") -> subprocess.CompletedProcess[str]:
    """Start the hub with a few lines before the project's configuration; it is expected to end by itself."""
    file = tmp_path / "jupyterhub_config.py"
    file.write_text(f"c = get_config()\n{config}\n" + (HUB / "jupyterhub_config.py").read_text())
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("LEARNING_LAB_", "KUBE"))}
    return subprocess.run(
        [sys.executable, "-m", "jupyterhub", "-f", str(file)],
        cwd=tmp_path,
        env={**clean, "HOME": str(tmp_path), **FILE, **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


WRONG = [
    pytest.param({"LEARNING_LAB_READER": "oracle"}, "", "LEARNING_LAB_READER is 'oracle'", id="an unknown reader"),
    pytest.param({}, "c.LearningLab.reader = 'oracle'", "reader", id="an unknown reader in the file"),
    pytest.param(
        {"LEARNING_LAB_NAMESPACES_FILE": "/nowhere/namespaces.yaml"},
        "",
        "c.LearningLab.namespaces_file is '/nowhere/namespaces.yaml': it cannot be read",
        id="a file of namespaces that is not there",
    ),
    pytest.param(
        {"LEARNING_LAB_NAMESPACES_FILE": ""},
        "",
        "c.LearningLab.namespaces_file is empty",
        id="no file of namespaces",
    ),
    pytest.param(
        {"LEARNING_LAB_ROOTS": "/s:/nowhere"}, "", "there is no such directory", id="a root that does not exist"
    ),
    pytest.param(
        {"LEARNING_LAB_ROOTS": "s"}, "", "c.LearningLab.roots has 's'", id="a root that is not an absolute path"
    ),
    pytest.param({"LEARNING_LAB_ROOTS": "/"}, "", "c.LearningLab.roots has '/'", id="the whole machine as a root"),
    pytest.param(
        {"LEARNING_LAB_PREFIX": "not a name"}, "", "c.LearningLab.prefix", id="a prefix that is not a DNS name"
    ),
    pytest.param(
        {"LEARNING_LAB_PROBE_DEADLINE": "soon"}, "", "LEARNING_LAB_PROBE_DEADLINE", id="a word instead of a number"
    ),
    pytest.param({"LEARNING_LAB_PROBE_DEADLINE": "0"}, "", "probe_deadline is 0", id="a deadline of 0"),
    pytest.param({"LEARNING_LAB_REEDER": "file"}, "", "LEARNING_LAB_REEDER", id="a variable that names no option"),
    pytest.param({}, "c.LearningLab.reeder = 'file'", "c.LearningLab.reeder", id="an option that does not exist"),
    pytest.param({"LEARNING_LAB_HELP_URL": "javascript:alert(1)"}, "", "help_url", id="a help link that is a script"),
    pytest.param(
        {"LEARNING_LAB_DEFAULT_DIRECTORY": "/s/{user.__class__}"}, "", "default_directory", id="a format string"
    ),
    pytest.param(
        {"LEARNING_LAB_ADDRESS": "https://lab.example.com/x"}, "", "c.LearningLab.address", id="an address with a path"
    ),
    pytest.param(
        {"LEARNING_LAB_TRUSTED_PROXIES": "0.0.0.0/0"}, "", "trusted_proxies", id="every address as a trusted proxy"
    ),
    pytest.param(
        {"LEARNING_LAB_TRUSTED_PROXIES": "ingress"}, "", "trusted_proxies", id="a host name as a trusted proxy"
    ),
    pytest.param(
        {"LEARNING_LAB_TRUSTED_PROXIES": "networks of the ingress controller"},
        "",
        "trusted_proxies",
        id="what the overlays have until somebody changes it",
    ),
    pytest.param(
        {"LEARNING_LAB_AUDIT_LOG": "/nowhere/a.log"},
        "",
        "c.LearningLab.audit_log",
        id="an audit log that cannot be written",
    ),
    pytest.param(
        {"LEARNING_LAB_READER": "cluster", "LEARNING_LAB_KUBECONFIG": "/nowhere"},
        "",
        "c.LearningLab.kubeconfig: there is no /nowhere",
        id="a kubeconfig that is not there",
    ),
]


@pytest.mark.usefixtures("in_sandbox")
@pytest.mark.parametrize(("environ", "config", "says"), WRONG)
def test_a_wrong_setting_is_refused_with_one_line_that_names_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, environ: dict[str, str], config: str, says: str
) -> None:
    monkeypatch.chdir(tmp_path)  # where the audit log is opened
    for name, value in {**FILE, **environ}.items():
        monkeypatch.setenv(name, value)
    c = Config()
    exec(config, {"c": c})
    LearningLab.clear_instance()
    with pytest.raises(SettingError) as refused:
        load_settings(c)
    LearningLab.clear_instance()
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.usefixtures("in_sandbox")
@pytest.mark.parametrize(
    ("environ", "config", "says"),
    [
        next(param for param in WRONG if param.id == "an unknown reader in the file"),
        next(param for param in WRONG if param.id == "a file of namespaces that is not there"),
        next(param for param in WRONG if param.id == "a root that does not exist"),
        next(param for param in WRONG if param.id == "a host name as a trusted proxy"),
        pytest.param(
            {},
            "c.JupyterHub.trusted_downstream_ips = ['10.0.0.5']",
            "c.JupyterHub.trusted_downstream_ips is set",
            id="JupyterHub's own list of proxies",
        ),
        pytest.param(
            {},
            "c.LabPAMAuthenticator.service = 'no-such-service'",
            "c.LabPAMAuthenticator.service",
            id="a PAM service that is not there",
        ),
    ],
)
def test_a_wrong_setting_stops_the_start_with_one_line(
    tmp_path: Path, environ: dict[str, str], config: str, says: str
) -> None:
    ended = start(tmp_path, environ, config)
    assert ended.returncode != 0
    assert "Traceback" not in ended.stderr, ended.stderr
    lines = [line for line in ended.stderr.splitlines() if "cannot start" in line]
    assert len(lines) == 1, ended.stderr
    assert says in lines[0]


def test_the_reference_page_is_what_the_options_say() -> None:
    assert settings_reference.PAGE.read_text() == settings_reference.page(), "run `make docs`"


def test_every_option_has_a_help_text_and_an_environment_variable() -> None:
    for name, trait in LearningLab.class_traits(config=True).items():
        assert len(trait.help) > 30, name
        assert name == name.lower(), "LEARNING_LAB_<NAME> must give the same name"


@pytest.mark.parametrize(
    ("variable", "text", "name", "value"),
    [
        pytest.param("LEARNING_LAB_ROOTS", "/s:/data", "roots", ["/s", "/data"], id="a list is separated by colons"),
        pytest.param("LEARNING_LAB_PROBE_DEADLINE", "2.5", "probe_deadline", 2.5, id="a number"),
        pytest.param("LEARNING_LAB_OPEN_BESIDE", "true", "open_beside", True, id="a boolean"),
        pytest.param("LEARNING_LAB_TITLE", "Lab {x} é", "title", "Lab {x} é", id="a string stays as it is"),
    ],
)
def test_the_environment_sets_an_option(variable: str, text: str, name: str, value: object) -> None:
    assert environment_settings({variable: text, "PATH": "/bin"}) == {name: value}


def test_an_empty_list_of_roots_is_refused() -> None:
    with pytest.raises(SettingError, match=r"c\.LearningLab\.roots is empty"):
        LearningLab(roots=[]).check()
