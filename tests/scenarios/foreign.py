"""A connection of a tenant with an agent that is not of this service: its keys are ours to choose, so that messages
packed elsewhere, or packed here as an attacker would, can be delivered from outside."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from devtools.connect import complete
from tests.stack import Client, Stack
from tests.unit.envelope.samples import BOB, BOBS_SECRETS, SEEDS, load
from tntcore.connections.connection import pairwise, start
from tntcore.dids.document import DidDocument, Version
from tntcore.dids.parse import parse_document
from tntcore.envelope import PrivateKey, pack_v1, pack_v2
from tntcore.storage.commit import Unit
from tntcore.storage.records import Connection, Contact, Identity
from tntcore.storage.states import ContactStatus
from tntcore.tenancy.recipients import KeyPairs

BOBS_KEYS = {
    "v1": KeyPairs(SEEDS["bob"], PrivateKey.generate("X25519")),
    "v2": KeyPairs(PrivateKey.generate("Ed25519"), BOBS_SECRETS[f"{BOB}#key-x25519-1"]),
}


@dataclass
class Foreign:
    """A connection of `client` with an agent outside.

    Attributes:
        ours, theirs: documents of this connection. their_keys: the agent's.
    """

    stack: Stack
    client: Client
    connection: Connection
    ours: DidDocument
    our_keys: KeyPairs
    theirs: DidDocument
    their_keys: KeyPairs

    def v1(self, plaintext: bytes, *, sender: PrivateKey | None = None, anonymous: bool = False) -> bytes:
        """Packed for our key: by the agent, by another `sender`, or by nobody."""
        by = None if anonymous else sender or self.their_keys.ed25519
        return pack_v1(plaintext, recipients=[self.our_keys.verkey], sender=by)

    def v2(self, message: Mapping[str, Any], *, anonymous: bool = False) -> bytes:
        """As `v1`; from, to, id and type are filled in."""
        addressed = {"id": "1", "type": "t", "body": {}, "to": [self.ours.id], **message}
        if anonymous:
            return pack_v2(addressed, to=self.ours)
        secrets = self.their_keys.by_kid(self.theirs)
        return pack_v2({"from": self.theirs.id, **addressed}, to=self.ours, from_=(self.theirs, secrets))


async def connect_foreign(
    stack: Stack, client: Client, version: Version = "v1", *, agent: KeyPairs | None = None
) -> Foreign:
    """With fresh keys on both sides, or those of an `agent` that is connected already."""
    ours, theirs = KeyPairs.generate(), agent or KeyPairs.generate()
    return await _connect(
        stack, client, ours, pairwise(stack.app.services, ours), pairwise(stack.app.services, theirs), theirs, version
    )


async def connect_vectors(stack: Stack, client: Client, version: Version) -> Foreign:
    """With the vectors' bob here and their alice there. Bob's keys can have one owner: the one before loses them."""
    ours = BOBS_KEYS[version]
    theirs = KeyPairs(SEEDS["alice"], PrivateKey.generate("X25519"))
    if version == "v1":
        mine, their_document = pairwise(stack.app.services, ours), pairwise(stack.app.services, theirs)
    else:
        mine, their_document = parse_document(_vector_document("bob")), parse_document(_vector_document("alice"))
        stack.app.services.resolver._found.put(mine.id, mine, math.inf)
    for kid in ours.by_kid(mine):
        if before := await stack.app.services.lookups.find("key", kid):
            await stack.app.services.lookups.remove("key", kid, before.uuid)
    return await _connect(stack, client, ours, mine, their_document, theirs, version)


def _vector_document(name: str) -> dict[str, Any]:
    person = load("v2/keys.json")[name]
    did = person["did"]

    def methods(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [
            {
                "id": entry["kid"],
                "type": "JsonWebKey2020",
                "controller": did,
                "publicKeyJwk": {name: value for name, value in entry["jwk"].items() if name != "d"},
            }
            for entry in entries
        ]

    return {
        "id": did,
        "keyAgreement": methods(person["keyAgreement"]),
        "authentication": methods(person.get("authentication", [])),
    }


async def _connect(
    stack: Stack,
    client: Client,
    ours: KeyPairs,
    mine: DidDocument,
    theirs: DidDocument,
    their_keys: KeyPairs,
    version: Version,
) -> Foreign:
    services = stack.app.services
    tenant = await client.tenant()
    identity = await tenant.records.get(Identity, client.identity["uuid"])
    assert identity is not None
    now = services.now()
    contact = Contact(
        uuid=services.uuid7(), status=ContactStatus.REQUESTED, did=theirs.id, created_at=now, updated_at=now
    )
    unit = Unit()
    unit.create(contact)
    await tenant.records.commit(unit)
    connection = start(identity, contact, now)
    await complete(
        services,
        stack.app.outbound,
        tenant,
        connection,
        keys=ours,
        mine=mine,
        theirs=theirs.raw,
        version=version,
    )
    return Foreign(stack, client, connection, mine, ours, theirs, their_keys)
