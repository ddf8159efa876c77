"""A server that takes requests and answers none before it is told to."""

from __future__ import annotations

import asyncio

from aiohttp import web


class Silent:
    """
    Attributes:
        status: of what it answers in the end.
    """

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.status = 200

    async def take(self, request: web.BaseRequest) -> None:
        """Keeps of a request what the test looks at."""
        raise AssertionError("whoever is made of this says what it keeps")

    async def start(self) -> None:
        async def handle(request: web.BaseRequest) -> web.Response:
            await self.take(request)
            await self.go_on.wait()
            return web.Response(status=self.status)

        self._runner = web.ServerRunner(web.Server(handle))
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        self.go_on.set()
        await self._runner.cleanup()


class SilentReceiver(Silent):
    """A webhook's receiver. Keeps the ids of the calls."""

    def __init__(self) -> None:
        super().__init__()
        self.got: list[str] = []

    async def take(self, request: web.BaseRequest) -> None:
        self.got.append(request.headers["webhook-id"])
