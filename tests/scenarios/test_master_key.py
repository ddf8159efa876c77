"""The master key: rotated under way, and kept in a key vault."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import orjson
import pytest

from tests.contract.cloud import CLIENT_ID, Certificate, IdentityEndpoint, KeyVault
from tests.scenarios.common import assert_problem, basic
from tests.scenarios.foreign import connect_foreign
from tests.scenarios.test_redelivery import body, item
from tests.stack import Client, Stack
from tntcore.api.http import Request
from tntcore.app import App
from tntcore.cloud import Cloud
from tntcore.config import Config
from tntcore.keys.custody import Custody, LocalMasterKeys, WrappedKey
from tntcore.keys.vault import VaultMasterKeys
from tntcore.maintenance.key_rotation import rewrap
from tntcore.services import open_services
from tntcore.storage.records import Principal
from tntcore.storage.storage import Storage
from tntcore.tenancy import tenants


async def version_of(storage: Storage, uuid: str) -> str:
    row = await storage.records.get(uuid, Principal.row_key(uuid))
    assert row is not None
    return str(row.values["dataKeyVersion"])


def master_keys(stack: Stack) -> LocalMasterKeys:
    master = stack.app.services.custody._master
    assert isinstance(master, LocalMasterKeys)
    return master


async def rewrap_all(stack: Stack) -> dict[str, Any]:
    """As an operator does: page by page. The sums."""
    total: dict[str, Any] = {"rewrapped": 0, "unchanged": 0, "failed": {}}
    body: dict[str, Any] = {}
    while True:
        answer = await stack.call("POST", "principal/rewrap", body, **stack.operator)
        assert answer.status == 200, answer.body
        page = answer.json()
        for name in ("rewrapped", "unchanged"):
            total[name] += page[name]
        total["failed"] |= page["failed"]
        if page["next"] is None:
            return total
        body = {"start": page["next"]}


async def test_data_keys_are_rewrapped_while_messages_flow(stack: Stack, pair: tuple[Client, Client]) -> None:
    acme, bolt = pair
    storage = stack.app.services.storage
    receiver = await bolt.webhook()
    to_bolt, _ = await stack.connect(acme, bolt)
    before = await version_of(storage, acme.uuid)
    version = master_keys(stack).rotate()
    await acme.act(to_bolt.contact_uuid, basic("before"))
    done = await rewrap_all(stack)
    assert done["rewrapped"] >= 2
    assert before != version
    assert {await version_of(storage, client.uuid) for client in pair} == {version}
    await acme.act(to_bolt.contact_uuid, basic("after"))
    await receiver.count(2)
    # Neither did what was sealed change, nor is anything left to do.
    other = App.open(Config.read(stack.environment))
    assert await other.services.tenants.get(acme.uuid) is not None
    await other.close()
    again = await rewrap_all(stack)
    assert again["rewrapped"] == 0
    assert again["unchanged"] == done["rewrapped"] + done["unchanged"]


async def test_it_goes_page_by_page(stack: Stack) -> None:
    clients = [await stack.register(name) for name in ("One", "Two", "Three")]
    master_keys(stack).rotate()
    services = stack.app.services
    start, pages = clients[0].uuid, []
    while True:
        page = await rewrap(services.storage, services.custody, start, 2)
        pages.append(page.rewrapped + page.unchanged)
        if page.next is None:
            break
        start = page.next
    assert pages == [2, 1]
    assert await rewrap(services.storage, services.custody, "~") == type(page)(0, 0, {}, None)


async def test_a_data_key_that_no_master_key_opens_holds_back_no_other(stack: Stack) -> None:
    broken, well = await stack.register("Broken"), await stack.register("Well")
    storage = stack.app.services.storage
    await storage.records.put(
        broken.uuid,
        Principal.row_key(broken.uuid),
        {"status": "ACTIVE", "dataKey": b"?" * 72, "dataKeyVersion": "1", "displayName": "Broken"},
    )
    version = master_keys(stack).rotate()
    assert (await rewrap_all(stack))["failed"][broken.uuid] == "sealed-by-other"
    assert await version_of(storage, well.uuid) == version
    await stack.call("DELETE", f"principal/{broken.uuid}", **stack.operator)
    assert broken.uuid not in (await rewrap_all(stack))["failed"]


async def test_a_key_destroyed_meanwhile_does_not_come_back(stack: Stack) -> None:
    client = await stack.register("Deleted meanwhile")
    services = stack.app.services

    class Late(Custody):
        """Rewraps, and has the principal deleted before the result can be stored."""

        async def rewrap(self, wrapped: WrappedKey, principal: str) -> WrappedKey:
            new = await super().rewrap(wrapped, principal)
            if principal == client.uuid:
                assert new is not wrapped
                await stack.call("DELETE", f"principal/{client.uuid}", **stack.operator)
            return new

    master_keys(stack).rotate()
    late = Late(services.custody._master, services.custody._stored, lambda: 0.0)
    done = await rewrap(services.storage, late, client.uuid)
    assert (done.rewrapped, dict(done.failed)) == (0, {})
    row = await services.storage.records.get(client.uuid, Principal.row_key(client.uuid))
    assert row is not None
    assert not row.values.get("dataKey")


def key_of(stack: Stack) -> Mapping[str, str]:
    """The operator's key, as a header."""
    return {"tnt-operator-key": stack.operator["tnt_operator_key"]}


