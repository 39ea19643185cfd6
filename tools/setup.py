"""Install what the lab needs into the checkout: uv, the locked Python packages, the Node proxy; for tests, a browser.

    python3 tools/setup.py [--browser]

Steps whose inputs have not changed are skipped. It touches nothing outside the checkout, except that as root it
installs missing Debian packages. It is written for any Python 3, so that an old one prints a message instead of a
traceback (or hands over to a newer one next to it).
"""

import argparse
import glob
import hashlib
import os
import re
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TOOLS = os.path.join(ROOT, ".tools")
VENV = os.path.join(ROOT, ".venv", "bin")
OLDEST_UV = (0, 9)
OLDEST_PYTHON = (3, 11)
NEWER_PYTHONS = ["python3." + str(minor) for minor in (14, 13, 12, 11)]
DOWNLOAD_SECONDS = 120
SYSTEM_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--browser", action="store_true", help="also make sure that Chromium is installed")
    browser = parser.parse_args().browser
    os.chdir(ROOT)
    os.umask(0o022)  # the lab's users must be able to run what is installed here
    os.makedirs(TOOLS, exist_ok=True)
    trust_system_certificates()
    uv = find_uv() or install_uv()
    sync(uv)
    install_proxy()
    if browser:
        find_browser()
        find_programs_of_tests()


def trust_system_certificates():
    """Trust the system's certificates, for companies with their own CA. uv and Node trust only built-in lists."""
    if os.path.exists(SYSTEM_CERTIFICATES):
        os.environ.setdefault("UV_SYSTEM_CERTS", "true")
        os.environ.setdefault("NODE_EXTRA_CA_CERTS", SYSTEM_CERTIFICATES)


def find_uv():
    """Find an installed uv that is new enough."""
    for uv in (shutil.which("uv"), os.path.join(TOOLS, "uv", "bin", "uv")):
        if not uv or not os.path.exists(uv):
            continue
        said = subprocess.run([uv, "--version"], stdout=subprocess.PIPE, check=False).stdout.decode()
        version = re.search(r"(\d+)\.(\d+)", said)
        if version and (int(version.group(1)), int(version.group(2))) >= OLDEST_UV:
            return uv
    return None


def pinned(tool):
    """The version that tools/versions.env pins for a tool."""
    with open(os.path.join(ROOT, "tools", "versions.env")) as pins:
        return re.search("^" + tool + "=(.+)$", pins.read(), re.MULTILINE).group(1)


