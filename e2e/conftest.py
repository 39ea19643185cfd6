"""Browser tests of the whole lab. Those in `both` run against the embedded lab or, with `--base-url`, a kind cluster.

Without `--base-url` the fixtures start the embedded lab (inside the sandbox), and tests change the site by editing its
namespaces file and its `/s`. With it, they use the lab at that address, and change its cluster (LAB_KUBE_CONTEXT, else
kind-learning-lab). Tests in `cluster` run only there: without a cluster they are deselected, and the last lines of the
run say so.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from lab_testing.cluster_site import ClusterSite
from lab_testing.embedded import PROJECT, EmbeddedLab
from lab_testing.kind_cluster import Cluster, NoCluster
from lab_testing.person import Person
from lab_testing.visitor import PASSWORDS, EmbeddedSite, Site, Visitor

CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-software-rasterizer",  # nothing here draws in 3D, and doing that in software takes a core
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
HOST = "lab.localhost"
expect.set_options(timeout=15_000)

HERE = Path(__file__).parent
# What they break takes minutes to recover, so they run after everything else.
LAST = ("test_update.py", "test_faults.py")
NOT_RUN = pytest.StashKey[list[str]]()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: LAST.index(item.path.name) + 1 if item.path.name in LAST else 0)
    url = config.getoption("base_url", default=None)
    if not url:
        without = [item for item in items if HERE / "cluster" in item.path.parents]
        items[:] = [item for item in items if item not in without]
        config.hook.pytest_deselected(items=without)
        config.stash[NOT_RUN] = [item.nodeid for item in without]
    elif not config.option.collectonly and any(HERE in item.path.parents for item in items):
        try:
            Cluster.of_environment(url).check()
        except NoCluster as error:
            raise pytest.UsageError(str(error)) from None


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    without = config.stash.get(NOT_RUN, [])
    if without:
        files = ", ".join(sorted({nodeid.partition("::")[0] for nodeid in without}))
        terminalreporter.write_line(
            f"NOT RUN: {len(without)} tests that need the lab on a cluster ({files}). `make e2e` runs them."
        )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Save what the cluster reports next to the screenshot and the trace of a failed test."""
    report = yield
    fixtures = getattr(item, "funcargs", {})
    cluster = fixtures.get("whole_cluster")
    if report.failed and cluster is not None and "output_path" in fixtures:
        file = Path(fixtures["output_path"]) / "cluster.log"
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a") as log:
            log.write(f"== {item.nodeid}, {call.when} ==\n{cluster.report()}\n")
        report.sections.append(
            ("What the cluster says", f"is kept in {file}; the end of the hub's log:\n{cluster.tail()}")
        )
    return report


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict[str, Any]) -> dict[str, Any]:
    """Playwright's own Chromium if it is installed, else the system's."""
    own = Path(os.environ.get("PLAYWRIGHT_BROWSERS_PATH", ""))
    found = None if list(own.glob("chromium*")) else shutil.which("chromium") or shutil.which("chromium-browser")
    return {**browser_type_launch_args, "args": CHROMIUM_ARGUMENTS} | ({"executable_path": found} if found else {})


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[EmbeddedLab | None]:
    if request.config.getoption("base_url", default=None):
        yield None
        return
    if os.geteuid() != 0 or not Path("/s/alice").is_dir():
        pytest.fail("These tests need the emulated accounts: run `make test`.", pytrace=False)
    # Here each person has their own address; on a cluster, all share one. So both are tested.
    with EmbeddedLab(tmp_path_factory.mktemp("lab"), host=HOST) as lab:
        yield lab


@pytest.fixture(scope="session")
def base_url(embedded: EmbeddedLab | None, request: pytest.FixtureRequest) -> str:
    return embedded.address if embedded else str(request.config.getoption("base_url"))


@pytest.fixture(scope="session")
def whole_cluster(base_url: str, embedded: EmbeddedLab | None) -> Cluster | None:
    """The cluster, after repairing whatever an earlier run left behind; None for the embedded lab."""
    if embedded is not None:
        return None
    cluster = Cluster.of_environment(base_url)
    cluster.put_back()
    for userid in PASSWORDS:
        # An interrupted run may have left servers running.
        person = Person(cluster, userid)
        person.log_in()
        person.stop()
    return cluster


@pytest.fixture
def cluster(whole_cluster: Cluster | None, output_path: str) -> Cluster:
    """The cluster, for tests in the folder `cluster`. The report of a failure goes to `output_path`."""
    assert whole_cluster is not None, "tests that use it belong in the folder `cluster`"
    return whole_cluster


@pytest.fixture
def site(embedded: EmbeddedLab | None, whole_cluster: Cluster | None) -> Iterator[Site]:
    site: Site
    if whole_cluster is not None:
        site = ClusterSite(whole_cluster)
    else:
        assert embedded is not None
        site = EmbeddedSite(embedded)
    yield site
    site.restore()


@pytest.fixture
def visitor(
    new_context: Callable[..., BrowserContext], whole_cluster: Cluster | None
) -> Iterator[Callable[..., Visitor]]:
    """Make a person with their own browser, logged in unless told otherwise. Their server is stopped at the end."""
    made: list[Visitor] = []

    def make(userid: str, *, log_in: bool = True, **options: Any) -> Visitor:
        context = new_context(**options)
        context.set_default_timeout(30_000)
        visitor = Visitor(context.new_page(), userid)
        if log_in:
            visitor.log_in()
            made.append(visitor)
        return visitor

    yield make
    for visitor in made:
        visitor.stop()


@pytest.fixture
def screenshots() -> Callable[[Page, str], None]:
    """Save a picture of a page that the documentation shows, if LAB_SCREENSHOTS=1."""

    def keep(page: Page, name: str) -> None:
        if os.environ.get("LAB_SCREENSHOTS"):
            folder = PROJECT / "docs" / "pictures"
            folder.mkdir(exist_ok=True)
            page.screenshot(path=folder / f"{name}.png")

    return keep
