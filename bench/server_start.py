"""A person who starts a server, and what that server costs, measured from outside in the same way for every hub.

Rules kept here:
- a server has answered when `GET /user/<id>/api/status` through the proxy, with the user's own token, first returns
  200: then the server is running, has asked the hub who the user is, and people can reach it;
- a GET for a server that does not exist costs the hub work and could slow it down, so the proxy's own list of routes is
  polled, to which the hub adds each server that is ready;
- CPU and memory are the kernel's own figures (proc_pid_stat(5), proc_pid_smaps(5)).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import pwd
import re
import shutil
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import aiohttp
import psutil
from playwright.async_api import TimeoutError as TimeoutInBrowser
from playwright.async_api import async_playwright
from yarl import URL

import people
from hubs import ADMINISTRATOR, Hub
from lab_testing.kernel_channels import Channels
from lab_testing.processes import running, server_pid

PATIENCE = 180.0  # seconds; plain JupyterHub takes a minute or more for thirty people on a small machine
WARM_PARENT = "learning_lab.warm.parent"
USABLE = """() => {
    const box = document.querySelector(".jp-Launcher")?.getBoundingClientRect();
    const middle = box?.width && document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);
    return middle?.closest(".jp-Launcher");
}"""


class NoServer(RuntimeError):
    """The server was refused, did not come up, or did not end."""


@dataclass
class Start:
    """One start. Times are from `time.perf_counter()`.

    Attributes:
        answered: when it answered through the proxy.
        pid: the PID of the server.
        cpu: seconds of CPU that the server had used when it answered.
        error: why it never answered.
    """

    clicked: float
    answered: float = 0
    pid: int = 0
    cpu: float = 0
    error: str = ""


class Routes:
    """The routes of a hub's proxy."""

    def __init__(self, hub: Hub) -> None:
        self.look, self.there = 0.0, set[str]()
        self._address, self._headers = hub.proxy_api, {"Authorization": f"token {hub.proxy_token}"}

    @contextlib.asynccontextmanager
    async def watched(self, look: float) -> AsyncIterator[None]:
        """Poll every `look` seconds until the block ends."""
        self.look, self.there = look, set()
        url, connector = str(self._address), None
        if isinstance(self._address, Path):
            url, connector = "http://localhost", aiohttp.UnixConnector(str(self._address))
        async with aiohttp.ClientSession(url, headers=self._headers, connector=connector) as http:
            watching = asyncio.create_task(self._watch(http))
            try:
                yield
            finally:
                if watching.done():
                    watching.result()  # raises the reason why no server was seen
                watching.cancel()

    async def _watch(self, http: aiohttp.ClientSession) -> None:
        while True:
            async with http.get("/api/routes") as answer:
                self.there = {route.rstrip("/") for route in await answer.json()}
            await asyncio.sleep(self.look)


