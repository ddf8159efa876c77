"""A backup that is taken while messages come in, put into an empty account: the service goes on there."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from azure.storage.queue.aio import QueueServiceClient

from devtools.azurite import connection_string
from devtools.ports import free_ports
from tests.scenarios.cli.tool import Tool
from tests.scenarios.common import basic, contact_out_of_reach, handle_queues
from tests.scenarios.foreign import Foreign, connect_foreign
from tests.stack import Client, Hook, Receiver, Stack, Stacks
from tntcore import process
from tntcore.api.http import Request
from tntcore.app import App
from tntcore.clock import Clock
from tntcore.config import Config, ConfigError
from tntcore.delivery.outbox import DUE
from tntcore.maintenance import archive, backup
from tntcore.maintenance.archive import BackupError, Container, Folder
from tntcore.maintenance.repair import repair
from tntcore.maintenance.restore import restore, verify
from tntcore.services import open_services
from tntcore.storage import layout
from tntcore.storage.layout import UnusableStorageError
from tntcore.storage.records import Connection, Contact, Delivery, Message
from tntcore.storage.storage import Storage
from tntcore.storage.transactions import Value
from tntcore.telemetry import Meter

now_ms = Clock()
LATER = 20 * 60_000  # milliseconds: more than a delivery may be late


@pytest.fixture(scope="module")
async def stack(stacks: Stacks) -> AsyncIterator[Stack]:
    """The service on a storage of its own: a backup and a repair take the longer, the more other tests left."""
    yield await stacks.another()
    await stacks.stop()


@pytest.fixture
async def empty(accounts: Iterator[str]) -> AsyncIterator[Storage]:
    account = next(accounts)
    storage = Storage(account, Meter(), lambda queue, delay: None)
    storage.connection_string = account  # type: ignore[attr-defined]
    yield storage
    await storage.close()


class Between(Folder):
    """A folder; `then` is called once, before the first file whose name contains `part` is written."""

    def __init__(self, path: Path, part: str, then: Callable[[], Awaitable[None]]) -> None:
        super().__init__(path)
        self.part = part
        self.then: Callable[[], Awaitable[None]] | None = then
        self.written: list[str] = []

    async def write(self, name: str, data: bytes) -> None:
        if self.part in name and self.then is not None:
            then, self.then = self.then, None
            await then()
        self.written.append(name)
        await super().write(name, data)


class Restored:
    """The service on another account: its queues are looked into by hand."""

    def __init__(self, account: str) -> None:
        config = Config.read({**os.environ, "AzureWebJobsStorage": account})
        services = open_services(config, lambda queue, delay: None)
        self.app = App(replace(services, now=lambda: now_ms() + LATER))
        self._queues = QueueServiceClient.from_connection_string(account)

    async def settle(self) -> None:
        """Handles all that can be seen."""
        await handle_queues(self.app, self._queues)

    async def door(self, packed: bytes) -> int:
        headers = {"content-type": "application/didcomm-envelope-enc"}
        answer = await self.app.http(Request("POST", "didcomm", {}, headers, packed))
        return answer.status

    async def close(self) -> None:
        await self._queues.close()
        await self.app.close()


def content(hook: Hook) -> Any:
    return hook.json()["message"]["content"]


async def send(foreign: Foreign, text: str) -> None:
    answer = await foreign.stack.deliver(foreign.v1(orjson.dumps(basic(text))))
    assert answer.status == 202, answer.body


async def reach(stack: Stack, client: Client, number: int, status: str) -> None:
    """Waits until so many of the client's deliveries have been attempted and are in this state."""

    async def check() -> bool:
        hits = (await client.get("delivery?limit=200"))["hits"]
        return len([hit for hit in hits if hit["status"] == status and hit["attempts"] > 0]) >= number

    await stack.eventually(check, 20)


