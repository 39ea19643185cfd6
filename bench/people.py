"""People for the benchmarks: each logs in, looks at the menu, or guesses passwords. They use only this machine."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp


@contextlib.asynccontextmanager
async def browser(url: str, address: str = "127.0.0.1") -> AsyncIterator[aiohttp.ClientSession]:
    """A browser at an address on the loopback network. It uses aiohttp, whose parser in C leaves the CPU to the hub."""
    async with aiohttp.ClientSession(
        url,
        connector=aiohttp.TCPConnector(local_addr=(address, 0), limit=0),
        cookie_jar=aiohttp.CookieJar(unsafe=True),  # unsafe: it also keeps cookies from IP addresses
        timeout=aiohttp.ClientTimeout(total=120),
    ) as http:
        yield http


async def get(http: aiohttp.ClientSession, path: str) -> tuple[int, str]:
    """Load a page. Returns its status, and the path after redirects."""
    async with http.get(path) as page:
        await page.read()
        return page.status, page.url.path


async def open_log_in(http: aiohttp.ClientSession) -> str:
    """Load the log-in page. Returns its XSRF token."""
    async with http.get("/hub/login") as page:
        await page.read()
        return page.cookies["_xsrf"].value


async def log_in(http: aiohttp.ClientSession, token: str, userid: str, password: str = "pass") -> tuple[int, str]:
    """POST the password, and load the resulting HTML: the menu, or the log-in page again."""
    async with http.post("/hub/login", data={"username": userid, "password": password, "_xsrf": token}) as page:
        await page.read()
        return page.status, page.url.path


async def timed(call: Callable[[], Awaitable[object]]) -> float:
    """Milliseconds that a call takes."""
    before = time.perf_counter()
    await call()
    return (time.perf_counter() - before) * 1000


async def menu_latency(url: str, userid: str, count: int) -> list[float]:
    """Milliseconds of each of `count` menu pages, one after the other."""
    async with browser(url) as http:
        await log_in(http, await open_log_in(http), userid)
        for _ in range(20):
            await get(http, "/hub/spawn")
        return [await timed(lambda: get(http, "/hub/spawn")) for _ in range(count)]


async def menu_throughput(url: str, userids: list[str], seconds: float) -> float:
    """Menu pages per second, with one client per user id."""
    async with contextlib.AsyncExitStack() as stack:
        people = [await stack.enter_async_context(browser(url)) for _ in userids]
        for http, userid in zip(people, userids, strict=True):
            await log_in(http, await open_log_in(http), userid)
        until = time.perf_counter() + seconds

        async def look(http: aiohttp.ClientSession) -> int:
            count = 0
            while time.perf_counter() < until:
                status, _ = await get(http, "/hub/spawn")
                assert status == 200
                count += 1
            return count

        before = time.perf_counter()
        counts = await asyncio.gather(*(look(http) for http in people))
        return sum(counts) / (time.perf_counter() - before)


async def everybody_at_once(url: str, userids: list[str]) -> tuple[float, int]:
    """Log in as everybody at the same moment. Returns log-ins per second, from POST to the menu's HTML, and errors."""
    async with contextlib.AsyncExitStack() as stack:
        people = [await stack.enter_async_context(browser(url)) for _ in userids]
        tokens = [await open_log_in(http) for http in people]
        before = time.perf_counter()
        pages = await asyncio.gather(
            *(log_in(http, token, userid) for http, token, userid in zip(people, tokens, userids, strict=True)),
            return_exceptions=True,
        )
        took = time.perf_counter() - before
    good = sum(page == (200, "/hub/spawn") for page in pages)
    return len(userids) / took, len(userids) - good


async def good_log_ins_in_a_flood(url: str, userids: list[str], guessers: int) -> list[float]:
    """Milliseconds of each good log-in, one after the other, while `guessers` send wrong passwords nonstop."""

    async def guess(number: int) -> None:
        async with browser(url, "127.0.0.2") as http:
            token = await open_log_in(http)
            while True:
                await log_in(http, token, f"guess{number}", "wrong")

    flood = [asyncio.create_task(guess(number)) for number in range(guessers)]
    await asyncio.sleep(3)
    times = []
    for userid in userids:
        async with browser(url) as http:
            token = await open_log_in(http)
            before = time.perf_counter()
            ended_at = await log_in(http, token, userid)
            times.append((time.perf_counter() - before) * 1000)
            assert ended_at == (200, "/hub/spawn"), ended_at
    for task in flood:
        task.cancel()
    await asyncio.gather(*flood, return_exceptions=True)
    return times