class Starter:
    """A person with their own browser at one hub.

    Args:
        http: the browser; see `people.browser`.
        userid: their user id.
        url: the hub's address.
    """

    def __init__(self, http: aiohttp.ClientSession, userid: str, url: str) -> None:
        self.http, self.userid, self.url = http, userid, url
        self.uid, self.home = pwd.getpwnam(userid)[2], pwd.getpwnam(userid)[5]
        self._headers: dict[str, str] = {}

    async def come_in(self) -> None:
        """Log in, load the menu, and create a token for requests to the server.

        Raises:
            NoServer: the hub did not let them in.
        """
        ended_at = await people.log_in(self.http, await people.open_log_in(self.http), self.userid)
        if ended_at != (200, "/hub/spawn"):
            raise NoServer(f"{self.userid} logged in but arrived at {ended_at}, not at the menu.")
        headers = {"X-XSRFToken": self._xsrf(), "Referer": f"{self.url}/hub/token"}
        async with self.http.post(f"/hub/api/users/{self.userid}/tokens", headers=headers, json={}) as made:
            made.raise_for_status()
            self._headers = {"Authorization": f"token {(await made.json())['token']}"}

    async def start(self, routes: Routes) -> Start:
        """Click on Start, and wait until the server answers. Redirects after the click are not followed."""
        start = Start(time.perf_counter())
        click = asyncio.create_task(self._click())
        try:
            async with asyncio.timeout(PATIENCE):
                while f"/user/{self.userid}" not in routes.there or not await self._answers():
                    if click.done():
                        click.result()
                    await asyncio.sleep(routes.look)
                start.answered = time.perf_counter()
                start.pid = server_pid(self.uid)
                start.cpu = cpu_seconds(start.pid)
                await click
        except TimeoutError:
            start.error = f"{self.userid} got no answer within {PATIENCE:.0f} s"
        except (NoServer, aiohttp.ClientError) as error:
            start.error = str(error)
        finally:
            click.cancel()
        return start

    async def start_in_chromium(self, button: str) -> tuple[float, float]:
        """Click in a browser that has seen only the hub's log-in page and its menu.

        Args:
            button: a selector for the button that starts the server.

        Returns:
            Seconds from the click to JupyterLab's page, and until its launcher is there with nothing in front of it.
        """
        self._forget_tabs()
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(
                executable_path=shutil.which("chromium") or shutil.which("chromium-browser"),
                args=["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"],
            )
            page = await browser.new_page(base_url=self.url)
            page.set_default_timeout(60_000)
            await page.goto("/hub/login")
            await page.fill("[name=username]", self.userid)
            await page.fill("[name=password]", "pass")
            await page.press("[name=password]", "Enter")
            await page.locator(button).wait_for()
            await asyncio.sleep(1)  # the person reads; the log-in is over for the hub too
            clicked = time.perf_counter()
            try:
                await page.locator(button).click(no_wait_after=True)
                await page.wait_for_url(f"**/user/{self.userid}/lab**", wait_until="commit")
                landed = time.perf_counter()
                await page.wait_for_function(USABLE, polling="raf")
            except TimeoutInBrowser:
                shown = " ".join((await page.locator("body").inner_text()).split())
                raise NoServer(f"{self.userid} does not see the launcher, but at {page.url}: {shown[:300]!r}") from None
            usable = time.perf_counter()
            await browser.close()
        return landed - clicked, usable - clicked

    async def kernel(self) -> float:
        """Seconds from the POST for a new kernel to its reply to a kernel_info_request."""
        place = f"/user/{self.userid}/api/kernels"
        before = time.perf_counter()
        async with self.http.post(place, headers=self._headers, json={"name": "python3"}) as made:
            made.raise_for_status()
            kernel = (await made.json())["id"]
        async with Channels.at(f"{self.url}{place}/{kernel}/channels", self._headers) as channels:
            async for _ in channels.send("kernel_info_request", {}):
                pass
        return time.perf_counter() - before

    async def read(self, path: str) -> str:
        """A page that only this person may see."""
        async with self.http.get(path, headers=self._headers, raise_for_status=True) as page:
            return await page.text()

    async def stop(self) -> None:
        """StepFailed the server, and wait until the user has no processes left.

        Raises:
            NoServer: a process did not end.
        """
        until = time.monotonic() + 120
        await self.http.delete(f"/hub/api/users/{self.userid}/server", headers=self._headers)
        while json.loads(await self.read(f"/hub/api/users/{self.userid}"))["servers"] or running("", self.uid):
            if time.monotonic() > until:
                raise NoServer(f"The server of {self.userid} did not end.")
            await asyncio.sleep(0.1)
        await asyncio.sleep(1)  # let the hub and the proxy finish their part

    def _forget_tabs(self) -> None:
        for place in Path(self.home, ".jupyter/lab").glob("workspaces*"):
            shutil.rmtree(place)  # only people without earlier tabs see the launcher

    async def _click(self) -> None:
        fields = {"directory": f"/s/{self.userid}/notebooks", "_xsrf": self._xsrf()}
        async with self.http.post("/hub/spawn", data=fields, allow_redirects=False) as answer:
            if answer.status != 302:
                raise NoServer(f"The start of {self.userid} was refused with {answer.status}.")

    async def _answers(self) -> bool:
        place = f"/user/{self.userid}/api/status"
        async with self.http.get(place, headers=self._headers, allow_redirects=False) as answer:
            return answer.status == 200

    def _xsrf(self) -> str:
        return self.http.cookie_jar.filter_cookies(URL(f"{self.url}/hub/"))["_xsrf"].value


async def cold_starts(hub: Hub) -> int:
    """How many of the lab's starts did not come from the warm parent, according to the hub's metrics."""
    async with people.browser(hub.url) as http:
        person = Starter(http, ADMINISTRATOR, hub.url)
        await person.come_in()
        text = await person.read("/hub/metrics")
    found = dict(re.findall(r'^learning_lab_server_starts_total{way="(\w+)"} (\S+)', text, re.MULTILINE))
    return sum(int(float(count)) for way, count in found.items() if way != "warm")


def cpu_seconds(pid: int) -> float:
    """Seconds of CPU of a process and of its ended children; 0 if the process itself has ended."""
    with contextlib.suppress(psutil.NoSuchProcess):
        times = psutil.Process(pid).cpu_times()
        return float(times.user + times.system + times.children_user + times.children_system)
    return 0


def cpu_of_the_hub(hub: Hub) -> float:
    """Seconds of CPU of a hub, of root's processes below it except the proxy, and of the lab's warm parent."""
    roots = [psutil.Process(hub.running.pid), *(running(WARM_PARENT, 0)[:1] if hub.is_lab else [])]
    total = 0.0
    for each in {below for root in roots for below in [root, *root.children(recursive=True)]}:
        with contextlib.suppress(psutil.NoSuchProcess):
            words = " ".join(each.cmdline())
            if each.uids().real == 0 and "/proxy.js" not in words and "configurable-http-proxy" not in words:
                total += cpu_seconds(each.pid)
    return total


def memory(pid: int) -> tuple[float, float]:
    """Private memory of a process and its proportional share (Pss), in MiB."""
    sizes = psutil.Process(pid).memory_full_info()
    return sizes.uss / 2**20, sizes.pss / 2**20


def said_running(log: Path) -> float:
    """When the last server wrote in this log that it is running, by `time.perf_counter()`."""
    said = re.findall(r"\[I (\S+ \S+) ServerApp\] Jupyter Server \S+ is running", log.read_text(errors="replace"))
    return datetime.fromisoformat(said[-1]).timestamp() - time.time() + time.perf_counter()
