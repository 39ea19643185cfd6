"""JupyterLab's files from the hub: which are served, how they may be cached, and which browsers fetch ahead."""

from __future__ import annotations

import gzip
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from lab_testing.embedded import EmbeddedLab
from lab_testing.person import Person
from learning_lab.serving.jupyterlab_files import AHEAD_AT_MOST, JupyterLabFiles

STATIC = Path(sys.prefix, "share/jupyter/lab/static")
MARK = "0123456789abcdef"
MAIN, CORE, FONT = f"main.{MARK}.js", f"jlab_core.{MARK}.js", f"{MARK}.woff2"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for name in (MAIN, CORE, FONT, "index.html", "package.json", "style.js"):
        (tmp_path / name).write_text(f"content of {name}")
    return tmp_path


@pytest.fixture
def files(place: Path) -> JupyterLabFiles:
    return JupyterLabFiles(place)


async def test_a_file_is_served_uncompressed_or_compressed(files: JupyterLabFiles) -> None:
    assert await files.read(MAIN, compressed=False) == f"content of {MAIN}".encode()
    assert gzip.decompress(await files.read(MAIN, compressed=True)) == f"content of {MAIN}".encode()


async def test_a_file_is_compressed_once(files: JupyterLabFiles, place: Path) -> None:
    first = await files.read(CORE, compressed=True)
    (place / CORE).write_text("its name says that this cannot happen")
    assert await files.read(CORE, compressed=True) == first


@pytest.mark.parametrize(
    "name",
    [
        "index.html",
        "package.json",
        "style.js",
        "..",
        f"../{MAIN}",
        f"sub/../{MAIN}",
        f"{MAIN}\n",
        f"{MAIN}.map",
        f"main.{MARK[:-1]}g.js",
        f"none.{MARK}.js",
    ],
)
async def test_a_file_without_a_mark_or_elsewhere_is_not_served(files: JupyterLabFiles, name: str) -> None:
    with pytest.raises(FileNotFoundError):
        await files.read(name, compressed=True)


async def test_a_file_that_comes_later_is_served(files: JupyterLabFiles, place: Path) -> None:
    name = f"79.{MARK}.js"
    with pytest.raises(FileNotFoundError):
        await files.read(name, compressed=True)
    (place / name).write_text("new")
    assert gzip.decompress(await files.read(name, compressed=True)) == b"new"


def test_a_directory_without_jupyterlab_is_recognized(files: JupyterLabFiles, place: Path) -> None:
    assert files.there
    assert not JupyterLabFiles(place / "elsewhere").there


def test_what_half_of_all_pages_request_is_fetched_ahead(files: JupyterLabFiles, place: Path) -> None:
    often, seldom = f"1.{MARK}.js", f"2.{MARK}.js"
    (place / often).touch()
    (place / seldom).touch()
    for count, name in ((4, MAIN), (2, often), (1, seldom)):
        for _ in range(count):
            files.asked(f"{name}?v={MARK}")
    assert files.begins_with() == [f"{MAIN}?v={MARK}", f"{often}?v={MARK}"]


def test_before_the_first_page_nothing_is_fetched_ahead(files: JupyterLabFiles) -> None:
    files.asked(CORE)
    assert files.begins_with() == []


@pytest.mark.parametrize(
    "address", [f"{CORE}?v=2", f"{CORE}?v={MARK}&x=1", FONT, "//elsewhere.example/x.js", "../x.js"]
)
def test_an_address_that_no_page_of_jupyterlab_has_is_not_learned(files: JupyterLabFiles, address: str) -> None:
    files.asked(MAIN)
    files.asked(address)
    assert files.begins_with() == [MAIN]


def test_scripts_of_a_jupyterlab_that_was_replaced_are_forgotten(files: JupyterLabFiles, place: Path) -> None:
    for _ in range(9):
        files.asked(MAIN)
        files.asked(CORE)
    (place / MAIN).unlink()
    (place / CORE).unlink()
    (place / f"main.{MARK[::-1]}.js").touch()
    files.asked(f"main.{MARK[::-1]}.js")
    assert files.begins_with() == [f"main.{MARK[::-1]}.js"]


