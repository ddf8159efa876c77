"""Storage ended and started again under a real process: callers are told to come again, and then it goes on."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from devtools.azurite import Azurite
from devtools.bench.load import MEDIA_TYPE, plaintext
from devtools.bench.stack import Stack, start
from devtools.ports import free_ports
from devtools.soak.counts import Count
from devtools.soak.receiver import Receiver
from tntcore.envelope import pack_v1


async def test_callers_are_told_to_come_again(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    ports = free_ports(4)
    url = f"http://127.0.0.1:{ports[0]}"
    receiver = Receiver(Count())
    await receiver.start()
    azurite = Azurite(location=tmp_path / "storage", blob_port=ports[1], queue_port=ports[2], table_port=ports[3])
    azurite.start()
    service = await start(azurite, tmp_path, ports[0], url)
    try:
        [(sender, verkey)] = await Stack(azurite, service).populate(receiver.url, 1, 1)
        async with ClientSession() as session:

            async def call(method: str, path: str, **options: Any) -> tuple[int, dict[str, str], Any]:
                async with session.request(method, f"{url}/api/{path}", **options) as answer:
                    body = await answer.json(content_type=None) if await answer.read() else None
                    return answer.status, {name.lower(): value for name, value in answer.headers.items()}, body

            async def send(number: int) -> tuple[int, dict[str, str], Any]:
                packed = pack_v1(plaintext(number), recipients=[verkey], sender=sender)
                return await call("POST", "didcomm", data=packed, headers={"content-type": MEDIA_TYPE})

            assert (await send(0))[0] == 202
            await asyncio.wait_for(receiver.arrival(0), 60)
            await asyncio.to_thread(azurite.stop)

            key = {"tnt-subscription-key": "never seen before"}
            refused = await asyncio.gather(*(send(number) for number in range(1, 4)))
            refused.append(await call("GET", "action", headers=key))
            for status, headers, body in refused:
                assert (status, body["type"]) == (503, "urn:tnt:problem:storage-unavailable")
                assert headers["content-type"] == "application/problem+json"
                assert int(headers["retry-after"]) > 0
            status, _, body = await call("GET", "health")
            assert (status, body["status"]) == (503, "degraded")
            assert set(body["storage"].values()) == {False}
            # What needs no storage is answered as always.
            assert (await call("GET", "openapi.json"))[0] == 200
            assert (await call("POST", "didcomm", data=b"{", headers={"content-type": MEDIA_TYPE}))[0] == 400

            await asyncio.to_thread(azurite.start)
            for number in range(1, 4):
                assert (await send(number))[0] == 202
                await asyncio.wait_for(receiver.arrival(number), 40)
            # What it said last counts for two seconds.
            async with asyncio.timeout(60):
                while (await call("GET", "health"))[0] != 200:  # noqa: ASYNC110  nobody tells of it
                    await asyncio.sleep(0.2)
            assert (await call("GET", "action", headers=key))[0] == 401
    finally:
        await service.stop()
        azurite.stop()
        await receiver.stop()
    said = capfd.readouterr().err
    assert said.count("storage is away") == 1
    assert "a request failed" not in said
