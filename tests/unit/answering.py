"""A storage service that answers as a test says."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web


@asynccontextmanager
async def account_of(kind: str, answer: Callable[[web.Request], web.Response]) -> AsyncIterator[str]:
    """The connection string of a service, "Table" or "Queue", that answers every call by this function."""

    async def handle(request: web.Request) -> web.Response:
        return answer(request)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"{kind}Endpoint=http://127.0.0.1:{runner.addresses[0][1]}/a;AccountName=a;AccountKey=AAAA"
    finally:
        await runner.cleanup()