async def test_the_service_with_its_master_key_in_a_vault(
    stack: Stack, cloud: Cloud, certificate: Certificate, endpoint: IdentityEndpoint
) -> None:
    async with KeyVault(certificate) as vault:
        environment = {name: value for name, value in stack.environment.items() if name != "TNT_MASTER_KEY_FILE"}
        identity = {"AzureWebJobsStorage__credential": "managedidentity", "AzureWebJobsStorage__clientId": CLIENT_ID}
        config = Config.read({**environment, **identity, "TNT_KEY_VAULT_KEY": vault.key})
        app = App(open_services(config, lambda queue, delay: None, cloud=cloud))

        async def call(method: str, path: str, body: object = None, **headers: str) -> Any:
            data = b"" if body is None else orjson.dumps(body)
            answer = await app.http(Request(method, path, {}, {**key_of(stack), **headers}, data))
            assert answer.status < 300, answer.body
            return orjson.loads(answer.body or b"{}")

        made = await call("POST", "principal", {"displayName": "Vaulted"})
        key, uuid = made["headers"], made["uuid"]
        assert len((await call("GET", "identity", **key))["hits"]) == 1
        assert "unwrapkey" not in vault.calls, "what was just wrapped is still in memory"
        assert await version_of(app.services.storage, uuid) in vault.versions
        # Another process asks the vault, once; a rotation with the old version still there goes on as it was.
        for disabled in (False, True):
            services = open_services(config, lambda queue, delay: None, cloud=Cloud(config.identity, certificate.trust))
            if disabled:
                vault.rotate()
                assert (await rewrap(services.storage, services.custody, uuid, 1)).rewrapped == 1
                assert await version_of(services.storage, uuid) == list(vault.versions)[-1]
                vault.disabled.add(next(iter(vault.versions)))
            for _ in range(2):
                tenant = await services.tenants.get(uuid)
                assert tenant is not None
                services.tenants._tenants.drop(uuid)
            await services.close()
        assert set(endpoint.given) == {vault.url.replace("127.0.0.1", "0.0.1")}
        await call("DELETE", f"principal/{uuid}")
        await app.close()


class Vaulted:
    """A process of its own, its master key in the vault: tenants are made and used all the while, and it forgets what
    it has unwrapped each time, as after five minutes."""

    def __init__(self, config: Config, certificate: Certificate, operator: Mapping[str, str]) -> None:
        self._operator = operator
        services = open_services(config, lambda queue, delay: None, cloud=Cloud(config.identity, certificate.trust))
        self.app = App(services)
        self.made: dict[str, dict[str, str]] = {}
        self.rounds = 0
        self._task = asyncio.create_task(self._work())

    async def call(self, method: str, path: str, body: object = None, **headers: str) -> Any:
        data = b"" if body is None else orjson.dumps(body)
        answer = await self.app.http(Request(method, path, {}, {**self._operator, **headers}, data))
        assert answer.status < 300, answer.body
        return orjson.loads(answer.body or b"{}")

    async def _work(self) -> None:
        while True:
            made = await self.call("POST", "principal", {"displayName": "Vaulted"})
            self.made[made["uuid"]] = made["headers"]
            for uuid, key in list(self.made.items()):
                self.app.services.tenants._tenants.drop(uuid)
                assert len((await self.call("GET", "identity", **key))["hits"]) == 1
            self.rounds += 1

    def learn_the_latest(self) -> None:
        master = self.app.services.custody._master
        assert isinstance(master, VaultMasterKeys)
        master._latest.drop("")

    async def go_on(self, rounds: int = 2) -> None:
        """Waits until it has made and opened tenants that many times more. Raises what it was answered instead."""
        wanted = self.rounds + rounds
        async with asyncio.timeout(60):
            while self.rounds < wanted:
                if self._task.done():
                    self._task.result()
                await asyncio.sleep(0.02)

    async def stop(self) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        await self.app.close()


