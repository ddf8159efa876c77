"""Requests that hang leave places for others."""

import asyncio

import pytest
from aiohttp import web

from tests.unit.egress.servers import LOOPBACK, echo, opened, serving
from tntcore.egress import Egress, EgressError
from tntcore.shares import on_behalf_of, within_budget


async def _here(_host: str) -> list[str]:
    return ["127.0.0.1"]


async def test_requests_that_hang_leave_places_for_other_tenants_and_hosts() -> None:
    never = asyncio.Event()

    async def hang(request: web.Request) -> web.Response:
        await never.wait()
        return web.Response()

    limited = Egress(LOOPBACK, places=8, lookup=_here)
    async with serving(hang) as slow, serving(echo) as fast, opened(limited) as egress:
        with on_behalf_of("greedy"):
            hanging = [
                asyncio.create_task(egress.request("GET", f"http://host{n}.example:{slow.port}/", timeout=60))
                for n in range(20)
            ]
            hanging += [asyncio.create_task(egress.request("GET", slow.make_url("/").human_repr(), timeout=60))]
        await asyncio.sleep(0.1)
        with on_behalf_of("modest"):
            for _ in range(3):
                answer = await asyncio.wait_for(egress.request("GET", f"http://127.0.0.1:{fast.port}/", timeout=10), 20)
                assert answer.status == 202
        for task in hanging:
            task.cancel()
        await asyncio.gather(*hanging, return_exceptions=True)
        never.set()


@pytest.mark.parametrize(
    ("greedy", "other"),
    [
        (("agents", ""), ("webhooks", "")),
        (("webhooks", ""), ("agents", "")),
        (("agents", ""), ("", "")),
        (("agents", "public DID"), ("agents", "invitation")),
        (("agents", "public DID"), ("webhooks", "")),
        (("strangers", "public DID"), ("strangers", "invitation")),
    ],
)
async def test_receivers_of_one_kind_that_hang_leave_places_for_the_other_kind(
    greedy: tuple[str, str], other: tuple[str, str]
) -> None:
    never = asyncio.Event()

    async def hang(request: web.Request) -> web.Response:
        await never.wait()
        return web.Response()

    async with (
        serving(hang) as slow,
        serving(echo) as fast,
        opened(Egress(LOOPBACK, places=12, lookup=_here)) as egress,
    ):
        with on_behalf_of("attacked", greedy[0], entrance=greedy[1]):
            hanging = [
                asyncio.create_task(egress.request("GET", f"http://host{n}.example:{slow.port}/", timeout=60))
                for n in range(20)
            ]
        with on_behalf_of("attacked", greedy[0], entrance=greedy[1]):
            while egress.has_place():  # noqa: ASYNC110  nobody tells of it
                await asyncio.sleep(0.01)
        with on_behalf_of("attacked", other[0], entrance=other[1]):
            assert egress.has_place()
            for _ in range(3):
                answer = await asyncio.wait_for(egress.request("GET", f"http://127.0.0.1:{fast.port}/", timeout=10), 20)
                assert answer.status == 202
        for task in hanging:
            task.cancel()
        await asyncio.gather(*hanging, return_exceptions=True)
        never.set()


async def test_waiting_for_a_place_is_not_part_of_the_receivers_time() -> None:
    async def slow(request: web.Request) -> web.Response:
        await asyncio.sleep(0.6)
        return web.Response()

    async with serving(slow) as server, opened(Egress(LOOPBACK, places=2)) as egress:
        url = f"http://127.0.0.1:{server.port}/"
        answers = await asyncio.gather(*(egress.request("GET", url, timeout=1.7) for _ in range(5)))
    assert [answer.status for answer in answers] == [200] * 5
    assert max(answer.duration for answer in answers) < 1.7


async def test_a_message_has_one_budget_for_all_that_it_has_fetched() -> None:
    async def slow(request: web.Request) -> web.Response:
        await asyncio.sleep(0.2)
        return web.Response()

    async with serving(slow) as server, opened(Egress(LOOPBACK)) as egress:
        with within_budget(0.5):
            codes = []
            for _ in range(4):
                try:
                    await egress.request("GET", f"http://127.0.0.1:{server.port}/")
                except EgressError as error:
                    codes.append(error.code)
    assert codes == ["timeout"] * len(codes)
    assert 2 <= len(codes) <= 3
