"""An account that commit 7234cd7 left with work half done: this version finishes it.

The account was written by that commit's own code. In it, a webhook was called and failed, another call's queue
message is lost, a message was given up, a large and a small one wait at the door, one waits to be sent, a credential
was asked for, and a message is held until a connection is completed.
"""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from azure.storage.queue.aio import QueueServiceClient

from tests.scenarios.common import handle_queues
from tntcore.api.http import KEY_HEADER, OPERATOR_HEADER, Request
from tntcore.app import App
from tntcore.config import Config
from tntcore.egress import Answer, Egress
from tntcore.services import open_services
from tntcore.storage import layout
from tntcore.storage.storage import Storage
from tntcore.storage.transactions import MAX_OPERATIONS, Operation

VECTORS = Path(__file__).parents[1] / "vectors" / "stored"
ACCOUNT: dict[str, Any] = json.loads((VECTORS / "account-7234cd7.json").read_text())
ROWS: dict[str, Any] = json.loads((VECTORS / "rows-7234cd7.json").read_text())
URL = "https://service.example"
LATER = 30 * 60_000  # milliseconds: more than a delivery may be late


class Sites(Egress):
    """Tenants' webhooks, and the service itself, which the tenants of the account reach by it."""

    def __init__(self) -> None:
        super().__init__()
        self.app: App | None = None
        self.calls: dict[str, dict[str, Any]] = {}

    async def request(self, method: str, url: str, **given: Any) -> Answer:
        host, _, path = url.partition("://")[2].partition("/")
        headers = {name.lower(): value for name, value in (given.get("headers") or {}).items()}
        body = given.get("body") or b""
        if f"https://{host}" == URL:
            assert self.app is not None
            answer = await self.app.http(Request(method, path.removeprefix("api/"), {}, headers, body))
            return Answer(answer.status, answer.headers, answer.body, truncated=False, duration=0.01)
        self.calls[headers["webhook-id"]] = {"host": host, **orjson.loads(body)}
        return Answer(200, {}, b"", truncated=False, duration=0.01)


def columns(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: base64.b64decode(value["base64"]) if isinstance(value, dict) else value for name, value in values.items()
    }


async def load(storage: Storage, queues: QueueServiceClient) -> None:
    """Writes the account as it was, with calls that know nothing of what it means."""
    await storage.ensure()
    tables = {table.name: table for table in (storage.records, storage.lookups, storage.due, storage.poisoned)}
    for name, rows in ACCOUNT["tables"].items():
        partitions: dict[str, list[Operation]] = {}
        for partition, key, values in rows:
            partitions.setdefault(partition, []).append(Operation("create", key, columns(values)))
        for partition, operations in partitions.items():
            for begin in range(0, len(operations), MAX_OPERATIONS):
                await tables[name].transact(partition, operations[begin : begin + MAX_OPERATIONS])
    for container, blobs in ACCOUNT["blobs"].items():
        for name, blob in blobs.items():
            await storage.container(container).put(name, base64.b64decode(blob["data"]), blob["metadata"])
    for message in ACCOUNT["queueMessages"]:
        text = base64.b64encode(message["body"].encode()).decode()
        await queues.get_queue_client(message["queue"]).send_message(text)


