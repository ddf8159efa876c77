"""Status lists that an identity publishes: places, revocation, and what a verifier makes of them."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from devtools.azurite import Azurite
from tests.unit.credentials.ld import CITIZENSHIP, NOW, V1, V2, Dids, Key
from tntcore.credentials.formats import Issuing, Party
from tntcore.credentials.ld_proof import LdProof
from tntcore.credentials.linked_data import LinkedData
from tntcore.credentials.status import StatusLists
from tntcore.errors import Problem
from tntcore.keys.custody import DataKey
from tntcore.storage.commit import Unit
from tntcore.storage.records import Identity, StatusList
from tntcore.storage.repository import Repository
from tntcore.storage.storage import Storage
from tntcore.telemetry import Meter
from tntcore.workers import Workers

URL = "https://service.example/api/identity"


@dataclass
class World:
    storage: Storage
    data: LinkedData
    lists: StatusLists
    format: LdProof
    identities: dict[str, Repository]

    async def party(self, seed: int) -> Party:
        key, uuid = Key(seed), secrets.token_hex(16)
        records = Repository(self.storage, secrets.token_hex(16), DataKey(secrets.token_bytes(32)))
        identity = Identity(uuid=uuid, did=key.did)
        unit = Unit()
        unit.create(identity)
        await records.commit(unit)
        self.identities[uuid] = records
        return Party(key.did, key, records)

    async def issued(self, issuer: Party, type_: str, base: str = V1) -> Any:
        content = {
            "credential": {
                "@context": [base],
                "type": ["VerifiableCredential"],
                "credentialSubject": {"id": "did:example:alice"},
            },
            "options": {"credentialStatus": {"type": type_}},
        }
        offer = (await self.format.offer(issuer, Issuing(), content)).value
        issuing = Issuing(offer=offer, request=json.loads(json.dumps(offer)))
        return (await self.format.issue(issuer, issuing, None)).value


@pytest.fixture
async def world(azurite: Azurite, workers: Workers) -> AsyncIterator[World]:
    storage = Storage(azurite.connection_string, Meter(), lambda queue, delay: None)
    await storage.ensure()
    identities: dict[str, Repository] = {}

    async def fetch(url: str) -> bytes:
        """What the HTTP route answers."""
        uuid, _, number = url.removeprefix(URL + "/").split("/")
        found = await identities[uuid].get(StatusList, f"{uuid}.{number}")
        assert found
        return found.signed

    data = LinkedData(workers, Dids().resolve, lambda: NOW)
    lists = StatusLists(data, URL, lambda: NOW)
    yield World(storage, data, lists, LdProof(data, fetch, lists=lists), identities)
    await storage.close()


@pytest.mark.parametrize(
    ("type_", "base"), [("BitstringStatusListEntry", V1), ("BitstringStatusListEntry", V2), ("StatusList2021Entry", V1)]
)
async def test_issued_and_revoked(world: World, type_: str, base: str) -> None:
    issuer = await world.party(1)
    first, second = await world.issued(issuer, type_, base), await world.issued(issuer, type_, base)
    assert first["credentialStatus"]["statusListIndex"] != second["credentialStatus"]["statusListIndex"]
    for value in (first, second):
        verification = await world.format.verify_credential(value)
        assert verification.verified, verification.checks
        assert ("status", "") in verification.required
    await world.lists.revoke(issuer, first)
    await world.lists.revoke(issuer, first)
    revoked = await world.format.verify_credential(first)
    assert not revoked.verified
    assert [check.detail for check in revoked.checks if check.name == "status"] == ["The credential was revoked."]
    assert (await world.format.verify_credential(second)).verified


async def test_only_the_identitys_own(world: World) -> None:
    issuer, other = await world.party(1), await world.party(2)
    value = await world.issued(issuer, "BitstringStatusListEntry")
    for credential in (value, {}, {"credentialStatus": 5}, {"@context": CITIZENSHIP}):
        with pytest.raises(Problem) as raised:
            await world.lists.revoke(other, credential)
        assert raised.value.status == 409
    value["credentialStatus"]["statusListCredential"] += "0"
    with pytest.raises(Problem):
        await world.lists.revoke(issuer, value)
    with pytest.raises(Problem):
        await world.lists.allocate(Party("did:example:nobody", issuer.signer, issuer.records), "StatusList2021Entry")


async def test_no_place_twice_and_another_list_when_one_is_full(world: World) -> None:
    lists = StatusLists(world.data, URL, lambda: NOW, size=8)
    issuer = await world.party(1)
    taken = [await lists.allocate(issuer, "BitstringStatusListEntry") for _ in range(9)]
    assert len({entry["id"] for entry in taken}) == 9
    assert sorted(int(entry["statusListIndex"]) for entry in taken[:8]) == list(range(8))
    assert [entry["statusListCredential"][-1] for entry in taken] == ["1"] * 8 + ["2"]


async def test_at_the_same_time(world: World) -> None:
    issuer = await world.party(1)
    await world.lists.allocate(issuer, "BitstringStatusListEntry")
    made = [world.lists.allocate(issuer, "BitstringStatusListEntry") for _ in range(4)]
    entries = await asyncio.gather(*made)
    assert len({entry["id"] for entry in entries}) == 4
    await asyncio.gather(*(world.lists.revoke(issuer, {"credentialStatus": entry}) for entry in entries))
    await asyncio.gather(*(world.lists.revoke(issuer, {"credentialStatus": entry}) for entry in entries))
    (record,) = (await issuer.records.list(StatusList, limit=10)).records
    assert sum(byte.bit_count() for byte in record.bits) == 4