async def test_two_processes_go_on_while_the_key_in_the_vault_is_rotated(
    stack: Stack, certificate: Certificate, endpoint: IdentityEndpoint
) -> None:
    async with KeyVault(certificate) as vault:
        environment = {name: value for name, value in stack.environment.items() if name != "TNT_MASTER_KEY_FILE"}
        identity = {"AzureWebJobsStorage__credential": "managedidentity", "AzureWebJobsStorage__clientId": CLIENT_ID}
        config = Config.read({**environment, **identity, "TNT_KEY_VAULT_KEY": vault.key})
        key = key_of(stack)
        processes = one, other = Vaulted(config, certificate, key), Vaulted(config, certificate, key)

        async def all_go_on() -> None:
            await asyncio.gather(*(process.go_on() for process in processes))

        async def rewrap_by(process: Vaulted) -> int:
            # Tenants' uuids sort by when they were made: those before are under the key of the tests.
            rewrapped = 0
            body: dict[str, str] = {"start": min([*one.made, *other.made])}
            while True:
                page = await process.call("POST", "principal/rewrap", body)
                assert page["failed"] == {}
                rewrapped += int(page["rewrapped"])
                if page["next"] is None:
                    return rewrapped
                body = {"start": page["next"]}

        try:
            await all_go_on()
            old = list(vault.versions)[-1]
            new = vault.rotate()
            # One wraps under the new version while the other, for five minutes, does so under the old one.
            other.learn_the_latest()
            await all_go_on()
            storage = stack.app.services.storage
            assert {await version_of(storage, uuid) for uuid in other.made} == {old, new}
            one.learn_the_latest()
            await all_go_on()
            assert sum(await asyncio.gather(rewrap_by(one), rewrap_by(other))) >= 4
            assert await rewrap_by(one) == 0
            vault.disabled.add(old)
            await all_go_on()
            made = [*one.made, *other.made]
            assert {await version_of(storage, uuid) for uuid in made} == {new}
        finally:
            for process in processes:
                await process.stop()
        for uuid in made:
            await stack.call("DELETE", f"principal/{uuid}", **stack.operator)


async def test_a_missing_master_key_holds_everything_and_loses_nothing(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tenants, "_RESTS", (1, 1, 1))
    monkeypatch.setattr(tenants, "_LOCKED_SECONDS", 0.1)
    foreign = await connect_foreign(stack, await stack.register("Locked"))
    hook = await foreign.client.webhook()
    services, master = stack.app.services, master_keys(stack)
    master.rotate()
    missing = await version_of(services.storage, foreign.client.uuid)
    kept = dict(master._keys)
    del master._keys[missing]
    monkeypatch.setattr(master, "_read", lambda: (master._keys, master._current))
    services.tenants.forget(foreign.client.uuid)
    caplog.set_level(logging.WARNING)
    # Even at the queue's last delivery.
    await stack.app.inbound.handle(body(item(foreign, "waited")), 5)
    for method, path in (("GET", "identity"), ("GET", "account"), ("POST", "invitation")):
        refused = await foreign.client.call(method, path, {} if method == "POST" else None)
        assert_problem(refused, 503, "keys-unavailable")
        assert int(refused.headers["Retry-After"]) > 0
    assert_problem(await stack.deliver(foreign.v1(orjson.dumps(basic("in")))), 503, "busy")
    await stack.app.sweep.run()
    lines = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert [record.getMessage() for record in lines if missing in record.getMessage()] == [lines[0].getMessage()]
    assert not [record for record in lines if record.levelno >= logging.ERROR]
    master._keys.update(kept)
    await asyncio.sleep(0.2)
    got = await hook.until(lambda hook: True)
    assert got.json()["message"]["content"] == "waited"