def test_nobody_can_make_everybody_fetch_everything(files: JupyterLabFiles, place: Path) -> None:
    files.asked(MAIN)
    for number in range(2 * AHEAD_AT_MOST):
        name = f"{number}.{MARK}.js"
        (place / name).touch()
        files.asked(name)
    assert len(files.begins_with()) == AHEAD_AT_MOST


class TestOfARunningHub:
    def test_anybody_gets_a_file_and_may_cache_it_forever(self, lab: EmbeddedLab) -> None:
        core = max(STATIC.glob("jlab_core.*.js"))
        answer = httpx.get(f"{lab.url}/hub/jupyterlab/{core.name}", headers={"Accept-Encoding": "gzip"})
        assert answer.status_code == 200
        assert answer.headers["Content-Encoding"] == "gzip"
        assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert answer.headers["Content-Type"].startswith("text/javascript")
        assert int(answer.headers["Content-Length"]) < core.stat().st_size / 3
        assert "Set-Cookie" not in answer.headers
        assert answer.content == core.read_bytes()

    def test_a_browser_that_does_not_accept_gzip_gets_it_uncompressed(self, lab: EmbeddedLab) -> None:
        core = max(STATIC.glob("jlab_core.*.js"))
        answer = httpx.get(f"{lab.url}/hub/jupyterlab/{core.name}", headers={"Accept-Encoding": "identity"})
        assert "Content-Encoding" not in answer.headers
        assert answer.headers["Vary"] == "Accept-Encoding"
        assert answer.content == core.read_bytes()

    @pytest.mark.parametrize("name", ["index.html", "package.json", "..%2f..%2fschemas", f"none.{MARK}.js"])
    def test_there_is_nothing_else(self, lab: EmbeddedLab, name: str) -> None:
        assert httpx.get(f"{lab.url}/hub/jupyterlab/{name}").status_code == 404

    def test_the_first_page_teaches_what_the_next_browsers_fetch_ahead(self, lab: EmbeddedLab) -> None:
        main = max(STATIC.glob("main.*.js")).name
        address = f"/hub/jupyterlab/{main}?v={main.split('.')[1]}"
        httpx.get(f"{lab.url}{address}")
        answer = httpx.get(f"{lab.url}/hub/jupyterlab/")
        assert address in answer.json()["files"]
        assert answer.headers["Cache-Control"] == "no-cache"

    def test_what_is_fetched_ahead_teaches_nothing(self, lab: EmbeddedLab) -> None:
        # If counted, a prefetch that was cut short would make the later files look unwanted.
        other = next(path.name for path in sorted(STATIC.glob("[0-9]*.*.js")))
        address = f"/hub/jupyterlab/{other}?v={other.split('.')[1]}"
        for _ in range(20):
            assert httpx.get(f"{lab.url}{address}", headers={"Sec-Purpose": "prefetch"}).status_code == 200
        assert address not in httpx.get(f"{lab.url}/hub/jupyterlab/").json()["files"]

    def test_a_persons_jupyterlab_takes_its_files_from_the_hub(self, person: Callable[[str], Person]) -> None:
        alice = person("alice")
        alice.start(directory="/s/alice/notebooks")
        alice.wait_until_ready()
        page = alice.http.get("/user/alice/lab")
        config = page_config(page.text)
        assert config["fullStaticUrl"] == "/hub/jupyterlab"
        scripts = re.findall(r'src="([^"]+\.js[^"]*)"', page.text)
        assert scripts
        assert all(alice.http.get(script).status_code == 200 for script in scripts)

    def test_a_persons_jupyterlab_does_not_ask_whether_to_build_it(self, person: Callable[[str], Person]) -> None:
        bob = person("bob")
        bob.start(directory="/s/bob/notebooks")
        bob.wait_until_ready()
        config = page_config(bob.http.get("/user/bob/lab").text)
        assert config["buildCheck"] is False
        assert config["buildAvailable"] is False


def page_config(page: str) -> dict[str, Any]:
    found = re.search(r'<script id="jupyter-config-data" type="application/json">(.*?)</script>', page, re.DOTALL)
    assert found is not None, page[:500]
    config: dict[str, Any] = json.loads(found[1])
    return config
