"""A tenant's own system, as small as it can be: it checks the signature of each webhook call and prints the message."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import time
from collections.abc import Mapping
from datetime import datetime

from aiohttp import web

from devtools.host.host import print_now

TOLERANCE = 300  # seconds that a call's time may be off: an old call that someone kept is not taken again


def is_genuine(secret: str, headers: Mapping[str, str], body: bytes, now: float) -> bool:
    """Whether the holder of `secret` signed this call (Standard Webhooks 1.0.0). `now` in seconds since 1970."""
    identifier, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not (timestamp.isascii() and timestamp.isdigit()) or abs(now - int(timestamp)) > TOLERANCE:
        return False
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{identifier}.{timestamp}.".encode() + body
    wanted = b"v1," + base64.b64encode(hmac.digest(key, signed, "sha256"))
    given = headers.get("webhook-signature", "").encode().split()
    return any(hmac.compare_digest(wanted, signature) for signature in given)


def clock() -> str:
    """The time of day, to the millisecond."""
    return f"{datetime.now():%H:%M:%S.%f}"[:-3]


class Receiver:
    """Listens on 127.0.0.1. `owner` is the tenant's name, for what is printed; `secret` its webhook's, once known."""

    def __init__(self, owner: str, port: int) -> None:
        self.owner = owner
        self.port = port
        self.secret = ""
        self.called = asyncio.Event()
        self._runner = web.ServerRunner(web.Server(self._answer), shutdown_timeout=1)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/webhook"

    async def start(self) -> None:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        await self._runner.cleanup()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        if not is_genuine(self.secret, request.headers, body, time.time()):
            print_now(f"{self.owner}'s webhook refused a call without a valid signature.")
            return web.Response(status=401)
        call = json.loads(body)
        print_now(
            f"\n--- {clock()}  {self.owner}'s webhook was called, signature valid\n"
            f"from      {call['from']}\n"
            f"to        {call['to']}\n"
            f"type      {call['type']}\n"
            f"decrypted {json.dumps(call['message'], indent=2, ensure_ascii=False)}"
        )
        self.called.set()
        return web.Response(status=204)