async def test_restored_after_a_backup_under_traffic(
    stack: Stack, pair: tuple[Client, Client], empty: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backup, "FILE", 8_000)
    monkeypatch.setattr(backup, "_MOST_FILES", 2)
    monkeypatch.setattr(backup, "MARGIN", 0)
    acme, bolt = pair
    storage, account = stack.app.services.storage, "first"
    hook: Receiver = await bolt.webhook()
    down = False
    hook.answer = lambda got: (500 if down else 200, {})
    foreign, leaving = await connect_foreign(stack, bolt), await connect_foreign(stack, bolt)
    waiting = await contact_out_of_reach(acme, "did:web:nobody.example")
    held = await acme.act(waiting["uuid"], basic("held"))

    # Before the backup: delivered, erased, large.
    for text in ("delivered", "erased", "L" * 60_000):
        await send(foreign, text)
    await hook.count(3)
    await reach(stack, bolt, 3, "DELIVERED")
    messages = (await bolt.get("message"))["hits"]
    [erased] = [hit for hit in messages if hit["message"]["content"] == "erased"]

    # The first backup is killed in the middle, and goes on.
    async def die() -> None:
        raise asyncio.CancelledError

    killed = Between(tmp_path / "backup", "records-keys-000000", die)
    with pytest.raises(asyncio.CancelledError):
        await backup.backup(storage, killed, account)
    resumed = Between(tmp_path / "backup", "never", die)
    first = await backup.backup(storage, resumed, account)
    assert first.number == 1
    assert not {name for name in resumed.written if "/records-000000" in name or "/queues" in name}
    assert {archive.list_of(1, number) for number in range(2)} <= {*killed.written, *resumed.written}
    names = [file.name for file in first.files]
    assert len(names) == len(set(names))
    assert (await verify(resumed))[1] == [first]
    for file in (tmp_path / "backup").rglob("*"):
        assert stat.S_IMODE(file.stat().st_mode) == (0o700 if file.is_dir() else 0o600)

    # Before the second: a message is erased, and some are on the ladder.
    assert (await bolt.call("DELETE", f"message/{erased['uuid']}")).status == 204
    down = True
    for text in ("late", "H" * 60_000):
        await send(foreign, text)
    await reach(stack, bolt, 2, "PENDING")
    await asyncio.sleep(1)  # the service's clock tells seconds
    known = len(hook.got)
    during = 0

    async def traffic() -> None:
        nonlocal during
        while True:
            await send(foreign, f"during {during}")
            during += 1

    async def leave() -> None:
        uuid = leaving.connection.contact_uuid
        assert (await bolt.call("DELETE", f"contact/{uuid}")).status == 204

    sending = asyncio.create_task(traffic())
    second = await backup.backup(storage, Between(tmp_path / "backup", "/records-causes-0", leave), account)
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)
    assert second.number == 2
    assert during > 0
    assert (await stack.deliver(leaving.v1(orjson.dumps(basic("gone"))))).status == 404

    # The first account is of no use any more.
    for client in pair:
        await stack.call("POST", f"principal/{client.uuid}/suspend", {}, **stack.operator)
    assert known <= len(hook.got)

    # A restore that is killed in the middle goes on, and refuses to be another one.
    files = Folder(tmp_path / "backup")

    def stop(part: str, count: int) -> None:
        if part == "records-causes":
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await restore(empty, files, now_ms, told=stop)
    with pytest.raises(UnusableStorageError, match="not complete"):
        await layout.check(empty)
    done = await restore(empty, files, now_ms)
    assert done.repaired.pending >= 3
    assert done.repaired.lookups > 0
    await layout.check(empty)
    assert await repair(empty, now_ms) == replace(
        done.repaired, lookups=0, messages=0, held=0, connections=0, marks=0
    ), "a second repair finds nothing to do"
    assert (await restore(empty, files, now_ms)).restored_before, "the same call again only repairs"

    # The service goes on there.
    down = False
    before = len(hook.got)
    running = Restored(empty.connection_string)  # type: ignore[attr-defined]
    try:
        await running.settle()
        await running.app.sweep.run()
        await running.settle()
        there = await running.app.services.tenants.get(bolt.uuid)
        assert there is not None
        assert await there.records.get(Message, erased["uuid"]) is None
        got = hook.got[before:]
        ids = [each.headers["webhook-id"] for each in got]
        assert len(ids) == len(set(ids))
        texts = {content(each) for each in got}
        assert {"late", "H" * 60_000} <= texts
        assert not texts & {"delivered", "erased", "L" * 60_000}
        # The contact that was deleted while it was copied is there as it was, and its door is open.
        assert await there.records.get(Contact, leaving.connection.contact_uuid) is not None
        for agent in (foreign, leaving):
            assert await running.door(agent.v1(orjson.dumps(basic("after")))) == 202
        await running.settle()
        assert sum(content(each) == "after" for each in hook.got[before:]) == 2
        # What was held is held, and goes out when its connection is completed.
        own = await running.app.services.tenants.get(acme.uuid)
        assert own is not None
        deliveries = (await own.records.list(Delivery, limit=9)).records
        assert [str(one.status) for one in deliveries if one.kind == "didcomm"] == ["HELD"]
        assert held["typeStatus"] == "HELD"
        marks = await empty.due.scan(DUE, "", "~", limit=100)
        assert {row.key.partition("~")[2] for row in marks.rows} >= {acme.uuid, bolt.uuid}
    finally:
        await running.close()
        for client in pair:
            await stack.call("POST", f"principal/{client.uuid}/resume", **stack.operator)


