"""The service called through Microsoft's worker library: what its conversions do to calls, messages and timers.

test_library.py runs it under Python 3.13, with scenarios of two tenants beside it.
"""

from __future__ import annotations

import asyncio
from collections import Counter

import azure.functions as func
import pytest

from devtools.host.library import LibraryInvoker
from tests.scenarios.common import assert_problem, basic
from tests.scenarios.test_did_exchange import completed
from tests.stack import Client, Stack


@pytest.fixture
def calls(stack: Stack) -> Counter[str]:
    """How often each function was called through the library."""
    invoke = stack.host._invoke
    assert isinstance(invoke, LibraryInvoker)
    return invoke.calls


async def test_a_message_between_two_tenants(stack: Stack, pair: tuple[Client, Client], calls: Counter[str]) -> None:
    acme, bolt = pair
    hook = await bolt.webhook()
    contact = await acme.post("contact", {"contact": {"did": bolt.identity["did"]}})
    await completed(acme, contact["connectionUuid"])
    await acme.act(contact["uuid"], basic("grüße ✓"))
    got = await hook.until(lambda hook: hook.json()["message"].get("content") == "grüße ✓")
    assert got.json()["authenticated"] is True
    assert {"web_api", "didcomm", "inbound", "outbound", "relay"} <= calls.keys()


async def test_a_call_arrives_and_is_answered_as_it_is(pair: tuple[Client, Client], calls: Counter[str]) -> None:
    acme, _ = pair
    made = await acme.call("POST", "contact", {"contact": {"email": "ä@x.example", "displayName": "Ünal"}})
    assert (made.status, made.headers["Content-Type"]) == (201, "application/json")
    listed = await acme.get("contact?limit=&email=%C3%A4%40x.example")
    assert [hit["displayName"] for hit in listed["hits"]] == ["Ünal"]
    refused = await acme.call("POST", "contact", b"\xff\xfe{")
    assert_problem(refused, 400, "body-not-json")
    gone = await acme.call("DELETE", f"contact/{made.json()['uuid']}")
    assert (gone.status, gone.body, gone.headers.get("Content-Type")) == (204, b"", None)
    wrong = await acme.call("PATCH", "contact", {})
    assert (wrong.status, wrong.headers["Allow"]) == (405, "GET, HEAD, POST")
    assert calls["web_api"] > 5


async def test_a_timer_sweeps(stack: Stack, calls: Counter[str], monkeypatch: pytest.MonkeyPatch) -> None:
    swept = []
    sweep = stack.app.sweep.run

    async def run() -> int:
        swept.append(await sweep())
        return 0

    monkeypatch.setattr(stack.app.sweep, "run", run)
    await stack.host.run("sweep")
    assert (len(swept), calls["sweep"]) == (1, 1)


async def test_a_queue_message_arrives_as_it_is(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    got: list[tuple[bytes, int]] = []
    arrived = asyncio.Event()

    async def handle(body: bytes, dequeue_count: int) -> None:
        got.append((body, dequeue_count))
        if dequeue_count == 1:
            raise RuntimeError("the first time fails")
        arrived.set()

    monkeypatch.setattr(stack.app.relay, "handle", handle)
    item = '{"text":"grüße ✓","number":100000000000000000000}'.encode()
    await stack.app.services.storage.relay.add(item)
    stack.host.wake("relay")
    async with asyncio.timeout(30):
        await arrived.wait()
    assert got == [(b'{"items":[' + item + b"]}", number) for number in (1, 2)]


async def test_a_function_that_fails_is_reported(
    stack: Stack, pair: tuple[Client, Client], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(*_: object) -> func.HttpResponse:
        raise RuntimeError("broken on purpose")

    monkeypatch.setattr("function_app.answer", fail)
    answer = await pair[0].stack.session.get(f"{stack.url}/api/contact")
    assert (answer.status, await answer.read()) == (500, b"")
    assert "RuntimeError: broken on purpose" in caplog.text
