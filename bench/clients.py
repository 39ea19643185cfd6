"""People for the measurements: each logs in, looks at the menu, or guesses passwords. Only this machine is asked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import httpx


def client(url: str, address: str = "127.0.0.1") -> httpx.AsyncClient:
    """A browser at an address of the loopback network."""
    transport = httpx.AsyncHTTPTransport(local_address=address, limits=httpx.Limits(max_connections=None))
    return httpx.AsyncClient(base_url=url, transport=transport, follow_redirects=True, timeout=120)


async def open_log_in(http: httpx.AsyncClient) -> str:
    """Load the log-in page; returns its XSRF token."""
    await http.get("/hub/login")
    return http.cookies.get("_xsrf", path="/hub/") or ""


async def log_in(http: httpx.AsyncClient, token: str, userid: str, password: str = "pass") -> httpx.Response:
    """From POST of the password to the HTML that it ends at: the menu, or the log-in page again."""
    return await http.post("/hub/login", data={"username": userid, "password": password, "_xsrf": token})


async def timed(call: Callable[[], Awaitable[object]]) -> float:
    """Milliseconds that a call takes."""
    before = time.perf_counter()
    await call()
    return (time.perf_counter() - before) * 1000


async def menu_latency(url: str, userid: str, count: int) -> list[float]:
    """Milliseconds of each of `count` menu pages, one after the other."""
    async with client(url) as http:
        await log_in(http, await open_log_in(http), userid)
        for _ in range(20):
            await http.get("/hub/spawn")
        return [await timed(lambda: http.get("/hub/spawn")) for _ in range(count)]


async def menu_throughput(url: str, userids: list[str], seconds: float) -> float:
    """Menu pages a second with one client for each user id."""
    people = [client(url) for _ in userids]
    for http, userid in zip(people, userids, strict=True):
        await log_in(http, await open_log_in(http), userid)
    until = time.perf_counter() + seconds

    async def look(http: httpx.AsyncClient) -> int:
        count = 0
        while time.perf_counter() < until:
            page = await http.get("/hub/spawn")
            assert page.status_code == 200
            count += 1
        return count

    before = time.perf_counter()
    counts = await asyncio.gather(*(look(http) for http in people))
    took = time.perf_counter() - before
    for http in people:
        await http.aclose()
    return sum(counts) / took


async def everybody_at_once(url: str, userids: list[str]) -> tuple[float, int]:
    """Log in as everybody at the same moment; returns log-ins a second, from POST to the menu's HTML, and errors."""
    people = [client(url) for _ in userids]
    tokens = [await open_log_in(http) for http in people]
    before = time.perf_counter()
    pages = await asyncio.gather(
        *(log_in(http, token, userid) for http, token, userid in zip(people, tokens, userids, strict=True)),
        return_exceptions=True,
    )
    took = time.perf_counter() - before
    for http in people:
        await http.aclose()
    good = sum(
        isinstance(page, httpx.Response) and page.status_code == 200 and "spawn" in page.url.path for page in pages
    )
    return len(userids) / took, len(userids) - good


async def good_log_ins_in_a_flood(url: str, userids: list[str], guessers: int) -> list[float]:
    """Milliseconds of each good log-in, one after the other, while `guessers` send wrong passwords without a pause."""
    stop = asyncio.Event()

    async def guess(number: int) -> None:
        async with client(url, "127.0.0.2") as http:
            token = await open_log_in(http)
            while not stop.is_set():
                await log_in(http, token, f"guess{number}", "wrong")

    flood = [asyncio.create_task(guess(number)) for number in range(guessers)]
    await asyncio.sleep(3)
    times = []
    for userid in userids:
        async with client(url) as http:
            token = await open_log_in(http)
            before = time.perf_counter()
            page = await log_in(http, token, userid)
            times.append((time.perf_counter() - before) * 1000)
            assert "spawn" in page.url.path, page.text[:300]
    stop.set()
    for task in flood:
        task.cancel()
    await asyncio.gather(*flood, return_exceptions=True)
    return times