async def test_a_connection_whose_contact_was_deleted_is_deleted_by_repair(stack: Stack) -> None:
    client = await stack.register("Torn")
    foreign = await connect_foreign(stack, client)
    storage = stack.app.services.storage
    await storage.records.delete(client.uuid, Contact.row_key(foreign.connection.contact_uuid))
    done = await repair(storage, now_ms)
    assert done.connections >= 1
    assert await storage.records.get(client.uuid, Connection.row_key(foreign.connection.uuid)) is None


async def test_repair_makes_due_what_lost_its_mark_and_its_names(stack: Stack, pair: tuple[Client, Client]) -> None:
    acme, bolt = pair
    storage = stack.app.services.storage
    contact = await contact_out_of_reach(acme, bolt.identity["did"])
    await acme.act(contact["uuid"], basic())
    tenant = await acme.tenant()
    [delivery] = (await tenant.records.list(Delivery, limit=9)).records
    position = None
    while True:
        page = await storage.due.walk(position)
        for row in page.rows:
            if acme.uuid in row.key:
                await storage.due.delete(row.partition, row.key)
        position = page.next
        if position is None:
            break
    [held] = (await storage.records.scan(acme.uuid, "held~", "held~~", limit=9)).rows
    await storage.records.delete(acme.uuid, held.key)
    await storage.lookups.delete("principals", acme.uuid)
    await repair(storage, now_ms)
    marks = (await storage.due.scan(DUE, "", "~", limit=1000)).rows
    assert [row for row in marks if row.key.endswith(acme.uuid)]
    assert await storage.records.get(acme.uuid, held.key) is not None
    assert await storage.lookups.get("principals", acme.uuid) is not None
    again = await tenant.records.get(Delivery, delivery.uuid)
    assert again is not None
    assert again.status == "HELD"


async def test_a_backup_in_a_container_that_was_changed_is_refused(stack: Stack, empty: Storage) -> None:
    container = empty.container("kept")
    generation = await backup.backup(stack.app.services.storage, Container(container), "first")
    assert (await verify(Container(container)))[1] == [generation]
    with pytest.raises(BackupError, match="Use another folder"):
        await backup.backup(stack.app.services.storage, Container(container), "another")
    victim = generation.files[-1].name
    data = await container.get(victim)
    assert data is not None
    await container.put(victim, data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(BackupError, match="not as it was written"):
        await restore(empty, Container(container), now_ms)
    index = await archive.read_index(Container(container))
    assert index is not None
    await container.put(archive.INDEX, index.write().replace(b'"format": 1', b'"format": 2'))
    with pytest.raises(BackupError, match="format 2"):
        await verify(Container(container))


async def test_a_generation_that_the_backup_does_not_list_is_made_anew(stack: Stack, tmp_path: Path) -> None:
    storage, files = stack.app.services.storage, Folder(tmp_path / "lost")
    first = await backup.backup(storage, files, "account")
    (tmp_path / "lost" / archive.INDEX).unlink()
    await stack.register("Later")
    second = await backup.backup(storage, files, "account")
    assert second.number == first.number == 1
    assert sum(file.lines for file in second.files) > sum(file.lines for file in first.files)
    assert (await verify(files))[1] == [second]


async def test_a_layout_of_a_newer_version_is_refused(empty: Storage) -> None:
    await layout.check(empty)
    await layout.check(empty)
    await empty.lookups.put(layout.PARTITION, "layout", {"layout": layout.LAYOUT + 1})
    with pytest.raises(UnusableStorageError, match=f"layout {layout.LAYOUT + 1}"):
        await layout.check(empty)
    with pytest.raises(UnusableStorageError, match=f"layout {layout.LAYOUT + 1}"):
        await backup.backup(empty, Container(empty.container("kept")), "here")
    environment = {**os.environ, "AzureWebJobsStorage": empty.connection_string}  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match="Deploy the version that ran last"):
        process._check_storage(Config.read(environment))


async def test_nothing_is_copied_from_an_account_whose_restore_is_not_complete(empty: Storage) -> None:
    await empty.lookups.put(layout.PARTITION, layout.RESTORE, {"backup": "another/1", "done": 1})
    with pytest.raises(UnusableStorageError, match="not complete"):
        await backup.backup(empty, Container(empty.container("kept")), "here")
    assert await empty.lookups.get(layout.PARTITION, "layout") is None, "a backup changes nothing"


async def test_a_manifest_of_another_version_is_refused(tmp_path: Path) -> None:
    manifest = b'{"number": 1, "files": [], "later": true}'
    await Folder(tmp_path).write(archive.manifest_of(1), manifest)
    index = archive.Index("kept", "here", [archive.digest(manifest)])
    with pytest.raises(BackupError, match=r"cannot read 000001/manifest\.json"):
        await archive.read_generation(Folder(tmp_path), index, 1)