def install_uv():
    """Install uv from the package index, in its own environment below .tools."""
    if sys.version_info < OLDEST_PYTHON:
        for newer in filter(None, map(shutil.which, NEWER_PYTHONS)):
            # pyenv provides commands for Pythons that it does not run here.
            if subprocess.run([newer, "-c", ""], stderr=subprocess.DEVNULL, check=False).returncode == 0:
                os.execv(newer, [newer] + sys.argv)
        stop(
            "Python 3.11 or newer is needed, and this is {}.{}.".format(*sys.version_info[:2]),
            "Install one (Debian 12, Ubuntu 24.04 and newer have it: sudo apt-get install python3 python3-venv),",
            "name it (make PYTHON=python3.12 ...), or install uv, which brings its own Python.",
        )
    version = pinned("UV")
    say("uv " + version)
    place = os.path.join(TOOLS, "uv")
    made = subprocess.run(
        [sys.executable, "-m", "venv", place], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    if made.returncode:
        shutil.rmtree(place, ignore_errors=True)
        if not apt_install("python3-venv"):
            stop("This Python has no venv module.", "Install it: sudo apt-get install python3-venv")
        subprocess.run([sys.executable, "-m", "venv", place], stdout=subprocess.DEVNULL, check=True)
    run(
        [os.path.join(place, "bin", "pip"), "install", "--quiet", "--disable-pip-version-check", "uv==" + version],
        "uv could not be installed. The first run needs a connection to the package index.",
    )
    return os.path.join(place, "bin", "uv")


def sync(uv):
    """Install the locked packages into .venv; uv itself checks whether there is anything to do."""
    if not os.path.exists(VENV):
        say("Python packages, from uv.lock")
    # Compile now: the lab's users may not write here, so their Pythons would compile everything at every start.
    command = [uv, "sync", "--locked", "--quiet", "--compile-bytecode"]
    if sys.version_info >= OLDEST_PYTHON and not os.path.exists(VENV):
        command += ["--python", sys.executable]
    run(command, "The Python packages could not be installed. Is the package index reachable?")


def install_proxy():
    """Install JupyterHub's proxy into node_modules, with the Node that comes as a Python package."""
    with open("package-lock.json", "rb") as lock:
        wanted = hashlib.sha256(lock.read()).hexdigest()
    stamp = os.path.join("node_modules", ".installed")
    if os.path.exists(stamp):
        with open(stamp) as there:
            if there.read() == wanted:
                return
    say("JupyterHub's proxy, from package-lock.json")
    environment = dict(os.environ, PATH=VENV + os.pathsep + os.environ["PATH"])
    command = [os.path.join(VENV, "npm"), "ci", "--silent", "--no-audit", "--no-fund", "--no-update-notifier"]
    run(command, "The proxy could not be installed. Is the npm registry reachable?", environment)
    with open(stamp, "w") as there:
        there.write(wanted)


def find_browser():
    """Find Playwright's Chromium, else the system's, else install Debian's package; also install a font for it."""
    if own_browser_starts() or shutil.which("chromium") or shutil.which("chromium-browser"):
        pass
    elif download_browser() and own_browser_starts():
        pass
    elif not apt_install("chromium"):
        stop("The browser tests need Chromium.", "Install it: sudo apt-get install chromium")
    # Without any font, pages and the documentation's screenshots show only boxes. That is no reason to stop.
    if not os.path.isdir("/usr/share/fonts/truetype"):
        apt_install("fonts-dejavu-core")


def find_programs_of_tests():
    """Find the programs that the sandbox tests run: newuidmap, for subordinate ids of ordinary users, and ps."""
    missing = [package for program, package in (("newuidmap", "uidmap"), ("ps", "procps")) if not shutil.which(program)]
    if missing and not apt_install(*missing):
        stop(
            "The sandbox tests need the Debian packages " + " and ".join(missing) + ".",
            "Install them: sudo apt-get install " + " ".join(missing),
        )


def own_browser_starts():
    """Whether Playwright's own Chromium is installed, together with the system libraries that it needs."""
    cache = os.environ.get("PLAYWRIGHT_BROWSERS_PATH") or os.path.expanduser("~/.cache/ms-playwright")
    found = glob.glob(os.path.join(cache, "chromium*", "*", "*headless*shell")) + glob.glob(
        os.path.join(cache, "chromium*", "*", "chrome")
    )
    commands = [[path, "--no-sandbox", "--version"] for path in found if os.access(path, os.X_OK)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "check": False}
    return any(subprocess.run(command, **quiet).returncode == 0 for command in commands)


def download_browser():
    """Have Playwright download its Chromium. A failure is remembered, so that a firewall delays only the first run."""
    tried = os.path.join(TOOLS, "browser-download-failed")
    if os.path.exists(tried):
        return False
    say("Chromium, from Playwright")
    command = [os.path.join(VENV, "playwright"), "install", "chromium"]
    try:
        done = subprocess.run(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=DOWNLOAD_SECONDS, check=False
        )
        failed = done.returncode != 0
    except subprocess.TimeoutExpired:
        failed = True
    if failed:
        open(tried, "w").close()
    return not failed


def apt_install(*packages):
    """Install Debian packages as root. Returns False if that is not possible here."""
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return False
    say("Debian packages: " + " ".join(packages))
    environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    for command in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends"] + list(packages)):
        done = subprocess.run(["apt-get"] + command, stdout=subprocess.DEVNULL, env=environment, check=False)
    return done.returncode == 0


def run(command, advice, environment=None):
    done = subprocess.run(command, env=environment, check=False)
    if done.returncode:
        stop("{} failed.".format(os.path.basename(command[0])), advice)


def say(what):
    print("setup: " + what, file=sys.stderr)


def stop(*lines):
    sys.exit("setup: " + "\n       ".join(lines))


if __name__ == "__main__":
    main()
