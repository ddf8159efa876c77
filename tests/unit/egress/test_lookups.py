"""Looking names up takes bounded time, and leaves threads for others."""

import asyncio
import ipaddress
import itertools
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress

import pytest

from tests.unit.egress.servers import LOOPBACK, Names, code_of, echo, opened, serving
from tntcore.egress import Egress, EgressError
from tntcore.shares import on_behalf_of, party, within_budget


async def test_a_name_has_a_bound_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    async def slow_names(host: str) -> Sequence[str]:
        await asyncio.sleep(0.5 if host == "slow.example" else 60)
        return ["127.0.0.1"]

    async with serving(echo) as server, opened(Egress(LOOPBACK, lookup=slow_names)) as egress, asyncio.timeout(20):
        # A receiver has its time even if its name took longer than that.
        answer = await egress.request("GET", f"http://slow.example:{server.port}/", timeout=0.4)
        assert answer.status == 202
        assert answer.duration >= 0.5
        monkeypatch.setattr("tntcore.egress._NAME_PATIENCE", 0.1)
        monkeypatch.setattr("tntcore.egress._NAME_ANSWER", 0.1)
        assert await code_of(egress.request("GET", "https://never.example/", timeout=60)) == "timeout"
        # And a message that has little time left does not spend more on it.
        monkeypatch.undo()
        with within_budget(0.2):
            assert await code_of(egress.request("GET", "https://never.example/", timeout=60)) == "timeout"


async def test_nobody_waits_for_a_look_up_that_another_tenant_began(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenant who has used up its share would have every other one wait for its turn."""
    waits = {"greedy"}

    async def names(host: str) -> Sequence[str]:
        if party().tenant in waits:
            await asyncio.sleep(60)
        return ["127.0.0.1"]

    async with serving(echo) as server, opened(Egress(LOOPBACK, lookup=names)) as egress, asyncio.timeout(20):
        url = f"http://honest.example:{server.port}/"
        with on_behalf_of("greedy"):
            greedy = asyncio.create_task(egress.request("GET", url))
        await asyncio.sleep(0)
        with on_behalf_of("modest"):
            assert (await egress.request("GET", url)).status == 202
        greedy.cancel()


async def test_a_name_is_asked_for_once_by_many_and_again_when_it_is_old() -> None:
    now = 0.0
    names = Names(many_example=[["127.0.0.1"]])
    async with serving(echo) as server, opened(Egress(LOOPBACK, lookup=names, now=lambda: now)) as egress:
        url = f"http://many.example:{server.port}/"
        await asyncio.gather(*(egress.request("GET", url) for _ in range(5)))
        assert names.asked == ["many.example"]
        now = 11.0
        await egress.request("GET", url)
        assert names.asked == ["many.example"] * 2


async def test_the_systems_resolver() -> None:
    async with serving(echo) as server, opened(Egress([*LOOPBACK, ipaddress.ip_network("::1/128")])) as egress:
        assert (await egress.request("GET", f"http://localhost:{server.port}/")).status == 202
        for host in ("a" * 64 + ".example", "does-not-exist.invalid"):
            assert await code_of(egress.request("GET", f"https://{host}/")) == "dns"


def let_hang(
    monkeypatch: pytest.MonkeyPatch, hangs: Callable[[bytes], bool]
) -> tuple[threading.Semaphore, threading.Event]:
    """Makes looking up some names hang. Returns what is released at each of them, and what ends their wait."""
    asked, hurry = threading.Semaphore(0), threading.Event()

    def look_up(host: bytes, *args: object, **more: object) -> list[tuple[object, ...]]:
        if hangs(host):
            asked.release()
            hurry.wait(30)
            raise OSError
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return asked, hurry


async def test_names_that_are_never_answered_leave_threads_for_other_tenants(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, hurry = let_hang(monkeypatch, lambda host: host.startswith(b"never"))
    monkeypatch.setattr("tntcore.egress._NAME_PATIENCE", 0.2)
    monkeypatch.setattr("tntcore.egress._NAME_ANSWER", 0.2)
    async with serving(echo) as server, opened(Egress(LOOPBACK)) as egress:
        with on_behalf_of("greedy"):
            hanging = [
                asyncio.create_task(egress.request("GET", f"http://never{n}.example:{server.port}/", timeout=0.2))
                for n in range(40)
            ]
        await asyncio.to_thread(asked.acquire)
        await asyncio.gather(*hanging, return_exceptions=True)
        # Nobody waits for those names any more, but the threads do.
        with on_behalf_of("modest"):
            answer = await egress.request("GET", f"http://other.example:{server.port}/", timeout=5)
        assert answer.status == 202
        hurry.set()


async def test_names_of_one_domain_leave_threads_for_others_of_the_tenant(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, hurry = let_hang(monkeypatch, lambda host: host.endswith(b".slow.example"))
    monkeypatch.setattr("tntcore.egress._NAME_PATIENCE", 0.3)
    async with serving(echo) as server, opened(Egress(LOOPBACK)) as egress:
        with on_behalf_of("attacked"):
            hanging = [
                asyncio.create_task(egress.request("GET", f"http://{n}.slow.example:{server.port}/", timeout=5))
                for n in range(40)
            ]
            await asyncio.to_thread(asked.acquire)
            answer = await egress.request("GET", f"http://honest.other:{server.port}/", timeout=2)
            assert answer.status == 202
            for done in itertools.islice(asyncio.as_completed(hanging, timeout=4), 34):
                with suppress(EgressError):
                    await done
        hurry.set()
        errors = await asyncio.gather(*hanging, return_exceptions=True)
    # Whoever found no thread in time was not asked for anything, and has not failed.
    assert sorted(error.code for error in errors if isinstance(error, EgressError)) == ["busy"] * 34 + ["dns"] * 6


async def test_a_name_without_an_answer_is_not_asked_for_again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry = threading.Event()
    asked: list[bytes] = []
    now = 0.0

    def look_up(host: bytes, *args: object, **more: object) -> list[tuple[object, ...]]:
        asked.append(host)
        hurry.wait(30)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setattr("tntcore.egress._NAME_ANSWER", 0.1)
    async with serving(echo) as server, opened(Egress(LOOPBACK, now=lambda: now)) as egress:
        url = f"http://silent.example:{server.port}/"
        for _ in range(3):
            with pytest.raises(EgressError) as caught:
                await egress.request("GET", url, timeout=5)
            assert caught.value.code == "dns"
        assert len(asked) == 1
        hurry.set()
        now = 31.0
        assert (await egress.request("GET", url, timeout=5)).status == 202