@pytest.mark.parametrize("index", [b'{"id": "1"}', b'{"id": "1", "account": "here", "manifests": [], "later": 1}'])
async def test_an_index_of_another_version_is_refused(tmp_path: Path, index: bytes) -> None:
    whole = {"kind": "tntcore backup", "format": archive.FORMAT, **orjson.loads(index)}
    await Folder(tmp_path).write(archive.INDEX, orjson.dumps(whole))
    with pytest.raises(BackupError, match=r"cannot read backup\.json"):
        await archive.read_index(Folder(tmp_path))


async def test_a_backup_that_another_version_began_is_refused(empty: Storage, tmp_path: Path) -> None:
    files = Folder(tmp_path)
    begun: list[Any] = [
        {"number": 1},
        {"number": 1, "began": 1, "since": 0, "later": 1},
        {"number": 1, "began": 1, "since": 0, "part": "a part of a later version"},
        [],
    ]
    for progress in begun:
        await files.write(archive.progress_of(1), orjson.dumps(progress))
        with pytest.raises(BackupError, match=r"cannot read 000001/progress\.json"):
            await backup.backup(empty, files, "here")
    (tmp_path / archive.progress_of(1)).unlink()
    assert (await backup.backup(empty, files, "here")).number == 1


async def test_a_backup_whose_list_of_files_is_missing_begins_anew(
    empty: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backup, "FILE", 1)
    monkeypatch.setattr(backup, "_MOST_FILES", 1)
    for number in range(3):
        await empty.records.put(f"{number}", "principal~1", {})

    async def die() -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await backup.backup(empty, Between(tmp_path, "/records-keys-", die), "here")
    (tmp_path / archive.list_of(1, 0)).unlink()
    with pytest.raises(BackupError, match=r"Delete 000001/progress\.json"):
        await backup.backup(empty, Folder(tmp_path), "here")
    (tmp_path / archive.progress_of(1)).unlink()
    generation = await backup.backup(empty, Folder(tmp_path), "here")
    assert sum(file.lines for file in generation.of("records")) == 3


async def test_a_restore_that_another_version_began_is_done_from_its_beginning(empty: Storage, tmp_path: Path) -> None:
    files = Folder(tmp_path)
    await empty.records.put("acme", "principal~acme", {"status": "ACTIVE"})
    made = await backup.backup(empty, files, "here")
    index = await archive.read_index(files)
    assert index is not None
    await empty.records.delete("acme", "principal~acme")
    whole: dict[str, Value] = {"backup": f"{index.id}/1", "done": len(made.files), "version": "another"}
    await empty.lookups.put(layout.PARTITION, layout.RESTORE, whole)
    await restore(empty, files, now_ms)
    assert await empty.records.get("acme", "principal~acme") is not None


async def names_of_rows(storage: Storage) -> set[tuple[str, str]]:
    """Returns partition and key of each record, but for pointers, which a repair may delete."""
    names, walked = set[tuple[str, str]](), await storage.records.walk()
    while True:
        names |= {(row.partition, row.key) for row in walked.rows if not row.key.startswith("pointer~")}
        if walked.next is None:
            return names
        walked = await storage.records.walk(walked.next)


async def test_the_commands(stack: Stack, empty: Storage, tmp_path: Path) -> None:
    """From one account to another, by a container there."""
    target = empty.connection_string  # type: ignore[attr-defined]
    await stack.register("Kept")
    storage = {"AzureWebJobsStorage": stack.storage, "TNT_BACKUP_STORAGE": target}
    tool = Tool(stack.url, tmp_path, storage)
    before = await names_of_rows(stack.app.services.storage)
    made = (await tool.run("backup", "container:kept", "--json")).json()
    after = await names_of_rows(stack.app.services.storage)
    assert made["generation"] == 1
    assert made["copied"]["records"] > 0
    assert made["masterKeys"]
    checked = (await tool.run("restore", "container:kept", "--check", "--json")).json()
    assert checked == made
    assert "not empty" in (await tool.run("restore", "container:kept", code=2)).errors
    there = Tool(stack.url, tmp_path, {**storage, "AzureWebJobsStorage": target})
    restored = await there.run("restore", "container:kept")
    assert "master keys" in restored.output
    repaired = (await there.run("repair", "--json")).json()
    # A row that was changed during the backup was copied twice.
    restored_rows = await names_of_rows(empty)
    assert before & after <= restored_rows
    assert repaired["rows"] >= len(before & after)
    [closed] = free_ports(1)
    nowhere = {**storage, "AzureWebJobsStorage": connection_string(closed, closed, closed)}
    unanswered = (await Tool(stack.url, tmp_path, nowhere).run("repair", code=2)).errors
    assert f"Storage does not answer (ServiceRequestError) at 127.0.0.1:{closed}" in unanswered
    assert "no complete backup" in (await tool.run("restore", str(tmp_path / "nothing"), code=2)).errors
