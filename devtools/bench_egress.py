"""Measures HTTP clients for the way out: 1 KB POSTs to a server in another process on 127.0.0.1.

    python -m devtools.bench_egress [--posts 2000] [--rounds 5]

Three clients, each driven from one event loop as the service would: `requests` (a Session in a thread pool with a
thread per concurrent POST), `aiohttp` (a bare ClientSession), and `egress` (tntcore.egress, which adds the address
check, the deadline and the bounds). Rounds are interleaved, so that whatever else the machine does falls on all of
them; the median round is printed, with the range. CPU is the client process's own, all threads. The server counts the
POSTs and bytes that it really got, and every round is held against that.
"""

from __future__ import annotations

import argparse
import asyncio
import ipaddress
import multiprocessing
import os
import platform
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from multiprocessing.connection import Connection

import aiohttp
import requests
from aiohttp import web
from requests.adapters import HTTPAdapter

from tntcore.egress import Egress

BODY = b"x" * 1024
HEADERS = {"content-type": "application/json", "webhook-id": "msg", "webhook-signature": "v1," + "x" * 44}
Post = Callable[[], Awaitable[None]]


def serve(ready: Connection) -> None:
    got = {"posts": 0, "bytes": 0}

    async def hook(request: web.Request) -> web.Response:
        # Not `+= len(await ...)`: that takes the old sum before it waits, and loses what others add meanwhile.
        size = len(await request.read())
        got["posts"] += 1
        got["bytes"] += size
        return web.Response(status=204)

    async def counted(request: web.Request) -> web.Response:
        return web.json_response(got)

    async def main() -> None:
        app = web.Application()
        app.router.add_post("/hook", hook)
        app.router.add_get("/hook", counted)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        ready.send(runner.addresses[0][1])
        await asyncio.Event().wait()

    asyncio.run(main())


@asynccontextmanager
async def with_requests(url: str, concurrency: int) -> AsyncIterator[Post]:
    session = requests.Session()
    session.trust_env = False
    session.mount("http://", HTTPAdapter(pool_connections=1, pool_maxsize=concurrency))
    loop = asyncio.get_running_loop()

    def send() -> None:
        answer = session.post(url, data=BODY, headers=HEADERS, timeout=15, allow_redirects=False)
        assert answer.status_code == 204

    async def post() -> None:
        await loop.run_in_executor(pool, send)

    with ThreadPoolExecutor(concurrency) as pool:
        yield post
    session.close()


@asynccontextmanager
async def with_aiohttp(url: str, concurrency: int) -> AsyncIterator[Post]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=concurrency)) as session:

        async def post() -> None:
            async with session.post(url, data=BODY, headers=HEADERS, allow_redirects=False) as answer:
                await answer.read()
                assert answer.status == 204

        yield post


@asynccontextmanager
async def with_egress(url: str, concurrency: int) -> AsyncIterator[Post]:
    egress = Egress([ipaddress.ip_network("127.0.0.0/8")])

    async def post() -> None:
        answer = await egress.request("POST", url, headers=HEADERS, body=BODY)
        assert answer.status == 204

    yield post
    await egress.close()


CLIENTS = {"requests": with_requests, "aiohttp": with_aiohttp, "egress": with_egress}


def received(url: str) -> tuple[int, int]:
    """POSTs and bytes that have reached the server so far."""
    got = requests.get(url, timeout=15).json()
    return got["posts"], got["bytes"]


async def run(client: str, url: str, concurrency: int, posts: int) -> tuple[float, float]:
    """Posts/s and CPU ms per POST."""
    async with CLIENTS[client](url, concurrency) as post:
        await asyncio.gather(*(post() for _ in range(concurrency)))
        left = iter(range(posts))

        async def work() -> None:
            for _ in left:
                await post()

        before = await asyncio.to_thread(received, url)
        cpu, wall = time.process_time(), time.perf_counter()
        await asyncio.gather(*(work() for _ in range(concurrency)))
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        after = await asyncio.to_thread(received, url)
    assert (after[0] - before[0], after[1] - before[1]) == (posts, posts * len(BODY)), "not every POST arrived once"
    return posts / wall, cpu / posts * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures HTTP clients for the way out.")
    parser.add_argument("--posts", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    receiver, sender = multiprocessing.Pipe(duplex=False)
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(sender,), daemon=True)
    server.start()
    url = f"http://127.0.0.1:{receiver.recv()}/hook"
    seen: dict[tuple[int, str], list[tuple[float, float]]] = {}
    for _ in range(options.rounds):
        for concurrency in (1, 16, 64):
            for client in CLIENTS:
                seen.setdefault((concurrency, client), []).append(
                    asyncio.run(run(client, url, concurrency, options.posts))
                )
    server.terminate()
    versions = f"requests {requests.__version__}, aiohttp {aiohttp.__version__}"
    print(f"Python {platform.python_version()}, {versions}, {os.cpu_count()} cores; {options.rounds} rounds of "
          f"{options.posts} POSTs; median (range)\n")  # fmt: skip
    print("| concurrency | client | posts/s | client CPU ms per POST |\n| --- | --- | --- | --- |")
    for (concurrency, client), rounds in seen.items():
        rates, cpus = zip(*rounds, strict=True)
        print(
            f"| {concurrency} | {client} | {statistics.median(rates):,.0f} ({min(rates):,.0f}-{max(rates):,.0f}) "
            f"| {statistics.median(cpus):.2f} ({min(cpus):.2f}-{max(cpus):.2f}) |"
        )


if __name__ == "__main__":
    main()
