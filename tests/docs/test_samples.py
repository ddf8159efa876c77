"""The receivers that docs/webhooks.md shows, started as its reader would, and called by the service and by others."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import ClientSession

from devtools.ports import free_ports
from tests.docs.pages import ROOT, blocks, difference
from tests.scenarios.common import basic
from tests.stack import Client, Hook, Stack
from tntcore.tenancy.webhooks import new_secrets, public_key, sign

BASIC = "https://didcomm.org/basicmessage/1.0/message"
PAGE = ROOT / "docs" / "webhooks.md"
SAMPLES = {
    block.text.splitlines()[0].removeprefix("# ").removeprefix("// "): block.text
    for block in blocks(PAGE.read_text())
    if block.language in ("python", "js")
}
RECEIVERS = {"receiver.py": sys.executable, "receiver.mjs": "node"}

Verdict = Callable[[str, Mapping[str, str], bytes], bool]


def test_these_are_the_samples() -> None:
    assert SAMPLES.keys() == {"receiver.py", "receiver.mjs", "public_key.py", "public_key.mjs"}


@dataclass
class Running:
    url: str
    process: asyncio.subprocess.Process

    async def printed(self) -> str:
        assert self.process.stdout is not None
        return (await asyncio.wait_for(self.process.stdout.readline(), 60)).decode()

    async def answer(self, headers: Mapping[str, str], body: bytes) -> int:
        async with ClientSession() as session, session.post(self.url, data=body, headers=dict(headers)) as response:
            return response.status


@asynccontextmanager
async def running(sample: str, secret: str, port: int, folder: Path) -> AsyncIterator[Running]:
    (folder / sample).write_text(SAMPLES[sample])
    process = await asyncio.create_subprocess_exec(
        RECEIVERS[sample],
        str(folder / sample),
        env={"PATH": os.environ["PATH"], "WEBHOOK_SECRET": secret, "PORT": str(port)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(60):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except OSError:
                    await asyncio.sleep(0.05)
                else:
                    writer.close()
                    break
        yield Running(f"http://127.0.0.1:{port}/didcomm", process)
    finally:
        process.kill()
        await process.wait()


async def save(client: Client, port: int) -> dict[str, Any]:
    entry = {"id": "erp", "url": f"http://127.0.0.1:{port}/didcomm"}
    saved: dict[str, Any] = await client.post("settings/DIDCOMM_WEBHOOK", {"setting": [entry]}, 200)
    return saved


async def outcome(client: Client, number: int) -> list[Any]:
    """Status and answer of each of so many deliveries, when none is under way."""
    async with asyncio.timeout(60):
        while True:
            hits = (await client.get("delivery?kind=webhook"))["hits"]
            if len(hits) == number and all(hit["attempts"] for hit in hits):
                return [(hit["status"], hit["responseStatus"]) for hit in hits]
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("sample", sorted(RECEIVERS))
async def test_a_receiver_takes_the_services_calls_and_no_others(
    stack: Stack, pair: tuple[Client, Client], sample: str, tmp_path: Path
) -> None:
    acme, bolt = pair
    [port] = free_ports(1)
    secret = (await save(bolt, port))["secrets"]["erp"]
    mine, _ = await stack.connect(acme, bolt)
    async with running(sample, secret, port, tmp_path) as receiver:
        await acme.act(mine.contact_uuid, basic("Grüezi, 你好"))
        assert json.loads((await receiver.printed()).split(" ", 1)[1])["content"] == "Grüezi, 你好"
        assert await outcome(bolt, 1) == [("DELIVERED", 204)]
        # Both secrets sign for a day, so that the receiver may go on with the old one.
        rotated = await bolt.post("settings/DIDCOMM_WEBHOOK/erp/rotate-secret", None, 200)
        await acme.act(mine.contact_uuid, basic("after the rotation"))
        assert "after the rotation" in await receiver.printed()
        now, body = int(time.time()), b'{"type": "t", "message": {}}'
        good = sign([rotated["secret"], secret], "msg", now, body)
        assert await receiver.answer(good, body) == 204
        assert await receiver.answer(good, body + b" ") == 401
        assert await receiver.answer({**good, "webhook-id": "other"}, body) == 401
        assert await receiver.answer({**good, "webhook-timestamp": str(now - 1)}, body) == 401
        assert await receiver.answer({}, body) == 401
        assert await receiver.answer({**good, "webhook-signature": "v1, v1,= v2,x v1"}, body) == 401
        assert await receiver.answer(sign([secret], "msg", now - 400, body), body) == 401
        # When that day is over, the new one alone signs.
        assert await receiver.answer(sign([rotated["secret"]], "msg", now, body), body) == 401
    async with running(sample, rotated["secret"], port, tmp_path) as receiver:
        await acme.act(mine.contact_uuid, basic("to the new one"))
        assert "to the new one" in await receiver.printed()
        assert await outcome(bolt, 3) == [("DELIVERED", 204)] * 3
        # An entry under another id has a secret of its own, and the stolen one signs nothing any more.
        entry = {"id": "another", "url": receiver.url}
        await bolt.post("settings/DIDCOMM_WEBHOOK", {"setting": [entry]}, 200)
        await acme.act(mine.contact_uuid, basic("unknown"))
        assert ("PENDING", 401) in await outcome(bolt, 4)


def in_python(cases: list[tuple[str, Mapping[str, str], bytes]], folder: Path) -> list[bool]:
    defined: dict[str, Any] = {}
    exec(SAMPLES["public_key.py"], defined)
    return [defined["is_genuine"](*case) for case in cases]


_DRIVER = """import { isGenuine } from "./public_key.mjs";
import { readFileSync } from "node:fs";
const cases = JSON.parse(readFileSync("cases.json"));
const verdicts = cases.map(([key, headers, body]) => isGenuine(key, headers, Buffer.from(body)));
console.log(JSON.stringify(verdicts));
"""


def in_javascript(cases: list[tuple[str, Mapping[str, str], bytes]], folder: Path) -> list[bool]:
    (folder / "public_key.mjs").write_text(SAMPLES["public_key.mjs"])
    (folder / "driver.mjs").write_text(_DRIVER)
    (folder / "cases.json").write_text(json.dumps([(key, headers, body.decode()) for key, headers, body in cases]))
    done = subprocess.run(["node", "driver.mjs"], cwd=folder, capture_output=True, check=True, timeout=30)
    verdicts: list[bool] = json.loads(done.stdout)
    return verdicts


@pytest.mark.parametrize("judge", [in_python, in_javascript])
async def test_who_has_the_public_key_takes_the_services_calls_and_no_others(
    stack: Stack, pair: tuple[Client, Client], judge: Any, tmp_path: Path
) -> None:
    acme, bolt = pair
    receiver = await bolt.webhook(id="erp")
    mine, _ = await stack.connect(acme, bolt)
    first = (await bolt.get("settings/DIDCOMM_WEBHOOK"))["setting"][0]["publicKey"]
    rotated = (await bolt.post("settings/DIDCOMM_WEBHOOK/erp/rotate-secret", None, 200))["publicKey"]
    await acme.act(mine.contact_uuid, basic("Grüezi, 你好"))
    hook = await receiver.until(lambda hook: True)
    headers = {name.lower(): value for name, value in hook.headers.items()}
    secrets, others = new_secrets(os.urandom), new_secrets(os.urandom)
    mine_too = public_key(secrets[1])
    now, body = int(time.time()), b"{}"
    cases: list[tuple[str, Mapping[str, str], bytes, bool]] = [
        (first, headers, hook.body, True),
        (rotated, headers, hook.body, True),
        (mine_too, headers, hook.body, False),
        (first, headers, hook.body + b" ", False),
        (first, {**headers, "webhook-id": "other"}, hook.body, False),
        (first, {}, hook.body, False),
        (mine_too, sign([*others, *secrets], "msg", now, body), body, True),
        (mine_too, sign(others, "msg", now, body), body, False),
        (mine_too, sign(secrets[:1], "msg", now, body), body, False),
        (mine_too, sign(secrets, "msg", now - 400, body), body, False),
        (mine_too, {**sign(secrets, "msg", now, body), "webhook-signature": "v1a, v1a,AAAA v1a"}, body, False),
    ]
    assert judge([case[:3] for case in cases], tmp_path) == [case[3] for case in cases]


async def test_a_call_is_as_shown(stack: Stack, pair: tuple[Client, Client]) -> None:
    acme, bolt = pair
    receiver = await bolt.webhook()
    mine, _ = await stack.connect(acme, bolt)
    await acme.act(mine.contact_uuid, {"@type": BASIC, "content": "Hello"})
    hook: Hook = await receiver.until(lambda hook: True)
    [shown] = [
        orjson.loads(block.text)
        for block in blocks(PAGE.read_text())
        if block.language == "json" and "eventUuid" in block.text
    ]
    assert difference(shown, hook.json()) == ""
    assert hook.json()["eventUuid"] == {name.lower(): value for name, value in hook.headers.items()}["webhook-id"]