class Upgraded:
    """This version on the account; its queues are looked into by hand."""

    def __init__(self, connection_string: str, keys: Path) -> None:
        config = Config.read(
            {
                "AzureWebJobsStorage": connection_string,
                "TNT_PUBLIC_URL": URL,
                "TNT_MASTER_KEY_FILE": str(keys),
                "TNT_EGRESS_ALLOW": "127.0.0.0/8",
            }
        )
        self.sites = Sites()
        services = open_services(config, lambda queue, delay: None, egress=self.sites)
        self.app = App(replace(services, now=lambda: ACCOUNT["now"] + LATER))
        self.sites.app = self.app
        self.storage = services.storage
        self.queues = QueueServiceClient.from_connection_string(connection_string)

    async def settle(self) -> None:
        """Handles all that can be seen, and what the sweeper finds."""
        await self.app.sweep.run()
        await handle_queues(self.app, self.queues)

    async def call(self, method: str, path: str, body: Any, headers: Mapping[str, str]) -> Any:
        path, _, query = path.partition("?")
        pairs = dict(pair.split("=", 1) for pair in query.split("&")) if query else {}
        data = orjson.dumps(body) if body is not None else b""
        request = Request(method, path, pairs, {"content-type": "application/json", **headers}, data)
        answer = await self.app.http(request)
        assert answer.status in (200, 201), answer.body
        return orjson.loads(answer.body)

    async def get(self, name: str, path: str) -> Any:
        return await self.call("GET", path, None, {KEY_HEADER: ACCOUNT["clients"][name]["key"]})

    async def post(self, name: str, path: str, body: Any) -> Any:
        return await self.call("POST", path, body, {KEY_HEADER: ACCOUNT["clients"][name]["key"]})

    async def replay(self) -> Any:
        """An operator has all handled again that was given up."""
        services = self.app.services
        made = await services.operators.first("Ada", 0, services.uuid7(), anyway=True, by="tests")
        return await self.call("POST", "poison/replay", {}, {OPERATOR_HEADER: made.key.text})

    def told(self, host: str) -> list[str]:
        """The contents of messages that a webhook was told of, each webhook-id once."""
        found = [call["message"].get("content") for call in self.sites.calls.values() if call["host"] == host]
        return sorted(content[:20] for content in found if content is not None)

    async def close(self) -> None:
        await self.queues.close()
        await self.app.close()


@pytest.fixture
async def upgraded(accounts: Iterator[str], tmp_path: Path) -> AsyncIterator[Upgraded]:
    keys = tmp_path / "master-keys.json"
    keys.write_text(json.dumps(ACCOUNT["masterKeys"]))
    keys.chmod(0o600)
    service = Upgraded(next(accounts), keys)
    await load(service.storage, service.queues)
    yield service
    await service.close()


async def test_this_version_finishes_what_the_last_one_left(upgraded: Upgraded) -> None:
    await layout.check(upgraded.storage)
    await upgraded.settle()

    assert upgraded.told("acme.example") == ["again", "at the door", "held", "lost", "x" * 20]
    assert upgraded.told("bolt.example") == ["sent"]
    for name in ACCOUNT["clients"]:
        hits = (await upgraded.get(name, "delivery?limit=200"))["hits"]
        assert {hit["status"] for hit in hits} == {"DELIVERED"}
    [connection] = (await upgraded.get("carla", "connection"))["hits"]
    assert connection["state"] == "completed"

    # What the last version was asked for is answered, and what it gave up is handled.
    [asked] = (await upgraded.get("acme", "exchange"))["hits"]
    assert (asked["status"], asked["state"]) == ("WAITING", "request-received")
    await upgraded.post("acme", f"exchange/{asked['uuid']}/accept", {"data": {"attachment": {"passed": "on"}}})
    assert (await upgraded.replay())["replayed"] == 1
    await upgraded.settle()
    [exchange] = (await upgraded.get("bolt", "exchange"))["hits"]
    assert (exchange["uuid"], exchange["state"]) == (ACCOUNT["exchange"], "credential-received")
    assert "given up" in upgraded.told("acme.example")
    assert (await upgraded.get("acme", "message?status=FAILED"))["hits"] == []

    await assert_readable_by_the_last_version(upgraded.storage)


async def assert_readable_by_the_last_version(storage: Storage) -> None:
    """Each row of a kind that the last version knows has every column that it always wrote."""
    seen = set()
    for client in ACCOUNT["clients"].values():
        start: str | None = ""
        while start is not None:
            page = await storage.records.scan(client["uuid"], start, "~~~", limit=1000)
            start = page.next
            for row in page.rows:
                kind = row.key.partition("~")[0]
                if kind in ROWS:
                    seen.add(kind)
                    assert row.values.keys() >= ROWS[kind]["least"].keys(), row.key
    assert {"message", "delivery", "connection", "contact", "exchange"} <= seen
